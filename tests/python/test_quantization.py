"""INT8 from calibration data: accuracy, size, configs, reports and searches, the same results on every instruction set. What may
be given as data is in test_calibration_data.py."""
import json

import numpy as np
import pytest
from conftest import ROOT, command

import tenon

DIGITS = ROOT / "examples/digits"
GRAPH = """graph @main (%x "x": f32[?n,3]) {
  %w = const random(seed=8, min=-1, max=1) : f32[3,5]
  %a = matmul(%x, %w) from "dense/MatMul"
  %b = sigmoid(%a) from "dense/Sigmoid"
  %v = const random(seed=9, min=-1, max=1) : f32[5,4]
  %y = matmul(%b, %v) from "scores/MatMul"
  return (%y "scores")
}
"""


@pytest.fixture(scope="module")
def images():
    return np.load(DIGITS / "digits.npy")


@pytest.fixture(scope="module")
def digits_int8(tmp_path_factory, images):
    file = tmp_path_factory.mktemp("int8") / "digits.tenon"
    command("compile", DIGITS / "saved_model", "--precision", "int8", "--calibration", DIGITS / "digits.npy", "-o", file)
    return file


@pytest.fixture
def graph(tmp_path):
    file = tmp_path / "graph.tn"
    file.write_text(GRAPH)
    return file


def compile_graph(graph, data, *more, status=0):
    return command("compile", graph, "--precision", "int8", "--calibration", data, "-o", graph.parent / "m.tenon", "--json",
                   *more, status=status)


def quantization(done):
    return json.loads(done.stdout)["functions"][0]["quantization"]


def first_output(model, x):
    return next(iter(tenon.Runner(model).run(x).values()))


def samples(n=32, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)


def test_digits_keep_their_accuracy_in_a_quarter_of_the_size(digits_int8, digits_file, images):
    labels = np.load(DIGITS / "labels.npy")
    got = first_output(digits_int8, images)
    right = (got.argmax(axis=1) == labels).mean()
    before = (first_output(digits_file, images).argmax(axis=1) == labels).mean()
    assert right >= before - 0.005
    weights = 4 * 28_000
    assert digits_int8.stat().st_size <= 0.27 * weights + 100_000
    for n in (1, 3, 7):  # the batch stays open
        np.testing.assert_array_equal(first_output(digits_int8, images[:n]), got[:n])


def test_what_a_search_found_of_two_signatures_is_a_config(tmp_path):
    data = ["--calibration", DIGITS / "digits.npy", "--samples", "32"]
    command("quantize", DIGITS / "saved_model", *data, "--metric", "mse", "--max-drop", "1e-9", "--write-config", tmp_path / "found.toml",
            "-o", tmp_path / "found.tenon")
    config = (tmp_path / "found.toml").read_text()
    assert "StatefulPartitionedCall/" in config and "StatefulPartitionedCall_1/" in config
    command("compile", DIGITS / "saved_model", "--precision", "int8", *data, "--config", tmp_path / "found.toml", "-o", tmp_path / "m.tenon")
    (tmp_path / "found.toml").write_text(config + '\n[[layer]]\nname = "nowhere/*"\nprecision = "fp32"\n')
    refused = command("compile", DIGITS / "saved_model", "--precision", "int8", *data, "--config", tmp_path / "found.toml", "-o",
                      tmp_path / "m.tenon", status=1)
    assert "nowhere/*" in refused.stderr and "matches no" in refused.stderr


def test_few_islands_of_floats_are_left(digits_int8):
    steps = json.loads(command("explain", digits_int8, "--json").stdout)
    text = json.dumps(steps)
    assert "quantized_conv" in text and "quantized_matmul" in text
    assert '"dequantize_linear"' not in text
    assert "reference" not in {s.get("kernel") for f in steps.get("functions", [steps]) for s in f.get("steps", [])}


