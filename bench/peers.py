"""Measures Tenon, ONNX Runtime, OpenVINO, LiteRT, MNN and TensorFlow side by side on the models of make_models.py.

    .venv-dev/bin/python bench/peers.py FOLDER [NAME…] [--engines tenon,ort,openvino,litert,mnn,tensorflow]
        [--threads 1,2] [--batch 1] [--precision bf16|int8] [--prepack] [--rounds 9] [--seconds 0.3] [--cold 2] [--json F] [--csv F] [--markdown F]

Each engine is one process that keeps its model loaded. Rounds are interleaved: every engine runs for --seconds,
in turn, --rounds times. `ms` is the median of the rounds' medians, `best` the fastest run of all. `ratio` is
the fastest peer's time over Tenon's (above 1: Tenon is faster), once from medians paired within a round, once
from the fastest runs, which other load on the machine disturbs less. Cold start is from exec to the first
result, interpreter and imports included, median of 1 + --cold processes; Tenon's second figure is `tenon run`,
without Python. `load` is from the file to a model ready to run, the engine being imported, `first` the first run, of as
many processes. `peak` is
the process's largest resident memory. `error` is against TensorFlow's outputs in io.npz, over max(1, largest value);
`cos`, shown for int8, the smallest cosine of an output with TensorFlow's in fp32. `flops` are the arithmetic of one run, two for
a multiply-add, as if every sum were made directly; `bytes` what Tenon's steps read and write, each operand once.

--precision is what Tenon compiles for; with bf16 OpenVINO computes in it, too (compare with --engines tenon,openvino). With int8
the peers run what `make_models.py --precision int8` quantised, ONNX Runtime in both its ways, and Tenon is calibrated on the
same data. With --prepack its files also hold what loading would otherwise pack, for the batches measured.
Tenon runs with .venv/bin/python and the package in build/python; the peers with this interpreter. The model
folder is only read: Tenon's files go to --tenon-folder, by default a temporary one.
"""
import argparse
import csv
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from engines import ENGINES, engines_of, missing_source, source_of

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
COLUMNS = ("model", "precision", "batch", "threads", "engine", "ms", "min_ms", "ratio", "min_ratio", "best_peer", "cold_start_ms",
           "cold_start_native_ms", "import_ms", "load_ms", "first_run_ms", "peak_mb", "error", "cosine", "compile_s", "file_bytes", "flops",
           "bytes", "version", "reason")
STARTS = ("cold_start_ms", "import_ms", "load_ms", "first_run_ms")
EXAMPLE = """Example:
  .venv-dev/bin/python bench/peers.py bench-models mlp resnet50 --threads 1,2 --csv speed.csv"""


