"""Measures Tenon, ONNX Runtime, OpenVINO, LiteRT and TensorFlow side by side on the models of make_models.py.

    .venv-dev/bin/python bench/peers.py FOLDER [NAME…] [--engines tenon,ort,openvino,litert,tensorflow]
        [--threads 1,2] [--batch 1] [--rounds 5] [--seconds 0.5] [--cold 2] [--json F] [--csv F]

Each engine is one process that keeps its model loaded. Rounds are interleaved: every engine runs for --seconds,
in turn, --rounds times; `ms` is the median of the rounds' medians. `tenon/best` is Tenon's time over the
fastest peer's, paired within the rounds (below 1: Tenon is faster). Cold start is from exec to the first
result, interpreter and imports included, median of 1 + --cold processes; Tenon's second figure is `tenon run`,
without Python. `load` is from the import of the engine to a model ready to run. `peak` is the process's largest
resident memory. `error` is against TensorFlow's outputs in io.npz, over max(1, largest value).

Tenon runs with .venv/bin/python and the package in build/python; the peers with this interpreter.
"""
import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from engines import ENGINES, missing_source

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
COLUMNS = ("model", "batch", "threads", "engine", "ms", "min_ms", "vs_best_peer", "cold_start_ms", "cold_start_native_ms",
           "load_ms", "first_run_ms", "peak_mb", "error", "compile_s", "file_bytes", "version", "reason")


