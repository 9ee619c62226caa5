"""Whether a precision is faster than fp32, layer by layer: fits the cost model of `tenon check --precision`, and says how well it
predicts what it was not fitted on.

    .venv-dev/bin/python bench/precision_speed.py measure --output build/layers.json     # layers of many sizes, each alone
    .venv-dev/bin/python bench/precision_speed.py fit build/layers.json                  # writes src/cost/coefficients.inc
    .venv-dev/bin/python bench/precision_speed.py measure --networks MODEL… --output build/networks.json  # whole networks, on this machine
    .venv-dev/bin/python bench/precision_speed.py fit --networks build/networks.json     # fits what they have again to them
    .venv-dev/bin/python bench/precision_speed.py check MODEL…                           # predicted against measured, rank correlation
    .venv-dev/bin/python bench/precision_speed.py page bench-models                      # the same of networks: writes docs/precision_speed.md

`measure` compiles graphs of single convolutions, matrix products and recurrent layers with `tenon compile`, for fp32 and other
precisions, and times each step with `tenon bench --profile`, once for every instruction set of this machine (TENON_ISA). `check`
does the same with whole models, and prints Kendall's tau between predicted and measured gain (fp32 time over the other's) of their
layers. Times are the fastest of many runs, the precisions taking turns.
"""
import argparse
import difflib
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
TENON = ROOT / "build/bin/tenon"
SETS = {"avx2": "avx2", "avx-vnni": "avx_vnni", "avx512": "avx512f", "avx512-bf16": "avx512"}  # level: TENON_ISA
PRECISIONS = ("int8", "bf16", "int8_dynamic", "int8_weights", "int4_weights")


RUN_BY = []  # what timed runs are started by