def test_every_instruction_set_gives_the_same_bits(graph, tmp_path):
    np.save(tmp_path / "x.npy", samples(100))
    compile_graph(graph, tmp_path / "x.npy")
    results = []
    for isa in ("avx2", "avx512", ""):
        out = tmp_path / f"out{isa}"
        command("run", tmp_path / "m.tenon", "--input", f"x={tmp_path}/x.npy", "--output-dir", out, TENON_ISA=isa)
        results.append(np.load(out / "scores.npy"))
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_the_vendors_line_works_word_for_word(tmp_path, images):
    np.save(tmp_path / "data.npy", images[:100])
    file = tmp_path / "model.cambricon"
    done = command("--model_type=tensorflow", f"--input_saved_model_dir={DIGITS}/saved_model", f"--output_model={file}",
                   "--precision=int8", f"--calibration={tmp_path}/data.npy", program="cambricon_model_compiler")
    assert "GUESSES" not in done.stderr
    assert tenon.Runner(file).metadata["precision"] == "int8"
    done = command("--model_type=tensorflow", f"--input_saved_model_dir={DIGITS}/saved_model", f"--output_model={file}",
                   "--precision=int8", program="cambricon_model_compiler")
    assert "NO CALIBRATION DATA" in done.stderr and "GUESSES" in done.stderr


def test_python_takes_arrays(graph, images):
    content = tenon.compile(graph, precision="int8", calibration=samples())
    assert first_output(content, samples(4)).shape == (4, 4)
    content = tenon.compile(graph, precision="int8", calibration={"x": samples()}, calibration_method="mse")
    assert first_output(content, samples(4)).shape == (4, 4)
    with pytest.warns(UserWarning, match="NO CALIBRATION DATA"):
        tenon.compile(graph, precision="int8")
    with pytest.raises(tenon.Error, match="no effect"):
        tenon.compile(graph, calibration=samples())


@pytest.mark.parametrize("method", ["auto", "minmax", "moving-average", "percentile", "entropy", "mse", "aciq"])
def test_every_method(graph, tmp_path, method):
    np.save(tmp_path / "x.npy", samples())
    report = quantization(compile_graph(graph, tmp_path / "x.npy", "--calibration-method", method, "--disable", "first-layer",
                                        "--disable", "last-layer", "--disable", "dense-layers"))
    assert all(layer["integer"] for layer in report["layers"])
    methods = {tensor["method"] for tensor in report["tensors"]}
    assert methods == {method} or method == "auto" and "auto" not in methods
    x = samples(50, seed=1)
    got = first_output(tmp_path / "m.tenon", x)
    expected = first_output(tenon.compile(graph), x)
    # The average of the extremes of single samples clips much of so small ones.
    assert np.linalg.norm(got - expected) < (0.2 if "moving" in method else 0.08) * np.linalg.norm(expected)


def test_ranges_are_by_the_names_of_the_users_model(graph, tmp_path):
    np.save(tmp_path / "x.npy", samples())
    report = quantization(compile_graph(graph, tmp_path / "x.npy", "--calibration-method", "minmax", "--disable", "dense-layers"))
    tensors = {tensor["name"]: tensor for tensor in report["tensors"]}
    assert set(tensors) == {"x", "dense/MatMul", "dense/Sigmoid"} and {t["bits"] for t in tensors.values()} == {8}
    assert tensors["x"]["low"] == pytest.approx(samples().min())
    assert tensors["x"]["high"] == pytest.approx(samples().max())
    assert 0 <= tensors["dense/Sigmoid"]["low"] and tensors["dense/Sigmoid"]["high"] <= 1
    # What is read in two bytes has room for twice of what was seen.
    report = quantization(compile_graph(graph, tmp_path / "x.npy", "--calibration-method", "minmax"))
    tensors = {tensor["name"]: tensor for tensor in report["tensors"]}
    assert tensors["x"]["bits"] == 16 and tensors["x"]["sqnr_db"] > 70 and tensors["x"]["saturation"] == 0
    assert tensors["x"]["high"] == pytest.approx(2 * np.abs(samples()).max(), rel=1e-5)


def test_mistakes_of_the_command_line(graph, tmp_path):
    assert "missing.npy" in compile_graph(graph, tmp_path / "missing.npy", status=1).stderr
    np.save(tmp_path / "x.npy", samples())
    assert "there are: auto" in compile_graph(graph, tmp_path / "x.npy", "--calibration-method", "best", status=2).stderr
    done = command("compile", graph, "--calibration", tmp_path / "x.npy", status=1)
    assert "no effect with precision fp32" in done.stderr


def test_a_tensor_that_never_moves_is_a_warning(graph, tmp_path):
    np.save(tmp_path / "x.npy", np.ones((4, 3), np.float32))
    done = compile_graph(graph, tmp_path / "x.npy")
    assert any("'x' was 1 throughout" in warning for warning in json.loads(done.stdout)["warnings"])


