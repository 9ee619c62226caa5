"""Compiles and runs every model that has reference outputs and prints a table of how they compare.

    models_table.py [--build DIR] [--filter WORD] [--jobs N] [--timeout S] [--json FILE] [--all] [--bless]

A float output passes when |ours - theirs| <= 1e-4 * max(1, max|theirs|) everywhere (2e-3 for float16 and
bfloat16), with NaN and infinities in the same places; integers, booleans and strings must be equal. Where rows of an output are a
probability distribution, the place of the largest must agree too. A case with labels compares only those.

known.toml lists what does not pass yet, each with its reason; such a case counts as skipped. The status is 1
when a case fails that is not listed, or a listed one passes. --bless brings known.toml up to date: it drops what
passes now and adds what fails, with the message as the reason. Prints `name | status | max error | reason`
lines and closes with the counts.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from cases import ROOT, Part, Skip, all_cases

TOLERANCE, HALF_TOLERANCE = 1e-4, 2e-3
KNOWN = Path(__file__).resolve().parent / "known.toml"


@dataclass
class Row:
    name: str
    status: str
    error: float | None = None
    reason: str = ""
    seconds: float = 0

    def __str__(self):
        error = "" if self.error is None else f"{self.error:.1e}"
        return f"{self.name:58s} | {self.status:7s} | {error:>7s} | {self.reason}"


class Mismatch(Exception):
    pass


class Tool:
    """build/bin/tenon with one deadline for all that a case does."""

    def __init__(self, program, timeout):
        self.program, self.deadline = program, time.monotonic() + timeout

    def __call__(self, *arguments):
        left = max(self.deadline - time.monotonic(), 0.1)
        try:
            result = subprocess.run([self.program, *map(str, arguments)], capture_output=True, timeout=left)
        except subprocess.TimeoutExpired:
            raise Mismatch(f"tenon {arguments[0]} did not end within the time limit") from None
        if result.returncode < 0:
            raise Mismatch(f"tenon {arguments[0]} was killed by signal {-result.returncode}")
        if result.returncode:
            raise Mismatch(first_complaint(result, arguments[0]))
        return result.stdout


def first_complaint(result, command):
    lines = [line.strip() for line in result.stderr.decode(errors="replace").splitlines() if line.strip()]
    first = next((i for i, line in enumerate(lines) if line.startswith("tenon:")), 0)
    text = " ".join(lines[first:first + 3]).removeprefix("tenon: ") or "no message"
    return f"{command}: {text}"[:220]


def is_half(array):
    return array.dtype == np.float16


def compare_numbers(name, ours, theirs):
    """The largest error relative to the tolerance's base; raises Mismatch beyond the tolerance."""
    wide = np.complex128 if np.iscomplexobj(theirs) else np.float64
    a, b = np.asarray(ours, wide), np.asarray(theirs, wide)
    if not np.array_equal(np.isnan(a), np.isnan(b)):
        raise Mismatch(f"{name}: NaN in {np.isnan(a).sum()} places, expected in {np.isnan(b).sum()}")
    finite = np.isfinite(b)
    if not np.array_equal(a[~finite & ~np.isnan(b)], b[~finite & ~np.isnan(b)]):
        raise Mismatch(f"{name}: infinities differ")
    if not finite.any():
        return 0.0
    base = max(1.0, float(np.abs(b[finite]).max()))
    error = float(np.abs(a[finite] - b[finite]).max()) / base
    limit = HALF_TOLERANCE if is_half(theirs) else TOLERANCE
    if not error <= limit:
        where = np.unravel_index(np.argmax(np.where(finite, np.abs(a - b), 0)), b.shape)
        raise Mismatch(f"{name}: error {error:.1e} of {base:.3g} at {list(map(int, where))}: "
                       f"{ours[where]} instead of {theirs[where]}")
    is_distribution = (b.ndim >= 2 and b.shape[-1] > 1 and wide is np.float64 and finite.all() and (b >= 0).all()
                       and np.allclose(b.sum(-1), 1, atol=1e-3))
    if is_distribution:
        chosen = np.take_along_axis(b, a.argmax(-1)[..., None], -1)[..., 0]
        if (b.max(-1) - chosen > limit).any():
            raise Mismatch(f"{name}: another class is the most probable one")
    return error


def compare(name, ours, theirs):
    if isinstance(theirs, Part):
        if ours.shape != theirs.shape:
            raise Mismatch(f"{name}: shape {list(ours.shape)}, expected {list(theirs.shape)}")
        ours, theirs = ours.reshape(-1)[::theirs.step], theirs.values
    theirs = np.asarray(theirs)
    if ours.shape != theirs.shape:
        raise Mismatch(f"{name}: shape {list(ours.shape)}, expected {list(theirs.shape)}")
    if theirs.dtype.kind in "SUO":
        wanted = theirs.astype("S")
        if not np.array_equal(ours.astype("S"), wanted):
            raise Mismatch(f"{name}: strings differ")
        return 0.0
    if ours.dtype != theirs.dtype and not (theirs.dtype.kind == "V" or theirs.dtype.name == "bfloat16"):
        raise Mismatch(f"{name}: dtype {ours.dtype}, expected {theirs.dtype}")
    if theirs.dtype.kind in "biu":
        different = int((ours != theirs).sum())
        if different:
            raise Mismatch(f"{name}: {different} of {theirs.size} {theirs.dtype} values differ")
        return 0.0
    return compare_numbers(name, ours, theirs)


