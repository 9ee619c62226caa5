"""`tenon emit`: sources for the chip vendors' compilers, built here against a host shim and compared with the reference."""
import json
import os
import shutil
import subprocess

import pytest
from conftest import BUILD, ROOT

TENON = BUILD / "bin/tenon"
DIGITS = ROOT / "examples/digits/saved_model"
needs_compiler = pytest.mark.skipif(not shutil.which(os.environ.get("CXX", "c++")), reason="no C++ compiler here")

# Small models of all kinds of kernels; several outputs in one model keep the compiler's runs few.
CONVOLUTIONS = """graph @main (%x: f32[2,15,13,10], %i: f32[1,12,9,3], %even: f32[1,8,8,4]) {
  %w = const random(seed=1) : f32[3,3,10,24]
  %b = const random(seed=2) : f32[24]
  %conv = conv(%x, %w, %b) {strides=[2, 1], pads=[1, 1, 1, 1], activation="relu"} from "block1/conv"
  %v = const random(seed=3) : f32[3,3,1,24]
  %depthwise = conv(%conv, %v) {strides=[1, 1], pads=[1, 1, 1, 1], groups=24} from "block1/depthwise"
  %u = const random(seed=4) : f32[1,1,24,17]
  %pointwise = conv(%depthwise, %u) {strides=[1, 1]} from "block1/pointwise"
  %d = const random(seed=5) : f32[3,3,17,9]
  %dilated = conv(%pointwise, %d) {dilations=[2, 2], pads=[2, 2, 2, 2]} from "block2/dilated"
  %s = const random(seed=6) : f32[5,3,3,20]
  %first = conv(%i, %s) {strides=[2, 2], pads=[2, 1, 2, 1]} from "stem"
  %max = max_pool(%first) {kernel=[2, 2], strides=[2, 2]}
  %average = avg_pool(%x) {kernel=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]}
  %e = const random(seed=7) : f32[3,3,4,8]
  %end = conv(%even, %e) {strides=[2, 2], pads=[0, 0, 1, 1]} from "zeros_at_the_end"
  return (%dilated, %max, %average, %end)
}
"""
PRODUCTS = """graph @main (%x: f32[2,40,72], %y: f32[2,72,24], %q: f32[1,2,20,16], %k: f32[1,2,20,16], %v: f32[1,50]) {
  %w = const random(seed=1) : f32[72,33]
  %b = const random(seed=2) : f32[33]
  %dense = matmul(%x, %w, %b) {activation="gelu_tanh"} from "dense"
  %product = matmul(%x, %y) from "product"
  %turned = matmul(%x, %x) {transpose_b=true} from "turned"
  %attention = attention(%q, %k, %k) {scale=0.25} from "attention"
  %o = const random(seed=3) : f32[50,70]
  %row = matmul(%v, %o) from "row"
  return (%dense, %product, %turned, %attention, %row)
}
"""
VECTORS = """graph @main (%x: f32[2,15,13,10], %z: f32[3,40,24], %r: f32[1,6,5,4], %p: f32[4,200]) {
  %softmax = softmax(%z) {axis=2}
  %g = const random(seed=3) : f32[24]
  %b = const random(seed=4) : f32[24]
  %norm = layer_norm(%z, %g, %b) {axis=2}
  %long = softmax(%p) {axis=1}
  %e = gelu(%x)
  %e2 = mul(%e, %x)
  %e3 = tanh(%e2)
  %chain = sigmoid(%e3)
  %half = const dense<0.5> : f32[]
  %mask = greater(%x, %half)
  %picked = select(%mask, %x, %chain)
  %turned = transpose(%x) {perm=[0, 3, 1, 2]}
  %mean = mean(%x) {axes=[1, 2]}
  %most = reduce_max(%x) {axes=[3]}
  %both = concat(%x, %chain) {axis=3}
  %sizes = const dense<[12, 10]> : i64[2]
  %larger = resize(%r, %sizes) {mode="linear"}
  %rows = const dense<[3, 0, 2]> : i64[3]
  %found = gather(%r, %rows) {axis=1}
  %places = const dense<[[3], [-1], [3]]> : i32[3,1]
  %from = const dense<[1, 0]> : i64[2]
  %to = const dense<[4, 200]> : i64[2]
  %few = slice(%p, %from, %to)
  %put = scatter_nd(%p, %places, %few)
  %added = scatter_nd(%p, %places, %few) {reduction="add"}
  %angle = atan(%p)
  return (%softmax, %norm, %long, %picked, %turned, %mean, %most, %both, %larger, %found, %put, %added, %angle)
}
"""
MODELS = {"convolutions": CONVOLUTIONS, "products": PRODUCTS, "vectors": VECTORS}
# One chip whose cube and vector cores are apart, one where they are together, and the other family.
CHIPS = [("ascend910b3", "fp16"), ("ascend910b3", "fp32"), ("ascend310p3", "fp16"), ("mlu370-s4", "fp16"), ("mlu370-s4", "fp32")]


