"""Ops of the user's own: libraries, embedded libraries and decompositions, from TensorFlow and ONNX, and every way in
which they can be wrong."""
import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tenon

ROOT = Path(__file__).resolve().parents[2]
TENON = Path(os.environ.get("TENON_BUILD", ROOT / "build")) / "bin/tenon"
EXAMPLE = ROOT / "examples/custom_op"
SAVED_MODEL = EXAMPLE / "saved_model"


def command(*arguments, status=0, cwd=None):
    done = subprocess.run([TENON, *map(str, arguments)], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == status, done.stderr + done.stdout
    return done


def build(source, library, *flags, include=ROOT / "include"):
    compiler = "gcc" if Path(source).suffix == ".c" else "g++"
    subprocess.run([compiler, "-O1", "-fPIC", "-shared", f"-I{include}", *flags, str(source), "-o", str(library)],
                   check=True)
    return library


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return build(EXAMPLE / "soft_shrink_pair.cpp", tmp_path_factory.mktemp("op") / "libsoft_shrink_pair.so",
                 "-std=c++17", "-fvisibility=hidden")


@pytest.fixture(scope="module")
def cases():
    with np.load(EXAMPLE / "io.npz") as io:
        arrays = dict(io)
    return [({"x": arrays[f"{i}:in:x"]}, {name: arrays[f"{i}:out:{name}"] for name in ("shrunk", "total", "chosen")})
            for i in range(2)]


def expect(runner, cases):
    for inputs, outputs in cases:
        results = runner.run(inputs)
        for name, array in outputs.items():
            np.testing.assert_allclose(results[name], array, rtol=1e-6, atol=1e-6)


# --- what it is for ---

def test_check_lists_every_op_with_its_nodes_and_the_ways_out():
    done = command("check", SAVED_MODEL, status=1)
    assert re.search(r"unsupported  SoftShrinkPair \(\d nodes?\): .*pair", done.stdout)
    for word in ("tenon new-op SoftShrinkPair", ".tn", "--custom-ops", "--outputs"):
        assert word in done.stdout
    report = tenon.check(SAVED_MODEL)
    assert {node.op for node in report.unsupported} == {"SoftShrinkPair"}
    assert any("in_loop" in node.name for node in report.unsupported)


def test_library_in_the_runtime(library, cases, tmp_path):
    assert tenon.check(SAVED_MODEL, custom_ops=[library]).ok
    path = tenon.compile(SAVED_MODEL, tmp_path / "m.tenon", custom_ops=[library])
    expect(tenon.Runner(path, custom_ops=[library]), cases)
    expect(tenon.Runner(Path(path).read_bytes(), custom_ops=str(library)), cases)


def test_library_in_every_command(library, cases, tmp_path):
    np.save(tmp_path / "x.npy", cases[1][0]["x"])
    command("compile", SAVED_MODEL, "-o", tmp_path / "m.tenon", "--custom-ops", library)
    with_input = ("--input", f"x={tmp_path}/x.npy", "--custom-ops", library)
    command("run", tmp_path / "m.tenon", "--reference", "--output-dir", tmp_path, *with_input)
    np.testing.assert_allclose(np.load(tmp_path / "total.npy"), cases[1][1]["total"], rtol=1e-6, atol=1e-6)
    command("run", tmp_path / "m.tenon", "--compare", "reference", *with_input)
    assert "libsoft_shrink_pair.so" in command("explain", tmp_path / "m.tenon", *with_input).stdout
    command("bench", tmp_path / "m.tenon", "--runs", "2", *with_input)
    command("diff", tmp_path / "m.tenon", SAVED_MODEL, "--custom-ops", library)
    assert "SoftShrinkPair from libsoft_shrink_pair.so" in command("inspect", tmp_path / "m.tenon").stdout


def test_opt_and_reduce_take_the_library(library, tmp_path):
    text = tmp_path / "m.tn"
    command("import", SAVED_MODEL, "--custom-ops", library, "-o", text)
    assert "SoftShrinkPair" in command("opt", "-p", "default", text, "--custom-ops", library).stdout
    done = command("reduce", "-p", "default", text, "--custom-ops", library, status=1)
    assert "does not fail" in done.stderr


def test_a_run_without_the_library_says_what_is_missing(library, tmp_path):
    path = tenon.compile(SAVED_MODEL, tmp_path / "m.tenon", custom_ops=library)
    with pytest.raises(tenon.Error) as error:
        tenon.Runner(path)
    assert error.value.code == "not_found"
    for word in ("'SoftShrinkPair'", "'libsoft_shrink_pair.so'", "pair", "--custom-ops"):
        assert word in str(error.value)
    assert "SoftShrinkPair" in command("run", path, "--reference", status=1).stderr


def test_embedded_code_runs_only_where_it_is_allowed(library, cases, tmp_path):
    path = tenon.compile(SAVED_MODEL, tmp_path / "m.tenon", custom_ops=library, embed_custom_ops=True)
    with pytest.raises(tenon.Error, match="allow_embedded_code"):
        tenon.Runner(path)
    expect(tenon.Runner(path, allow_embedded_code=True), cases)
    expect(tenon.Runner(path, custom_ops=library), cases)
    assert "custom ops" in command("inspect", path).stdout
    content = bytearray(Path(path).read_bytes())
    content[-200] ^= 1  # in the library
    with pytest.raises(tenon.Error, match="checksum"):
        tenon.Runner(bytes(content), allow_embedded_code=True)


def test_decomposition(cases, tmp_path):
    path = tenon.compile(SAVED_MODEL, tmp_path / "m.tenon", custom_ops=EXAMPLE / "soft_shrink_pair.tn")
    expect(tenon.Runner(path), cases)
    assert "custom" not in command("inspect", path).stdout


def test_decomposition_without_what_it_needs(tmp_path):
    text = (EXAMPLE / "soft_shrink_pair.tn").read_text()
    (tmp_path / "a.tn").write_text(text.replace("%lambd", "%slope"))
    with pytest.raises(tenon.Error, match="'slope'.*neither an operand nor an attribute"):
        tenon.compile(SAVED_MODEL, custom_ops=tmp_path / "a.tn")
    (tmp_path / "b.tn").write_text(text + text.replace("@soft", "@other"))
    with pytest.raises(tenon.Error, match="two decompositions of op 'SoftShrinkPair'"):
        tenon.compile(SAVED_MODEL, custom_ops=tmp_path / "b.tn")


def test_onnx_domain(library):
    model = tenon.compile(EXAMPLE / "model.onnx", custom_ops=library)
    x = np.array([[-1, 0.1, 2]], np.float32)
    expected = np.array([[3 * (-1 + 0.25), 0, 3 * (2 - 0.25)]], np.float32)
    np.testing.assert_allclose(tenon.Runner(model, custom_ops=library).run(x)["y"], expected, rtol=1e-6)
    assert "my.ops::SoftShrinkPair" in command("check", EXAMPLE / "model.onnx", status=1).stdout


@pytest.mark.parametrize("name, domain", [("Frobnicate", ""), ("my.domain::TwoWords", "my.domain")])
def test_what_new_op_writes_builds_and_passes_its_test(name, domain, tmp_path):
    out = command("new-op", name, "--dir", tmp_path / "ops").stdout
    steps = dict(re.findall(r"(build|test) it: +(.*)", out))
    for step in ("build", "test"):
        subprocess.run(steps[step], shell=True, check=True)
    library = shlex.split(steps["build"])[-1]
    op = name.split("::")[-1]
    (tmp_path / "g.pbtxt").write_text(
        'node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } attr { key: "shape" value '
        '{ shape { dim { size: -1 } dim { size: 2 } } } } }\n'
        f'node {{ name: "frob" op: "{op}" input: "x" attr {{ key: "T" value {{ type: DT_FLOAT }} }} }}\n')
    if domain:
        assert "no mapping" in command("check", tmp_path / "g.pbtxt", "--custom-ops", library, status=1).stdout
        return
    model = tenon.compile(tmp_path / "g.pbtxt", custom_ops=library)
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.testing.assert_array_equal(tenon.Runner(model, custom_ops=library).run(x)["frob"], x)
    assert "is there already" in command("new-op", name, "--dir", tmp_path / "ops", status=1).stderr


def test_new_op_writes_a_decomposition(tmp_path):
    written = json.loads(command("new-op", "Frobnicate", "--decomposition", "--json", cwd=tmp_path).stdout)
    assert [Path(file).name for file in written["files"]] == ["frobnicate.tn"] and "frobnicate.tn" in written["use"]
    command("check", tmp_path / "frobnicate.tn", "--custom-ops", tmp_path / "frobnicate.tn")


# --- what may be wrong with a library ---

HEAD = '#include "tenon/custom_op.h"\n'
TABLE = """
static const tenon_custom_op ops[] = {{sizeof(tenon_custom_op), "SoftShrinkPair", "", 2, 2, 2, infer, run}};
static const tenon_custom_library library = {sizeof(tenon_custom_library), TENON_CUSTOM_OP_ABI_VERSION, 1,
  sizeof(tenon_custom_op), sizeof(tenon_op_attr), sizeof(tenon_op_operand), sizeof(tenon_op_type), sizeof(tenon_tensor), ops};
const tenon_custom_library* tenon_custom_ops(void) { return &library; }
"""
INFER = "static int32_t infer(tenon_shape_call* c) { c->outputs[0] = c->outputs[1] = c->inputs[0].type; return 0; }\n"
RUN = "static int32_t run(tenon_kernel_call* c) { return 0; }\n"
CRASH = "{ volatile int* p = 0; *p = 1; return 0; }\n"
GOOD = HEAD + INFER + RUN + TABLE

BROKEN = {
    "version": (GOOD.replace("TENON_CUSTOM_OP_ABI_VERSION, 1", "7, 1"), ["version 7", "version 1", "new-op"]),
    "struct sizes": (GOOD.replace("sizeof(tenon_op_attr)", "8"), ["other sizes", "new-op"]),
    "missing symbol": ("int other(void) { return 0; }\n", ["no symbol 'tenon_custom_ops'", "new-op"]),
    "undefined function": (GOOD.replace("return &library", "extern int nowhere(void); return nowhere() ? 0 : &library"),
                           ["cannot be loaded", "nowhere"]),
    "no ops": (GOOD.replace("sizeof(tenon_tensor), ops", "sizeof(tenon_tensor), 0"), ["describes no ops"]),
    "no shape rule": (GOOD.replace("infer, run}", "0, run}"), ["shape rule"]),
    "crash while loading": (GOOD.replace("return &library;", "volatile int* p = 0; *p = 1; return &library;"),
                            ["crashed while it was loaded", "SIGSEGV"]),
    "crash in the shape rule": (HEAD + "static int32_t infer(tenon_shape_call* c) " + CRASH + RUN + TABLE,
                                ["shape rule", "'SoftShrinkPair'", "crashed", "SIGSEGV", "pair"]),
    "abort in the shape rule": (
        "#include <stdlib.h>\n" + HEAD + "static int32_t infer(tenon_shape_call* c) { abort(); }\n" + RUN + TABLE,
        ["shape rule", "crashed", "SIGABRT"]),
    "refusal": (
        "#include <string.h>\n" + HEAD +
        'static int32_t infer(tenon_shape_call* c) { strcpy(c->message, "only on Tuesdays"); return 1; }\n' + RUN + TABLE,
        ["shape rule", "refuses: only on Tuesdays", "pair"]),
    "no type": (HEAD + "static int32_t infer(tenon_shape_call* c) { return 0; }\n" + RUN + TABLE, ["no element type"]),
    "absurd rank": (
        HEAD + INFER.replace("return 0", "c->outputs[0].rank = 99; return 0") + RUN + TABLE, ["rank 99"]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_library(name, tmp_path):
    source, words = BROKEN[name]
    (tmp_path / "op.c").write_text(source)
    library = build(tmp_path / "op.c", tmp_path / "libop.so", "-w")
    done = command("compile", SAVED_MODEL, "-o", tmp_path / "m.tenon", "--custom-ops", library, status=1)
    for word in words:
        assert word in done.stderr
    assert len(done.stderr.splitlines()) < 8
    assert not (tmp_path / "m.tenon").exists()
    with pytest.raises(tenon.Error) as error:
        tenon.compile(SAVED_MODEL, custom_ops=library)
    assert words[0] in str(error.value)


def test_what_is_no_library(tmp_path):
    (tmp_path / "text.so").write_text("hello")
    (tmp_path / "cut.so").write_bytes(TENON.read_bytes()[:3000])
    assert "no shared library" in command("check", SAVED_MODEL, "--custom-ops", tmp_path / "text.so", status=1).stderr
    assert "is cut off" in command("check", SAVED_MODEL, "--custom-ops", tmp_path / "cut.so", status=1).stderr
    command("check", SAVED_MODEL, "--custom-ops", tmp_path / "none.so", status=1)


@pytest.mark.parametrize("body, words", [
    (CRASH, ["crashed", "SIGSEGV"]),
    ("{ c->message[0] = 'n'; c->message[1] = 'o'; c->message[2] = 0; return 3; }\n", ["failed: no"]),
])
def test_kernel_that_fails(body, words, tmp_path):
    (tmp_path / "op.c").write_text(HEAD + INFER + "static int32_t run(tenon_kernel_call* c) " + body + TABLE)
    library = build(tmp_path / "op.c", tmp_path / "libop.so", "-w")
    path = tenon.compile(SAVED_MODEL, tmp_path / "m.tenon", custom_ops=library)
    runner = tenon.Runner(path, custom_ops=library)
    for _ in range(2):
        with pytest.raises(tenon.Error) as error:
            runner.run(np.zeros((2, 3), np.float32))
        for word in ["kernel", "'SoftShrinkPair'", "libop.so", "pair", *words]:
            assert word in str(error.value)


def test_sizes_that_depend_on_data_and_strings(tmp_path):
    """Keep: the elements over a limit, and a text for each; its sizes are known only after it has run."""
    (tmp_path / "keep.cpp").write_text("""
#include "tenon/custom_op.hpp"
using namespace tenon::custom;
static void infer(ShapeCall& c) {
  c.set_output(0, {c.input(0).dtype, {TENON_OP_UNKNOWN}});
  c.set_output(1, {TENON_STRING, {TENON_OP_UNKNOWN}});
}
static void run(KernelCall& c) {
  std::vector<float> kept;
  for (int64_t i = 0; i < c.elements(0); ++i)
    if (c.input<float>(0)[i] > c.attr("limit", 0.0)) kept.push_back(c.input<float>(0)[i]);
  const auto n = static_cast<int64_t>(kept.size());
  float* y = c.allocate<float>(0, {n});
  c.allocate<tenon_string>(1, {n});
  for (int64_t i = 0; i < n; ++i) {
    y[i] = kept[i];
    c.set_string(1, i, "no " + std::to_string(i));
  }
}
TENON_CUSTOM_OPS(op<infer, run>("Keep", "", 1, 1, 2))
""")
    library = build(tmp_path / "keep.cpp", tmp_path / "libkeep.so", "-std=c++17")
    (tmp_path / "g.pbtxt").write_text(
        'node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } attr { key: "shape" value '
        '{ shape { dim { size: -1 } } } } }\n'
        'node { name: "keep" op: "Keep" input: "x" attr { key: "limit" value { f: 1.5 } } }\n'
        'node { name: "y" op: "Neg" input: "keep" attr { key: "T" value { type: DT_FLOAT } } }\n')
    model = tenon.compile(tmp_path / "g.pbtxt", custom_ops=library, outputs=["y", "keep:1"])
    runner = tenon.Runner(model, custom_ops=library)
    for x in ([1, 2, 3], [0], [5, 0, 7, 9]):
        kept = [v for v in x if v > 1.5]
        results = runner.run(np.array(x, np.float32))
        np.testing.assert_array_equal(results["y"], -np.array(kept, np.float32))
        assert list(results["keep:1"]) == [f"no {i}".encode() for i in range(len(kept))]


@pytest.mark.parametrize("op, words", [
    ("EagerPyFunc", ["tf.py_function", "Python"]), ("PyFunc", ["Python"]), ("SymbolicGradient", ["gradient"]),
    ("XlaCallModule", ["StableHLO"]), ("TRTEngineOp", ["TensorRT"]), ("ResourceApplyAdam", ["optimiser"])])
def test_what_is_no_op_is_named_as_what_it_is(op, words, tmp_path):
    (tmp_path / "g.pbtxt").write_text(
        'node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } attr { key: "shape" value '
        '{ shape { dim { size: 2 } } } } }\n'
        f'node {{ name: "block/odd" op: "{op}" input: "x" }}\n')
    done = command("check", tmp_path / "g.pbtxt", status=1)
    for word in ["block/odd", *words]:
        assert word in done.stdout


def test_example_runs(tmp_path):
    done = subprocess.run([EXAMPLE / "run.sh"], capture_output=True, text=True,
                          env={**os.environ, "PATH": f"{TENON.parent}:{os.environ['PATH']}"})
    assert done.returncode == 0, done.stderr
    assert shutil.which("g++") and done.stdout.count("total: f32[4,3]") == 3