class Worker:
    """A process of worker.py with its model loaded."""

    def __init__(self, engine, folder, batch, threads, build):
        python = ROOT / ".venv/bin/python" if engine == "tenon" else sys.executable
        environment = dict(os.environ, OMP_NUM_THREADS=str(threads))
        if engine == "tenon":
            environment["PYTHONPATH"] = str(build / "python")
        self.errors = tempfile.TemporaryFile("w+")
        start = time.monotonic()
        self.process = subprocess.Popen([python, HERE / "worker.py", engine, folder, "--batch", str(batch), "--threads", str(threads)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True, env=environment)
        self.start = self.answer()
        self.start["cold_start_ms"] = (time.monotonic() - start) * 1e3
        self.rounds = []

    def answer(self):
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        self.process.wait()
        self.errors.seek(0)
        complaint = [text for text in self.errors.read().splitlines() if text.strip()]
        raise RuntimeError(complaint[-1][:160] if complaint else f"ended with status {self.process.returncode}")

    def round(self, seconds):
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        self.rounds.append(self.answer())

    def close(self):
        self.process.stdin.close()
        peak = self.answer()["peak_bytes"]
        self.process.wait()
        return peak


def compile_tenon(folder, build):
    """Compiles afresh, so that the file is this build's; gives seconds and bytes."""
    start = time.monotonic()
    result = subprocess.run([build / "bin/tenon", "compile", folder / "saved_model", "--signature", "serving_default",
                             "-o", folder / "model.tenon"], capture_output=True, text=True)
    if result.returncode:
        (folder / "model.tenon").unlink(missing_ok=True)
        lines = result.stderr.strip().splitlines() or [f"status {result.returncode}"]
        raise RuntimeError(" ".join(lines[:2])[:160])
    return {"compile_s": time.monotonic() - start, "file_bytes": (folder / "model.tenon").stat().st_size}


def native_cold_start(folder, batch, threads, build, times=3):
    """Milliseconds from exec to exit of `tenon run` with its inputs and outputs as files."""
    arrays, samples = np.load(folder / "io.npz"), []
    with tempfile.TemporaryDirectory(prefix="tenon-bench-") as name:
        command = [build / "bin/tenon", "run", folder / "model.tenon", "--threads", str(threads), "--output-dir", name]
        for index, key in enumerate(key for key in arrays if key.startswith("in:")):
            np.save(f"{name}/{index}.npy", np.resize(arrays[key], (batch, *arrays[key].shape[1:])))
            command += ["--input", f"{key[3:]}={name}/{index}.npy"]
        for _ in range(times):
            start = time.monotonic()
            if subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
                return None
            samples.append((time.monotonic() - start) * 1e3)
    return statistics.median(samples)


def cold_starts(worker, engine, folder, batch, threads, build, times):
    samples = [worker.start["cold_start_ms"]]
    for _ in range(times):
        again = Worker(engine, folder, batch, threads, build)
        samples.append(again.start["cold_start_ms"])
        again.close()
    return statistics.median(samples)


def best_peer(rows):
    peers = [row for row in rows if row["engine"] != "tenon" and "ms" in row]
    return min(peers, key=lambda row: row["ms"], default=None)


def add_ratios(rows, rounds):
    """Each engine's time over the fastest peer's, the median over the rounds."""
    best = best_peer(rows)
    if best is None:
        return
    base = [one["median_ms"] for one in rounds[best["engine"]]]
    for row in rows:
        if row["engine"] in rounds:
            row["vs_best_peer"] = statistics.median(a["median_ms"] / b for a, b in zip(rounds[row["engine"]], base))


def measure(folder, batch, threads, arguments):
    rows, workers = [], {}
    for engine in arguments.engines:
        row = {"model": folder.name, "batch": batch, "threads": threads, "engine": engine}
        rows.append(row)
        try:
            if engine == "tenon":
                row |= compile_tenon(folder, arguments.build)
            if reason := missing_source(engine, folder):
                raise RuntimeError(reason)
            workers[engine] = Worker(engine, folder, batch, threads, arguments.build)
            row |= {key: value for key, value in workers[engine].start.items()}
            row["cold_start_ms"] = cold_starts(workers[engine], engine, folder, batch, threads, arguments.build, arguments.cold)
            if engine == "tenon":
                row["cold_start_native_ms"] = native_cold_start(folder, batch, threads, arguments.build)
        except RuntimeError as error:
            row["reason"] = str(error)
    for turn in range(arguments.rounds):
        order = list(workers)
        for engine in order[turn % max(len(order), 1):] + order[:turn % max(len(order), 1)]:
            workers[engine].round(arguments.seconds)
    rounds = {engine: worker.rounds for engine, worker in workers.items()}
    for row in rows:
        if row["engine"] in workers:
            row["ms"] = statistics.median(one["median_ms"] for one in rounds[row["engine"]])
            row["min_ms"] = min(one["min_ms"] for one in rounds[row["engine"]])
            row["peak_mb"] = workers[row["engine"]].close() / 2**20
    add_ratios(rows, rounds)
    return rows


def show(rows):
    best = best_peer(rows)
    for row in rows:
        head = f"{row['model']:14s} b{row['batch']} T{row['threads']} {row['engine']:10s}"
        if "ms" not in row:
            print(f"{head} not measured: {row['reason'][:110]}", flush=True)
            continue
        native = row.get("cold_start_native_ms")
        mark = f"tenon/best {row['vs_best_peer']:5.2f}" if row["engine"] == "tenon" and "vs_best_peer" in row else ""
        mark = "best peer" if row is best else mark
        cold = f"{row['cold_start_ms']:7.0f}" + (f" ({native:.0f} native)" if native else "")
        print(f"{head} {row['ms']:9.3f} ms  cold {cold:20s} ms  load {row['load_ms']:7.0f} ms  peak {row['peak_mb']:5.0f} MB  "
              f"error {row['error']:.0e}  {mark}", flush=True)


def geometric_mean(values):
    return float(np.exp(np.mean(np.log(values)))) if values else float("nan")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="what make_models.py wrote")
    parser.add_argument("names", nargs="*", help="models (default: all in the folder)")
    parser.add_argument("--engines", type=lambda text: text.split(","), default=list(ENGINES))
    parser.add_argument("--threads", type=lambda text: [int(word) for word in text.split(",")], default=[1, 2])
    parser.add_argument("--batch", type=lambda text: [int(word) for word in text.split(",")], default=[1])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--cold", type=int, default=2, help="more cold starts than the one of the measured process")
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    if unknown := set(arguments.engines) - set(ENGINES):
        parser.error(f"no engine {', '.join(unknown)}; there are {', '.join(ENGINES)}")
    names = arguments.names or sorted(path.name for path in arguments.folder.iterdir() if (path / "io.npz").exists())
    rows = []
    for name in names:
        for batch in arguments.batch:
            for threads in arguments.threads:
                rows += measure(arguments.folder.resolve() / name, batch, threads, arguments)
                show(rows[-len(arguments.engines):])
    ratios = [row["vs_best_peer"] for row in rows if row["engine"] == "tenon" and "vs_best_peer" in row]
    print(f"tenon/best peer: geometric mean {geometric_mean(ratios):.2f}, worst {max(ratios, default=float('nan')):.2f}, "
          f"{len(ratios)} cells")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    if arguments.csv:
        with open(arguments.csv, "w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, restval="", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