def emit(*args, env=None):
    return subprocess.run([TENON, "emit", *map(str, args)], capture_output=True, text=True, timeout=600,
                          env={**os.environ, "CXXFLAGS": "-O0", **(env or {})})  # what takes time is the compiler


def write(folder, text):
    path = folder / "model.tn"
    path.write_text(text)
    return path


def emitted(folder, text, *args):
    done = emit(write(folder, text), "-o", folder / "out", "--json", *args)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout), folder / "out"


@needs_compiler
@pytest.mark.parametrize(("target", "precision"), CHIPS)
@pytest.mark.parametrize("model", MODELS)
def test_sources_compute_what_the_reference_does(tmp_path, model, target, precision):
    found, folder = emitted(tmp_path, MODELS[model], "--target", target, "--precision", precision, "--check")
    assert found["checked"] and found["host_layers"] == [], found
    assert found["target"] == target and found["kernels"] > 0
    assert found["check_output"].count("within") == MODELS[model].split("return (")[1].count("%")
    # Each source says how far it was verified, and none has a placeholder left.
    for path in folder.rglob("*"):
        if path.suffix in (".asc", ".mlu", ".cpp") or path.name in ("README.md", "tenon_tiles.h", "tile_numbers.h", "tile_vector.h"):
            if "build" in path.parts:
                continue
            text = path.read_text()
            assert "Status: checked with host shim; not compiled by the vendor's compiler." in text, path
            assert "@STATUS@" not in text


