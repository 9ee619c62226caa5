#!/usr/bin/env python3
"""Prints docs/operators.md: every operator of TensorFlow and ONNX that a test runs, in which element types, and
which test that is.

    .venv/bin/python tests/python/operators_page.py > docs/operators.md
    .venv/bin/python tests/python/operators_page.py --unverified    # operators with a rule that no test runs

What is counted: the cases of tests/tf_ops and of ONNX's own suite but those listed as not passing, and the models
of tests/fixtures, whose nodes `tenon check` says are imported. The element type is that of a node's first operand,
or of its result where it has none.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import warnings
from collections import defaultdict
from fnmatch import fnmatch
from pathlib import Path

import onnx

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = Path(os.environ.get("TENON_BUILD", ROOT / "build"))
sys.path[:0] = [str(HERE), str(ROOT / "tests/e2e")]

import cases as model_cases  # noqa: E402
import onnx_nodes  # noqa: E402

ORDER = "f32 f64 f16 bf16 f8e4m3fn f8e4m3fnuz f8e5m2 f8e5m2fnuz f8e8m0 f4 i2 i4 i8 i16 i32 i64 u2 u4 u8 u16 u32 u64 bool str c64 c128".split()
TF_TYPES = {1: "f32", 2: "f64", 3: "i32", 4: "u8", 5: "i16", 6: "i8", 7: "str", 8: "c64", 9: "i64", 10: "bool", 11: "i8",
            12: "u8", 13: "i32", 14: "bf16", 15: "i16", 16: "u16", 17: "u16", 18: "c128", 19: "f16", 22: "u32", 23: "u64"}
TF_ATTRS = ("T", "dtype", "Tparams", "SrcT", "element_dtype", "out_type", "Tcomplex", "Tvalues", "Tin")
ONNX_TYPES = {"FLOAT": "f32", "DOUBLE": "f64", "FLOAT16": "f16", "BFLOAT16": "bf16", "BOOL": "bool", "STRING": "str",
              "COMPLEX64": "c64", "COMPLEX128": "c128", "FLOAT8E4M3FN": "f8e4m3fn", "FLOAT8E4M3FNUZ": "f8e4m3fnuz",
              "FLOAT8E5M2": "f8e5m2", "FLOAT8E5M2FNUZ": "f8e5m2fnuz", "FLOAT8E8M0": "f8e8m0", "FLOAT4E2M1": "f4",
              **{f"{u}INT{n}": f"{u.lower() or 'i'}{n}" for u in ("", "U") for n in (2, 4, 8, 16, 32, 64)}}


class Seen:
    """Which test runs an operator in which types."""

    def __init__(self):
        self.types = defaultdict(lambda: defaultdict(set))  # op -> test -> types
        self.counts = defaultdict(int)  # (op, test)

    def add(self, op, test, types):
        self.types[op][test] |= {t for t in types if t}
        self.counts[op, test] += 1


def tf_op_cases(seen):
    """tests/tf_ops: single ops against TensorFlow."""
    folder = ROOT / "tests/tf_ops"
    known = [line.split(" ", 1) for line in (folder / "known.list").read_text().splitlines() if not line.startswith("//")]
    failing = [rest.split("  ")[0] for way, rest in known if way in ("all", "reference", "cpu")]
    for path in sorted(folder.glob("*.cases")):
        for number, text in enumerate(re.findall(r"^op .*\n(?:(?!op ).*\n?)*", path.read_text(), re.M), 1):
            if any(fnmatch(f"{path.stem}/{number}", glob) for glob in failing):
                continue
            operand = re.search(r"^x .* : (\w+)\[", text, re.M) or re.search(r"^[cy] .* : (\w+)\[", text, re.M)
            seen.add(path.stem, f"tests/tf_ops/{path.name}", [operand[1] if operand else None])


def fields(data):
    """(number, value) of a protobuf message; lengths give bytes."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
    while at < len(data):
        tag = varint()
        kind = tag & 7
        if kind == 0:
            yield tag >> 3, varint()
        else:
            size = varint() if kind == 2 else {1: 8, 5: 4}[kind]
            yield tag >> 3, data[at:at + size]
            at += size


def parts(data, number):
    return [value for n, value in fields(data) if n == number and isinstance(value, bytes)]


def graph_def_nodes(graph):
    """(op, type) of every node, those of functions too."""
    nodes = parts(graph, 1) + [node for library in parts(graph, 2) for function in parts(library, 1) for node in parts(function, 3)]
    for node in nodes:
        attrs = {parts(entry, 1)[0].decode(): dict(fields(parts(entry, 2)[0])) for entry in parts(node, 5) if parts(entry, 2)}
        types = [TF_TYPES.get(attrs[name][6]) for name in TF_ATTRS if name in attrs and 6 in attrs[name]]
        yield parts(node, 2)[0].decode(), types[0] if types else None


def tensorflow_nodes(model):
    if model.suffix == ".pbtxt":
        for node in re.split(r"^\s*(?:node|node_def) \{", model.read_text(), flags=re.M)[1:]:
            kind = re.search(r'key: "(?:T|dtype)"\s*value \{\s*type: DT_(\w+)', node)
            op = re.search(r'op: "(\w+)"', node)
            name = {"DOUBLE": "f64", "HALF": "f16"}.get(kind[1], ONNX_TYPES.get(kind[1])) if kind else None
            if op:
                yield op[1], name
        return
    data = (model / "saved_model.pb" if model.is_dir() else model).read_bytes()
    for graph in [g for meta in parts(data, 2) for g in parts(meta, 2)] if model.is_dir() else [data]:
        yield from graph_def_nodes(graph)


