"""Prints what scripts/demo has made: accuracy on the held-out images, agreement with TensorFlow, time per
image and file size.

    report.py SAVED_MODEL TENON_FILE OUTPUT_FOLDER BENCH_JSON
"""
import json
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent


def size_of(path):
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def main():
    model, file, outputs, bench = map(Path, sys.argv[1:])
    results = sorted(outputs.glob("*.npy"))
    if len(results) != 1:
        sys.exit(f"expected one .npy in {outputs}, found {len(results)}")
    got, expected = np.load(results[0]), np.load(HERE / "expected.npy")
    labels = np.load(HERE / "labels.npy")
    if got.shape != expected.shape:
        sys.exit(f"expected outputs of shape {expected.shape}, got {got.shape}")
    right = int((got.argmax(axis=1) == labels).sum())
    difference = np.abs(got - expected).max()
    timing = json.loads(bench.read_text())

    print(f"accuracy            {right / len(labels):.2%}  ({right} of {len(labels)} held-out images)")
    print(f"against TensorFlow  largest difference {difference:.1e} (probabilities)")
    print(f"time per image      {timing['latency_ms']['p50'] * 1000:.1f} us  (median, batch 1)")
    print(f"load, first run     {timing['load_ms']:.2f} ms, {timing['first_run_ms']:.2f} ms")
    print(f"file                {size_of(file):,} bytes; the SavedModel has {size_of(model):,}")
    if difference > 1e-4 or right < 0.97 * len(labels):
        sys.exit("the outputs differ from TensorFlow's")


if __name__ == "__main__":
    main()
