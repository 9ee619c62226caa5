"""`tenon explain --target`: the algorithm of each layer on a simulated chip, the others, and why not."""

import json
import re
import subprocess

import pytest
from conftest import BUILD, ROOT

TENON = BUILD / "bin/tenon"
DIGITS = ROOT / "examples/digits/saved_model"


def run(*args):
    return subprocess.run([TENON, "explain", *map(str, args)], capture_output=True, text=True, timeout=300)


def explain(*args):
    done = run(*args, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def conv(tmp_path):
    """A model of one convolution with a kernel of 3 by 3 whose result is as wide as asked for."""

    def make(size, channels=256, stride=1, batch=6):
        text = tmp_path / f"conv_{size}_{channels}_{stride}_{batch}.tn"
        text.write_text(
            f"graph @main (%x: f32[{batch},{size},{size},{channels}]) {{\n"
            f"  %w = const random(seed=1) : f32[3,3,{channels},{channels}]\n"
            f"  %y = conv(%x, %w) {{pads=[1, 1, 1, 1], strides=[{stride}, {stride}], activation=\"relu\"}}\n"
            "  return (%y)\n}\n"
        )
        return text

    return make


def rejected(layer):
    return {other["algorithm"]: other for other in layer["rejected"]}


def test_the_fastest_way_is_taken_and_the_others_are_listed(conv):
    found = explain(conv(56), "--target", "mlu370-s4", "--precision", "fp32")
    assert found["simulated"] is True
    [layer] = found["layers"]
    assert layer["algorithm"].startswith("winograd") and layer["tiling"]
    others = rejected(layer)
    assert layer["latency_ms"] < others["conv"]["latency_ms"]
    assert all(0 < m["bytes"] <= m["of"] for name, m in layer["memory"].items() if name in ("nram", "wram"))
    assert found["latency_ms"] == pytest.approx(layer["latency_ms"])


def test_why_an_algorithm_is_not_possible_is_said(conv):
    [layer] = explain(conv(56, 64, stride=2), "--target", "ascend310p3")["layers"]
    assert layer["algorithm"] == "img2col"
    assert "stride is 2x2" in rejected(layer)["winograd_f2"]["reason"]
    [layer] = explain(conv(56), "--target", "ascend310p3")["layers"]
    assert "f16" in rejected(layer)["winograd_f4"]["reason"]


def test_an_unaligned_size_is_said_with_what_padding_gains(conv):
    model = conv(57)
    [layer] = explain(model, "--target", "mlu370-s4", "--precision", "fp32")["layers"]
    assert layer["algorithm"] == "conv"
    assert "57, is not a multiple of 2" in rejected(layer)["winograd_f2"]["reason"]
    [gain] = [a for a in layer["advice"] if "padded from 57x57 to 58x58" in a and "a gain of" in a]
    # What the padded layer takes.
    [padded] = explain(conv(58), "--target", "mlu370-s4", "--precision", "fp32")["layers"]
    assert padded["algorithm"] == "winograd_f2"
    found = float(re.search(r"([\d.]+) ms, a gain of", gain)[1])
    assert found == pytest.approx(padded["latency_ms"], rel=0.02)
    percent = float(re.search(r"a gain of (\d+) %", gain)[1])
    assert percent == pytest.approx(100 * (layer["latency_ms"] / found - 1), abs=2)
    assert gain in run(model, "--target", "mlu370-s4", "--precision", "fp32").stdout


def test_what_the_host_does_is_said(tmp_path):
    text = tmp_path / "special.tn"
    text.write_text(
        "graph @main (%x: f32[8,64]) {\n  %y = relu(%x)\n  %z = prod(%y) {axes=[1], keep_dims=true}\n"
        "  %s = softmax(%y) {axis=1}\n  %t = mul(%s, %z)\n  return (%t)\n}\n"
    )
    [left] = explain(text, "--target", "ascend310")["host"]
    assert left["op"] == "prod" and "prod" in left["reason"] and left["latency_ms"] > 0


def test_a_graph_is_cut_and_one_without_layers_is_no_error(tmp_path):
    text = tmp_path / "view.tn"
    text.write_text("graph @main (%x: f32[4,6]) {\n  %y = identity(%x)\n  return (%y)\n}\n")
    found = explain(text, "--target", "mlu370-s4")
    assert found["layers"] == [] and found["host"] == []
    cut = ("--inputs", "x,n", "--input-shape", "x:2,5,3", "--input-shape", "n:2", "--outputs", "result6")
    found = explain(ROOT / "tests/fixtures/tf/v1_bidirectional_frozen/model.pb", "--target", "mlu370-s4", *cut)
    assert found["layers"]


def test_layers_are_picked_by_name():
    everything = explain(DIGITS, "--target", "ascend310p3", "--batch", "4")
    name = everything["layers"][0]["name"]
    some = explain(DIGITS, "--target", "ascend310p3", "--batch", "4", "--layer", name)
    assert [layer["name"] for layer in some["layers"]] == [x["name"] for x in everything["layers"] if x["name"] == name]
    done = run(DIGITS, "--target", "ascend310p3", "--layer", "nothing like it")
    assert done.returncode == 1 and "nothing like it" in done.stderr


@pytest.mark.parametrize("chip", ["ascend310p3", "mlu370-s4"])
def test_the_memory_is_told_by_level(tmp_path, chip):
    page = tmp_path / "memory.html"
    found = explain(DIGITS, "--target", chip, "--batch", "64", "--memory", "--html", page)
    memory, ends = found["memory_map"], {}
    assert memory["peak_bytes"] == found["peak_bytes"]
    assert 0 <= memory["peak_bytes"] - max(t["address"] + t["bytes"] for t in memory["tensors"]) < 512
    for total in ("ddr_bytes", "moved_bytes"):
        assert memory[total] == sum(layer[total] for layer in memory["layers"])
    for kind, count in memory["spills"].items():
        assert count == sum(layer["spills"][kind] for layer in memory["layers"])
    for step, layer in enumerate(memory["layers"]):
        alive = [t for t in memory["tensors"] if t["first_step"] <= step <= t["last_step"]]
        assert layer["live_bytes"] == sum(t["bytes"] for t in alive) <= memory["peak_bytes"]
        for part in layer["on_chip"]:
            assert part["holds"] and 1 <= part["first_instruction"] <= part["last_instruction"]
            ends[part["memory"]] = max(ends.get(part["memory"], 0), part["end"])
    assert memory["fullest"]["bytes"] == max(layer["live_bytes"] for layer in memory["layers"])
    assert ends == {name: size for name, size in memory["on_chip_bytes"].items() if size > 0}
    assert "<svg" in page.read_text() and "Simulated" in page.read_text()
    text = run(DIGITS, "--target", chip, "--memory").stdout
    assert "read again for lack of room on a core" in text and re.search(r"instructions \d+ to \d+", text)


def test_an_unknown_chip_names_the_nearest():
    done = run(DIGITS, "--target", "ascend310p4")
    assert done.returncode == 1
    assert "ascend310p3" in done.stderr


def test_the_text_says_that_it_is_simulated():
    assert "Simulated: nothing here ran on a chip." in run(DIGITS, "--target", "mlu370-s4").stdout