def as_npy(array):
    array = np.asarray(array)
    return array.astype("S") if array.dtype.kind in "UO" else np.ascontiguousarray(array).reshape(array.shape)


def run_sample(tool, compiled, sample, folder):
    """One run; variables that the model assigns go on from one sample to the next."""
    state = folder / "state"
    arguments = ["--state-in", state] if state.exists() and any(state.iterdir()) else []
    arguments += ["--state-out", state]
    arguments += ["--signature", sample.signature] if sample.signature else []
    for index, (name, value) in enumerate(sample.inputs.items()):
        np.save(folder / f"in{index}.npy", as_npy(value))
        arguments += ["--input", f"{name}={folder / f'in{index}.npy'}"]
    answer = tool("run", compiled, *arguments, "--threads", 1, "--output-dir", folder / "out", "--json")
    listed = json.loads(answer)["outputs"]
    outputs = {}
    for name in sample.outputs:
        entry = listed.get(name) or listed.get(name.removesuffix(":0"))
        if entry is None:
            raise Mismatch(f"no output '{name}'; there are {', '.join(listed)}")
        outputs[name] = np.load(entry["file"])
    return outputs


def compare_labels(case, results):
    right = sum(ours.argmax() == theirs.argmax() for ours, theirs in results)
    if right < case.label_agreement * len(results):
        raise Mismatch(f"{right} of {len(results)} labels right, expected {case.label_agreement:.0%}")
    return f"{right} of {len(results)} labels right"


def run_case(case, program, timeout):
    start = time.monotonic()
    tool, worst, reason = Tool(program, timeout), 0.0, ""
    with tempfile.TemporaryDirectory(prefix="tenon-models-") as name:
        folder, labels = Path(name), []
        try:
            tool("compile", case.model, "-o", folder / "model.tenon", *case.options)
            for sample in case.samples():
                outputs = run_sample(tool, folder / "model.tenon", sample, folder)
                for key, theirs in sample.outputs.items():
                    if case.label_agreement is not None:
                        labels.append((outputs[key], theirs))
                    else:
                        worst = max(worst, compare(key, outputs[key], theirs))
            if labels:
                reason, worst = compare_labels(case, labels), None
        except Mismatch as mismatch:
            return Row(case.name, "failed", None, str(mismatch), time.monotonic() - start)
    return Row(case.name, "passed", worst, reason, time.monotonic() - start)


def judge(row, known):
    """Marks what known.toml lists, and objects when a listed case passes."""
    if row.name not in known:
        return row
    if row.status == "failed":
        return Row(row.name, "known", None, f"{known[row.name]} [{row.reason}]", row.seconds)
    return Row(row.name, "failed", row.error, "passes now: take it out of known.toml", row.seconds)


def bless(rows, known, path):
    """Rewrites the list of known cases from the rows of this run; cases that did not run keep their lines."""
    kept = {name: reason for name, reason in known.items() if name not in {row.name for row in rows if row.status == "passed"}}
    for row in rows:
        if row.status == "failed":
            kept.setdefault(row.name, row.reason)
    opening = path.read_text().split("[known]")[0]
    lines = [f"{json.dumps(name)} = {json.dumps(reason, ensure_ascii=False)}" for name, reason in sorted(kept.items())]
    path.write_text(opening + "[known]\n" + "".join(line + "\n" for line in lines))
    print(f"{path.name}: {len(kept)} cases")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--filter", default="", help="a word that the cases' names must contain")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--timeout", type=float, default=60, help="seconds for a case")
    parser.add_argument("--json", type=Path, help="also write the rows there")
    parser.add_argument("--all", action="store_true", help="print the passing cases too")
    parser.add_argument("--bless", action="store_true", help="bring known.toml up to date")
    arguments = parser.parse_args()
    program = (arguments.build / "bin/tenon").resolve()
    if not program.exists():
        sys.exit(f"{program} is not there; run scripts/build")
    known = tomllib.loads(KNOWN.read_text())["known"]
    selected = [case for case in all_cases() if arguments.filter in case.name]

    def row_of(case):
        if isinstance(case, Skip):
            return Row(case.name, "skipped", None, case.reason)
        row = run_case(case, program, arguments.timeout)
        return row if arguments.bless else judge(row, known)

    rows = []
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for row in pool.map(row_of, selected):
            rows.append(row)
            if arguments.all or row.status != "passed":
                print(row, flush=True)
    if arguments.bless:
        bless(rows, known, KNOWN)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    counts = {status: sum(row.status == status for row in rows) for status in ("passed", "failed", "skipped", "known")}
    print(f"{counts['known']} known not to pass are among the skipped")
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped'] + counts['known']} skipped")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
