"""What a row of a table of published measurements says, in one consistent meaning, and which network it is about.

    bench/networks/rows.py --measurements FILE.csv --output build/networks/rows.json
    bench/networks/rows.py --measurements FILE.csv --summary

The table has the columns chip, card, model, input_shape, batch, precision, metric, value, source, notes, tier.
rows.toml maps its models to networks of the catalogue. A record holds what `tenon predict` needs and what it
should find: the latency of one batch and the samples per second of ONE chip, host transfers not included:

* MLU370: `qps` is samples per second of the card, which has one chip; `ms` is the mean time of one batch on the
  device. Both rows of one measurement become one record.
* Ascend 310: values are of one of the four chips of a card (the notes show the multiplication by four that was
  not done). One sample of the video networks there is a clip, as in the batch.
* Ascend 310P3: throughput of one chip, 1000 x batch / mean time on the device, as the vendor's tool prints it.
* ops: microseconds or milliseconds of one launch.

Rows of one chip, network, batch and precision become one record: the geometric mean and all values are kept; of
several kernels for one operator the fastest counts.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import re
import sys
import tomllib
from collections import Counter, defaultdict
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: its files are a package

from networks.catalogue import all_networks  # noqa: E402

MAPPING = Path(__file__).with_name("rows.toml")


def chip_name(row: dict) -> str | None:
    """The name under targets/."""
    chip, card = row["chip"], row["card"]
    if chip == "MLU370":
        found = re.match(r"MLU370-\w+", card)
        return found.group().lower() if found else None
    if chip.startswith("Ascend910B ("):
        return "ascend910b3"  # 20 cube cores, as the notes say
    if chip.startswith("Ascend910 ("):
        return "ascend910a"
    return chip.lower() if re.fullmatch(r"(Ascend|MLU)\w+", chip) else None


def precision(text: str) -> str:
    if "int8" in text:
        return "int8"
    return "fp32" if text in ("force_float32", "float", "n/a") else "fp16"


def batch_milliseconds(row: dict, batch: int) -> float | None:
    """None where the row measures no time of a batch."""
    value, metric = float(row["value"]), row["metric"]
    if value <= 0:
        return None
    if metric in ("fps", "qps"):
        return 1000 * batch / value
    if metric.startswith("ms"):
        return value
    return value / 1000 if metric == "us" else None


def load_mapping(path: Path = MAPPING) -> dict:
    mapping = tomllib.loads(path.read_text())
    for rule in mapping["row"] + mapping["unmapped"]:
        models = rule["model"]
        rule["model"] = [models] if isinstance(models, str) else models
    return mapping


def applies(rule: dict, row: dict) -> bool:
    if row["model"] not in rule["model"] and "*" not in rule["model"]:
        return False
    wanted = (("chip", row["chip"]), ("notes", row["notes"]), ("value", row["value"]), ("shape", row["input_shape"]),
              ("source", row["source"]))
    if any(key in rule and not re.search(rule[key], text) for key, text in wanted):
        return False
    return "batch" not in rule or int(row["batch"]) == rule["batch"]


def network_of(row: dict, mapping: dict) -> tuple[dict | None, str]:
    """The rule of a row, or why there is none."""
    for rule in mapping["unmapped"]:
        if applies(rule, row):
            return None, rule["reason"]
    for rule in mapping["row"]:
        if applies(rule, row):
            return rule, ""
    return None, "no rule in rows.toml"


def describe(row: dict, rule: dict, networks: dict) -> dict | str:
    """A record, or why the row gives none."""
    name = rule["network"]
    if "{" in name:
        name = name.format(*re.search(rule["shape"], row["input_shape"]).groups())
    if name not in networks:
        return f"network {name} is not built"
    network, chip, batch = networks[name], chip_name(row), int(row["batch"])
    milliseconds = batch_milliseconds(row, batch)
    if chip is None:
        return "chip without a description"
    if milliseconds is None:
        return f"metric {row['metric']} is no time of a batch"
    if not network.dynamic and batch not in network.batches:
        return f"network {name} has no file for batch {batch}"
    return {
        "chip": chip, "network": name, "file": network.file(batch), "group": network.group, "batch": batch,
        "precision": precision(row["precision"]), "latency_ms": milliseconds, "inputs": network.shapes(batch),
        "metric": row["metric"], "model": row["model"], "tier": row["tier"],
        "confidence": rule.get("confidence", "published"), "because": rule.get("because", ""),
        "notes": row["notes"], "source": row["source"], "kernel": "op:" in row["model"],
    }


def collapse(records: list[dict]) -> list[dict]:
    together = defaultdict(list)
    for record in records:
        together[tuple(record[k] for k in ("chip", "network", "batch", "precision"))].append(record)
    merged = []
    for same in together.values():
        # The device's own time is what is predicted; the throughput beside it repeats it with the host in.
        times = [r for r in same if r["metric"].startswith("ms")] or same
        values = sorted({round(r["latency_ms"], 6) for r in times})
        mean = math.exp(sum(map(math.log, values)) / len(values))
        latency = values[0] if same[0]["kernel"] else mean
        one = dict(times[0])
        del one["metric"], one["kernel"]
        rates = [1000 * r["batch"] / r["latency_ms"] for r in same if r["metric"] in ("fps", "qps")]
        rate = math.exp(sum(map(math.log, rates)) / len(rates)) if rates else 1000 * one["batch"] / latency
        one |= {"latency_ms": latency, "throughput_per_s": rate, "rows": len(same), "all_ms": values}
        one["models"] = sorted({r["model"] for r in same})
        del one["model"]
        merged.append(one)
    return sorted(merged, key=lambda r: (r["chip"], r["network"], r["precision"], r["batch"]))


def read(measurements: Path, mapping: dict | None = None) -> tuple[list[dict], list[dict]]:
    """Records, and the rows without one, each with a reason."""
    mapping, networks = mapping or load_mapping(), all_networks()
    records, left = [], []
    with measurements.open(newline="") as file:
        for line, row in enumerate(csv.DictReader(file), 2):
            rule, reason = network_of(row, mapping)
            made = describe(row, rule, networks) if rule else reason
            if isinstance(made, str):
                left.append({"line": line, "chip": row["chip"], "model": row["model"], "reason": made})
            else:
                records.append(made)
    return collapse(records), left


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measurements", type=Path, required=True, help="the table of measurements, CSV")
    parser.add_argument("--output", type=Path, help="file to write the records to, JSON")
    parser.add_argument("--summary", action="store_true", help="counts and what is left out, with the reasons")
    given = parser.parse_args()
    records, left = read(given.measurements)
    if given.output:
        given.output.write_text(json.dumps({"rows": records, "unmapped": left}, indent=1, ensure_ascii=False))
    elif not given.summary:
        json.dump({"rows": records, "unmapped": left}, sys.stdout, indent=1, ensure_ascii=False)
    if given.summary:
        for chip in sorted({r["chip"] for r in records}):
            of = [r for r in records if r["chip"] == chip]
            assumed = sum(r["confidence"] == "assumed" for r in of)
            print(f"{chip:14} {sum(r['rows'] for r in of):4} rows, {len(of):4} records, "
                  f"{len({r['network'] for r in of}):3} networks, {assumed} records with something assumed")
        print(f"{len(left)} rows left out:")
        for (chip, model, reason), count in sorted(Counter((r["chip"], r["model"], r["reason"]) for r in left).items()):
            print(f"  {count:3} {chip} {model}: {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
