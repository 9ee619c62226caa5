"""tenon compile --tune: what was measured on this machine is in the file, followed here and nowhere else."""

import json

import numpy as np
import pytest
from conftest import ROOT, command

DIGITS = ROOT / "examples/digits/saved_model"
IMAGES = ROOT / "examples/digits/digits.npy"


def on(isa):
    return {"TENON_ISA": isa} if isa else {}


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    path = tmp_path_factory.mktemp("tune") / "digits.tenon"
    done = command(
        *["compile", DIGITS, "-o", path, "--json", "--tune", "--tune-batch", "1,8", "--tune-threads", "1"],
        *["--tune-seconds", "0.2"],
    )
    return path, json.loads(done.stdout)["tuned"]


def explained(path, isa=None):
    return json.loads(command("explain", path, "--json", "--threads", "1", **on(isa)).stdout)


def test_the_report_says_what_was_gained(tuned):
    _, report = tuned
    assert [(t["batch"], t["threads"]) for t in report] == [(1, 1), (8, 1)]
    for t in report:
        assert t["steps"] > 0 and t["changed"] <= t["steps"]
        assert 0 < t["after_ms"] <= t["before_ms"]


def test_steps_take_the_kernel_that_is_first_in_the_file(tuned):
    path, _ = tuned
    found = explained(path)
    measured = [step for step in found["steps"] if step["measured"]]
    assert measured and len(found["tuned_on"]) == 1
    for step in measured:
        assert len(step["measured"]) > 1
        assert step["kernel"] == step["measured"][0]["kernel"]
        assert all(m["time_ns"] > 0 for m in step["measured"])


def test_on_another_processor_the_file_runs_untuned(tuned, tmp_path):
    path, _ = tuned
    assert not any(step["measured"] for step in explained(path, isa="avx2")["steps"])
    assert "which this is not" in command("explain", path, **on("avx2")).stdout
    outputs = []
    for isa in (None, "avx2"):
        folder = tmp_path / str(isa)
        command("run", path, "--input", IMAGES, "--output-dir", folder, **on(isa))
        outputs.append({p.name: np.load(p) for p in folder.iterdir()})
    assert outputs[0].keys() == outputs[1].keys() and outputs[0]
    for name, value in outputs[0].items():
        np.testing.assert_allclose(value, outputs[1][name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("option", [["--tune-threads", "0"], ["--tune-threads", "-2"], ["--tune-batch", "0"]])
def test_absurd_numbers_are_refused(option, tmp_path):
    done = command("compile", DIGITS, "-o", tmp_path / "x.tenon", "--tune", *option, status=2)
    assert option[0] in done.stderr + done.stdout
    assert not (tmp_path / "x.tenon").exists()
