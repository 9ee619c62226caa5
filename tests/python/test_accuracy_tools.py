"""Techniques against what integers lose, and layer-by-layer reports on files."""
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import tenon

sys.path.insert(0, str(Path(__file__).resolve().parent))
from test_quantization import GRAPH, command, compile_graph, first_output, planted, samples  # noqa: E402


@pytest.fixture
def graph(tmp_path):
    file = tmp_path / "graph.tn"
    file.write_text(GRAPH)
    return file


@pytest.fixture
def bad_layer(tmp_path):
    """A graph whose layer 2 reads a channel a thousand times as large as the others, and data."""
    file = tmp_path / "planted.tn"
    file.write_text(planted(2))
    np.save(tmp_path / "x.npy", np.random.default_rng(2).normal(size=(64, 16)).astype(np.float32))
    return file


def techniques(done):
    return {t["name"]: t for t in json.loads(done.stdout)["accuracy"][0]["techniques"]}


def loss(file, graph, seed=9):
    x = np.random.default_rng(seed).normal(size=(200, 16)).astype(np.float32)
    got, exact = first_output(file, x), first_output(tenon.compile(graph), x)
    return np.linalg.norm(got - exact) / np.linalg.norm(exact)


def test_channels_are_brought_to_like_sizes(bad_layer, tmp_path):
    data = tmp_path / "x.npy"
    used = techniques(compile_graph(bad_layer, data))["cross-layer-equalisation"]
    assert used["used"] and used["relative_l2_with"] < 0.2 * used["relative_l2_without"]
    better = loss(tmp_path / "m.tenon", bad_layer)
    done = compile_graph(bad_layer, data, "--disable", "cross-layer-equalisation")
    assert "cross-layer-equalisation" not in techniques(done)
    assert better < 0.3 * loss(tmp_path / "m.tenon", bad_layer)
    # The report still says which layer is hard.
    compile_graph(bad_layer, data, "--report", tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text())[0]["layers"][0]["name"] == "layer2/MatMul"


def test_channels_behind_norms(tmp_path):
    gamma = [1.0] * 16
    gamma[5] = 500.0
    graph = tmp_path / "norm.tn"
    graph.write_text(f"""graph @main (%x "x": f32[?n,16]) {{
  %g = const dense<{gamma}> : f32[16]
  %b = const dense<{[0.0] * 16}> : f32[16]
  %n = layer_norm(%x, %g, %b) from "norm"
  %r = const random(seed=1, min=-1, max=1) : f32[16,16]
  %s = const dense<{[[1 / v] for v in gamma]}> : f32[16,1]
  %w = mul(%r, %s)
  %a = matmul(%n, %w) from "query/MatMul"
  return (%a "y")
}}
""")
    np.save(tmp_path / "x.npy", np.random.default_rng(2).normal(size=(64, 16)).astype(np.float32))
    used = techniques(compile_graph(graph, tmp_path / "x.npy"))["smooth-quant"]
    assert used["used"] and used["relative_l2_with"] < 0.2 * used["relative_l2_without"]
    assert "smooth-quant" not in techniques(compile_graph(graph, tmp_path / "x.npy", "--disable", "smooth-quant"))


def test_weights_are_rounded_for_the_result(tmp_path):
    # Inputs that go together: what one weight loses another can make up for.
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(256, 4)) @ rng.normal(size=(4, 48)) + 0.05 * rng.normal(size=(256, 48))).astype(np.float32)
    np.save(tmp_path / "x.npy", x[:200])
    graph = tmp_path / "g.tn"
    graph.write_text("""graph @main (%x "x": f32[?n,48]) {
  %w = const random(seed=8, min=-1, max=1) : f32[48,8]
  %y = matmul(%x, %w) from "dense/MatMul"
  return (%y "y")
}
""")
    exact = first_output(tenon.compile(graph), x[200:])
    lost = {}
    for name in ("", "adaptive-rounding"):
        done = compile_graph(graph, tmp_path / "x.npy", "--disable", "layer-fitting", *(["--disable", name] if name else []))
        assert ("adaptive-rounding" in techniques(done)) == (not name)
        lost[name] = np.linalg.norm(first_output(tmp_path / "m.tenon", x[200:]) - exact)
    assert lost[""] < lost["adaptive-rounding"]


