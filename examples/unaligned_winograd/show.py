#!/usr/bin/env python3
"""Finds what keeps the network of make.py from Winograd's algorithm, pads it, and shows what that gains and that results agree.

    .venv/bin/python examples/unaligned_winograd/show.py

From a checkout, after scripts/build; with NumPy. All of it is simulated. What it writes goes to a temporary folder.
"""
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from make import CHANNELS, SIZE, graph

TENON = Path(os.environ.get("TENON", Path(__file__).resolve().parents[2] / "build/bin/tenon"))
TARGET = ["mlu370-s4", "--precision", "fp32"]


def tenon(*args) -> str:
    done = subprocess.run([TENON, *map(str, args)], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(done.returncode)
    return done.stdout


def model(folder: Path, batch: int, pad: int) -> Path:
    path = folder / f"batch{batch}_pad{pad}.tn"
    path.write_text(graph(batch, pad))
    return path


def show_predictions(folder: Path) -> None:
    print("batch  zeros  latency ms   gain  layers")
    for batch in (1, 8):
        before = None
        for pad in (0, 1, 3, 5):
            found = json.loads(tenon("predict", model(folder, batch, pad), "--target", *TARGET, "--layers", 10, "--json"))[0]
            latency = found["latency_ms"]
            before = before or latency
            layers = ", ".join(f"{layer['name']} {layer['algorithm']}" for layer in sorted(found["layers"], key=lambda x: x["name"]))
            print(f"{batch:5}  {pad:5}  {latency:10.4f}  {100 * (before / latency - 1):3.0f} %  {layers}")


def result_on_chip(folder: Path, pad: int, x: Path) -> np.ndarray:
    file, out = folder / f"{pad}.tenon", folder / f"out{pad}"
    tenon("compile", model(folder, 1, pad), "-o", file)
    tenon("run", file, "--device", *TARGET, "--input", f"x={x}", "--output-dir", out)
    return np.load(next(out.glob("*.npy")))


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(tenon("explain", model(folder, 1, 0), "--target", *TARGET))
        show_predictions(folder)
        x = folder / "x.npy"
        np.save(x, np.random.default_rng(0).standard_normal((1, SIZE, SIZE, CHANNELS), dtype=np.float32))
        direct, padded = (result_on_chip(folder, pad, x) for pad in (0, 1))
        if direct.shape != padded.shape:
            sys.exit(f"results of shapes {direct.shape} and {padded.shape}")
        apart = np.linalg.norm(direct - padded) / np.linalg.norm(direct)
        print(f"\nsimulated device: results of {direct.shape} with and without zeros, relative L2 {apart:.1e} apart")
        if not apart < 1e-4:
            sys.exit("the padded network computes something else")


if __name__ == "__main__":
    main()