def tenon(*arguments, isa="", by=()):
    done = subprocess.run([*by, TENON, *map(str, arguments)], capture_output=True, text=True, env=os.environ | {"TENON_ISA": isa})
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def shapes(seed=1):
    """(kind, height, width, channels in, channels out, kernel, stride) of layers as networks have them, of all sizes."""
    choose = random.Random(seed)
    wide = lambda low, high: int(round(2 ** choose.uniform(np.log2(low), np.log2(high))))
    channels = lambda low, high: max(1, choose.choice((1, 8, 8, 16))) * max(1, wide(low, high) // 8)
    for _ in range(70):
        size = choose.choice((1, 4, 7, 14, 14, 28, 28, 56, 112))
        yield "gemm", size, size, channels(16, 2048 if size < 28 else 256), channels(8, 1024 if size < 28 else 256), 1, 1
    for _ in range(60):
        size, kernel = choose.choice((4, 7, 8, 14, 28, 56)), choose.choice((3, 3, 3, 5, 7))
        yield "conv", size, size, channels(8, 512 if size < 28 else 64), channels(8, 256 if size < 28 else 64), kernel, choose.choice((1, 1, 2))
    for size, c in ((56, 64), (28, 128), (14, 256), (7, 512), (28, 64), (14, 128), (7, 256), (56, 24), (14, 64), (28, 96)):
        for stride in (1, 2):
            yield "conv", size, size, c, c, 3, stride
    for size, low, high in ((56, 64, 256), (28, 128, 512), (14, 256, 1024), (7, 512, 2048), (14, 96, 576), (28, 32, 192), (7, 160, 960)):
        yield "gemm", size, size, low, high, 1, 1
        yield "gemm", size, size, high, low, 1, 1
    for size, low, high in ((56, 256, 512), (28, 512, 1024), (14, 1024, 2048)):
        yield "gemm", size, size, low, high, 1, 2
    for size, low, high in ((128, 256, 256), (128, 256, 1024), (128, 1024, 256), (128, 768, 768), (128, 768, 3072), (32, 512, 512)):
        yield "matmul", size, 1, low, high, 1, 1
    for size, low, high in ((1, 1024, 1024), (1, 2048, 1000), (1, 512, 2048), (1, 96, 4), (1, 24, 1152), (1, 1152, 48)):
        yield "matmul", size, 1, low, high, 1, 1
    for size in (28, 64, 96, 160, 224):
        yield "conv", size, size, choose.choice((1, 3, 3)), choose.choice((8, 16, 32, 64)), choose.choice((3, 5, 7)), choose.choice((1, 2))
    for _ in range(100):
        size, c = choose.choice((4, 7, 14, 28, 56, 112)), channels(8, 960)
        yield "depthwise", size, size, c if size < 56 else min(c, 144), 0, choose.choice((3, 3, 5)), choose.choice((1, 2))
    for _ in range(24):
        size, c = choose.choice((7, 14, 28, 56)), channels(8, 960)
        yield "depthwise_silu", size, size, c if size < 56 else min(c, 144), 0, choose.choice((3, 5)), choose.choice((1, 1, 2))
    for size, c in ((56, 256), (28, 512), (14, 1024), (56, 128), (28, 256), (56, 64)):
        yield "add", size, size, c, 0, 1, 1
    for _ in range(16):
        wide_end, narrow = wide(64, 1200), wide(4, 48)
        yield "matmul", 1, 1, wide_end, narrow, 1, 1
        yield "matmul", 1, 1, narrow, wide_end, 1, 1
    for what in ("add", "max_pool", "average", "sigmoid", "silu") * 6:
        size = choose.choice((7, 14, 28, 56))
        yield what, size, size, channels(8, 256 if size < 28 else 96), 0, 1, 1
    for _ in range(60):
        yield "matmul", choose.choice((1, 1, 1, 2, 4, 16, 64, 128, 384)), 1, wide(8, 4096), wide(4, 3072), 1, 1
    for _ in range(12):
        yield choose.choice(("lstm", "gru")), choose.choice((1, 10, 28, 64, 128)), 1, wide(16, 256), wide(32, 384), 1, 1


def cold_shapes(seed=2):
    """Layers of a model whose weights no cache holds, of bytes either."""
    choose = random.Random(seed)
    for _ in range(28):
        size, low, high = choose.choice(((7, 2048, 512), (7, 512, 2048), (14, 1024, 1024), (4, 1024, 2048)))
        yield "gemm", size, size, low, high, 1, 1
    for size, c in ((14, 256), (7, 512), (7, 512), (28, 128)):
        yield "conv", size, size, c, c, 3, 1
    for rows in (1, 1, 16, 64):
        yield "matmul", rows, 1, 2048, choose.choice((1000, 1024, 2048)), 1, 1


def batches(only=""):
    """Layers that are measured in one graph: few, so that their weights are in a cache, and such as are in none."""
    per_graph = 24
    layers = [layer for layer in shapes() if only in layer[0]]
    yield from (layers[i:i + per_graph] for i in range(0, len(layers), per_graph))
    if cold := [layer for layer in cold_shapes() if only in layer[0]]:
        yield cold


def graph_of(layers):
    """Text of a graph with each layer and a product of one by one behind it, so that the layer gives bytes and that reals. No two have
    the same weights: those would be one."""
    between = {"add": "  %s{i} = add(%b{i}, %r{i})\n  %m{i} = relu(%s{i})", "sigmoid": "  %m{i} = sigmoid(%b{i})",
               "silu": "  %s{i} = sigmoid(%b{i})\n  %m{i} = mul(%b{i}, %s{i})",
               "max_pool": "  %m{i} = max_pool(%b{i}) {{kernel=[2, 2], strides=[2, 2], pads=[0, 0, 0, 0]}}",
               "average": "  %m{i} = mean(%b{i}) {{axes=[1, 2], keep_dims=true}}"}
    inputs, first, lines, outputs = [], [], [], []
    for i, (kind, height, width, c, k, kernel, stride) in enumerate(layers):
        if kind == "matmul":
            inputs.append(f'%x{i} "x{i}": f32[{height},{c}]')
            lines.append(f'  %w{i} = const random(seed={3 * i}, min=-1, max=1) : f32[{c},{k}]\n  %a{i} = matmul(%x{i}, %w{i}) from "a{i}"\n'
                         f'  %v{i} = const random(seed={3 * i + 1}, min=-1, max=1) : f32[{k},16]\n  %b{i} = matmul(%a{i}, %v{i}) from "b{i}"')
        elif kind in ("lstm", "gru"):
            gates = {"lstm": 4, "gru": 3}[kind] * k
            inputs.append(f'%x{i} "x{i}": f32[{height},1,{c}]')
            lines.append(f'  %w{i} = const random(seed={3 * i}, min=-0.1, max=0.1) : f32[1,{c},{gates}]\n'
                         f'  %v{i} = const random(seed={3 * i + 1}, min=-0.1, max=0.1) : f32[1,{k},{gates}]\n'
                         f'  %b{i}, %c{i}{f", %d{i}" if kind == "lstm" else ""} = {kind}(%x{i}, %w{i}, %v{i}) from "a{i}"')
        elif kind in between:
            if kind == "add":  # what is added has left the nearest caches since, as in a network
                first.append(f'  %q{i} = const random(seed={3 * i + 2}, min=-1, max=1) : f32[1,1,8,{c}]\n  %r{i} = conv(%x{i}, %q{i}) from "r{i}"')
            inputs.append(f'%x{i} "x{i}": f32[1,{height},{width},8]')
            lines.append(f'  %w{i} = const random(seed={3 * i}, min=-1, max=1) : f32[1,1,8,{c}]\n  %a{i} = conv(%x{i}, %w{i}) from "a{i}"\n'
                         f'  %v{i} = const random(seed={3 * i + 1}, min=-1, max=1) : f32[1,1,{c},{c}]\n  %b{i} = conv(%a{i}, %v{i}) from "b{i}"\n'
                         f'{between[kind].format(i=i)}\n'
                         f'  %u{i} = const random(seed={3 * i + 1}, min=-1, max=1) : f32[1,1,{c},16]\n  %c{i} = conv(%m{i}, %u{i}) from "c{i}"')
            outputs.append(f'%c{i} "y{i}"')
            continue
        else:
            group = f", groups={c}" if kind.startswith("depthwise") else ""
            out = c if group else k
            pad = kernel // 2
            x = f"%x{i}"
            if group:  # it is the cache that counts: what it reads was just computed, as in a network
                inputs.append(f'%i{i} "x{i}": f32[1,{height},{width},8]')
                lines.append(f'  %p{i} = const random(seed={3 * i + 2}, min=-1, max=1) : f32[1,1,8,{c}]\n  {x} = conv(%i{i}, %p{i}) from "p{i}"')
            else:
                inputs.append(f'{x} "x{i}": f32[1,{height},{width},{c}]')
            lines.append(f'  %w{i} = const random(seed={3 * i}, min=-1, max=1) : f32[{kernel},{kernel},{1 if group else c},{out}]\n'
                         f'  %a{i} = conv(%x{i}, %w{i}) {{strides=[{stride}, {stride}], pads=[{pad}, {pad}, {pad}, {pad}]{group}}} from "a{i}"')
            a = f"%a{i}"
            if kind.endswith("silu"):
                lines.append(f'  %s{i} = sigmoid({a})\n  %m{i} = mul({a}, %s{i})')
                a = f"%m{i}"
            lines.append(f'  %v{i} = const random(seed={3 * i + 1}, min=-1, max=1) : f32[1,1,{out},16]\n  %b{i} = conv({a}, %v{i}) from "b{i}"')
        outputs.append(f'%b{i} "y{i}"')
    body = "\n".join(first + lines)
    return f'graph @main ({", ".join(inputs)}) {{\n{body}\n  return ({", ".join(outputs)})\n}}\n'


PRODUCTS = {"average", "depthwise", "depthwise_strided", "grouped", "pointwise", "recurrent", "rows", "spatial", "three", "winograd"}
CONVERSIONS = {"cast", "dynamic_quantize_linear", "mul"}  # the last is of scales
VIEWS = {"reshape", "squeeze", "expand_dims", "identity"}


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


def fit(rows):
    """Coefficients by level and kind: non-negative, of the least squared relative error."""
    from scipy.optimize import nnls
    groups = {}
    for row in rows:
        groups.setdefault((row["level"], row["kind"]), []).append(row)
        dtype, form = row["kind"].split(".")
        if form not in PRODUCTS and form not in CONVERSIONS:  # what is said of ops that none was measured of
            groups.setdefault((row["level"], f"{dtype}.other"), []).append(row)
    lines = []
    for (level, kind), group in sorted(groups.items()):
        x, t = np.array([r["features"] for r in group]), 1e3 * np.array([r["measured_us"] for r in group])
        x[:, 1:] *= np.ptp(x[:, 1:], axis=0) > 0  # what never changes is no reason
        weight = 1 / np.maximum(t, 800)
        c, _ = nnls(x * weight[:, None], t * weight)
        # Outliers, which are interruptions, count less the second time.
        off = np.abs(x @ c - t) * weight
        weight = weight / np.maximum(1, off / 0.3)
        c, _ = nnls(x * weight[:, None], t * weight)
        error = np.abs(np.log(np.maximum(x @ c, 100) / np.maximum(t, 100)))
        print(f"{level:12} {kind:24} {len(t):4} steps, error: median {np.median(error):.2f}, nine of ten {np.quantile(error, .9):.2f}")
        lines.append(line_of(level, kind, c))
    return lines


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


def fit_networks(networks, level, least_us=0.02, share_of_gains=10, width=0.02):
    """Coefficients of the kinds that networks have at the level: positive, of the least error both of what takes a time by itself and,
    which counts more, of the gain of layers; in logarithms, and what is further off than `width` counts less."""
    from scipy.optimize import minimize
    from scipy.sparse import csr_matrix
    columns, units, pairs = {}, [], []
    for said in networks:
        if said["level"] != level:
            continue
        for steps in said["steps"].values():
            units += [(unit, sum(step["measured_us"] for step in unit)) for unit in together(steps) if any(any(s["features"]) for s in unit)]
        pairs += [(steps, measured) for _, _, measured, _, steps in layers_of(said, said["precision"])]
    units = [(unit, us) for unit, us in units if us > 0]

    def matrix(lists):
        entries = {}
        for row, steps in enumerate(lists):
            for step in steps:
                for i, value in enumerate(step["features"]):
                    if value:
                        at = row, columns.setdefault((step["kind"], i), len(columns))
                        entries[at] = entries.get(at, 0) + 1e-3 * value
        rows, places = zip(*entries)
        return rows, places, list(entries.values()), len(lists)

    parts = [matrix([unit for unit, _ in units]), *(matrix([steps[i] for steps, _ in pairs]) for i in (0, 1))]
    alone, before, after = (csr_matrix((values, (rows, places)), (count, len(columns))) for rows, places, values, count in parts)
    us, gains = np.array([us for _, us in units]), np.array([measured for _, measured in pairs])
    # Each column in units of the time of what it is in.
    share = np.ones(len(columns))
    for i in range(len(columns)):
        column = alone[:, [i]].toarray()[:, 0]
        share[i] = np.median(us[column > 0] / column[column > 0]) if (column > 0).any() else 1
    alone, before, after = (part.multiply(share[None, :]).tocsr() for part in (alone, before, after))
    aims = np.log(us + least_us), np.log((gains[:, 0] + least_us) / (gains[:, 1] + least_us))
    weights = np.minimum(1, us), share_of_gains * np.minimum(1, gains.min(axis=1))

    def robust(error, weight):
        root = np.sqrt(1 + (error / width) ** 2)
        return (weight * 2 * width**2 * (root - 1)).sum(), weight * 2 * error / root

    def loss(c):
        times = [part @ c + least_us for part in (alone, before, after)]
        one, slope = robust(np.log(times[0]) - aims[0], weights[0])
        two, tilt = robust(np.log(times[1] / times[2]) - aims[1], weights[1])
        return one + two + 1e-3 * c.sum(), alone.T @ (slope / times[0]) + before.T @ (tilt / times[1]) - after.T @ (tilt / times[2]) + 1e-3

    c = minimize(loss, np.full(len(columns), 0.15), jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(columns),
                 options={"maxiter": 3000, "maxfun": 4000, "maxcor": 30}).x * share
    kinds = {}
    for (kind, i), at in columns.items():
        kinds.setdefault(kind, {})[i] = c[at]
    return {kind: line_of(level, kind, [values.get(i, 0) for i in range(max(values) + 1)]) for kind, values in sorted(kinds.items())}


def refitted(file, networks):
    """The lines of a file of coefficients, those of what the networks have fitted to them."""
    lines = {tuple(line.split('"')[1:4:2]): line for line in file.read_text().splitlines(keepends=True)}
    for level in {said["level"] for said in networks}:
        lines |= {(level, kind): line for kind, line in fit_networks(networks, level).items()}
    return [line for _, line in sorted(lines.items())]


def line_of(level, kind, values):
    return f'{{"{level}", "{kind}", {{{", ".join(f"{v:.6g}" for v in values)}}}}},\n'


def kendall(x, y):
    """tau-b; NaN where one of the two is all the same."""
    from scipy.stats import kendalltau
    return kendalltau(x, y).statistic if len(x) > 1 else float("nan")


def tau(rows):
    """Of predicted and measured gains."""
    return kendall([r[1] for r in rows], [r[2] for r in rows])


def ceiling(rows):
    """Of the gains measured twice: what a prediction without error would have beside one measurement."""
    return kendall([r[4][0] for r in rows], [r[4][1] for r in rows])


APART = 1.05  # gains that differ by a larger factor are no chance


def concordance(rows):
    """tau over the pairs of layers whose measured gains are apart."""
    pairs = [(np.sign(a[1] - b[1]), np.sign(a[2] - b[2])) for i, a in enumerate(rows) for b in rows[:i]
             if max(a[2] / b[2], b[2] / a[2]) > APART]
    return np.mean([x * y for x, y in pairs]) if pairs else float("nan")


LEAST_US = 5  # layers that take less are said beside the others: their times are mostly calls


def check(models, level, precisions, rounds=4):
    """(model, precision, layers, predicted and measured gain of the whole) of each."""
    for model in models:
        with tempfile.TemporaryDirectory() as name:
            for _, precision, said in compare(model, Path(name), [level], precisions, 1, rounds):
                whole = [sum(s["measured_us"] for s in said["steps"][p]) for p in ("fp32", precision)]
                yield model, precision, list(by_layer(said, precision)), said["gain"], whole[0] / whole[1]


def describe(rows):
    """Figures of layers: how many, tau, that of the measurement with itself, that of pairs that are apart; how many and tau of those that
    are not small; how many on the right side of 1."""
    large = [r for r in rows if r[3] >= LEAST_US]
    right = f"{np.mean([(r[1] > 1) == (r[2] > 1) for r in rows]):.0%}" if rows else ""
    number = lambda v: "" if np.isnan(v) else f"{v:.2f}"
    return [str(len(rows)), number(tau(rows)), number(ceiling(rows)), number(concordance(rows)), str(len(large)), number(tau(large)), right]


PAGE = """# Predicted and measured gain of precisions

Made by `bench/precision_speed.py page`: what `tenon check --precision` predicts of each convolution and matrix product beside what was
measured on one thread of a CPU with AVX-512, VNNI and BF16: the gain, fp32's time over the precision's, with the conversions around it.
The cost model's numbers are fitted to the steps and the gains of other networks: InceptionV3, DenseNet-121, MobileNetV1, EfficientNetV2-B0,
Xception, ConvNeXt-T, MnasNet, SelecSLS-42b, ResNeSt-14d, ReXNet, TinyNet-C, HardCoRe-NAS, MobileOne-S1, RepViT-M1, U-Net (bf16), a YOLO, DeepLab, ELECTRA,
small networks of transformers, recurrent and dense ones; what these have not, to layers of many sizes, each alone. What the model looks at was chosen
with the residuals of the networks below in sight: their tau flatters it. How much gains count in the fit was chosen by folds of the others;
of folds, which lack kinds of layers that only they have, tau is .75 in int8 and .60 in bf16.
Times are the fastest of many runs, precisions in turns, on a machine with other load. Layers are such as take other steps in the precision than in fp32; those of the same steps, as in
repeated blocks, are one, by the mean of their times; so are those that one kernel computes together. tau is Kendall's rank correlation;
"measured twice" is that of the gains by every other run with those by the rest, which no prediction could better by much; "apart" that of the
pairs of layers whose measured gains differ by more than 5 %; right: layers predicted on the side of 1 where they were measured. In fp16 nothing takes other steps: its weights are widened at load.

{table}
"""


def page(networks, level, precisions):
    head = ["network", "precision", "layers", "tau", "measured twice", "apart", f"of {LEAST_US} us or more", "tau", "right", "whole, predicted", "whole, measured"]
    lines, every = [head, ["---", "---", *["--:"] * 9]], {}
    for model, precision, rows, predicted, measured in check(networks.values(), level, precisions):
        name = next(n for n, path in networks.items() if path == model)
        lines.append([name, precision, *describe(rows), f"{predicted:.2f}", f"{measured:.2f}"])
        print(*lines[-1], sep=" | ", flush=True)
        every.setdefault(precision, []).extend(rows)
    lines += [["all", p, *describe(rows), "", ""] for p, rows in every.items()]
    return PAGE.format(table="\n".join(f"| {' | '.join(line)} |" for line in lines))


def networks_of(bench, models):
    """Name and file of the networks of a folder of make_models.py, and a small one of the trained ones."""
    found = {name: bench / name / "saved_model" for name in ("resnet50", "mobilenetv2", "efficientnetb0", "bert_4x256", "lstm")}
    found["DS-CNN"] = models / "tf/mlperf_tiny_kws"
    for name, path in found.items():
        if not path.exists():
            print(f"left out: {name}, which is not in {path.parent}", file=sys.stderr)
    return {name: path for name, path in found.items() if path.exists()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("measure")
    one.add_argument("--output", type=Path, default=ROOT / "build/layers.json")
    one.add_argument("--levels", nargs="+", default=list(SETS), choices=list(SETS))
    one.add_argument("--only", default="", help="layers whose kind holds this word")
    one.add_argument("--networks", nargs="+", default=[], help="these, on one level, in place of layers each alone")
    one = commands.add_parser("fit")
    one.add_argument("input", type=Path, nargs="?", default=ROOT / "build/layers.json")
    one.add_argument("--networks", type=Path, help="of measure --networks: what numbers for their kinds are fitted to instead")
    one.add_argument("--output", type=Path, default=ROOT / "src/cost/coefficients.inc")
    one = commands.add_parser("check")
    one.add_argument("models", nargs="+")
    one.add_argument("--list", action="store_true", help="every layer")
    two = commands.add_parser("page")
    two.add_argument("bench", type=Path, help="folder of make_models.py")
    two.add_argument("--models", type=Path, default=ROOT / "../shared/models")
    two.add_argument("--output", type=Path, default=ROOT / "docs/precision_speed.md")
    for command in (one, two):
        command.add_argument("--level", default="avx512-bf16", choices=list(SETS))
        command.add_argument("--precisions", nargs="+", default=["int8", "bf16"])
    for name in ("measure", "check", "page"):
        commands.choices[name].add_argument("--by", default="", help="what timed runs are started by, such as 'chrt -r 5': without interruptions")
    a = parser.parse_args()
    RUN_BY[:] = getattr(a, "by", "").split()
    if a.command == "measure":
        a.output.write_text(json.dumps(measure_networks(a.networks, a.levels[-1]) if a.networks else measure(a.levels, a.only)))
    if a.command == "fit":
        a.output.write_text("".join(refitted(a.output, json.loads(a.networks.read_text())) if a.networks else fit(json.loads(a.input.read_text()))))
    if a.command == "check":
        for model, precision, rows, predicted, measured in check(a.models, a.level, a.precisions):
            layers, all_tau, twice, apart, large, large_tau, right = describe(rows)
            print(f"{model}, {precision}: {layers} layers, tau {all_tau}, measured twice {twice}, apart {apart}; {large} of {LEAST_US} us or more, tau {large_tau}; right side of 1 "
                  f"{right}; whole: predicted gain {predicted:.2f}, measured {measured:.2f}", flush=True)
            for name, said, got, us, _ in sorted(rows, key=lambda r: r[2]) if a.list else ():
                print(f"{said:6.2f} {got:6.2f} {us:9.2f} us  {name}")
    if a.command == "page":
        a.output.write_text(page(networks_of(a.bench, a.models), a.level, a.precisions))


if __name__ == "__main__":
    main()