def test_layers_are_fitted_to_what_those_before_them_lost(digits, tmp_path):
    images, labels = digits[1], digits[2]
    np.save(tmp_path / "x.npy", images[:200])
    model = Path(shutil.copytree(digits[0], tmp_path / "saved_model"))
    arguments = [model, tmp_path / "x.npy", "--signature", "serving_default", "--force-precision"]
    used = techniques(compile_graph(*arguments))["layer-fitting"]
    assert used["used"] and used["relative_l2_with"] < 0.9 * used["relative_l2_without"]
    scores = next(iter(tenon.Runner(tmp_path / "m.tenon").run({"images": images[200:]}).values()))
    assert (scores.argmax(1) == labels[200:]).mean() > 0.97
    assert "layer-fitting" not in techniques(compile_graph(*arguments, "--disable", "layer-fitting"))


def test_a_first_layer_that_loses_most_stays_in_fp32(tmp_path):
    # One input a thousand times as large as the others, which its weights make up for.
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 16)).astype(np.float32)
    x[:, 0] *= 1000
    np.save(tmp_path / "x.npy", x)
    graph = tmp_path / "g.tn"
    graph.write_text("""graph @main (%x "x": f32[?n,16]) {
  %w = const random(seed=8, min=-1, max=1) : f32[16,16]
  %s = const dense<[[0.001], [1], [1], [1], [1], [1], [1], [1], [1], [1], [1], [1], [1], [1], [1], [1]]> : f32[16,1]
  %m = mul(%w, %s)
  %a = matmul(%x, %m) from "first/MatMul"
  %b = relu(%a) from "first/Relu"
  %v = const random(seed=9, min=-1, max=1) : f32[16,16]
  %c = matmul(%b, %v) from "second/MatMul"
  %d = relu(%c) from "second/Relu"
  %u = const random(seed=10, min=-1, max=1) : f32[16,8]
  %y = matmul(%d, %u) from "third/MatMul"
  return (%y "y")
}
""")
    arguments = [graph, tmp_path / "x.npy", "--disable", "input-equalisation"]  # which would mend it
    used = techniques(compile_graph(*arguments))["first-layer"]
    assert used["used"] and used["relative_l2_with"] < 0.5 * used["relative_l2_without"]
    assert "first-layer" not in techniques(compile_graph(*arguments, "--disable", "first-layer"))


# Nobody listens to the first element of a row.
RECURRENT = f"""graph @main (%x "x": f32[?t,?n,16]) {{
  %u = const random(seed=1, min=-0.3, max=0.3) : f32[1,16,64]
  %s = const dense<{[[[float(i > 0)] for i in range(16)]]}> : f32[1,16,1]
  %w = mul(%u, %s)
  %r = const random(seed=2, min=-0.3, max=0.3) : f32[1,16,64]
  %y, %h, %c = lstm(%x, %w, %r) from "lstm"
  %l = squeeze(%h) {{axes=[0]}} from "last"
  %v = const random(seed=3, min=-0.5, max=0.5) : f32[16,8]
  %a = matmul(%l, %v) from "dense"
  return (%a "y")
}}
"""


@pytest.fixture
def recurrent(tmp_path):
    """A recurrent graph, data that bytes suit, and data whose rows have one element that is far larger than the others."""
    file = tmp_path / "recurrent.tn"
    file.write_text(RECURRENT)
    x = np.random.default_rng(3).normal(size=(40, 12, 1, 16)).astype(np.float32)
    for name, scale in (("even", 1), ("uneven", 60)):
        x[..., 0] *= scale
        (tmp_path / name).mkdir()
        for i, sample in enumerate(x):
            np.save(tmp_path / name / f"{i:02}.npy", sample)
    return file


def test_recurrent_layers_multiply_two_bytes_where_one_loses(recurrent, tmp_path):
    def compiled(data, *more):
        ends = ("--disable", "first-layer", "--disable", "last-layer")  # which would take it out of integers
        done = compile_graph(recurrent, tmp_path / data, "--force-precision", *ends, *more)
        layers = json.loads(done.stdout)["functions"][0]["quantization"]["layers"]
        assert next(layer for layer in layers if layer["name"] == "lstm")["integer"]
        return techniques(done).get("recurrent-layers")

    gain = compiled("uneven")
    assert gain["used"] and gain["relative_l2_with"] < 0.2 * gain["relative_l2_without"]
    x = [np.load(tmp_path / f"uneven/{i:02}.npy") for i in range(40)]
    exact, two = (np.stack([first_output(f, s) for s in x]) for f in (tenon.compile(recurrent), tmp_path / "m.tenon"))
    assert compiled("uneven", "--disable", "recurrent-layers") is None
    one = np.stack([first_output(tmp_path / "m.tenon", s) for s in x])
    assert np.linalg.norm(two - exact) < 0.7 * np.linalg.norm(one - exact)


