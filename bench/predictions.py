#!/usr/bin/env python3
"""Compares `tenon predict` with published measurements of chips, network by network.

    bench/networks/build.py --output build/networks
    bench/networks/rows.py --measurements FILE.csv --output build/networks/rows.json
    bench/predictions.py --networks build/networks --rows build/networks/rows.json --output build/predictions.json

With measurements of your own in a table (docs/how_to_add_a_chip.md):

    bench/predictions.py --measured mine.csv --output mine.json

Every prediction is simulated; nothing ran on a chip. Prints for every chip how far predictions are from the
published latency (|predicted / measured - 1|): the median, the 90th percentile, the rank correlation of networks,
how often the best batch is right or one step off, and the ratio of throughputs at batch 8 and 1. Networks are
counted once: the median over networks of the median over their rows.

    bench/fit_machine.py --predictions build/predictions.json --chip ascend310p3 --json build/ascend310p3.json
    bench/predictions.py --rows build/networks/rows.json --from build/predictions.json \\
        --held-out build/ascend310p3.json --docs docs/predictions.md

writes the page; what it says the model lacks is kept as it was written by hand.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import statistics
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent)
import predictions_report as report  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]


def predict(tenon: Path, networks: Path, records: list[dict], timeout: float, folder: Path | None = None) -> list[dict]:
    """Predictions for records that differ in the chip alone; those that failed say why."""
    first = records[0]
    chips = sorted({r["chip"] for r in records})
    command = [tenon, "predict", networks / first["file"], "--target", ",".join(chips), "--json", "--layers", "0"]
    command += ["--precision", first["precision"], "--batch", str(first["batch"])]
    for name, shape in (first["inputs"] or {}).items():
        command += ["--input-shape", f"{name}:{','.join(map(str, shape))}"]
    if folder:
        command += ["--targets-dir", folder]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        if run.returncode != 0:
            error = run.stderr.strip().splitlines()[0] if run.stderr.strip() else "failed"
            return [{**r, "error": error} for r in records]
        found = {p["target"]: p for p in json.loads(run.stdout)}
    except subprocess.TimeoutExpired:
        return [{**r, "error": f"more than {timeout:g} s"} for r in records]
    keys = ("bound_by", "operations", "bytes", "spent_ms")
    done = []
    for record in records:
        p = found[record["chip"]]
        host = p["spent_ms"]["host"] + p["spent_ms"]["host_start"]
        done.append({**record, "predicted_ms": p["latency_ms"], "host_ms": host, **{k: p[k] for k in keys}})
    return done


def read_measured(path: Path) -> list[dict]:
    """Records of a table of one's own: chip, model (a path from the table's folder), batch, precision, latency_ms and,
    where the model leaves sizes open, input_shape as `NAME:1,224,224,3`, several apart by blanks."""
    records = []
    with path.open(newline="") as file:
        for line, row in enumerate(csv.DictReader(file), 2):
            try:
                shapes = dict(part.split(":") for part in (row.get("input_shape") or "").split())
                records.append({
                    "chip": row["chip"], "network": row["model"], "file": row["model"], "group": row["model"],
                    "batch": int(row["batch"]), "precision": row["precision"], "latency_ms": float(row["latency_ms"]),
                    "inputs": {name: shape.split(",") for name, shape in shapes.items()},
                })
            except (KeyError, TypeError, ValueError) as error:
                sys.exit(f"{path}:{line}: {type(error).__name__}: {error}; columns are chip, model, batch, precision, "
                         "latency_ms and, where needed, input_shape")
    return records


def predict_all(
    tenon: Path, networks: Path, records: list[dict], timeout: float, jobs: int, folder: Path | None = None
) -> list[dict]:
    groups = defaultdict(list)
    for r in records:
        groups[r["file"], r["precision"], r["batch"], json.dumps(r["inputs"])].append(r)
    results = []
    with ThreadPoolExecutor(jobs) as pool:
        for i, part in enumerate(pool.map(lambda rs: predict(tenon, networks, rs, timeout, folder), groups.values())):
            results += part
            if sys.stderr.isatty():
                print(f"\r{i + 1} of {len(groups)} predictions", end="", file=sys.stderr, flush=True)
    return results


def ratio(record: dict) -> float:
    return record["predicted_ms"] / record["latency_ms"]


def host_share(record: dict) -> float:
    return record["host_ms"] / record["predicted_ms"]


def quantile(values: list[float], q: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(q * len(ordered)) - 1)]


def rank_correlation(pairs: list[tuple[float, float]]) -> float:
    """Kendall's tau of pairs."""
    agree = total = 0
    for i, (a, b) in enumerate(pairs):
        for c, d in pairs[:i]:
            sign = (a - c) * (b - d)
            agree += (sign > 0) - (sign < 0)
            total += 1
    return agree / total if total else math.nan