class Worker:
    """A process of worker.py with its model loaded."""

    def __init__(self, engine, folder, source, batch, threads, build):
        python = ROOT / ".venv/bin/python" if engine == "tenon" else sys.executable
        # NumPy's own threads would spin on the cores of the first runs; no engine uses them.
        environment = dict(os.environ, OMP_NUM_THREADS=str(threads), OPENBLAS_NUM_THREADS="1")
        if engine == "tenon":
            environment["PYTHONPATH"] = str(build / "python")
        self.errors = tempfile.TemporaryFile("w+")
        start = time.monotonic()
        self.process = subprocess.Popen([python, HERE / "worker.py", engine, folder, "--source", source,
                                         "--batch", str(batch), "--threads", str(threads)],
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


def compile_tenon(folder, file, arguments):
    """Seconds and bytes."""
    command = [arguments.build / "bin/tenon", "compile", folder / "saved_model", "--signature", "serving_default",
               "--precision", arguments.precision]
    if arguments.precision.startswith("int8"):
        command += ["--calibration", folder / "calibration.npz"]
    if arguments.prepack:
        command += ["--prepack", "--prepack-batch", ",".join(map(str, arguments.batch))]
    start = time.monotonic()
    result = subprocess.run([*command, "-o", file], capture_output=True, text=True)
    if result.returncode:
        lines = result.stderr.strip().splitlines() or [f"status {result.returncode}"]
        raise RuntimeError(" ".join(lines[:2])[:160])
    return {"compile_s": time.monotonic() - start, "file_bytes": file.stat().st_size}


def work_of(file, batch, build):
    """Arithmetic and bytes of one run, all steps together."""
    command = [build / "bin/tenon", "bench", file, "--batch", str(batch), "--threads", "1", "--warmup", "0", "--runs", "1", "--profile", "--json"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        return {}
    steps = json.loads(result.stdout)["steps"]
    return {key: sum(step[key] for step in steps) for key in ("flops", "bytes")}


def native_cold_start(folder, file, batch, threads, build, times=3):
    """Milliseconds from exec to exit of `tenon run` with its inputs and outputs as files."""
    arrays, samples = np.load(folder / "io.npz"), []
    with tempfile.TemporaryDirectory(prefix="tenon-bench-") as name:
        command = [build / "bin/tenon", "run", file, "--threads", str(threads), "--output-dir", name]
        for index, key in enumerate(key for key in arrays if key.startswith("in:")):
            np.save(f"{name}/{index}.npy", np.resize(arrays[key], (batch, *arrays[key].shape[1:])))
            command += ["--input", f"{key[3:]}={name}/{index}.npy"]
        for _ in range(times):
            start = time.monotonic()
            if subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
                return None
            samples.append((time.monotonic() - start) * 1e3)
    return statistics.median(samples)


def best_peer(rows, key="ms"):
    peers = [row for row in rows if row["engine"] != "tenon" and key in row]
    return min(peers, key=lambda row: row[key], default=None)


def add_ratios(rows, rounds):
    """The fastest peer's time over Tenon's: the median over the rounds, and from the fastest runs."""
    best = best_peer(rows)
    for row in rows:
        if best is None or row["engine"] != "tenon" or "ms" not in row:
            continue
        pairs = zip(rounds[best["engine"]], rounds["tenon"])
        row["ratio"] = statistics.median(peer["median_ms"] / ours["median_ms"] for peer, ours in pairs)
        row["min_ratio"] = best_peer(rows, "min_ms")["min_ms"] / row["min_ms"]
        row["best_peer"] = best["engine"]


def start(engine, folder, batch, threads, compiled, arguments):
    """A worker and what is known of it before the rounds."""
    source, facts = source_of(engine, folder, arguments.tenon_folder, arguments.precision), {}
    if engine == "tenon":
        if folder.name not in compiled:
            compiled[folder.name] = compile_tenon(folder, source, arguments)
        facts |= compiled[folder.name]
    if reason := missing_source(source):
        raise RuntimeError(reason)

    def one():
        return Worker(engine, folder, source, batch, threads, arguments.build)

    worker = one()
    starts = [worker.start]
    for _ in range(arguments.cold):
        again = one()
        starts.append(again.start)
        again.close()
    facts |= worker.start | {key: statistics.median(each[key] for each in starts) for key in STARTS}
    if engine == "tenon":
        facts |= work_of(source, batch, arguments.build)
        facts["cold_start_native_ms"] = native_cold_start(folder, source, batch, threads, arguments.build)
    return worker, facts


def measure(folder, batch, threads, compiled, arguments):
    rows, workers = [], {}
    for engine in arguments.engines:
        row = {"model": folder.name, "batch": batch, "threads": threads, "engine": engine, "precision": arguments.precision}
        rows.append(row)
        try:
            workers[engine], facts = start(engine, folder, batch, threads, compiled, arguments)
            row |= facts
        except RuntimeError as error:
            row["reason"] = str(error)
    order = list(workers)
    for turn in range(arguments.rounds if order else 0):
        first = turn % len(order)
        for engine in order[first:] + order[:first]:
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
        head = f"{row['model']:14s} b{row['batch']} T{row['threads']} {row['engine']:11s}"
        if "ms" not in row:
            print(f"{head} not measured: {row['reason'][:110]}", flush=True)
            continue
        native = row.get("cold_start_native_ms")
        mark = f"ratio {row['ratio']:.2f}, of best {row['min_ratio']:.2f}" if "ratio" in row else ""
        mark = "fastest peer" if row is best else mark
        cold = f"{row['cold_start_ms']:5.0f}" + (f" ({native:.0f} native)" if native else "")
        error = f"cos {row['cosine']:.5f}" if row.get("precision", "").startswith("int8") else f"error {row['error']:.0e}"
        compiled = f"  compile {row['compile_s']:.2f} s, {row['file_bytes'] / 1e6:.1f} MB" if "compile_s" in row else ""
        print(f"{head} {row['ms']:9.3f} ms (best {row['min_ms']:8.3f})  cold {cold:18s} ms  load {row['load_ms']:6.4g}  "
              f"first {row['first_run_ms']:7.2f} ms  peak {row['peak_mb']:5.0f} MB  {error}  {mark}{compiled}",
              flush=True)


def machine():
    """The processor's name, cores, and what its instructions can do."""
    facts = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    wanted = ("avx2", "fma", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16")
    features = " ".join(word for word in wanted if word in facts.get("flags", "").split())
    return (f"{facts.get('model name', platform.processor())}, family {facts.get('cpu family')} model {facts.get('model')}, "
            f"{os.cpu_count()} cores, {features}; load average {os.getloadavg()[0]:.1f}")


def geometric_mean(values):
    return float(np.exp(np.mean(np.log(values)))) if values else float("nan")


def markdown(rows):
    """A table of Tenon beside the fastest peer, one line a cell: median and fastest run, then the rest of its facts."""
    lines = ["| model | threads | Tenon ms (fastest) | peer ms (fastest) | ratio | of fastest | cold start ms, Tenon / native / peer | "
             "load ms | peak MB | compile s | file MB | error | cosine |", "|---|" + "--:|" * 12]
    for row in rows:
        if "ratio" not in row:
            continue
        peer = best_peer([other for other in rows if all(other[key] == row[key] for key in ("model", "batch", "threads"))])
        batch = f" b{row['batch']}" if row["batch"] != 1 else ""
        lines.append(f"| {row['model']}{batch} | {row['threads']} | {row['ms']:.3g} ({row['min_ms']:.3g}) | {row['best_peer']} "
                     f"{peer['ms']:.3g} ({peer['min_ms']:.3g}) | {row['ratio']:.2f} | {row['min_ratio']:.2f} | "
                     f"{row['cold_start_ms']:.0f} / {row['cold_start_native_ms'] or float('nan'):.0f} / {peer['cold_start_ms']:.0f} | "
                     f"{row['load_ms']:.3g} / {peer['load_ms']:.3g} | {row['peak_mb']:.0f} / {peer['peak_mb']:.0f} | "
                     f"{row['compile_s']:.2f} | {row['file_bytes'] / 1e6:.1f} | {row['error']:.0e} | {row['cosine']:.5f} |")
    return "\n".join([f"{time.strftime('%Y-%m-%d')}, {machine()}", ""] + lines) + "\n"


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)

    def numbers(text):
        return [int(word) for word in text.split(",")]

    parser.add_argument("folder", type=Path, help="what make_models.py wrote")
    parser.add_argument("names", nargs="*", help="models (default: all in the folder)")
    parser.add_argument("--engines", type=lambda text: text.split(","), help="default: all that have the precision")
    parser.add_argument("--threads", type=numbers, default=[1, 2])
    parser.add_argument("--batch", type=numbers, default=[1])
    parser.add_argument("--precision", default="fp32", help="as of tenon compile")
    parser.add_argument("--prepack", action="store_true", help="tenon compile --prepack")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.3, help="of each engine in each round")
    parser.add_argument("--cold", type=int, default=2, help="more cold starts than the one of the measured process")
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--tenon-folder", type=Path, help="where to keep the compiled files")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--markdown", type=Path, help="a table of Tenon beside the fastest peer")
    arguments = parser.parse_args()
    possible = engines_of(arguments.precision)
    arguments.engines = arguments.engines or possible
    if unknown := set(arguments.engines) - set(possible):
        parser.error(f"no engine {', '.join(unknown)} for {arguments.precision}; there are {', '.join(possible)}")
    known = sorted(path.name for path in arguments.folder.iterdir() if (path / "io.npz").exists())
    if unknown := set(arguments.names) - set(known):
        parser.error(f"no model {', '.join(unknown)} in {arguments.folder}; there are {', '.join(known)}")
    arguments.names = arguments.names or known
    os.environ["BENCH_PRECISION"] = arguments.precision
    return arguments


def run(arguments):
    rows, compiled = [], {}
    print(machine(), flush=True)
    for name in arguments.names:
        for batch in arguments.batch:
            for threads in arguments.threads:
                rows += measure(arguments.folder.resolve() / name, batch, threads, compiled, arguments)
                show(rows[-len(arguments.engines):])
    for key in ("ratio", "min_ratio"):
        ratios = [row[key] for row in rows if key in row]
        print(f"{key}: geometric mean {geometric_mean(ratios):.2f}, worst {min(ratios, default=float('nan')):.2f}, "
              f"{len(ratios)} cells")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    if arguments.markdown:
        arguments.markdown.write_text(markdown(rows))
    if arguments.csv:
        with open(arguments.csv, "w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, restval="", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)


def main():
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory(prefix="tenon-bench-") as name:
        arguments.tenon_folder = (arguments.tenon_folder or Path(name)).resolve()
        arguments.tenon_folder.mkdir(parents=True, exist_ok=True)
        run(arguments)


if __name__ == "__main__":
    main()