def test_statistics_are_kept_and_used_again(graph, tmp_path):
    np.save(tmp_path / "x.npy", samples(64))
    # Second bytes are of what is measured on the data, not of the ranges.
    how = ["--calibration-method", "mse", "--disable", "dense-layers"]
    kept = tmp_path / "statistics.json"
    first = quantization(compile_graph(graph, tmp_path / "x.npy", *how, "--statistics", kept))
    content = json.loads(kept.read_text())
    function = next(iter(content["functions"].values()))
    assert function["complete"] and function["samples"] == 64 and "dense/MatMul" in function["tensors"]
    # Without the data: the file is enough.
    again = command("compile", graph, "--precision", "int8", *how, "--statistics", kept, "-o", tmp_path / "m.tenon", "--json")
    assert quantization(again) == first and "GUESSES" not in again.stdout
    # What was interrupted is continued: 40 samples, then the rest.
    np.save(tmp_path / "x.npy", samples(64)[:40])
    part = tmp_path / "part.json"
    compile_graph(graph, tmp_path / "x.npy", *how, "--statistics", part)
    half = json.loads(part.read_text())
    next(iter(half["functions"].values())).update(complete=False, data=function["data"])
    part.write_text(json.dumps(half))
    np.save(tmp_path / "x.npy", samples(64))
    resumed = quantization(compile_graph(graph, tmp_path / "x.npy", *how, "--statistics", part))
    assert resumed == first
    assert next(iter(json.loads(part.read_text())["functions"].values()))["samples"] == 64
    # Of something else: refused, by another name or the same.
    np.save(tmp_path / "x.npy", samples(64) + 1)
    assert "other data" in compile_graph(graph, tmp_path / "x.npy", *how, "--statistics", kept, status=1).stderr
    np.save(tmp_path / "x.npy", samples(64))
    np.save(tmp_path / "other.npy", samples(64))
    assert "other data" in compile_graph(graph, tmp_path / "other.npy", *how, "--statistics", kept, status=1).stderr
    graph.write_text(GRAPH.replace("seed=8", "seed=7"))
    assert "another model" in compile_graph(graph, tmp_path / "x.npy", *how, "--statistics", kept, status=1).stderr
    kept.write_text("{")
    assert "statistics" in compile_graph(graph, tmp_path / "x.npy", *how, "--statistics", kept, status=1).stderr


def write_config(tmp_path, text):
    file = tmp_path / "config.toml"
    file.write_text(text)
    return file


@pytest.mark.parametrize("text, kept", [
    ('[[layer]]\nname = "dense/*"\nprecision = "fp32"', ["dense/MatMul"]),
    ('[[layer]]\nlayer = "scores"\nprecision = "fp32"', ["scores/MatMul"]),
    ('[[layer]]\nop = "matmul"\nprecision = "fp32"\n[[layer]]\nname = "scores*"\nprecision = "int8"', ["dense/MatMul"]),
    ('first_layer = "fp32"', ["dense/MatMul"]),
    ('last_layer = "fp32"\nmethod = "mse"\nbias_correction = false', ["scores/MatMul"]),
    ('precision = "fp32"\nlast_layer = "int8"', ["dense/MatMul"]),
    ("", []),
])
def test_a_config_says_which_layers(graph, tmp_path, text, kept):
    np.save(tmp_path / "x.npy", samples())
    report = quantization(compile_graph(graph, tmp_path / "x.npy", "--config", write_config(tmp_path, text)))
    assert [layer["name"] for layer in report["layers"] if not layer["integer"]] == kept
    assert all("config.toml" in layer["reason"] for layer in report["layers"] if not layer["integer"])


def test_a_config_speaks_of_the_ops_of_the_users_model(tmp_path, images):
    np.save(tmp_path / "x.npy", images[:50])
    config = write_config(tmp_path, '[[layer]]\nop = "Conv2D"\nprecision = "fp32"')
    done = command("compile", DIGITS / "saved_model", "--signature", "serving_default", "--precision", "int8", "--json",
                   "--calibration", tmp_path / "x.npy", "--config", config, "-o", tmp_path / "m.tenon")
    assert [layer["integer"] for layer in quantization(done)["layers"]] == [False, False, False, True]


