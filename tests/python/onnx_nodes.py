#!/usr/bin/env python3
"""Runs ONNX's own tests (onnx.backend.test: nodes, small models, models from PyTorch) on Tenon and prints what
became of each operator's.

    .venv/bin/python tests/python/onnx_nodes.py                 # the table
    .venv/bin/python tests/python/onnx_nodes.py --filter resize # cases with this in their name, each
    .venv/bin/python tests/python/onnx_nodes.py --bless         # brings onnx_nodes.toml up to date

What is known not to pass, with the reason, is in onnx_nodes.toml; a case of that list that passes counts as
failed, like one that is not in it and does not pass. --bless takes out what passes now and adds what does not,
with Tenon's own words for a reason.
"""
import argparse
import dataclasses
import json
import os
import re
import sys
import tomllib
import warnings
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
BUILD = Path(os.environ.get("TENON_BUILD", HERE.parents[1] / "build"))
KNOWN = HERE / "onnx_nodes.toml"
sys.path.insert(0, str(BUILD / "python"))


KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")  # "real" ones are downloaded


def load_cases():
    """{name: TestCase}, made by the onnx package itself."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {case.name: case for kind in KINDS for case in load_model_tests(kind=kind)}


def load_files(case):
    """The model and the data of a case that lies in a folder, not in the case itself."""
    import onnx

    if case.model is not None:
        return case
    folder = Path(case.model_dir)
    model = onnx.load(folder / "model.onnx")
    names = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in names]

    def read(path, type_):
        kind = {"sequence_type": onnx.SequenceProto, "optional_type": onnx.OptionalProto}.get(
            type_.WhichOneof("value"), onnx.TensorProto)
        convert = {onnx.SequenceProto: onnx.numpy_helper.to_list, onnx.OptionalProto: onnx.numpy_helper.to_optional,
                   onnx.TensorProto: onnx.numpy_helper.to_array}[kind]
        return convert(kind.FromString(path.read_bytes()))

    sets = []
    for data in sorted(folder.glob("test_data_set_*")):
        pairs = []
        for word, values in (("input", inputs), ("output", model.graph.output)):
            paths = sorted(data.glob(f"{word}_*.pb"), key=lambda path: int(path.stem.split("_")[1]))
            pairs.append([read(path, value.type) for path, value in zip(paths, values)])
        sets.append(tuple(pairs))
    return dataclasses.replace(case, model=model, data_sets=sets)


def operator(case):
    """The operator under test: of a function written out, the function's; of a model, its kind."""
    if case.kind != "node":
        return f"(models: {case.kind})"
    nodes = case.model.graph.node
    if "_expanded" in case.name:
        return "(functions expanded)"
    return nodes[0].op_type if len(nodes) == 1 else "(several)"


def leaves(value):
    """The arrays of nested lists, and their lengths."""
    if isinstance(value, (list, tuple)):
        yield np.array(len(value))
        for item in value:
            yield from leaves(item)
    else:
        yield value


def run(case):
    """("passed" | "unsupported" | "failed", why)."""
    import tenon
    from onnx.backend.test.runner import Runner, _normalize_tensor
    from tenon import onnx_backend

    try:
        case = load_files(case)
        assert case.data_sets, "there is no data"
        model = onnx_backend.prepare(case.model)
        for inputs, expected in case.data_sets:
            outputs = list(model.run([_normalize_tensor(value) for value in inputs]))
            expected = [_normalize_tensor(value) for value in expected]
            if "bernoulli" in case.name:  # random: only the kind of result can be compared
                assert set(outputs[0].ravel()) <= {0, 1}, "values other than 0 and 1"
                expected[0] = outputs[0].reshape(expected[0].shape).astype(expected[0].dtype)
            assert len(outputs) == len(expected), f"{len(outputs)} results"
            Runner.assert_similar_outputs(list(leaves(expected)), list(leaves(outputs)), rtol=case.rtol, atol=case.atol)
    except tenon.Error as error:
        notes = " ".join(error.notes)
        return ("unsupported" if error.code == "unsupported" else "failed"), f"{error} {notes}".strip()
    except Exception as error:  # a comparison, or a type the bindings do not take
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return "failed", f"{type(error).__name__}: {' '.join(lines[:6])}"
    return "passed", ""


def load_known():
    """{name of a case: why it is known not to pass}."""
    with open(KNOWN, "rb") as file:
        return {name: entry["reason"] for entry in tomllib.load(file).get("known", []) for name in entry["cases"]}


def save_known(known):
    by_reason = defaultdict(list)
    for name, reason in known.items():
        by_reason[reason].append(name)
    with open(KNOWN, "w") as file:
        file.write("# ONNX's node tests that do not pass, and why. A case that passes must not be here;\n"
                   "# tests/python/onnx_nodes.py --bless brings the list up to date.\n")
        for reason, names in sorted(by_reason.items()):
            file.write(f"\n[[known]]\nreason = {json.dumps(reason)}\ncases = [\n")
            file.writelines(f'  "{name}",\n' for name in sorted(names))
            file.write("]\n")


def summary(why):
    """The part of an error that says why, without the names of the case's nodes."""
    match = re.search(r"\n  node '[^']*' \(([^)]*)\): (.*)", why)
    return (f"{match[1]}: {match[2]}" if match else why.splitlines()[0])[:160]


def verdict(status, reason):
    """None, or why a case that ended so contradicts the list."""
    if status == "passed" and reason:
        return f"passes now: take it out of onnx_nodes.toml ({reason})"
    if status != "passed" and not reason:
        return status
    return None


_cases = {}


def _run_names(names):
    if not _cases:
        _cases.update(load_cases())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [(name, *run(_cases[name])) for name in names]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--filter", default="", help="a word that the cases' names must contain; lists each")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--reasons", action="store_true", help="list every case that does not pass, and why")
    parser.add_argument("--bless", action="store_true", help="bring onnx_nodes.toml up to date")
    args = parser.parse_args()
    cases = load_cases()
    _cases.update(cases)
    known = load_known()
    names = [name for name in cases if args.filter in name]
    step = 25
    chunks = [names[i:i + step] for i in range(0, len(names), step)]
    counts, wrong = defaultdict(Counter), []
    with ProcessPoolExecutor(args.jobs) as pool:
        for rows in pool.map(_run_names, chunks):
            for name, status, why in rows:
                counts[operator(cases[name])][status] += 1
                contradiction = verdict(status, known.get(name))
                if args.bless and status == "passed":
                    known.pop(name, None)
                elif args.bless:
                    known.setdefault(name, summary(why))
                elif contradiction:
                    wrong.append((name, contradiction, why))
                if (args.reasons or args.filter) and status != "passed":
                    print(f"{name:60} {status:12} {why}")
    total = Counter()
    print(f"{'operator':28} passed  failed  unsupported")
    for name in sorted(counts):
        row = counts[name]
        total.update(row)
        print(f"{name:28} {row['passed']:6}  {row['failed']:6}  {row['unsupported']:11}")
    print(f"{'all':28} {total['passed']:6}  {total['failed']:6}  {total['unsupported']:11}")
    for name, contradiction, why in wrong:
        print(f"unexpected: {name}: {contradiction}{': ' + why if why else ''}")
    for name in sorted(set(known) - set(cases)):
        print(f"unexpected: no case is called {name}")
        wrong.append((name, "unused", ""))
        if args.bless:
            del known[name]
    if args.bless:
        save_known(known)
        return 0
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