def onnx_type(value):
    kind = value.type.WhichOneof("value")
    number = value.type.tensor_type.elem_type if kind == "tensor_type" else 0
    return ONNX_TYPES.get(onnx.TensorProto.DataType.Name(number)) if number else None


def model_nodes(model):
    """(op, type) of every node of an ONNX model, those of its sub-graphs too."""
    try:
        model = onnx.shape_inference.infer_shapes(model)
    except Exception:  # of other domains nothing is known
        pass
    known = {}

    def walk(graph):
        known.update({v.name: onnx_type(v) for v in [*graph.input, *graph.value_info, *graph.output]})
        known.update({t.name: ONNX_TYPES.get(onnx.TensorProto.DataType.Name(t.data_type)) for t in graph.initializer})
        for node in graph.node:
            names = [name for name in [*node.input, *node.output] if name]
            domain = "" if node.domain in ("", "ai.onnx") else node.domain + "."
            yield domain + node.op_type, next((known[name] for name in names if known.get(name)), None)
            for attr in node.attribute:
                for inner in [attr.g, *attr.graphs]:
                    yield from walk(inner)
    yield from walk(model.graph)
    for function in model.functions:
        for node in function.node:
            yield node.op_type, None


def fixture_models(seen_tf, seen_onnx):
    """tests/fixtures: whole models against TensorFlow and ONNX Runtime."""
    for case in model_cases.fixture_cases():
        if isinstance(case, model_cases.Skip):
            continue
        report = subprocess.run([BUILD / "bin/tenon", "check", "--json", case.model, *case.options],
                                capture_output=True, text=True)
        ops = {entry["op"] for entry in json.loads(report.stdout)["ops"] if any(entry[fate] for fate in ("mapped", "folded", "cpu"))}
        is_onnx = case.model.suffix == ".onnx"
        nodes = model_nodes(onnx.load(case.model, load_external_data=False)) if is_onnx else tensorflow_nodes(case.model)
        for op, kind in nodes:
            if op in ops or op.rsplit(".", 1)[-1] in ops:
                (seen_onnx if is_onnx else seen_tf).add(op, f"tests/fixtures/{case.name}", [kind])


def onnx_suite(seen):
    """ONNX's own tests."""
    known = onnx_nodes.load_known()
    for name, case in onnx_nodes.load_cases().items():
        if name in known or case.model is None:
            continue
        for op, kind in model_nodes(case.model):
            seen.add(op, "onnx.backend.test", [kind])


def types_text(types):
    return " ".join(sorted(types, key=ORDER.index)) or "—"


SHOWN = 3  # models named for an operator


def table(seen, title, words):
    lines = [f"## {title}", "", words, "", "| operator | types | verified by |", "|---|---|---|"]
    for op in sorted(seen.types):
        tests = seen.types[op]
        models = sorted(test for test in tests if test.startswith("tests/fixtures/"))
        cells = [f"{test} ({seen.counts[op, test]})" for test in sorted(tests) if test not in models]
        cells += models[:SHOWN]
        if len(models) > SHOWN:
            cells.append(f"{len(models) - SHOWN} more models")
        lines.append(f"| `{op}` | {types_text(set().union(*tests.values()))} | {'; '.join(cells)} |")
    return "\n".join(lines) + "\n"


def collect():
    seen_tf, seen_onnx = Seen(), Seen()
    tf_op_cases(seen_tf)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        onnx_suite(seen_onnx)
    fixture_models(seen_tf, seen_onnx)
    return seen_tf, seen_onnx


def page(seen_tf, seen_onnx):
    return ("# Operators\n\nGenerated by `tests/python/operators_page.py`; a test compares. What stands here is run by the test "
            "named, against results recorded from TensorFlow and ONNX Runtime or computed by the onnx package; nothing is listed "
            "that no test runs. The types are those of the first operand; — where it is none or a handle.\n\n"
            + table(seen_tf, "TensorFlow", "`tests/tf_ops` holds single ops (the number of cases in brackets; `tenon_data_tests` "
                    "runs each in up to four ways), `tests/fixtures/tf` whole models.") + "\n"
            + table(seen_onnx, "ONNX", "`onnx.backend.test` is ONNX's own suite (the number of nodes in brackets), `tests/fixtures/onnx` "
                    "whole models. An input of a model that is a map is two inputs, vectors of equal length in any order: NAME.keys "
                    "and NAME.values. What gives maps (`ZipMap`) gives the tensor of their values; the keys are the node's labels."))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--unverified", action="store_true", help="list operators with a rule that no test runs")
    arguments = parser.parse_args()
    seen = collect()
    if not arguments.unverified:
        sys.stdout.write(page(*seen))
        return
    rules = subprocess.run([BUILD / "bin/tenon", "docs", "import-rules"], check=True, capture_output=True, text=True).stdout
    for line in rules.splitlines():
        kind, op = line.split(" ")
        if op not in seen[kind == "onnx"].types:
            print(line)


if __name__ == "__main__":
    main()
