"""How long the steps of models take in each precision, beside what `tenon check --precision` predicts of them, and the layers that they
are of: what precision_speed.py fits and checks with."""
import difflib
import json
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from precision_layers import batches, graph_of
from tool import TENON

SETS = {"avx2": "avx2", "avx-vnni": "avx_vnni", "avx512": "avx512f", "avx512-bf16": "avx512"}  # level: TENON_ISA
PRECISIONS = ("int8", "bf16", "int8_dynamic", "int8_weights", "int4_weights")
VIEWS = {"reshape", "squeeze", "expand_dims", "identity"}  # no steps of their own
RUN_BY = []  # what timed runs are started by


def tenon(*arguments, isa="", by=()):
    done = subprocess.run([*by, TENON, *map(str, arguments)], capture_output=True, text=True, env=os.environ | {"TENON_ISA": isa})
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def profile_of(file, level, seconds, signature):
    steps = json.loads(tenon("bench", file, "--threads", 1, "--profile", "--json", "--duration", seconds, "--signature", signature,
                             isa=SETS[level], by=RUN_BY))["steps"]
    return [step for step in steps if step["op"] not in VIEWS]


def pair(steps, times):
    """The predicted steps with their measured times. What is computed where sizes are open is no step where they are assumed: such as are
    of no layer may be more or fewer. None where others are."""
    steps, found = [step | {"id": i} for i, step in enumerate(steps) if step["op"] not in VIEWS], []
    matcher = difflib.SequenceMatcher(None, [s["op"] for s in steps], [s["op"] for s in times], autojunk=False)
    for what, a, b, c, d in matcher.get_opcodes():
        if what != "equal" and any(step["layer"] >= 0 for step in steps[a:b]):
            return None
        for step, got in zip(steps[a:b], times[c:d]) if what == "equal" else ():
            found.append(step | {"measured_us": got["time_ns"] / 1e3, "halves_us": [ns / 1e3 for ns in got["halves"]],
                                 "with_next": got["kernel"] == "with a later step"})
    return found


def compare(model, folder, levels, precisions, seconds=0.6, rounds=1):
    """By level and precision: what `tenon check --precision` says of the first signature, and with each step its measured time."""
    files = {}
    for precision in ("fp32", *precisions):
        files[precision] = folder / f"{precision}.tenon"
        tenon("compile", model, "-o", files[precision], "--precision", precision, "--no-verify", "--force-precision")
    for level in levels:
        said = {p: json.loads(tenon("check", model, "--precision", p, "--cpu", level, "--json"))["precision"][0] for p in precisions}
        signature = next(iter(said.values()))["signature"]
        times = {}
        for number in range(rounds):
            for precision, file in files.items():
                got = profile_of(file, level, seconds, signature)
                best = times.setdefault(precision, got)
                for a, b in zip(best, got):
                    halves = a.setdefault("halves", [float("inf")] * 2)  # every other round: the same measured twice
                    halves[number % 2] = min(halves[number % 2], b["time_ns"])
                    a["time_ns"] = min(a["time_ns"], b["time_ns"])
        for precision, answer in said.items():
            for p, steps in answer["steps"].items():
                answer["steps"][p] = pair(steps, times[p])
                if answer["steps"][p] is None:
                    raise SystemExit(f"{model}: the steps in {p} are others than those predicted")
            yield level, precision, answer


def together(steps):
    """The steps in lists of what one kernel computes: what it does with a later step belongs to the one that reads it."""
    known, found = {step["id"]: step for step in steps}, {}
    for step in steps:
        last = step
        while last["with_next"] and last["reader"] in known:
            last = known[last["reader"]]
        found.setdefault(last["id"], []).append(step)
    return list(found.values())


def measure_networks(models, level, precisions=("int8", "bf16"), rounds=4):
    """What compare() says of networks, for fit_networks()."""
    found = []
    for model in models:
        with tempfile.TemporaryDirectory() as name:
            found += [said | {"level": level, "precision": precision}
                      for _, precision, said in compare(model, Path(name), [level], precisions, 0.4, rounds)]
        print(model, flush=True)
    return found


def measure(levels, only=""):
    """Steps of layers of many sizes, with what the model knows of them."""
    found, graphs = [], list(batches(only))
    with tempfile.TemporaryDirectory() as name:
        for number, layers in enumerate(graphs):
            graph = Path(name) / "graph.tn"
            graph.write_text(graph_of(layers))
            for level, precision, said in compare(graph, Path(name), levels, PRECISIONS):
                for p in (precision, "fp32") if precision == PRECISIONS[0] else (precision,):
                    for unit in together(said["steps"][p]):
                        # What one kernel does together is no measurement of any of it, but for roundings that cost nothing.
                        steps = [step for step in unit if any(step["features"])]
                        if len(steps) == 1:
                            found.append({"level": level} | steps[0] | {"measured_us": sum(step["measured_us"] for step in unit)})
            print(f"{number + 1} of {len(graphs)} graphs", flush=True)
    return found


def layers_of(said, precision):
    """(name, predicted gain, measured us, halves, steps), the last three each in fp32 and the precision, of layers that can be of it and
    take other steps then. Layers that one kernel computes together in one of the two have one time, and are one here; so are layers of
    the same steps, as in the blocks of a network that repeats one: they are one prediction, and as many measurements of it. What a
    layer's kernel rounds for the next is its own."""
    of = list(range(len(said["layers"])))
    for steps in said["steps"].values():
        for unit in together(steps):
            for before, step in zip(unit, unit[1:]):
                if step["op"] == "cast":
                    step["layer"] = before["layer"]  # rounded by who computes it, whoever reads it: that joins no layers
            layers = [step["layer"] for step in unit if step["layer"] >= 0]
            for step in unit if layers else ():
                step["layer"] = step["layer"] if step["layer"] >= 0 else layers[-1]  # its time is that layer's
            joined = {of[layer] for layer in layers}
            of = [of[layers[0]] if group in joined else group for group in of]
    found = {}
    for group in sorted(set(of)):
        layers = [i for i, g in enumerate(of) if g == group]
        if all(said["layers"][i]["reason"] for i in layers):
            continue
        steps = [[s for s in said["steps"][p] if s["layer"] in layers] for p in ("fp32", precision)]
        kinds = [tuple((s["kind"], *s["features"]) for s in some) for some in steps]
        sums = [[sum(s[key] for s in some) for some in steps] for key in ("us", "measured_us")]
        if kinds[0] != kinds[1] and all(v > 0 for both in sums for v in both):
            halves = [[sum(s["halves_us"][half] for s in some) for some in steps] for half in (0, 1)]
            found.setdefault(tuple(kinds), []).append((said["layers"][layers[-1]]["name"], *sums, halves, steps))
    for same in found.values():
        name, predicted, _, _, steps = same[0]
        measured = [np.mean([times[i] for _, _, times, _, _ in same]) for i in (0, 1)]
        halves = [np.mean([half[i] for *_, half, _ in same], axis=0) for i in (0, 1)]
        yield name, predicted[0] / predicted[1], measured, halves, steps


def by_layer(said, precision):
    """(name, predicted gain, measured gain, measured fp32 us, gain measured twice) of each of layers_of()."""
    for name, gain, (fp32, other), halves, _ in layers_of(said, precision):
        yield name, gain, fp32 / other, fp32, [before / after for before, after in halves]
