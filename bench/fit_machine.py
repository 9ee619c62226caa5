#!/usr/bin/env python3
"""Fits a few numbers of a machine description to measurements, and says how good it is on networks it has not seen.

    bench/predictions.py --networks build/networks --rows build/networks/rows.json --output build/predictions.json
    bench/fit_machine.py --predictions build/predictions.json --chip ascend310p3 --write targets

Only numbers of the machine that nobody publishes are fitted (NUMBERS below): what starting a kernel or a copy
costs, and which share of a published rate is reached. No network, layer or row has a number of its own.

`tenon predict` says for what cause the time of the longest way passed (spent_ms). Each cause is in proportion to one
number, so a prediction is a plane over the numbers; the longest way is a maximum over ways, so the truth lies on or
above every plane that was seen. After the numbers have moved far, predict anew with `--targets-dir` and give this
script both files: it takes the highest plane.

What is made least is the mean over networks of the mean over their rows of e^2 / (e^2 + 0.3^2) with e = predicted /
measured - 1, which follows the median as it is reported and hardly the networks that are far off, with a pull of the
numbers to where they were. Held-out errors are of folds of whole networks: numbers fitted to the
others. Every figure is simulated; nothing ran on a chip.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import statistics
import sys
import tomllib
from pathlib import Path

import numpy as np

sys.path[0] = str(Path(__file__).resolve().parent)
from predictions import quantile  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]

# cause: (number, whether the time falls as the number grows, least, most), the bounds in the number's own unit
NUMBERS = {
    "ascend": {
        "product": ("product_rate", True, 30, 100),
        "vector": ("vector_rate", True, 10, 200),
        "reduce": ("reduce_rate", True, 2, 200),
        "memory": ("memory_rate", True, 30, 100),
        "port": ("port_rate", True, 20, 100),
        "move": ("move_rate", True, 20, 100),
        "copy_start": ("copy_start", False, 2, 400),
        "latency": ("memory_latency", False, 20, 2000),
        "vector_start": ("vector_start", False, 2, 100),
        "layout": ("layout_rate", True, 5, 200),
        "launch": ("launch", False, 0.2, 30),
        "run_start": ("run_start", False, 2, 200),
        "barrier": ("barrier", False, 100, 20000),
    },
    "cambricon": {
        "product": ("product_rate", True, 30, 100),
        "product_f16": ("product_rate_f16", True, 30, 100),
        "vector": ("vector_rate", True, 10, 100),
        "memory": ("memory_rate", True, 30, 100),
        "port": ("io_bytes", True, 16, 256),
        "move": ("move_bytes", True, 16, 512),
        "copy_start": ("copy_start", False, 4, 1000),
        "latency": ("memory_latency", False, 20, 3000),
        "vector_start": ("compute_start", False, 2, 200),
        "launch": ("launch", False, 0.2, 30),
    },
}
NUMBERS["ascend"]["product_start"] = NUMBERS["ascend"]["vector_start"]
NUMBERS["cambricon"]["cluster"] = NUMBERS["cambricon"]["memory"]  # a cluster's share of the bandwidth
NUMBERS["cambricon"]["product_start"] = NUMBERS["cambricon"]["vector_start"]


def load_numbers(folder: Path, chip: str) -> tuple[str, dict]:
    """The family and the numbers of a chip over those of its family."""
    own = tomllib.loads((folder / f"{chip}.toml").read_text())
    family = own["family"]
    return family, {**tomllib.loads((folder / f"{family}.toml").read_text())["numbers"], **own["numbers"]}


class Model:
    """Latencies as planes over the factors by which times of causes change."""

    def __init__(self, files: list[list[dict]], folders: list[Path], chip: str, wanted):
        self.family, numbers = load_numbers(folders[0], chip)
        keys = sorted({n for n, *_ in NUMBERS[self.family].values()})
        self.keys = [k for k in keys if k in numbers]
        self.start = {k: numbers[k]["value"] for k in self.keys}
        rows = {}
        for index, (records, folder) in enumerate(zip(files, folders, strict=True)):
            _, there = load_numbers(folder, chip)
            for r in records:
                if r["chip"] != chip or "predicted_ms" not in r or not wanted(r):
                    continue
                key = (r["network"], r["precision"], r["batch"])
                rows.setdefault(key, [r, {}])[1][index] = self.plane(r, {k: there[k]["value"] for k in self.keys})
        rows = [row for row in rows.values() if 0 in row[1]]
        self.records = [r for r, _ in rows]
        self.measured = np.array([r["latency_ms"] for r in self.records])
        self.groups = np.array([r["group"] for r in self.records])
        self.planes = [np.array([p.get(i, p[0]) for _, p in rows]) for i in range(len(files))]

    def plane(self, record: dict, at: dict) -> list[float]:
        """Milliseconds that do not depend on the numbers, then per number, where every number is as at the start."""
        spent = dict(record["spent_ms"])
        columns = [0.0] * (1 + len(self.keys))
        for cause, ms in spent.items():
            if cause == "product" and record["precision"] != "int8" and self.family == "cambricon":
                cause = "product_f16"
            number, falls, *_ = NUMBERS[self.family].get(cause, (None, False))
            if number not in self.keys:
                columns[0] += ms
                continue
            factor = at[number] / self.start[number]
            columns[1 + self.keys.index(number)] += ms * factor if falls else ms / factor
        return columns

    def bounds(self) -> list[tuple[float, float]]:
        """Of the logarithm of each factor of time."""
        found = {n: (falls, low, high) for n, falls, low, high in NUMBERS[self.family].values()}
        out = []
        for k in self.keys:
            falls, low, high = found[k]
            a, b = np.log(low / self.start[k]), np.log(high / self.start[k])
            out.append((-b, -a) if falls else (a, b))
        return out

    def values(self, x: np.ndarray) -> dict:
        falls = {n: f for n, f, *_ in NUMBERS[self.family].values()}
        return {k: self.start[k] * float(np.exp(-f if falls[k] else f)) for k, f in zip(self.keys, x, strict=True)}

    def predict(self, x: np.ndarray) -> np.ndarray:
        factors = np.concatenate([[1.0], np.exp(x)])
        return np.max([p @ factors for p in self.planes], axis=0)

    def loss(self, x: np.ndarray, weights: np.ndarray, pull: float) -> float:
        square = (self.predict(x) / self.measured - 1) ** 2
        # Far-off networks lack something the numbers cannot give; how far they are off counts no more.
        return float(weights @ (square / (square + 0.3**2)) + pull * np.sum(x * x))

    def fit(self, rows: np.ndarray, pull: float) -> np.ndarray:
        """Numbers for these rows: steps along and across them that make the error less, ever smaller."""
        weights = np.zeros(len(self.records))
        for group in set(self.groups[rows]):
            own = rows & (self.groups == group)
            weights[own] = 1 / own.sum()
        weights /= weights.sum()
        low, high = np.array(self.bounds()).T
        random = np.random.default_rng(0)
        x = np.clip(np.zeros(len(self.keys)), low, high)
        best = self.loss(x, weights, pull)
        for step in (0.6, 0.4, 0.25, 0.15, 0.1, 0.05, 0.02):
            along = np.concatenate([np.eye(len(x)), -np.eye(len(x))])
            for direction in [*along, *random.normal(size=(150, len(x))) * 0.5, *along]:
                y = np.clip(x + step * direction, low, high)
                value = self.loss(y, weights, pull)
                if value < best:
                    x, best = y, value
        return x


def group_errors(model: Model, predicted: np.ndarray, rows: np.ndarray) -> dict:
    error = np.abs(predicted / model.measured - 1)
    return {g: float(np.median(error[rows & (model.groups == g)])) for g in sorted(set(model.groups[rows]))}


BANDS = {"fp16": "f16", "fp32": "f32", "int8": "i8"}


def bands(model: Model, held: np.ndarray) -> dict:
    """Per precision with rows enough: what nine held-out measurements of ten are above and below, in % of predictions."""
    found = {}
    for precision, name in BANDS.items():
        ratios = [m / h * 100 for r, m, h in zip(model.records, model.measured, held, strict=True)
                  if r["precision"] == precision]
        if len(ratios) >= 20:
            found |= {f"low_{name}": min(quantile(ratios, 0.1), 95), f"high_{name}": max(quantile(ratios, 0.9), 105)}
    return found


def put(file: Path, numbers: dict, values: dict, source: str, said: str) -> None:
    """Puts numbers into a description, with where they are from."""
    text = file.read_text()
    for key, value in values.items():
        unit = numbers[key]["unit"]
        rounded = float(f"{value:.3g}")
        line = f'{key} = {{ value = {rounded:g}, unit = "{unit}", confidence = "derived", source = "{source}" }}'
        found = re.compile(rf"^{key} = .*$", re.MULTILINE)
        text = found.sub(line, text) if found.search(text) else text.rstrip() + "\n" + line + "\n"
    found = re.compile(rf"^{source} = .*$", re.MULTILINE)
    line = f'{source} = "{said}"'
    text = found.sub(line, text) if found.search(text) else text.replace("[sources]\n", f"[sources]\n{line}\n")
    file.write_text(text)


def write_values(folder: Path, chip: str, values: dict, band: dict, rows: int, networks: int, family_too: bool) -> None:
    family, numbers = load_numbers(folder, chip)
    day = datetime.date.today()
    put(folder / f"{chip}.toml", numbers, values, "fitted",
        f"bench/fit_machine.py, {day}: least error of simulated against published latencies, {rows} rows of {networks} networks")
    said = f"bench/fit_machine.py, {day}: published over simulated latencies on {chip}, networks held out"
    for file in [chip, family] if family_too else [chip]:
        put(folder / f"{file}.toml", numbers, band, "held_out", said)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictions", type=Path, action="append", required=True,
                        help="file of bench/predictions.py; the first with the numbers to start from; repeatable")
    parser.add_argument("--targets", type=Path, action="append",
                        help="folder of the descriptions a file was made with; one for each")
    parser.add_argument("--chip", required=True)
    parser.add_argument("--precision", action="append", help="only this precision; repeatable")
    parser.add_argument("--host", type=float, default=0.2, help="only rows of which the host takes at most this share")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--pull", type=float, default=0.002, help="of the numbers to where they were")
    parser.add_argument("--fix", action="append", default=[], help="a number to leave as it is; repeatable")
    parser.add_argument("--write", type=Path, help="folder of descriptions to write the numbers to")
    parser.add_argument("--family", action="store_true", help="the band is for chips of the family without one, too")
    parser.add_argument("--json", type=Path, help="errors of every row, held out, as JSON")
    parser.add_argument("--worst", type=int, default=20, help="list so many networks")
    args = parser.parse_args()

    def wanted(r: dict) -> bool:
        host = r["spent_ms"]["host"] + r["spent_ms"]["host_start"]
        return (not args.precision or r["precision"] in args.precision) and host <= args.host * r["predicted_ms"]

    folders = args.targets or [ROOT / "targets"] * len(args.predictions)
    files = [json.loads(f.read_text()) for f in args.predictions]
    model = Model(files, folders, args.chip, wanted)
    model.keys = [k for k in model.keys]
    everything = np.ones(len(model.records), dtype=bool)
    bounds = model.bounds()
    model.bounds = lambda: [(0.0, 0.0) if k in args.fix else b for k, b in zip(model.keys, bounds, strict=True)]

    def report(name: str, errors: dict) -> None:
        values = list(errors.values())
        print(f"{name:<10} median {statistics.median(values):6.1%}  p90 {quantile(values, 0.9):6.1%}")

    print(f"{args.chip}: {len(model.records)} rows of {len(set(model.groups))} networks")
    report("as it was", group_errors(model, model.predict(np.zeros(len(model.keys))), everything))
    x = model.fit(everything, args.pull)
    fitted = model.predict(x)
    report("fitted", group_errors(model, fitted, everything))
    names = sorted(set(model.groups))
    held = np.zeros(len(model.records))
    for fold in range(args.folds):
        out = np.isin(model.groups, names[fold :: args.folds])
        # Of one network alone there is nothing else to fit to.
        held[out] = model.predict(model.fit(~out, args.pull) if (~out).any() else np.zeros(len(model.keys)))[out]
    report("held out", group_errors(model, held, everything))
    for precision in sorted({r["precision"] for r in model.records}):
        rows = np.array([r["precision"] == precision for r in model.records])
        report(f"  {precision}", group_errors(model, held, rows))
    values = model.values(x)
    for k in model.keys:
        print(f"  {k:<16} {model.start[k]:>8.4g} -> {values[k]:>8.4g}")
    errors = group_errors(model, held, everything)
    for group, error in sorted(errors.items(), key=lambda e: -e[1])[: args.worst]:
        own = np.nonzero(model.groups == group)[0]
        factors = ", ".join(
            f"{model.records[i]['precision']} b{model.records[i]['batch']} {held[i] / model.measured[i]:.2f}" for i in own[:9]
        )
        columns = model.planes[0][own].mean(axis=0) * np.concatenate([[1.0], np.exp(x)])
        shares = sorted(zip(["fixed", *model.keys], columns / columns.sum(), strict=True), key=lambda e: -e[1])
        most = ", ".join(f"{k} {s:.0%}" for k, s in shares[:3])
        print(f"  {error:6.0%} {group}: {factors} ({most})")
    if args.json:
        args.json.write_text(json.dumps(
            [{**r, "held_out_ms": float(h), "fitted_ms": float(f)} for r, h, f in zip(model.records, held, fitted, strict=True)],
            indent=1))
    if args.write:
        write_values(args.write, args.chip, values, bands(model, held), len(model.records), len(names), args.family)
    return 0


if __name__ == "__main__":
    sys.exit(main())