def test_a_config_calls_layers_what_they_were_called_before_they_were_exported(graph, tmp_path):
    """Keras exports layer `head` as `head_1`, and `head_1` as `head_1_1`."""
    graph.write_text(GRAPH.replace('"dense/', '"head_1/').replace('"scores/', '"head_1_1/'))
    np.save(tmp_path / "x.npy", samples())
    for name, kept in (("head", "head_1/"), ("head_1_1", "head_1_1/")):
        config = write_config(tmp_path, f'[[layer]]\nlayer = "{name}"\nprecision = "fp32"')
        layers = quantization(compile_graph(graph, tmp_path / "x.npy", "--config", config, "--force-precision"))["layers"]
        assert [layer["name"] for layer in layers if not layer["integer"]] == [layer["name"] for layer in layers if layer["name"].startswith(kept)]
        assert any(layer["integer"] for layer in layers)


@pytest.mark.parametrize("text, words", [
    ('[[layer]]\nname = "dense/MatMull"\nprecision = "fp32"', ["config.toml:1", "matches no", "did you mean 'dense/MatMul'"]),
    ('[[layer]]\nname = "dens/*"\nprecision = "fp32"', ["matches no", "did you mean 'dense/*'"]),
    ('[[layer]]\nlayer = "nothing"\nprecision = "fp32"', ["matches no", "there are:", "scores"]),
    ('[[layer]]\nop = "Conv2D"\nprecision = "fp32"', ["matches no", "matmul"]),
    ('[[layer]]\nname = "x"', ["needs a precision"]),
    ('[[layer]]\nprecision = "fp32"', ["needs a name, a layer or an op"]),
    ('\nprecison = "int8"', ["config.toml:2", "did you mean 'precision'"]),
    ('precision = "int4"', ["no precision 'int4'", "there are: fp32, fp16"]),
    ("bias_correction = 1", ["true or false"]),
    ('method = "best"', ["no calibration method 'best'", "percentile"]),
    ("layer = 3", ["must be tables"]),
    ("precision = ", ["config.toml:1"]),
    ("precision = int8", ["config.toml:1", "quotes"]),
])
def test_mistakes_in_a_config(graph, tmp_path, text, words):
    np.save(tmp_path / "x.npy", samples())
    error = compile_graph(graph, tmp_path / "x.npy", "--config", write_config(tmp_path, text), status=1).stderr
    for word in words:
        assert word in error


# One channel of a layer's input is scaled by 1,000 in the weights before it, and back in its own: fp32 does not mind.
def planted(bad, layers=5):
    columns, rows = [1.0] * 16, [[1.0]] * 16
    columns[3], rows[3] = 1000.0, [0.001]
    lines, value = [], "%x"
    for i in range(layers):
        lines.append(f"  %r{i} = const random(seed={i + 1}, min=-0.5, max=0.6) : f32[16,16]\n"
                     f"  %s{i} = const dense<{[columns] if i + 1 == bad else rows if i == bad else 1.0}> : "
                     f"f32{'[1,16]' if i + 1 == bad else '[16,1]' if i == bad else '[]'}\n"
                     f"  %w{i} = mul(%r{i}, %s{i})\n"
                     f"  %p{i} = matmul({value}, %w{i}) from \"layer{i}/MatMul\"\n"
                     f"  %a{i} = relu(%p{i}) from \"layer{i}/Relu\"")
        value = f"%a{i}"
    body = "\n".join(lines)
    return f'graph @main (%x "x": f32[?n,16]) {{\n{body}\n  return ({value} "y")\n}}\n'


@pytest.mark.parametrize("bad", range(1, 5))
def test_a_planted_bad_layer_comes_first_in_the_report_and_stays_in_fp32(tmp_path, bad):
    graph = tmp_path / "planted.tn"
    graph.write_text(planted(bad))
    np.save(tmp_path / "x.npy", np.random.default_rng(bad).normal(size=(64, 16)).astype(np.float32))
    report = tmp_path / "report.json"
    compile_graph(graph, tmp_path / "x.npy", "--report", report)
    layers = json.loads(report.read_text())[0]["layers"]
    assert layers[0]["name"] == f"layer{bad}/MatMul" and layers[0]["share"] > 0.5
    assert sum(layer["share"] for layer in layers) == pytest.approx(1)
    for key in ("cosine", "sqnr_db", "relative_l2", "max_abs"):
        assert key in layers[0]
    config = tmp_path / "found.toml"
    done = command("quantize", graph, "--calibration", tmp_path / "x.npy", "--metric", "cosine", "--max-drop", "0.002",
                   "--write-config", config, "-o", tmp_path / "found.tenon", "--json")
    found = json.loads(done.stdout)["functions"][0]
    assert found["feasible"] and found["drop"] <= 0.002 < found["drop_all_integers"]
    assert found["fp32"][0] == f"layer{bad}/Relu" and len(found["fp32"]) <= 3
    again = quantization(compile_graph(graph, tmp_path / "x.npy", "--config", config))
    assert {layer["result"] for layer in again["layers"] if not layer["integer"]} == set(found["fp32"])


