"""The precisions that need no data: 16-bit floats, weights of few bits, integers by the range of each input. Names of
other tools, single layers by a config, sizes, accuracy, the same results on every instruction set."""
import json

import numpy as np
import pytest
from conftest import ROOT, command

import tenon

DIGITS = ROOT / "examples/digits"
GRAPH = """graph @main (%x "x": f32[?n,64], %ids "ids": i32[?n]) {
  %t = const random(seed=7, min=-1, max=1) : f32[100,64]
  %e = gather(%t, %ids) from "embedding/Gather"
  %s = add(%x, %e)
  %w = const random(seed=8, min=-1, max=1) : f32[64,256]
  %a = matmul(%s, %w) from "dense/MatMul"
  %b = gelu(%a) from "dense/Gelu"
  %v = const random(seed=9, min=-1, max=1) : f32[256,64]
  %c = matmul(%b, %v) from "scores/MatMul"
  %r = add(%c, %x) from "scores/Add"
  %u = const random(seed=10, min=-1, max=1) : f32[10,64]
  %y = matmul(%r, %u) {transpose_b=true} from "classes/MatMul"
  return (%y "scores")
}
"""


@pytest.fixture
def graph(tmp_path):
    file = tmp_path / "graph.tn"
    file.write_text(GRAPH)
    return file


def inputs(count=7):
    rng = np.random.default_rng(1)
    return {"x": rng.normal(size=(count, 64)).astype(np.float32), "ids": rng.integers(0, 100, count).astype(np.int32)}


def scores(content, given):
    return tenon.Runner(content).run(given)["scores"]


def cosine(a, b):
    a, b = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def narrowed(done):
    return {layer["name"]: layer for layer in json.loads(done.stdout)["functions"][0]["narrowed"]}


@pytest.mark.parametrize("precision, most, least_cosine", [
    ("fp16", 0.52, 0.999999), ("bf16", 0.52, 0.9999), ("int8_weights", 0.4, 0.9999), ("int4_weights", 0.3, 0.98),
    ("int8_dynamic", 0.45, 0.999)])
def test_files_are_smaller_and_results_near(graph, precision, most, least_cosine):
    whole = tenon.compile(graph)
    content = tenon.compile(graph, precision=precision, verify=True)
    assert len(content) < most * len(whole) + 4096
    assert cosine(scores(content, inputs()), scores(whole, inputs())) >= least_cosine
    assert tenon.Runner(content).metadata["precision"] == precision


@pytest.mark.parametrize("name, meant", [
    ("force_float32", "fp32"), ("force_float16", "fp16"), ("mixed_float16", "fp16"), ("allow_mix_precision", "fp16"),
    ("half", "fp16"), ("mixed_bfloat16", "bf16"), ("bfloat16", "bf16"), ("w8a16", "int8_weights")])
def test_names_of_other_tools(graph, tmp_path, name, meant):
    assert tenon.Runner(tenon.compile(graph, precision=name)).metadata["precision"] == meant
    file = tmp_path / "model.cambricon"
    command("--model_type=tensorflow", f"--input_saved_model_dir={DIGITS}/saved_model", f"--output_model={file}",
            f"--precision={name}", "--signature=serving_default", program="cambricon_model_compiler")
    assert tenon.Runner(file).metadata["precision"] == meant


@pytest.mark.parametrize("name, rest", [("qint8_mixed_float16", "fp16"), ("int8_bf16", "bf16")])
def test_what_is_not_of_integers_is_of_the_second_precision(graph, tmp_path, name, rest):
    given = inputs(40)
    np.savez(tmp_path / "data.npz", **given)
    done = command("compile", graph, "--precision", name, "--calibration", tmp_path / "data.npz", "--json", "--force-precision",
                   "-o", tmp_path / "m.tenon")
    assert {n: layer["precision"] for n, layer in narrowed(done).items()} == {"embedding/Gather": rest}
    assert cosine(scores(tmp_path / "m.tenon", given), scores(tenon.compile(graph), given)) > 0.999


@pytest.mark.parametrize("name, words", [("qint16_mixed_float16", "did you mean"), ("int3", "there are: fp32, fp16, bf16"),
                                         ("", "there are")])
def test_unknown_names(graph, tmp_path, name, words):
    assert words in command("compile", graph, "--precision", name, "-o", tmp_path / "m.tenon", status=2).stderr
    with pytest.raises(tenon.Error, match="precision"):
        tenon.compile(graph, precision=name)


