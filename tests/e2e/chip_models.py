"""Runs the models of ../shared/models on simulated chips and compares with their reference outputs.

    chip_models.py [--build DIR] [--filter WORD] [--jobs N] [--timeout S] [--budget S] [--all] [--bless]

Every case that models_table.py passes runs on one chip of each family, in fp16 and, where the chip has it, in
fp32. In fp32 an output passes as it does there, within 1e-3; in fp16 when the relative L2 error is at most 3e-2
and integers are equal. What has layers to quantise runs in int8 besides, quantised with its own first inputs, and is
compared with the same file on the CPU: what is of integers is equal there, floats between are of fp16, and a value in
the middle of two integers may become either, hence 1e-1. known_chips.toml lists what does not pass, each with its reason; a listed case that passes
is a failure. Cases that the time budget leaves no time for are counted as not run. Nothing runs on silicon.
"""
import argparse
import json
import os
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

import models_table
from cases import ROOT, SHARED, Part, Skip, formula_cases, onnx_cases, reference_cases
from models_table import Mismatch, Row, Tool, as_npy, bless, compare, judge, run_sample

CHIPS = (("ascend310p3", "fp16"), ("ascend910b3", "fp32"), ("mlu370-s4", "fp16"), ("mlu370-s4", "fp32"))
# Accuracy is not what is compared here.
QUICK = ("--no-verify", "--calibration-method", "minmax", "--disable", "cross-layer-equalisation", "--disable",
         "smooth-quant", "--disable", "adaptive-rounding")
INTEGER_CHIPS = ("ascend310p3", "mlu370-s4")
HALF_ERROR, SINGLE_ERROR, INTEGER_ERROR = 3e-2, 1e-3, 1e-1
KNOWN = Path(__file__).resolve().parent / "known_chips.toml"


def compare_half(name, ours, theirs, limit=HALF_ERROR):
    """The relative L2 error of an output computed in fp16."""
    if isinstance(theirs, Part):
        ours, theirs = ours.reshape(-1)[::theirs.step], theirs.values
    theirs = np.asarray(theirs)
    if theirs.dtype.kind != "f":
        return compare(name, ours, theirs)
    if ours.shape != theirs.shape:
        raise Mismatch(f"{name}: shape {list(ours.shape)}, expected {list(theirs.shape)}")
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    finite = np.isfinite(b)
    if not np.isfinite(a[finite]).all():
        raise Mismatch(f"{name}: infinities or NaN where there are numbers")
    error = float(np.linalg.norm((a - b)[finite]) / max(np.linalg.norm(b[finite]), 1e-6))
    if error > limit:
        raise Mismatch(f"{name}: relative L2 {error:.1e}")
    return error


def run_on(tool, case, compiled, target, precision, folder):
    """The worst error over a case's samples on one chip."""
    def on_chip(command, *arguments):
        return tool(command, *arguments, "--device", target, "--precision", precision)

    worst, right, total = 0.0, 0, 0
    for sample in case.samples():
        outputs = run_sample(on_chip, compiled, sample, folder)
        for key, theirs in sample.outputs.items():
            if case.label_agreement is not None:
                right, total = right + int(outputs[key].argmax() == theirs.argmax()), total + 1
            else:
                compare_chip = compare_half if precision == "fp16" else compare
                worst = max(worst, compare_chip(key, outputs[key], theirs))
        if case.label_agreement is not None and total == 10:
            break  # ten pictures say enough, and simulation takes its time
    if total and right < case.label_agreement * total - 1:
        raise Mismatch(f"{right} of {total} labels right")
    return worst