def test_a_search_goes_on_where_it_stood(tmp_path):
    graph = tmp_path / "planted.tn"
    graph.write_text(planted(2))
    np.save(tmp_path / "x.npy", np.random.default_rng(1).normal(size=(64, 16)).astype(np.float32))
    arguments = ["quantize", graph, "--calibration", tmp_path / "x.npy", "--metric", "cosine", "--max-drop", "0.002",
                 "--state", tmp_path / "state.json", "-o", tmp_path / "m.tenon", "--json"]
    first = json.loads(command(*arguments).stdout)["functions"][0]
    state = json.loads((tmp_path / "state.json").read_text())
    assert len(state["trials"]) == first["trials"] > 5
    # As if it had been interrupted half-way.
    state["trials"] = dict(list(state["trials"].items())[:4])
    (tmp_path / "state.json").write_text(json.dumps(state))
    second = json.loads(command(*arguments).stdout)["functions"][0]
    assert second["trials"] == first["trials"] - 4
    assert second["fp32"] == first["fp32"]
    assert json.loads(command(*arguments).stdout)["functions"][0]["trials"] == 0
    (tmp_path / "state.json").write_text("{}")
    assert "no state of a search" in command(*arguments, status=1).stderr
    assert "there are: top1" in command(*arguments, "--metric", "best", status=2).stderr
    assert "is no drop" in command(*arguments, "--max-drop", "much", status=2).stderr


def test_a_report_is_a_page_of_its_own(digits_file, tmp_path, images):
    np.save(tmp_path / "x.npy", images[:50])
    page = tmp_path / "report.html"
    done = command("compile", DIGITS / "saved_model", "--signature", "serving_default", "--precision", "int8",
                   "--calibration", tmp_path / "x.npy", "--disable", "layer-fitting", "--report", page, "-o",
                   tmp_path / "m.tenon")
    assert "% of the loss by" in done.stdout and "bias-correction" in done.stdout
    text = page.read_text()
    assert text.startswith("<!DOCTYPE html>") and "<svg" in text and "conv2d" in text
    assert "http" not in text.replace("http-equiv", "")
    without = command("compile", DIGITS / "saved_model", "--signature", "serving_default", "--precision", "int8",
                      "--calibration", tmp_path / "x.npy", "--disable", "bias-correction", "--report", page, "-o",
                      tmp_path / "n.tenon")
    assert "bias-correction" not in without.stdout
    assert (tmp_path / "m.tenon").read_bytes() != (tmp_path / "n.tenon").read_bytes()


def test_nothing_to_quantise_needs_no_data(tmp_path):
    graph = tmp_path / "g.tn"
    graph.write_text('graph @main (%x "x": f32[?n,3]) {\n  %y = relu(%x)\n  return (%y "y")\n}\n')
    done = command("compile", graph, "--precision", "int8", "-o", tmp_path / "m.tenon")
    assert "no convolution, matrix product or recurrent layer" in done.stderr and "GUESSES" not in done.stderr


def test_made_up_numbers_that_do_not_suit_the_model(tmp_path):
    graph = tmp_path / "g.tn"
    graph.write_text("""graph @main (%x "x": f32[?n,3], %i "i": i32[2]) {
  %w = const random(seed=8, min=-1, max=1) : f32[3,5]
  %a = matmul(%x, %w)
  %one = const dense<[1, 1]> : i32[2]
  %d = floor_div(%one, %i)
  return (%a "a", %d "d")
}
""")
    error = command("compile", graph, "--precision", "int8", "-o", tmp_path / "m.tenon", status=1).stderr
    assert "division by zero" in error and "give data with --calibration" in error


def test_layers_of_integers_are_compared_as_what_they_stand_for(graph, tmp_path):
    np.save(tmp_path / "x.npy", samples(64))
    compile_graph(graph, tmp_path / "x.npy")
    done = command("diff", "--layers", tmp_path / "m.tenon", graph, "--input", f"x={tmp_path}/x.npy", "--tolerance", "0.1",
                   "--json")
    layers = {entry["name"]: entry for entry in json.loads(done.stdout)["outputs"]}
    assert "layer dense/MatMul" in layers or "layer dense/Sigmoid" in layers
    assert all(0 < entry["relative_l2"] < 0.1 for entry in layers.values())