def test_channels_of_the_input(tmp_path):
    # Elements of a row that are hundreds of times the others, which the weights make up for.
    sizes = [300.0, 40.0, 8.0] + [1.0] * 13
    rng = np.random.default_rng(3)
    x = (rng.normal(size=(60, 5, 1, 16)) * sizes).astype(np.float32)
    (tmp_path / "x").mkdir()
    for i, sample in enumerate(x[:40]):
        np.save(tmp_path / f"x/{i:02}.npy", sample)
    graph = tmp_path / "g.tn"
    graph.write_text(f"""graph @main (%x "x": f32[?t,?n,16]) {{
  %u = const random(seed=1, min=-1, max=1) : f32[1,16,64]
  %s = const dense<{[[[1 / v] for v in sizes]]}> : f32[1,16,1]
  %w = mul(%u, %s)
  %r = const random(seed=2, min=-0.3, max=0.3) : f32[1,16,64]
  %y, %h, %c = lstm(%x, %w, %r) from "lstm"
  return (%y "y")
}}
""")
    exact = tenon.Runner(tenon.compile(graph))
    lost = {}
    for disabled in ("", "input-equalisation"):
        used = techniques(compile_graph(graph, tmp_path / "x", "--force-precision", *(["--disable", disabled] if disabled else [])))
        assert ("input-equalisation" in used) == (not disabled)
        integers = tenon.Runner(tmp_path / "m.tenon")
        lost[disabled] = sum(np.linalg.norm(integers.run({"x": s})["y"] - exact.run({"x": s})["y"]) for s in x[40:])
    assert lost[""] < 0.5 * lost["input-equalisation"]


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("layer, gates", [("lstm", 4), ("gru", 3), ("rnn", 1)])
def test_weights_of_recurrent_layers_are_rounded_for_the_result(layer, gates, direction, tmp_path):
    directions = 2 if direction == "bidirectional" else 1
    states = ", %c" if layer == "lstm" else ""
    graph = tmp_path / "g.tn"
    graph.write_text(f"""graph @main (%x "x": f32[?t,?n,48]) {{
  %w = const random(seed=1, min=-0.3, max=0.3) : f32[{directions},48,{gates * 16}]
  %r = const random(seed=2, min=-0.3, max=0.3) : f32[{directions},16,{gates * 16}]
  %y, %h{states} = {layer}(%x, %w, %r) {{direction={direction}}} from "layer"
  return (%y "y")
}}
""")
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(4, 48))
    x = (rng.normal(size=(60, 12, 1, 4)) @ mix / 4 + 0.01 * rng.normal(size=(60, 12, 1, 48))).astype(np.float32)
    (tmp_path / "x").mkdir()
    for i, sample in enumerate(x[:40]):
        np.save(tmp_path / f"x/{i:02}.npy", sample)
    exact = tenon.Runner(tenon.compile(graph))
    lost = {}
    for disabled in ("", "adaptive-rounding"):
        compile_graph(graph, tmp_path / "x", "--force-precision", *(["--disable", disabled] if disabled else []))
        integers = tenon.Runner(tmp_path / "m.tenon")
        lost[disabled] = sum(np.linalg.norm(integers.run({"x": s})["y"] - exact.run({"x": s})["y"]) for s in x[40:])
    assert lost[""] < 0.9 * lost["adaptive-rounding"]


def test_dense_layers_multiply_two_bytes_where_one_loses(tmp_path):
    graph = tmp_path / "dense.tn"
    graph.write_text(planted(0))
    np.save(tmp_path / "x.npy", np.random.default_rng(4).normal(size=(64, 16)).astype(np.float32))
    used = techniques(compile_graph(graph, tmp_path / "x.npy", "--force-precision"))["dense-layers"]
    assert used["used"] and used["relative_l2_with"] < 0.7 * used["relative_l2_without"]
    two = loss(tmp_path / "m.tenon", graph)
    explained = command("explain", tmp_path / "m.tenon").stdout  # reals of the result's size are no factors of bytes
    assert "int8_gemm" in explained and " byte_sum  " not in explained
    # A layer is compared by the sum of both products, and its share is of both bytes.
    tenon.compile(graph, tmp_path / "fp32.tenon")
    compile_graph(graph, tmp_path / "x.npy", "--force-precision", "--disable", "cross-layer-equalisation")
    layers = json.loads(command("diff", "--layers", tmp_path / "m.tenon", tmp_path / "fp32.tenon", "--data", tmp_path / "x.npy",
                                "--json").stdout)[0]["layers"]
    assert [layer["sqnr_db"] > 30 for layer in layers] == [True] * 5
    assert sum(layer["share"] or 0 for layer in layers) == pytest.approx(1)
    done = compile_graph(graph, tmp_path / "x.npy", "--force-precision", "--disable", "dense-layers")
    assert "dense-layers" not in techniques(done)
    assert two < 0.7 * loss(tmp_path / "m.tenon", graph)


