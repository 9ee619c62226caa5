"""Whether a precision is worth it: what `tenon check --precision` predicts, and what the compiler keeps in fp32 for it."""
import json

import numpy as np
import pytest
from conftest import command

LEVELS = ["avx2", "avx-vnni", "avx512", "avx512-vnni", "avx512-bf16", "amx"]
# A wide product, which integers are good for, before a depthwise convolution of few channels, which they are not.
GRAPH = """graph @main (%x "x": f32[?n,56,56,64]) {
  %w = const random(seed=1, min=-1, max=1) : f32[3,3,64,64]
  %a = conv(%x, %w) {pads=[1, 1, 1, 1]} from "wide/Conv2D"
  %v = const random(seed=2, min=-1, max=1) : f32[5,5,1,64]
  %b = conv(%a, %v) {pads=[2, 2, 2, 2], groups=64} from "thin/DepthwiseConv2D"
  %u = const random(seed=3, min=-1, max=1) : f32[1,1,64,64]
  %c = conv(%b, %u) from "last/Conv2D"
  return (%c "y")
}
"""


@pytest.fixture
def graph(tmp_path):
    file = tmp_path / "graph.tn"
    file.write_text(GRAPH)
    return file


def asked(graph, *more):
    return json.loads(command("check", graph, "--precision", "int8", "--json", *more).stdout)["precision"][0]


@pytest.mark.parametrize("level", LEVELS)
def test_check_predicts_every_layer_and_the_whole(graph, level):
    said = asked(graph, "--cpu", level)
    assert [layer["name"] for layer in said["layers"]] == ["wide/Conv2D", "thin/DepthwiseConv2D", "last/Conv2D"]
    for layer in said["layers"]:
        assert layer["fp32_us"] > 0 and layer["int8_us"] > 0
        assert layer["gain"] == pytest.approx(layer["fp32_us"] / layer["int8_us"])
        assert layer["verdict"] in ("faster", "slower", "the same")
    for precision in ("fp32", "int8"):
        assert sum(step["us"] for step in said["steps"][precision]) == pytest.approx(said[f"{precision}_us"])
        assert all(step["kind"] for step in said["steps"][precision])
        assert {len(step["features"]) for step in said["steps"][precision]} == {len(said["steps"]["fp32"][0]["features"])}


def test_vnni_gains_more_than_avx2(graph):
    gains = {level: asked(graph, "--cpu", level)["layers"][0]["gain"] for level in LEVELS}
    assert gains["avx2"] < gains["avx512-vnni"] < gains["amx"]
    assert gains["avx512-vnni"] > 1


def test_twice_the_batch_takes_about_twice_as_long(graph):
    one, two = asked(graph), asked(graph, "--batch", 2)
    assert 1.7 < two["int8_us"] / one["int8_us"] < 2.3


def test_check_says_it_in_words(graph):
    text = command("check", graph, "--precision", "int8", "--cpu", "avx2").stdout
    assert "int8 against fp32 on AVX2" in text and "wide/Conv2D" in text and "the whole model" in text
    assert "there are: avx2" in command("check", graph, "--precision", "int8", "--cpu", "z80", status=2).stderr
    command("check", graph, "--precision", "int7", status=2)


def test_chips_are_asked_by_simulation(graph):
    said = asked(graph, "--target", "ascend310p3")
    assert "simulated" in said["machine"] and said["fp16_us"] > said["int8_us"] > 0
    assert "wide/Conv2D" in [layer["name"] for layer in said["layers"]]
    assert "z80" in command("check", graph, "--precision", "int8", "--target", "z80", status=1).stderr


def test_what_would_be_slower_stays_in_fp32_unless_it_is_forced(graph, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((2, 56, 56, 64), np.float32))
    arguments = ["compile", graph, "--precision", "int8", "--calibration", tmp_path / "x.npy", "--calibration-method", "minmax",
                 "-o", tmp_path / "m.tenon", "--no-verify", "--json"]
    said = asked(graph)
    layers = json.loads(command(*arguments).stdout)["functions"][0]["quantization"]["layers"]
    kept = {layer["name"]: layer["reason"] for layer in layers if not layer["integer"]}
    # A layer that is slower by itself may save more between its neighbours than it costs.
    assert kept or said["int8_us"] <= 1.15 * said["fp32_us"]
    assert all("would be slower" in reason and "--force-precision" in reason for reason in kept.values())
    forced = json.loads(command(*arguments, "--force-precision").stdout)["functions"][0]["quantization"]["layers"]
    assert all(layer["integer"] for layer in forced)
