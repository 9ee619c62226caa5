"""Accuracy and size of Tenon's precisions: top-1 on the networks of quantization.py, cosine against fp32 on those of make_models.py.
Writes docs/precision_accuracy.md.

    .venv-dev/bin/python bench/precisions.py [--models FOLDER] [--bench FOLDER] [--work FOLDER] [--output FILE]

The precisions are those that need no data but int8, which is calibrated as in quantization.py. --work as there.
"""
import argparse
import contextlib
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np

from quantization import tenon, top1
from quantization_models import labelled
from tool import ROOT, Kept, tool

PRECISIONS = ("fp32", "fp16", "bf16", "int8", "int8_dynamic", "int8_weights", "int4_weights")
NETWORKS = ("mobilenetv2", "efficientnetb0", "resnet50", "bert_4x256", "bert_base", "lstm", "gru", "mlp")


def outputs_of(model, io, precision, folder):
    """What the model gives for the inputs in io.npz, and the bytes of its file."""
    file = folder / "model.tenon"
    tool("compile", model, "--signature", "serving_default", "--precision", precision, "--no-verify", "-o", file)
    inputs = []
    for index, name in enumerate(key for key in io if key.startswith("in:")):
        np.save(folder / f"{index}.npy", io[name])
        inputs += ["--input", f"{name[3:]}={folder}/{index}.npy"]
    tool("run", file, "--output-dir", folder / "out", *inputs)
    arrays = [np.load(path).astype(np.float64).ravel() for path in sorted((folder / "out").glob("*.npy"))]
    return np.concatenate(arrays), file.stat().st_size


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def top1_row(case, folder):
    results = [tenon(case, folder, p)[:2] for p in PRECISIONS]
    whole = results[0][1].stat().st_size
    right = [top1(outputs, case.labels) for outputs, _ in results]
    cells = [f"{100 * (right[0] - r):+.2f}, {file.stat().st_size / whole:.0%}" for r, (_, file) in zip(right[1:], results[1:])]
    return f"| {case.name} | {len(case.labels):,} | {right[0]:.2%} | " + " | ".join(cells) + " |"


def cosine_row(name, bench, folder):
    with np.load(bench / name / "io.npz") as io:
        results = {p: outputs_of(bench / name / "saved_model", io, p, folder) for p in PRECISIONS if p != "int8"}
    whole, size = results.pop("fp32")
    cells = [f"{cosine(y, whole):.6f}, {bytes_ / size:.1%}" for y, bytes_ in results.values()]
    return f"| {name} | {size:,} | " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=ROOT / "../shared/models")
    parser.add_argument("--bench", type=Path, default=ROOT / "../bench-models", help="what make_models.py wrote")
    parser.add_argument("--work", type=Path, help="what is kept for a run that goes on, or by quantization.py")
    parser.add_argument("--output", type=Path, default=ROOT / "docs/precision_accuracy.md")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        work = arguments.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        work.mkdir(parents=True, exist_ok=True)
        known = Kept(work / "precisions.json")
        top1, cosines = [], []

        def add(rows, name, make):
            rows.append(known.get(name, make))
            print(rows[-1], flush=True)

        for name in NETWORKS:
            if (arguments.bench / name / "io.npz").exists():
                add(cosines, name, lambda: cosine_row(name, arguments.bench, folder))
            else:
                print(f"left out: {name}, which is not in {arguments.bench}", file=sys.stderr)
        for case in labelled(arguments.models, work):
            add(top1, case.name, lambda: top1_row(case, folder))
    others = [p for p in PRECISIONS if p not in ("fp32", "int8")]
    arguments.output.write_text("\n".join([
        "# Accuracy of precisions", "", "Made by `bench/precisions.py`.", "",
        "Top-1 in fp32, and points lost by each precision with its file's share of the one in fp32; negative: right more often.", "",
        "| network | test samples | " + " | ".join(PRECISIONS) + " |", "|---|" + "---|" * (len(PRECISIONS) + 1), *top1, "",
        "Cosine of all outputs with those in fp32, and the size of the file against fp32 (random weights where the network was not "
        "trained, which are harder than trained ones):", "",
        "| network | fp32 file | " + " | ".join(others) + " |", "|---|" + "---|" * (len(others) + 1), *cosines, ""]))


if __name__ == "__main__":
    main()
