#!/usr/bin/env python3
"""Compares `tenon predict` with published measurements of chips, network by network.

    bench/networks/build.py --output build/networks
    bench/networks/rows.py --measurements FILE.csv --output build/networks/rows.json
    bench/predictions.py --networks build/networks --rows build/networks/rows.json --output build/predictions.json

Every prediction is simulated; nothing ran on a chip. Prints for every chip how far predictions are from the
published latency (|predicted / measured - 1|): the median, the 90th percentile, the rank correlation of networks,
how often the best batch is right or one step off, and the ratio of throughputs at batch 8 and 1. Networks are
counted once: the median over networks of the median over their rows. `--markdown FILE` writes the table.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def predict(tenon: Path, networks: Path, records: list[dict], timeout: float) -> list[dict]:
    """Predictions for the records of one network on one chip in one precision; those that failed say why."""
    first = records[0]
    done = []
    for record in records:
        command = [tenon, "predict", networks / first["file"], "--target", first["chip"], "--json", "--layers", "100000"]
        command += ["--precision", first["precision"], "--batch", str(record["batch"])]
        for name, shape in (record["inputs"] or {}).items():
            command += ["--input-shape", f"{name}:{','.join(map(str, shape))}"]
        try:
            run = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            done.append({**record, "error": f"more than {timeout:g} s"})
            continue
        if run.returncode != 0:
            done.append({**record, "error": run.stderr.strip().splitlines()[0] if run.stderr.strip() else "failed"})
            continue
        found = json.loads(run.stdout)[0]
        host = sum(layer["latency_ms"] for layer in found["layers"] if layer["algorithm"] == "host")
        done.append(
            {
                **record,
                "predicted_ms": found["latency_ms"],
                "bound_by": found["bound_by"],
                "host_ms": host,
                "operations": found["operations"],
            }
        )
    return done


def ratio(record: dict) -> float:
    return record["predicted_ms"] / record["latency_ms"]


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
            f"{s['bias']:.2f} | {s['tau']:.2f} | {s['best_batch']:.0%} | {s['b8_over_b1']:.0%} |"
        )
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tenon", type=Path, default=ROOT / "build/bin/tenon")
    parser.add_argument("--networks", type=Path, required=True, help="folder of bench/networks/build.py")
    parser.add_argument("--rows", type=Path, required=True, help="file of bench/networks/rows.py")
    parser.add_argument("--output", type=Path, help="every prediction, as JSON")
    parser.add_argument("--markdown", type=Path, help="the table, as Markdown")
    parser.add_argument("--chip", action="append", help="only this chip; repeatable")
    parser.add_argument("--precision", action="append", default=None, help="only this precision; repeatable")
    parser.add_argument("--batch", type=int, action="append", help="only this batch; repeatable")
    parser.add_argument("--filter", default="", help="only networks whose name has this in it")
    parser.add_argument("--host", type=float, default=1, help="only rows of which the host takes at most this share")
    parser.add_argument("--timeout", type=float, default=60, help="seconds for one prediction")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--worst", type=int, default=0, help="list so many networks with the largest errors")
    args = parser.parse_args()

    loaded = json.loads(args.rows.read_text())
    records = loaded if isinstance(loaded, list) else loaded["rows"]
    groups = defaultdict(list)
    for record in records:
        wanted = (
            (not args.chip or record["chip"] in args.chip)
            and (not args.precision or record["precision"] in args.precision)
            and (not args.batch or record["batch"] in args.batch)
            and args.filter in record["network"]
            and (args.networks / record["file"]).exists()
        )
        if wanted:
            groups[record["chip"], record["network"], record["precision"]].append(record)
    with ThreadPoolExecutor(args.jobs) as pool:
        made = pool.map(lambda rs: predict(args.tenon, args.networks, rs, args.timeout), groups.values())
        results = []
        for i, part in enumerate(made):
            results += part
            print(f"\r{i + 1} of {len(groups)} networks", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
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
    if args.markdown:
        args.markdown.write_text("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
