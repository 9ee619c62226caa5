"""The search for the fewest layers in fp32: what it finds and says, and measures of the user's own."""
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import tenon

sys.path.insert(0, str(Path(__file__).resolve().parent))
from test_accuracy_tools import bad_layer, recurrent  # noqa: E402, F401
from test_quantization import DIGITS, command, first_output, planted  # noqa: E402

# Scripts are run by python3: the one with NumPy.
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


def test_what_is_not_hard_is_mended_before_it_is_kept(tmp_path):
    graph = tmp_path / "dense.tn"
    graph.write_text(planted(0))
    np.save(tmp_path / "x.npy", np.random.default_rng(4).normal(size=(64, 16)).astype(np.float32))
    search = ("quantize", graph, "--calibration", tmp_path / "x.npy", "--metric", "mse", "-o", tmp_path / "m.tenon", "--force-precision",
              "--json")
    all_integers = json.loads(command(*search, "--max-drop", "1").stdout)["functions"][0]["drop_all_integers"]
    found = json.loads(command(*search, "--max-drop", str(all_integers / 2)).stdout)["functions"][0]
    assert found["feasible"] and found["fp32"] == [] and found["drop"] <= all_integers / 2
    mends = [w for name in ("dense-layers", "adaptive-rounding", "layer-fitting") for w in ("--disable", name)]
    found = json.loads(command(*search, "--max-drop", str(all_integers / 2), *mends).stdout)["functions"][0]
    assert found["feasible"] and found["fp32"]


def test_a_search_says_what_it_saw_and_what_is_to_be_expected(tmp_path):
    search = ("quantize", DIGITS / "saved_model", "--signature", "serving_default", "--calibration", DIGITS / "digits.npy", "--metric",
              "top1", "--max-drop", "0.5%", "-o", tmp_path / "m.tenon", "--force-precision")
    found = json.loads(command(*search, "--json").stdout)["functions"][0]
    assert found["rows"] == 256 and found["drop"] == max(found["changed"] / 256, found["expected"]) <= 0.005
    assert f"{found['changed']} of 256 rows have another class" in command(*search).stdout


def test_a_search_may_keep_a_recurrent_layer(recurrent, tmp_path):
    file = tmp_path / "found.tenon"
    search = ("quantize", recurrent, "--calibration", tmp_path / "uneven", "--metric", "mse", "--max-drop", "0.0005", "-o", file,
              "--force-precision", "--json")
    done = command(*search, "--disable", "recurrent-layers", "--disable", "input-equalisation")
    found = json.loads(done.stdout)["functions"][0]
    assert found["feasible"] and found["fp32"] == ["lstm"] and found["layers"] == 2
    x = np.load(tmp_path / "uneven/00.npy")
    exact, got = first_output(tenon.compile(recurrent), x), first_output(file, x)
    assert ((got - exact) ** 2).sum() < 0.002 * (exact**2).sum()
    # What is no matter of other layers is mended before any is kept.
    found = json.loads(command(*search).stdout)["functions"][0]
    assert found["feasible"] and found["fp32"] == []
    got = first_output(file, x)
    assert ((got - exact) ** 2).sum() < 0.002 * (exact**2).sum()


def test_what_a_search_leaves_in_integers_is_mended(tmp_path):
    # The bound keeps no layer in fp32, not the hard one either, whose channels equalisation mends.
    graph = tmp_path / "planted.tn"
    graph.write_text(planted(2))
    np.save(tmp_path / "x.npy", np.random.default_rng(2).normal(size=(64, 16)).astype(np.float32))
    search = ("quantize", graph, "--calibration", tmp_path / "x.npy", "--metric", "mse", "--max-drop", "1", "-o", tmp_path / "m.tenon",
              "--force-precision", "--json")
    found = [json.loads(command(*search, *more).stdout)["functions"][0] for more in ((), ("--disable", "cross-layer-equalisation"))]
    assert all(f["fp32"] == [] for f in found)
    assert found[0]["drop"] < 0.1 * found[1]["drop"]


SCRIPT = """import sys, pathlib, numpy as np
folder = pathlib.Path(sys.argv[1])
y, x = np.load(folder / "outputs" / "y.npy"), np.load(folder / "inputs" / "x.npy")
places = (folder / "samples.txt").read_text().splitlines()
assert len(y) == len(x) == len(places) == 64 and "x.npy, sample 0" in places[0]
exact = pathlib.Path(__file__).with_suffix(".npy")
if not exact.exists():
    np.save(exact, y)
print("some words first")
print(1 - np.linalg.norm(y - np.load(exact)) / np.linalg.norm(np.load(exact)))
"""


@pytest.mark.parametrize("objective", ["layers", "latency", "size"])
def test_a_search_by_a_script(bad_layer, tmp_path, objective):
    script = tmp_path / "score.py"
    script.write_text(SCRIPT)
    done = command("quantize", bad_layer, "--calibration", tmp_path / "x.npy", "--metric", script, "--max-drop", "0.05",
                   "--objective", objective, "-o", tmp_path / "found.tenon", "--json", PATH=PATH)
    found = json.loads(done.stdout)["functions"][0]
    assert found["feasible"] and found["drop"] <= 0.05 < found["drop_all_integers"]
    assert "layer2/Relu" in found["fp32"] and found["price"] >= 0
    # The best assignment is kept though nobody named a file.
    config = tmp_path / "found.tenon.toml"
    assert all(f'name = "{name}"' in config.read_text() for name in found["fp32"])


@pytest.mark.parametrize("text, words", [
    ("raise SystemExit('no labels')", ["score.py' failed (exit status 1)", "no labels"]),
    ("import nothing_like_it", ["failed", "nothing_like_it"]),
    ("print('well')", ["is no number: 'well'"]),
    ("print('nan')", ["is no number: 'nan'"]),
    ("", ["is no number: ''"]),
    ("import os; os.kill(os.getpid(), 9)", ["failed (signal 9)"]),
])
def test_a_script_that_fails_is_one_clear_error(bad_layer, tmp_path, text, words):
    script = tmp_path / "score.py"
    script.write_text(text)
    error = command("quantize", bad_layer, "--calibration", tmp_path / "x.npy", "--metric", script, "-o", tmp_path / "m.tenon", status=1).stderr
    for word in words:
        assert word in error
    assert not (tmp_path / "m.tenon").exists()


def test_what_cannot_be_reached_is_said_with_what_is_closest(bad_layer, tmp_path):
    script = tmp_path / "score.py"
    script.write_text("import itertools, pathlib\nn = pathlib.Path(__file__).with_suffix('.n')\n"
                      "k = int(n.read_text()) if n.exists() else 0\nn.write_text(str(k + 1))\nprint(-k)")
    done = command("quantize", bad_layer, "--calibration", tmp_path / "x.npy", "--metric", script, "--max-drop", "0.001", "-o",
                   tmp_path / "m.tenon", status=1)
    assert "infeasible" in done.stderr and "the closest is" in done.stderr and (tmp_path / "m.tenon").exists()
    assert "there are: layers, latency, size" in command("quantize", bad_layer, "--objective", "beauty", status=2).stderr
    assert "scripts that exist" in command("quantize", bad_layer, "--metric", "missing.py", status=2).stderr
