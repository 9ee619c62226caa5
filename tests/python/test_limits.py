"""Loops that do not end, cancelling, Ctrl-C, recursion, and plans over many shapes."""
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tenon

ROOT = Path(__file__).resolve().parents[2]
TENON = Path(os.environ.get("TENON_BUILD", ROOT / "build")) / "bin/tenon"
ENDLESS = """graph @main (%x: i64[]) {
  %y = while(%x) with {
    graph @condition (%0: i64[]) {
      %1 = equal(%0, %0)
      return (%1)
    }
    graph @body (%0: i64[]) {
      %1 = const dense<1> : i64[]
      %2 = add(%0, %1)
      return (%2)
    }
  } from "decoder/while"
  return (%y)
}
"""


def command(*arguments, status=0):
    done = subprocess.run([TENON, *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert done.returncode == status, done.stderr + done.stdout
    return done


@pytest.fixture
def endless(tmp_path):
    (tmp_path / "endless.tn").write_text(ENDLESS)
    np.save(tmp_path / "x.npy", np.array(0))
    command("compile", tmp_path / "endless.tn", "-o", tmp_path / "endless.tenon", "--no-verify")
    return tmp_path / "endless.tenon"


def test_a_loop_that_does_not_end_is_an_error_that_names_it(endless, tmp_path):
    with_input = ("--input", f"x={tmp_path}/x.npy", "--max-loop-iterations", "1000")
    for arguments in (("run", endless), ("run", endless, "--reference"), ("bench", endless), ("diff", endless, endless)):
        done = command(*arguments, *with_input, status=1)
        assert "'decoder/while'" in done.stderr and "1000 iterations" in done.stderr
    with pytest.raises(tenon.Error, match="decoder/while"):
        tenon.Runner(endless, max_loop_iterations=5).run(np.array(0))
    with pytest.raises(tenon.Error, match="1 or more"):
        tenon.Runner(endless, max_loop_iterations=0)


def test_the_file_says_how_long_its_loops_may_run(endless, tmp_path):
    model = tenon.compile(tmp_path / "endless.tn", max_loop_iterations=77, verify=False)
    with pytest.raises(tenon.Error, match="77 iterations"):
        tenon.Runner(model).run(np.array(0))
    # Verification does not wait for it either.
    with pytest.raises(tenon.Error, match="iterations"):
        tenon.compile(tmp_path / "endless.tn", max_loop_iterations=77, verify=True)


def test_the_interpreter_is_free_during_a_run_and_cancels_it(endless):
    runner = tenon.Runner(endless)
    errors = []

    def run():
        try:
            runner.run(np.array(0))
        except tenon.Error as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.2)
    assert thread.is_alive()
    runner.cancel()
    thread.join(timeout=10)
    assert not thread.is_alive() and errors[0].code == "cancelled"


@pytest.mark.parametrize("python", [True, False])
def test_interrupt_ends_a_run_soon(python, endless, tmp_path):
    if python:
        code = (f"import numpy as np, tenon\nr = tenon.Runner({str(endless)!r})\nprint('go', flush=True)\n"
                "try:\n    r.run(np.array(0))\nexcept KeyboardInterrupt:\n    print('stopped')\n")
        arguments = [sys.executable, "-c", code]
    else:
        arguments = [TENON, "run", endless, "--input", f"x={tmp_path}/x.npy"]
    def listen():  # a shell may have started the tests with interrupts ignored, which children inherit
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, preexec_fn=listen) as process:
        if python:
            assert process.stdout.readline() == "go\n"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        begin = time.monotonic()
        out, _ = process.communicate(timeout=20)
    assert time.monotonic() - begin < 5
    assert (out == "stopped\n" and process.returncode == 0) if python else process.returncode == -signal.SIGINT


def test_repeated_shapes_are_planned_once(tmp_path):
    (tmp_path / "g.tn").write_text("""graph @main (%x: f32[?n,?t,8]) {
  %y = softmax(%x) {axis=2}
  return (%y)
}
""")
    runner = tenon.Runner(tenon.compile(tmp_path / "g.tn"))
    for _ in range(3):
        for t in range(1, 60):
            runner.run(np.zeros((1, t, 8), np.float32))
    assert runner._model.plans_made() == 59


def test_recursion_is_refused_by_name(tmp_path):
    text = """
node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } attr { key: "shape" value { shape { } } } }
node { name: "call" op: "ping" input: "x" }
library {
  function { signature { name: "ping" input_arg { name: "a" type: DT_FLOAT } output_arg { name: "b" type: DT_FLOAT } }
    node_def { name: "inner" op: "pong" input: "a" } ret { key: "b" value: "inner:b:0" } }
  function { signature { name: "pong" input_arg { name: "a" type: DT_FLOAT } output_arg { name: "b" type: DT_FLOAT } }
    node_def { name: "back" op: "ping" input: "a" } ret { key: "b" value: "back:b:0" } }
}
"""
    (tmp_path / "g.pbtxt").write_text(text)
    done = command("compile", tmp_path / "g.pbtxt", "-o", tmp_path / "m.tenon", status=1)
    assert "function 'ping' calls itself" in done.stderr and "write it as a loop" in done.stderr