def test_dense_layers_are_seen_beside_a_first_layer_that_loses_more(tmp_path):
    # Cepstra, the first a hundred times the others and of no use, in one range.
    graph, x = tmp_path / "g.tn", tmp_path / "x.npy"
    rng = np.random.default_rng(0)
    weights = rng.uniform(-0.3, 0.3, (3, 10, 1, 16)).astype(np.float32)
    weights[:, 0] = 0
    graph.write_text(f"""graph @main (%x "x": f32[?n,12,10,1]) {{
  %w = const dense<{weights.tolist()}> : f32[3,10,1,16]
  %c = conv(%x, %w) {{activation=relu}} from "first"
  %s = const dense<[-1, 160]> : i64[2]
  %f = reshape(%c, %s)
  %u = const random(seed=2, min=-0.3, max=0.3) : f32[160,32]
  %a = matmul(%f, %u) {{activation=relu}} from "second"
  %v = const random(seed=3, min=-0.3, max=0.3) : f32[32,12]
  %y = matmul(%a, %v) from "third"
  return (%y "y")
}}
""")
    values = rng.normal(size=(64, 12, 10, 1)).astype(np.float32)
    values[:, :, 0] *= 100
    np.save(x, values)
    tried = json.loads(compile_graph(graph, x, "--force-precision").stdout)["accuracy"][0]["techniques"]
    assert [t["used"] for t in tried if t["name"] in ("dense-layers", "first-layer")] == [False, True, True]


@pytest.mark.parametrize("two", [(), ("--disable", "dense-layers")], ids=["two-bytes", "one-byte"])
@pytest.mark.parametrize("bad", range(1, 5))
def test_files_are_compared_layer_by_layer_on_data(tmp_path, bad, two):
    graph, x = tmp_path / "planted.tn", tmp_path / "x.npy"
    graph.write_text(planted(bad))
    np.save(x, np.random.default_rng(bad).normal(size=(64, 16)).astype(np.float32))
    compile_graph(graph, x, "--disable", "cross-layer-equalisation", "--disable", "last-layer", "--calibration-method", "minmax", *two)
    command("compile", graph, "-o", tmp_path / "exact.tenon")
    page = tmp_path / "layers.html"
    done = command("diff", "--layers", tmp_path / "m.tenon", tmp_path / "exact.tenon", "--data", x, "--report", page, "--json")
    report = json.loads(done.stdout)[0]
    first = report["layers"][0]
    assert first["name"].startswith(f"layer{bad}/") and first["share"] > 0.5
    assert sum(layer["share"] or 0 for layer in report["layers"]) == pytest.approx(1)
    for key in ("cosine", "sqnr_db", "relative_l2", "max_abs"):
        assert np.isfinite(first[key])
    assert report["samples"] == 32 and {t["method"] for t in report["tensors"]} == {"minmax"}
    assert all(0 <= t["saturation"] <= 1 and t["low"] <= 0 <= t["high"] for t in report["tensors"])
    assert page.read_text().startswith("<!DOCTYPE html>") and "<svg" in page.read_text()
    text = command("diff", "--layers", tmp_path / "m.tenon", tmp_path / "exact.tenon", "--data", x).stdout
    assert text.splitlines()[1].endswith(first["name"] + (" (quantized_matmul)" if two else " (fused)"))
    assert "(minmax)" in text and "outputs on 32 samples" in text


def test_products_are_compared_by_what_the_same_layer_gives(tmp_path):
    # In fp32 the activation is a part of the product, in int8 a table that is looked up in.
    graph, x = tmp_path / "g.tn", tmp_path / "x.npy"
    graph.write_text("""graph @main (%x "x": f32[?n,16]) {
  %w = const random(seed=1, min=-1, max=1) : f32[16,32]
  %a = matmul(%x, %w) from "first/MatMul"
  %s = sigmoid(%a) from "first/Sigmoid"
  %m = mul(%a, %s) from "first/mul"
  %u = const random(seed=2, min=-1, max=1) : f32[32,8]
  %y = matmul(%m, %u) from "second/MatMul"
  return (%y "y")
}
""")
    np.save(x, np.random.default_rng(0).normal(size=(64, 16)).astype(np.float32))
    compile_graph(graph, x, "--force-precision", "--disable", "last-layer", "--disable", "first-layer", "--disable", "dense-layers")
    assert "byte_lookup" in command("dump", tmp_path / "m.tenon").stdout
    command("compile", graph, "-o", tmp_path / "exact.tenon")
    done = command("diff", "--layers", tmp_path / "m.tenon", tmp_path / "exact.tenon", "--data", x, "--json")
    layers = {layer["name"]: layer for layer in json.loads(done.stdout)[0]["layers"]}
    assert set(layers) == {"first/MatMul", "second/MatMul"}
    assert sum(layer["share"] for layer in layers.values()) == pytest.approx(1)
    assert all(layer["relative_l2"] < 0.05 for layer in layers.values())