def summary(records: list[dict]) -> dict:
    """How good the predictions of one chip and precision are."""
    groups = defaultdict(list)
    for record in records:
        groups[record["group"]].append(record)
    errors = {g: statistics.median(abs(ratio(r) - 1) for r in rs) for g, rs in groups.items()}
    best = []
    growth = []
    for rs in groups.values():
        for network in {r["network"] for r in rs}:
            sweep = sorted((r for r in rs if r["network"] == network), key=lambda r: r["batch"])
            if len(sweep) >= 3:
                measured = max(range(len(sweep)), key=lambda i: sweep[i]["batch"] / sweep[i]["latency_ms"])
                predicted = max(range(len(sweep)), key=lambda i: sweep[i]["batch"] / sweep[i]["predicted_ms"])
                best.append(abs(measured - predicted) <= 1)
            by_batch = {r["batch"]: r for r in sweep}
            if 1 in by_batch and 8 in by_batch:
                growth.append(abs(ratio(by_batch[1]) / ratio(by_batch[8]) - 1))
    pairs = [(r["predicted_ms"] / r["batch"], r["latency_ms"] / r["batch"]) for r in records]
    return {
        "rows": len(records),
        "networks": len(groups),
        "median_error": statistics.median(errors.values()),
        "p90_error": quantile(list(errors.values()), 0.9),
        "bias": math.exp(statistics.median(math.log(ratio(r)) for r in records)),
        "tau": rank_correlation(pairs),
        "best_batch": sum(best) / len(best) if best else math.nan,
        "b8_over_b1": statistics.median(growth) if growth else math.nan,
        "errors": errors,
    }


def percent(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.0%}"


