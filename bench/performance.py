"""Writes docs/performance.md: Tenon beside its peers in every precision, its start and memory, its kernels beside oneDNN's.

    .venv-dev/bin/python bench/performance.py bench-models                       # measures what is missing, writes the page
    .venv-dev/bin/python bench/performance.py bench-models --again fp32,kernels  # these once more

Measures with peers.py and the programs of bench/kernels (`ninja -C build tenon_bench_conv tenon_bench_other`; with Debian's
libdnnl-dev installed oneDNN is beside them), on a machine with nothing else running. Each part's results stay in --keep
as they were measured; the page is made of those files, so parts may be measured one after the other.
"""
import argparse
import csv
import io
import json
import subprocess
import sys
import time
from pathlib import Path

from peers import best_peer, geometric_mean, machine

ROOT = Path(__file__).resolve().parents[1]
KERNELS = ("tenon_bench_conv", "tenon_bench_other")
BATCHES = ["--batch", "1,8", "--cold", "0"]
PRECISIONS = {
    "fp32": ["--engines", "tenon,ort,openvino,litert,mnn", *BATCHES],
    "bf16": ["--precision", "bf16", "--engines", "tenon,openvino", *BATCHES],
    "int8": ["--precision", "int8", *BATCHES],
}
START = ["--engines", "tenon,ort,openvino,litert,mnn", "--batch", "1", "--cold", "4"]
START_TEXTS = {
    "start": ("Start and memory (fp32, batch 1)",
              "Load is from the file to a model ready to run, in Python with the engine imported; load and first run are medians of five processes."),
    "prepacked": ("The same of files compiled with --prepack",
                  "Such a file is larger by the forms of weights that loading would otherwise make, of Winograd's algorithm above all."),
}
PARTS = PRECISIONS | {"start": START, "prepacked": ["--prepack", *START]}
EXAMPLE = """Example:
  .venv-dev/bin/python bench/performance.py bench-models --rounds 5 --seconds 0.15"""


def measure_peers(part, arguments):
    file = arguments.keep / f"{part}.json"
    command = [sys.executable, ROOT / "bench/peers.py", arguments.models, *PARTS[part], "--json", file,
               "--rounds", str(arguments.rounds), "--seconds", str(arguments.seconds)]
    subprocess.run(command, check=True)
    rows = json.loads(file.read_text())
    kept = {"machine": machine(), "date": time.strftime("%Y-%m-%d"), "peak_gflops": peak_gflops(), "rows": rows}
    file.write_text(json.dumps(kept, indent=1) + "\n")


def peak_gflops():
    """The rate of independent fp32 multiply-adds on one thread."""
    done = subprocess.run([ROOT / "build/bin/tenon_bench_other", "--csv", "--threads", "1", "--filter", "gemm 128x512x784"],
                          check=True, capture_output=True, text=True)
    return float(next(csv.DictReader(io.StringIO(done.stdout)))["peak_gflops"])


def measure_kernels(arguments):
    rows = []
    for program in KERNELS:
        for threads in (1, 2):
            done = subprocess.run([ROOT / "build/bin" / program, "--csv", "--threads", str(threads), "--seconds", str(arguments.seconds * 2)],
                                  check=True, capture_output=True, text=True)
            rows += csv.DictReader(io.StringIO(done.stdout))
    kept = {"machine": machine(), "date": time.strftime("%Y-%m-%d"), "rows": rows}
    (arguments.keep / "kernels.json").write_text(json.dumps(kept, indent=1) + "\n")


def case_of(row):
    return row["model"] + (f", batch {row['batch']}" if row["batch"] != 1 else "")


def peer_of(row, rows):
    return best_peer([other for other in rows if all(other[key] == row[key] for key in ("model", "batch", "threads"))])


def ratio_table(rows):
    """One line a model: Tenon's and the fastest peer's time, and the ratio, at each number of threads."""
    ours = [row for row in rows if "ratio" in row]
    threads = sorted({row["threads"] for row in ours})
    lines = ["| model | " + " | ".join(f"Tenon ms, {t} threads | fastest peer | ratio (of fastest runs)" for t in threads) + " |",
             "|---|" + "--:|--:|--:|" * len(threads)]
    for case in dict.fromkeys(case_of(row) for row in sorted(ours, key=lambda row: row["batch"])):
        cells = []
        for t in threads:
            row = next((r for r in ours if case_of(r) == case and r["threads"] == t), None)
            if row is None:
                cells += ["", "", ""]
                continue
            peer = peer_of(row, rows)
            cells += [f"{row['ms']:.3g}", f"{peer['engine']} {peer['ms']:.3g}", f"{row['ratio']:.2f} ({row['min_ratio']:.2f})"]
        lines.append(f"| {case} | " + " | ".join(cells) + " |")
    return lines