def test_signatures_that_are_one_function_are_quantised_alike(fixtures, tmp_path):
    model, inputs, _ = fixtures("keras_lstm")
    name, like = next(iter(inputs.items()))
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(64, *like.shape[1:])).astype(np.float32))
    done = command("compile", model, "--precision", "int8", "--force-precision", "--calibration", tmp_path / "x.npy", "-o",
                   tmp_path / "m.tenon", "--json")
    results = []
    for function in json.loads(done.stdout)["functions"]:
        command("run", tmp_path / "m.tenon", "--signature", function["signature"], "--input", f"{name}={tmp_path}/x.npy",
                "--output-dir", tmp_path / function["signature"])
        results.append(np.load(next((tmp_path / function["signature"]).glob("*.npy"))))
    assert len(results) == 2 and np.array_equal(*results)
    assert techniques(done)["recurrent-layers"]["used"], "what differed where its choice was of one of them alone"


def test_a_report_of_layers_fails_by_a_bound_alone(graph, tmp_path):
    np.save(tmp_path / "x.npy", samples())
    compile_graph(graph, tmp_path / "x.npy")
    both = ("diff", "--layers", tmp_path / "m.tenon", graph, "--data", tmp_path / "x.npy", "--json")
    report = json.loads(command(*both).stdout)[0]
    lost = report["outputs"]["relative_l2"]
    assert lost > 1e-4, "a loss that two files in fp32 would not have"
    assert json.loads(command(*both, "--tolerance", 1.1 * lost).stdout)[0] == report
    failed = command(*both, "--tolerance", 0.9 * lost, status=1)
    assert json.loads(failed.stdout)[0] == report and "more than --tolerance" in failed.stderr
    # Without data it is a verdict, against the same bound as between any two files.
    command("diff", "--layers", tmp_path / "m.tenon", graph, "--input", f"x={tmp_path}/x.npy", status=1)


def test_mistakes_in_comparing_files(graph, tmp_path):
    np.save(tmp_path / "x.npy", samples())
    compile_graph(graph, tmp_path / "x.npy")
    m = tmp_path / "m.tenon"
    assert "--layers" in command("diff", m, graph, "--data", tmp_path / "x.npy", status=2).stderr
    assert "--data" in command("diff", "--layers", m, graph, "--report", tmp_path / "r.html", status=2).stderr
    assert "missing.npy" in command("diff", "--layers", m, graph, "--data", tmp_path / "missing.npy", status=1).stderr
    assert "the outputs differ" in command("diff", "--layers", m, graph, "--data", tmp_path / "x.npy", "--tolerance", "1e-9", status=1).stderr


def test_a_batch_and_a_length_that_stay_open(tmp_path):
    graph = tmp_path / "g.tn"
    graph.write_text("""graph @main (%x "x": f32[?n,?t,8]) {
  %w = const random(seed=8, min=-1, max=1) : f32[3,8,16]
  %c = conv(%x, %w) {pads=[1, 1], activation="relu"} from "conv/Conv1D"
  %v = const random(seed=9, min=-1, max=1) : f32[16,4]
  %y = matmul(%c, %v) from "dense/MatMul"
  return (%y "y")
}
""")
    rng = np.random.default_rng(0)
    folder = tmp_path / "data"
    folder.mkdir()
    for i, length in enumerate((5, 9, 12) * 10):  # samples of several lengths
        np.save(folder / f"{i}.npy", rng.normal(size=(1, length, 8)).astype(np.float32))
    compile_graph(graph, folder, "--force-precision")
    runner, exact = tenon.Runner(tmp_path / "m.tenon"), tenon.Runner(tenon.compile(graph))
    for n, t in ((1, 3), (2, 7), (5, 12), (3, 40)):
        x = rng.normal(size=(n, t, 8)).astype(np.float32)
        got, expected = (next(iter(r.run(x).values())) for r in (runner, exact))
        assert got.shape == (n, t, 4)
        assert np.linalg.norm(got - expected) < 0.1 * np.linalg.norm(expected)
        np.testing.assert_array_equal(next(iter(runner.run(x[:1]).values())), got[:1])
