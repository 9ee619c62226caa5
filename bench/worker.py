"""One engine with one model in a process of its own; peers.py starts it.

    worker.py ENGINE FOLDER --source PATH --batch N --threads N

Prints a JSON line after the first result. Then for each line "SECONDS" on the standard input it runs that long
and prints {"median_ms", "min_ms", "runs"}; at the end of the input, {"peak_bytes"}.
"""
import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

from engines import ENGINES, import_engine


def resident_peak():
    """What getrusage reports would include the parent's memory; this is of this program alone."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def batch_of(array, batch):
    return np.ascontiguousarray(np.resize(array, (batch, *array.shape[1:])))


def matched(outputs, expected, batch):
    """(what came out, what was expected) of every output as vectors, matched by name, else by order."""
    for index, (name, wanted) in enumerate(expected.items()):
        got = outputs[name] if name in outputs else list(outputs.values())[index]
        yield np.asarray(got, np.float64).ravel(), batch_of(wanted, batch).astype(np.float64).ravel()


def error_against(outputs, expected, batch):
    """The largest difference relative to the largest value."""
    return max(float(np.abs(got - wanted).max() / max(1.0, np.abs(wanted).max())) for got, wanted in matched(outputs, expected, batch))


def cosine_with(outputs, expected, batch):
    """The smallest of any output."""
    return min(float(got @ wanted / max(np.linalg.norm(got) * np.linalg.norm(wanted), 1e-30))
               for got, wanted in matched(outputs, expected, batch))


def milliseconds_since(start):
    return (time.perf_counter() - start) * 1e3


def measure(engine, seconds):
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        engine.run()
        times.append(milliseconds_since(start))
    return {"median_ms": float(np.median(times)), "min_ms": min(times), "runs": len(times)}


def answers_alone():
    """Leaves the standard output to this program's answers: what engines print goes to the standard error."""
    sys.stdout = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)


def main():
    answers_alone()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--source", type=Path, required=True, help="what the engine loads")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    arrays = np.load(arguments.folder / "io.npz")
    inputs = {key[3:]: batch_of(arrays[key], arguments.batch) for key in arrays if key.startswith("in:")}
    expected = {key[4:]: arrays[key] for key in arrays if key.startswith("out:")}

    start = time.perf_counter()
    import_engine(arguments.engine)
    import_ms = milliseconds_since(start)
    start = time.perf_counter()
    engine = ENGINES[arguments.engine](arguments.source, inputs, arguments.threads)
    load_ms = milliseconds_since(start)
    start = time.perf_counter()
    outputs = engine.run()
    print(json.dumps({"version": engine.version, "import_ms": import_ms, "load_ms": load_ms, "first_run_ms": milliseconds_since(start),
                      "error": error_against(outputs, expected, arguments.batch),
                      "cosine": cosine_with(outputs, expected, arguments.batch)}), flush=True)
    for line in sys.stdin:
        print(json.dumps(measure(engine, float(line))), flush=True)
    print(json.dumps({"peak_bytes": resident_peak()}), flush=True)


if __name__ == "__main__":
    main()