def run_case(case, program, timeout):
    """A row per chip and precision; the file is compiled once."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tenon-chips-") as name:
        folder = Path(name)
        compiled = folder / "model.tenon"
        try:
            Tool(program, timeout)("compile", case.model, "-o", compiled, *case.options)
        except Mismatch as mismatch:
            return [Row(case.name, "failed", None, str(mismatch), time.monotonic() - start)]
        rows = []
        for target, precision in CHIPS:
            work = folder / f"{target}-{precision}"
            work.mkdir()
            start = time.monotonic()
            row = Row(f"{case.name} [{target} {precision}]", "passed")
            try:
                row.error = run_on(Tool(program, timeout), case, compiled, target, precision, work)
            except Mismatch as mismatch:
                row.status, row.reason = "failed", str(mismatch)
            row.seconds = time.monotonic() - start
            rows.append(row)
        return rows


def in_halves(sample):
    """Inputs that fp16 has: what the CPU quantises from fp32 is then what a chip quantises from fp16."""
    def rounded(value):
        value = as_npy(value)
        if value.dtype.kind != "f" or (np.abs(value) > np.finfo(np.float16).max).any():
            return value
        return value.astype(np.float16).astype(value.dtype)
    return replace(sample, inputs={name: rounded(value) for name, value in sample.inputs.items()})


def quantise(tool, case, sample, folder):
    """The model in int8, quantised with a sample's inputs; None where nothing of it is of integers."""
    data, file = folder / "calibration.npz", folder / "int8.tenon"
    np.savez(data, **sample.inputs)
    try:
        answer = tool("compile", case.model, "-o", file, *case.options, "--precision", "int8", "--force-precision",
                      "--calibration", data, *QUICK, "--json")
    except Mismatch:
        return None  # inputs that are no samples: a list, a scalar, sizes that nothing but the batch may have
    layers = [layer for function in json.loads(answer)["functions"]
              for layer in (function.get("quantization") or {}).get("layers", [])]
    return file if any(layer["integer"] for layer in layers) else None


def run_quantised(case, program, timeout):
    """A row per chip for a model that can be quantised: the chip beside the CPU, both running the int8 file."""
    with tempfile.TemporaryDirectory(prefix="tenon-chips-") as name:
        folder, sample = Path(name), in_halves(next(iter(case.samples())))
        file = quantise(Tool(program, timeout), case, sample, folder)
        if file is None:
            return []
        expected = run_sample(Tool(program, timeout), file, sample, folder)
        rows = []
        for target in INTEGER_CHIPS:
            start = time.monotonic()
            row = Row(f"{case.name} [{target} int8]", "passed")
            try:
                tool = Tool(program, timeout)
                work = folder / target
                work.mkdir()
                outputs = run_sample(lambda command, *rest: tool(command, *rest, "--device", target), file, sample, work)
                row.error = max(compare_half(key, outputs[key], on_cpu, INTEGER_ERROR) for key, on_cpu in expected.items())
            except Mismatch as mismatch:
                row.status, row.reason = "failed", str(mismatch)
            row.seconds = time.monotonic() - start
            rows.append(row)
        return rows


def cases_of(word):
    """What the CPU passes; the models that no shared folder gives are skipped by name."""
    if not SHARED.is_dir():
        return [Skip("shared models", "../shared/models is not here")]
    fails_on_cpu = tomllib.loads(models_table.KNOWN.read_text())["known"]
    everything = [*onnx_cases(), *formula_cases(), *reference_cases()]
    return [case for case in everything if word in case.name and case.name not in fails_on_cpu]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--filter", default="", help="a word that the cases' names must contain")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--timeout", type=float, default=180, help="seconds for a case on one chip")
    parser.add_argument("--budget", type=float, default=600, help="seconds after which no case begins")
    parser.add_argument("--all", action="store_true", help="print the passing cases too")
    parser.add_argument("--bless", action="store_true", help="bring known_chips.toml up to date")
    arguments = parser.parse_args()
    program = (arguments.build / "bin/tenon").resolve()
    if not program.exists():
        sys.exit(f"{program} is not there; run scripts/build")
    models_table.TOLERANCE = SINGLE_ERROR
    known = tomllib.loads(KNOWN.read_text())["known"]
    end = time.monotonic() + arguments.budget

    def rows_of(case):
        if isinstance(case, Skip):
            return [Row(case.name, "skipped", None, case.reason)]
        if time.monotonic() > end:
            return [Row(case.name, "not run", None, "the time budget is spent")]
        rows = run_case(case, program, arguments.timeout) + run_quantised(case, program, arguments.timeout)
        return rows if arguments.bless else [judge(row, known) for row in rows]

    rows = []
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for some in pool.map(rows_of, cases_of(arguments.filter)):
            rows += some
            for row in some:
                if arguments.all or row.status == "failed":
                    print(row, flush=True)
    if arguments.bless:
        bless(rows, known, KNOWN)
    counts = {status: sum(row.status == status for row in rows)
              for status in ("passed", "failed", "skipped", "known", "not run")}
    print(f"{counts['known']} known not to pass are among the skipped; {counts['not run']} models not run for want of time")
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped'] + counts['known']} skipped")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