@needs_compiler
@pytest.mark.parametrize("target", ["ascend910b3", "mlu370-s4"])
def test_a_trained_model_is_emitted_whole(tmp_path, target):
    done = emit(DIGITS, "--target", target, "--batch", "2", "-o", tmp_path, "--check", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["checked"]


@needs_compiler
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("target", ["ascend910b3", "mlu370-s4"])
def test_a_quantised_model_is_emitted_whole(tmp_path, target, precision):
    """Bytes: products with requantisation, tables, maxima whose start is the least byte. In halves
    integers may change with the rounding of what is given, which the tolerance allows."""
    model = tmp_path / "int8.tenon"
    subprocess.run([TENON, "compile", DIGITS, "--precision", "int8", "--calibration", ROOT / "examples/digits/digits.npy", "-o", model],
                   check=True, capture_output=True)
    done = emit(model, "--target", target, "--batch", "2", "--precision", precision, "-o", tmp_path / "out",
                "--check", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["checked"]
    assert any("int8_t" in path.read_text() for path in (tmp_path / "out/kernels").iterdir())


def test_convolutions_of_cambricon_are_documented_calls(tmp_path):
    """What the vendor's compiler sees has no part that is for the host alone."""
    _, folder = emitted(tmp_path, CONVOLUTIONS, "--target", "mlu370-s4")
    tiles = (folder / "tenon_tiles.h").read_text()
    assert "static_assert" not in tiles and "shim::" not in tiles.replace("shim::Launcher", "")
    assert any("tile::Conv(" in path.read_text() for path in (folder / "kernels").iterdir())


@needs_compiler
def test_a_changed_kernel_fails_the_check(tmp_path):
    """The check of the folder sees a wrong stride: it is no formality."""
    _, folder = emitted(tmp_path, VECTORS, "--target", "mlu370-s4")
    assert subprocess.run(["sh", folder / "check.sh"], capture_output=True, timeout=300).returncode == 0
    kernel = next((folder / "kernels").glob("*concat*"))
    text = kernel.read_text()
    assert "* sizeof(half), NRAM2GDRAM" in text
    kernel.write_text(text.replace("* sizeof(half), NRAM2GDRAM", "* 1, NRAM2GDRAM"))
    done = subprocess.run(["sh", folder / "check.sh"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and "NOT WITHIN" in done.stdout, done.stdout + done.stderr


@needs_compiler
def test_a_missing_flag_fails_the_check(tmp_path):
    _, folder = emitted(tmp_path, PRODUCTS, "--target", "ascend310p3")
    kernel = next((folder / "kernels").glob("product*"))
    lines = [line for line in kernel.read_text().splitlines() if "SetFlag<HardEvent::MTE1_M>" not in line]
    kernel.write_text("\n".join(lines))
    done = subprocess.run(["sh", folder / "check.sh"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and "waits for a flag that is not set" in done.stderr


def test_layers_with_the_same_program_share_a_kernel(tmp_path):
    text = """graph @main (%x: f32[1,64], %y: f32[1,64]) {
  %a = softmax(%x) {axis=1} from "first"
  %b = softmax(%y) {axis=1} from "second"
  return (%a, %b)
}
"""
    found, folder = emitted(tmp_path, text, "--target", "ascend910b3")
    assert (found["layers"], found["kernels"], found["checked"]) == (2, 1, False)
    assert (folder / "layers.cpp").read_text().count("launch_first_rows(memory") == 2
    assert "not checked with the host shim" in (folder / "README.md").read_text()
    assert "not checked with the host shim" in (folder / "kernels/first_rows.asc").read_text()


def test_what_the_chip_does_not_run_is_left_to_the_host(tmp_path):
    text = """graph @main (%x: f32[2,4,4]) {
  %a = relu(%x)
  %s, %v = log_determinant(%a) from "best"
  %b = exp(%v)
  return (%b)
}
"""
    found, folder = emitted(tmp_path, text, "--target", "mlu370-s4")
    assert [h["name"] for h in found["host_layers"]] == ["best"]
    source = (folder / "host_layers.cpp").read_text()
    assert "void host_best(" in source and found["host_layers"][0]["reason"] in source
    assert "RunOnHost(host_best, memory" in (folder / "layers.cpp").read_text()
    refused = emit(tmp_path / "model.tn", "--target", "mlu370-s4", "-o", tmp_path / "checked", "--check")
    assert refused.returncode == 1 and "'best'" in refused.stderr and "host_layers.cpp" in refused.stderr


@needs_compiler
def test_rows_that_have_no_room_on_a_core_are_emitted(tmp_path):
    """Of made-up numbers, those that are equal on the chip have the place that the reference says."""
    text = """graph @main (%x: f32[2,50257]) {
  %i = const dense<[1]> : i64[1]
  %row = gather(%x, %i)
  %s = softmax(%row)
  %y = arg_max(%x) {axis=1}
  return (%s, %y)
}
"""
    found, _ = emitted(tmp_path, text, "--target", "ascend310p3", "--check")
    assert found["checked"] and found["host_layers"] == []


def test_bad_arguments_are_refused(tmp_path):
    model = write(tmp_path, "graph @main (%x: f32[8]) {\n  %y = exp(%x)\n  return (%y)\n}\n")
    done = emit(model, "--target", "ascend910b33", "-o", tmp_path / "a")
    assert done.returncode == 1 and "ascend910b3" in done.stderr and not (tmp_path / "a").exists()
    done = emit(model, "--target", "ascend910b3", "-o", tmp_path / "a", "--precision", "int4")
    assert done.returncode == 1 and "int4" in done.stderr
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    done = emit(model, "--target", "ascend910b3", "-o", tmp_path / "full")
    assert done.returncode == 1 and "--force" in done.stderr and len(list((tmp_path / "full").iterdir())) == 1
    done = emit(model, "--target", "ascend910b3", "-o", tmp_path / "full", "--force")
    assert done.returncode == 0 and (tmp_path / "full/mine.txt").read_text() == "mine"
    # Of an earlier model nothing stays.
    stale = tmp_path / "full/kernels/stale.asc"
    stale.write_text("")
    assert emit(model, "--target", "ascend910b3", "-o", tmp_path / "full", "--force").returncode == 0
    assert not stale.exists()
    done = emit(model, "--target", "ascend910b3", "-o", tmp_path / "full/mine.txt")
    assert done.returncode == 1 and "no folder" in done.stderr


def test_without_a_compiler_the_check_says_so(tmp_path):
    model = write(tmp_path, "graph @main (%x: f32[8]) {\n  %y = exp(%x)\n  return (%y)\n}\n")
    done = emit(model, "--target", "ascend910b3", "-o", tmp_path / "a", "--check", env={"CXX": "/no/such/compiler"})
    assert done.returncode == 3 and "no C++ compiler" in done.stderr
