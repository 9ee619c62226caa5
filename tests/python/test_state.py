"""Variables that a model assigns keep their values between runs."""
import json
import subprocess
import threading

import numpy as np
import pytest

import tenon
from conftest import BUILD, ROOT

TEXT = '''
graph @step (%x: f32[2], %total: f32[2] state "total" = f32[2] dense<[1, 2]>) {
  %next = add(%total, %x)
  return (%total "before", %next "after", %next state "total")
}
graph @peek (%total: f32[2] state "total" = f32[2] dense<[1, 2]>) {
  return (%total "now")
}
'''


@pytest.fixture
def file(tmp_path):
    (tmp_path / "model.tn").write_text(TEXT)
    return tenon.compile(tmp_path / "model.tn", tmp_path / "model.tenon")


def test_runs_follow_one_another(file):
    runner = tenon.Runner(file, signature="step")
    x = np.array([10, 20], np.float32)
    for calls in range(4):
        got = runner.run(x)
        np.testing.assert_array_equal(got["before"], [1 + 10 * calls, 2 + 20 * calls])
        np.testing.assert_array_equal(got["after"], [11 + 10 * calls, 22 + 20 * calls])
    kept = got["after"]
    runner.run(x)
    np.testing.assert_array_equal(kept, [41, 82])  # outputs are the caller's


def test_reading_setting_and_resetting(file):
    runner = tenon.Runner(file, signature="step")
    assert runner.state.variables == (tenon.Port("total", "float32", (2,)),)
    assert list(runner.state) == ["total"] and "total" in runner.state and len(runner.state) == 1
    np.testing.assert_array_equal(runner.state["total"], [1, 2])
    runner.state["total"] = np.array([5, 6], np.float32)
    runner.state["total"][0] = 99  # a copy
    np.testing.assert_array_equal(runner.run(np.zeros(2, np.float32))["before"], [5, 6])
    saved = dict(runner.state)
    runner.run(np.ones(2, np.float32))
    runner.state.update(saved)
    np.testing.assert_array_equal(runner.state["total"], [5, 6])
    runner.reset_state()
    np.testing.assert_array_equal(runner.state["total"], [1, 2])


def test_wrong_values_are_refused(file):
    runner = tenon.Runner(file, signature="step")
    for value in (np.zeros(3, np.float32), np.zeros(2, np.int32)):
        with pytest.raises(tenon.Error, match="total"):
            runner.state["total"] = value
    with pytest.raises(tenon.Error, match="there is no state variable 'other'; the model has: 'total'"):
        runner.state["other"]
    with pytest.raises(tenon.Error, match="takes 'x'"):
        runner.run(np.zeros(2, np.float32), np.zeros(2, np.float32))


def test_who_shares_and_who_does_not(file):
    step = tenon.Runner(file, signature="step")
    peek, other = step.with_signature("peek"), tenon.Runner(file, signature="peek")
    step.run(np.array([1, 1], np.float32))
    np.testing.assert_array_equal(peek.run()["now"], [2, 3])
    np.testing.assert_array_equal(other.run()["now"], [1, 2])
    peek.reset_state()
    np.testing.assert_array_equal(step.state["total"], [1, 2])


def test_threads_lose_no_update(file):
    runner = tenon.Runner(file, signature="step", threads=1)
    one = np.ones(2, np.float32)
    threads = [threading.Thread(target=lambda: [runner.run(one) for _ in range(200)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(runner.state["total"], [801, 802])


def test_a_failed_run_changes_nothing(file):
    runner = tenon.Runner(file, signature="step")
    with pytest.raises(tenon.Error):
        runner.run(np.zeros(3, np.float32))
    np.testing.assert_array_equal(runner.state["total"], [1, 2])


def test_the_command_line_hands_state_on(file, tmp_path):
    np.save(tmp_path / "x.npy", np.array([1, 1], np.float32))

    def step(*options):
        command = [BUILD / "bin/tenon", "run", file, "--signature", "step", "--input", tmp_path / "x.npy",
                   "--output-dir", tmp_path, "--json", *options]
        return subprocess.run([str(word) for word in command], capture_output=True, text=True)
    for total in (2, 3, 4):
        assert step("--state-out", tmp_path / "kept", *(("--state-in", tmp_path / "kept") if total > 2 else ())).returncode == 0
        np.testing.assert_array_equal(np.load(tmp_path / "after.npy"), [total, total + 1])
        np.testing.assert_array_equal(np.load(tmp_path / "kept/total.npy"), [total, total + 1])
    assert step().returncode == 0  # without --state-in from the beginning
    np.testing.assert_array_equal(np.load(tmp_path / "after.npy"), [2, 3])
    (tmp_path / "empty").mkdir()
    refused = step("--state-in", tmp_path / "empty")
    assert refused.returncode and "holds no value of a state variable" in refused.stderr and "'total'" in refused.stderr
    report = subprocess.run([BUILD / "bin/tenon", "inspect", file, "--json"], capture_output=True, text=True).stdout
    written = {f["signature"]: [(s["name"], s["written"]) for s in f["state"]] for f in json.loads(report)["functions"]}
    assert written == {"step": [("total", True)], "peek": [("total", False)]}


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "tests/fixtures/tf").glob("state_*")))
def test_calls_in_a_row_equal_tensorflow(name, tmp_path):
    folder = ROOT / "tests/fixtures/tf" / name
    first = tenon.Runner(tenon.compile(folder / "saved_model", tmp_path / "model.tenon"))
    calls = sorted(folder.glob("io*.npz"), key=lambda path: int(path.stem[3:] or 0))
    assert len(calls) >= 2 and len(first.state)
    for attempt in range(2):
        for call in calls:
            with np.load(call) as arrays:
                runner = first.with_signature(str(arrays["signature"])) if "signature" in arrays else first
                got = runner.run({key[3:]: arrays[key] for key in arrays if key.startswith("in:")})
                for key in arrays:
                    if key.startswith("out:"):
                        np.testing.assert_allclose(got[key[4:]], arrays[key], rtol=1e-4, atol=1e-5)
        first.reset_state()  # and all of it again