def rate_table(rows, peak):
    """Arithmetic and bytes a second of every model beside the multiply-add peak, at each number of threads."""
    ours = sorted((row for row in rows if row.get("flops") and "ratio" in row), key=lambda row: row["batch"])
    threads = sorted({row["threads"] for row in ours})
    lines = ["| model | GFLOP | MB | " + " | ".join(f"GFLOP/s (of peak), {t} threads | GB/s" for t in threads) + " |",
             "|---|--:|--:|" + "--:|--:|" * len(threads)]
    for case in dict.fromkeys(map(case_of, ours)):
        same = {row["threads"]: row for row in ours if case_of(row) == case}
        first = next(iter(same.values()))
        cells = [case, f"{first['flops'] / 1e9:.3g}", f"{first['bytes'] / 1e6:.3g}"]
        for t in threads:
            row = same[t]
            rate = row["flops"] / row["ms"] / 1e6
            cells += [f"{rate:.0f} ({100 * rate / (peak * t):.0f} %)", f"{row['bytes'] / row['ms'] / 1e6:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def start_table(rows):
    """Load, first run and memory of every model beside the best peer in each."""
    lines = ["| model | threads | load ms, Tenon / best peer | first run ms / steady | best peer's first run / steady | peak MB, Tenon / best peer | "
             "compile s | file MB |", "|---|" + "--:|" * 7]
    for row in rows:
        if "ratio" not in row:
            continue
        peers = [r for r in rows if (r["model"], r["threads"]) == (row["model"], row["threads"]) and r["engine"] != "tenon" and "ms" in r]
        load, peak = (min(r[key] for r in peers) for key in ("load_ms", "peak_mb"))
        least = min(r["first_run_ms"] / r["ms"] for r in peers)
        lines.append(f"| {row['model']} | {row['threads']} | {row['load_ms']:.3g} / {load:.3g} | {row['first_run_ms']:.3g} "
                     f"({row['first_run_ms'] / row['ms']:.1f}) | {least:.1f} | {row['peak_mb']:.0f} / {peak:.0f} | "
                     f"{row['compile_s']:.2f} | {row['file_bytes'] / 1e6:.1f} |")
    return lines


def kernel_table(rows):
    lines = ["| kernel | threads | µs | GFLOP/s (of peak) | GB/s | oneDNN µs | ratio |", "|---|" + "--:|" * 6]
    for row in rows:
        us, gflops, peak = float(row["us"]), float(row["gflops"]), float(row["peak_gflops"])
        rate = f"{gflops:.0f} ({100 * gflops / peak:.0f} %)" if gflops else ""
        theirs = row["onednn_us"]
        lines.append(f"| {row['name']} | {row['threads']} | {us:.4g} | {rate} | {float(row['gbs']):.0f} | "
                     + (f"{float(theirs):.4g} | {float(theirs) / us:.2f} |" if theirs else " | |"))
    return lines


def summary(name, rows):
    ratios = [row["ratio"] for row in rows if "ratio" in row]
    below = sum(ratio < 1 for ratio in ratios)
    return (f"{name}: geometric mean {geometric_mean(ratios):.2f} over {len(ratios)} cells "
            f"({geometric_mean([row['min_ratio'] for row in rows if 'ratio' in row]):.2f} of the fastest runs), worst {min(ratios):.2f}, {below} below 1.0.")


def page(arguments):
    text = ["# Performance", "",
            "Written by `bench/performance.py` from what it measured; `bench/README.md` says what the figures mean. Ratio: the fastest peer's "
            "time over Tenon's, paired within rounds (above 1: Tenon is faster); peers are ONNX Runtime, OpenVINO, LiteRT and MNN, each at its best "
            "setting and in the same precision, one process per engine, engines in turns. Made-up weights. The "
            "load average says how much else ran; one-thread figures repeat within some 3 %. At two threads all engines, Tenon most, are slower for minutes "
            "at a time on the shared machine these were taken on.", ""]
    for part in PRECISIONS:
        file = arguments.keep / f"{part}.json"
        if not file.exists():
            continue
        kept = json.loads(file.read_text())
        text += [f"## {part}", "", f"{kept['date']}, {kept['machine']}.", "", summary(part, kept["rows"]), "", *ratio_table(kept["rows"]), ""]
        if part == "fp32":
            peak = kept["peak_gflops"]
            text += ["## Rates (fp32)", "",
                     f"Arithmetic as if every sum were made directly, which Winograd's algorithm does not; the peak is {peak:.0f} GFLOP/s a core, of "
                     "independent multiply-adds. Bytes are what steps read and write, each operand once, wherever it lies.", "",
                     *rate_table(kept["rows"], peak), ""]
    for part, (title, note) in START_TEXTS.items():
        file = arguments.keep / f"{part}.json"
        if file.exists():
            kept = json.loads(file.read_text())
            text += [f"## {title}", "", f"{kept['date']}, {kept['machine']}.", "", note, "", *start_table(kept["rows"]), ""]
    file = arguments.keep / "kernels.json"
    if file.exists():
        kept = json.loads(file.read_text())
        rows = kept["rows"]
        ratios = [float(row["onednn_us"]) / float(row["us"]) for row in rows if row["onednn_us"]]
        text += ["## Kernels beside oneDNN", "", f"{kept['date']}, {kept['machine']}. fp32, the best of many short rounds, in turns.", "",
                 f"Geometric mean {geometric_mean(ratios):.2f} over {len(ratios)} kernels; the peak is that of independent multiply-adds, measured "
                 "between the rounds; above it where Winograd's algorithm or the processor's momentary clock does less or more.", "",
                 *kernel_table(rows), ""]
    arguments.docs.write_text("\n".join(text))


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, help="what make_models.py wrote")
    parser.add_argument("--again", type=lambda text: text.split(","), default=[], help=f"of {', '.join(PARTS)}, kernels")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.15, help="of each engine in each round")
    parser.add_argument("--keep", type=Path, default=ROOT / "build/performance", help="folder of what was measured")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs/performance.md")
    arguments = parser.parse_args()
    if unknown := set(arguments.again) - {*PARTS, "kernels"}:
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}, kernels")
    arguments.keep.mkdir(parents=True, exist_ok=True)
    return arguments


def main():
    arguments = parse_arguments()
    for part in (*PARTS, "kernels"):
        if part not in arguments.again and (arguments.keep / f"{part}.json").exists():
            continue
        if part == "kernels":
            measure_kernels(arguments)
        else:
            measure_peers(part, arguments)
        page(arguments)
    page(arguments)


if __name__ == "__main__":
    main()