def table(results: list[dict]) -> list[str]:
    lines = [
        "| chip | precision | networks | rows | median error | p90 | bias | tau | best batch | b8/b1 |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    kinds = sorted({(r["chip"], r["precision"]) for r in results if "predicted_ms" in r})
    for chip, precision in kinds:
        s = summary([r for r in results if "predicted_ms" in r and (r["chip"], r["precision"]) == (chip, precision)])
        lines.append(
            f"| {chip} | {precision} | {s['networks']} | {s['rows']} | {s['median_error']:.0%} | {s['p90_error']:.0%} | "
            f"{s['bias']:.2f} | {s['tau']:.2f} | {percent(s['best_batch'])} | {percent(s['b8_over_b1'])} |"
        )
    return lines


def write_docs(path: Path, results: list[dict], failed: list[dict], held_out: list[Path], left: list[dict]) -> None:
    held = [r for file in held_out for r in json.loads(file.read_text())]
    sections = [
        ("All networks, with the numbers they were predicted with", table(results)),
        ("The same, where the host takes at most a fifth", table([r for r in results if host_share(r) <= 0.2])),
    ]
    sections.append(("Held-out networks", table([{**r, "predicted_ms": r["held_out_ms"]} for r in held])))
    sections.append(("Held-out rows by effect", report.by_effect(held, lambda r: r["held_out_ms"] / r["latency_ms"])))
    sections.append(("Residuals by network", report.by_network(results, ratio)))
    sections.append(("Rows that are not mapped", report.unmapped(left)))
    if failed:
        lines = sorted({f"* {r['network']} on {r['chip']}: {r['error']}" for r in failed})
        sections.append(("Networks without a prediction", lines))
    before = path.read_text() if path.exists() else ""
    mark = "## What the model lacks"
    report.write(path, sections, mark + before.split(mark, 1)[1] if mark in before else "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tenon", type=Path, default=ROOT / "build/bin/tenon")
    parser.add_argument("--networks", type=Path, help="folder of bench/networks/build.py")
    parser.add_argument("--rows", type=Path, help="file of bench/networks/rows.py")
    parser.add_argument("--measured", type=Path, help="instead of --networks and --rows: a table of your own, CSV")
    parser.add_argument("--targets-dir", type=Path, help="descriptions of chips that `tenon predict` reads besides")
    parser.add_argument("--output", type=Path, help="every prediction, as JSON")
    parser.add_argument("--from", dest="made", type=Path, help="predictions that --output wrote, instead of new ones")
    parser.add_argument("--held-out", type=Path, action="append", default=[], help="file of fit_machine.py --json")
    parser.add_argument("--docs", type=Path, help="the page to write, with all tables")
    parser.add_argument("--chip", action="append", help="only this chip; repeatable")
    parser.add_argument("--precision", action="append", default=None, help="only this precision; repeatable")
    parser.add_argument("--batch", type=int, action="append", help="only this batch; repeatable")
    parser.add_argument("--filter", default="", help="only networks whose name has this in it")
    parser.add_argument("--host", type=float, default=1, help="only rows of which the host takes at most this share")
    parser.add_argument("--timeout", type=float, default=60, help="seconds for one prediction")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--worst", type=int, default=0, help="list so many networks with the largest errors")
    args = parser.parse_args()

    if (args.rows is None) == (args.measured is None):
        parser.error("give --rows or --measured")
    loaded = json.loads(args.rows.read_text()) if args.rows else read_measured(args.measured)
    records = loaded if isinstance(loaded, list) else loaded["rows"]
    networks = args.networks or (args.measured.parent if args.measured else None)
    if networks is None and not args.made:
        parser.error("give --networks, the folder of the files")
    wanted = [
        r
        for r in records
        if (not args.chip or r["chip"] in args.chip)
        and (not args.precision or r["precision"] in args.precision)
        and (not args.batch or r["batch"] in args.batch)
        and args.filter in r["network"]
        and (args.made or args.measured or (networks / r["file"]).exists())
    ]
    if args.made:
        results = json.loads(args.made.read_text())
    else:
        results = predict_all(args.tenon, networks, wanted, args.timeout, args.jobs, args.targets_dir)
    results = [r for r in results if "error" in r or r["host_ms"] <= args.host * r["predicted_ms"]]
    if args.output:
        args.output.write_text(json.dumps(results, indent=1))
    lines = table(results)
    print("\n".join(lines))
    failed = [r for r in results if "error" in r]
    for network, error in sorted({(r["network"], r["error"]) for r in failed}):
        print(f"failed: {network}: {error}")
    if args.worst:
        good = [r for r in results if "predicted_ms" in r]
        for chip in sorted({r["chip"] for r in good}):
            errors = summary([r for r in good if r["chip"] == chip])["errors"]
            print(f"\nfurthest off, {chip}:")
            for group, error in sorted(errors.items(), key=lambda e: -e[1])[: args.worst]:
                rs = [r for r in good if r["chip"] == chip and r["group"] == group]
                factors = ", ".join(f"b{r['batch']} {ratio(r):.2f}" for r in sorted(rs, key=lambda r: r["batch"])[:8])
                host = statistics.median(r["host_ms"] / r["predicted_ms"] for r in rs)
                print(f"  {error:6.0%} {group}: {factors}; host {host:.0%}")
    if args.docs:
        write_docs(args.docs, [r for r in results if "error" not in r], failed, args.held_out, loaded["unmapped"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