def test_a_config_says_what_single_layers_are(graph, tmp_path):
    config = tmp_path / "config.toml"
    config.write_text('[[layer]]\nname = "dense/*"\nprecision = "bf16"\n[[layer]]\nlayer = "scores"\nprecision = "fp16"\n'
                      '[[layer]]\nname = "classes/*"\nprecision = "int8_weights"\n')
    done = command("compile", graph, "--config", config, "--json", "-o", tmp_path / "m.tenon")
    layers = narrowed(done)
    assert {name: layer["precision"] for name, layer in layers.items()} == {
        "dense/MatMul": "bf16", "scores/MatMul": "fp16", "classes/MatMul": "int8_weights"}
    assert layers["dense/MatMul"]["multiplies_narrow"] and not layers["scores/MatMul"]["multiplies_narrow"]
    config.write_text('precision = "fp32"\n[[layer]]\nop = "gather"\nprecision = "fp16"\n')
    done = command("compile", graph, "--precision", "bf16", "--config", config, "--json", "-o", tmp_path / "m.tenon")
    assert {name: layer["precision"] for name, layer in narrowed(done).items()} == {"embedding/Gather": "fp16"}
    config.write_text('[[layer]]\nname = "dens/*"\nprecision = "fp16"\n')
    error = command("compile", graph, "--precision", "bf16", "--config", config, "-o", tmp_path / "m.tenon", status=1).stderr
    assert "config.toml:1" in error and "matches no" in error


def test_single_layers_of_integers_beside_16_bit_floats(graph, tmp_path):
    given = inputs(40)
    np.savez(tmp_path / "data.npz", **given)
    config = tmp_path / "config.toml"
    config.write_text('[[layer]]\nname = "dense/*"\nprecision = "int8"\n')
    done = command("compile", graph, "--precision", "bf16", "--config", config, "--calibration", tmp_path / "data.npz",
                   "--json", "--force-precision", "-o", tmp_path / "m.tenon")
    quantised = json.loads(done.stdout)["functions"][0]["quantization"]["layers"]
    assert [layer["name"] for layer in quantised if layer["integer"]] == ["dense/MatMul"]
    assert narrowed(done)["scores/MatMul"]["precision"] == "bf16"
    assert cosine(scores(tmp_path / "m.tenon", given), scores(tenon.compile(graph), given)) > 0.999


def test_a_weight_beyond_the_range_of_fp16_stays(tmp_path):
    file = tmp_path / "graph.tn"
    file.write_text("""graph @main (%x "x": f32[?n,2]) {
  %w = const dense<[[1.0, 70000.0], [2.0, 3.0]]> : f32[2,2]
  %y = matmul(%x, %w) from "dense/MatMul"
  return (%y "y")
}
""")
    done = command("compile", file, "--precision", "fp16", "--json", "-o", tmp_path / "m.tenon")
    layer = narrowed(done)["dense/MatMul"]
    assert layer["precision"] == "fp32" and "beyond the range" in layer["reason"]


# Another order of sums can round an activation to its neighbour in bf16 or int8, a 256th away.
@pytest.mark.parametrize("precision, tolerance", [("fp16", 1e-5), ("bf16", 2e-3), ("int8_weights", 1e-5), ("int4_weights", 1e-5),
                                                  ("int8_dynamic", 2e-3)])
def test_every_instruction_set_gives_nearly_the_same(graph, tmp_path, precision, tolerance):
    file = tmp_path / "m.tenon"
    tenon.compile(graph, file, precision=precision)
    given = inputs(19)
    for name, value in given.items():
        np.save(tmp_path / f"{name}.npy", value)
    results = []
    for isa in ("avx2", "avx512", ""):
        out = tmp_path / f"out_{isa}"
        command("run", file, "--input", f"x={tmp_path}/x.npy", "--input", f"ids={tmp_path}/ids.npy", "--output-dir", out, TENON_ISA=isa)
        results.append(np.load(next(out.glob("*.npy"))))
    for result in results[1:]:
        assert np.abs(result - results[0]).max() <= tolerance * np.abs(results[0]).max()


def test_digits_in_every_precision(tmp_path):
    images = np.load(DIGITS / "digits.npy")
    whole = None
    for precision in ("fp32", "fp16", "bf16", "int8_weights", "int4_weights", "int8_dynamic"):
        runner = tenon.Runner(tenon.compile(DIGITS / "saved_model", precision=precision, signature="serving_default"))
        y = next(iter(runner.run({"images": images}).values())).argmax(axis=1)
        whole = y if whole is None else whole
        assert (y == whole).mean() >= 0.99, precision
