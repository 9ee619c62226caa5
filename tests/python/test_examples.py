"""Examples that predict: what their READMEs say is what their scripts find."""
import os
import re
import subprocess
import sys

from conftest import BUILD, ROOT

EXAMPLE = ROOT / "examples/unaligned_winograd"


def rows(text, pattern):
    return {(int(batch), int(zeros)): (float(latency), int(gain or 0)) for batch, zeros, latency, gain in re.findall(pattern, text, re.M)}


def test_padding_gains_winograd_and_changes_no_result():
    done = subprocess.run([sys.executable, EXAMPLE / "show.py"], capture_output=True, text=True, timeout=300,
                          env={**os.environ, "TENON": str(BUILD / "bin/tenon")})
    assert done.returncode == 0, done.stdout + done.stderr
    for width in (57, 55, 53):
        assert f"winograd_f2 not possible: the width of its result, {width}, is not a multiple of 2" in done.stdout
    found = rows(done.stdout, r"^ +(\d+) +(\d+) +([\d.]+) +(-?\d+) %  conv0 ")
    assert found[1, 1][1] > 10 and found[8, 1][1] > 10
    for line in re.findall(r"^ +\d+ +\d+ .*conv0.*$", done.stdout, re.M):
        assert line.count("winograd") == (0 if line.split()[1] == "0" else 3), line
    assert "with and without zeros" in done.stdout
    # A change of the machine's description or of the lowering is no reason to let the README say what is not so.
    said = rows((EXAMPLE / "README.md").read_text(), r"^\| (\d+) \| (\d+) \| ([\d.]+) \|(?: (\d+) %)? ")
    assert said.keys() == found.keys()
    for case, (latency, gain) in said.items():
        assert abs(latency / found[case][0] - 1) < 0.1 and abs(gain - found[case][1]) < 10, (case, found[case])
