"""Whether int8 is faster than fp32, layer by layer: fits the cost model of `tenon check --precision`, and says how well it
predicts what it was not fitted on.

    .venv-dev/bin/python bench/precision_speed.py measure --output build/layers.json     # layers of many sizes, each alone
    .venv-dev/bin/python bench/precision_speed.py fit build/layers.json                  # writes src/cost/coefficients.inc
    .venv-dev/bin/python bench/precision_speed.py check MODEL…                           # predicted against measured, rank correlation

`measure` compiles graphs of single convolutions and matrix products with `tenon compile`, for fp32 and int8, and times each
step with `tenon bench --profile`, once for every instruction set of this machine (TENON_ISA). `check` does the same
with whole models, and prints Kendall's tau between predicted and measured gain (fp32 time over int8 time) of their layers.
"""
import argparse
import json
import os
import random
import subprocess
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
TENON = ROOT / "build/bin/tenon"
SETS = {"avx2": "avx2", "avx-vnni": "avx_vnni", "avx512": "avx512f", "avx512-vnni": "avx512"}  # level: TENON_ISA


def tenon(*arguments, isa=""):
    done = subprocess.run([TENON, *map(str, arguments)], capture_output=True, text=True, env=os.environ | {"TENON_ISA": isa})
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
    for _ in range(60):
        size, c = choose.choice((4, 7, 14, 28, 56, 112)), channels(8, 960)
        yield "depthwise", size, size, c if size < 56 else min(c, 144), 0, choose.choice((3, 3, 5)), choose.choice((1, 2))
    for what in ("add", "max_pool", "average", "sigmoid", "silu") * 6:
        size = choose.choice((7, 14, 28, 56))
        yield what, size, size, channels(8, 256 if size < 28 else 96), 0, 1, 1
    for _ in range(60):
        yield "matmul", choose.choice((1, 1, 1, 2, 4, 16, 64, 128, 384)), 1, wide(8, 4096), wide(4, 3072), 1, 1


def graph_of(layers):
    """Text of a graph with each layer and a product of one by one behind it, so that the layer gives bytes and that reals."""
    between = {"add": "  %s{i} = add(%b{i}, %a{i})\n  %m{i} = relu(%s{i})", "sigmoid": "  %m{i} = sigmoid(%b{i})",
               "silu": "  %s{i} = sigmoid(%b{i})\n  %m{i} = mul(%b{i}, %s{i})",
               "max_pool": "  %m{i} = max_pool(%b{i}) {{kernel=[2, 2], strides=[2, 2], pads=[0, 0, 0, 0]}}",
               "average": "  %m{i} = mean(%b{i}) {{axes=[1, 2], keep_dims=true}}"}
    inputs, lines, outputs = [], [], []
    for i, (kind, height, width, c, k, kernel, stride) in enumerate(layers):
        if kind == "matmul":
            inputs.append(f'%x{i} "x{i}": f32[{height},{c}]')
            lines.append(f'  %w{i} = const random(seed=1, min=-1, max=1) : f32[{c},{k}]\n  %a{i} = matmul(%x{i}, %w{i}) from "a{i}"\n'
                         f'  %v{i} = const random(seed=2, min=-1, max=1) : f32[{k},16]\n  %b{i} = matmul(%a{i}, %v{i}) from "b{i}"')
        elif kind in between:
            inputs.append(f'%x{i} "x{i}": f32[1,{height},{width},8]')
            lines.append(f'  %w{i} = const random(seed=1, min=-1, max=1) : f32[1,1,8,{c}]\n  %a{i} = conv(%x{i}, %w{i}) from "a{i}"\n'
                         f'  %v{i} = const random(seed=2, min=-1, max=1) : f32[1,1,{c},{c}]\n  %b{i} = conv(%a{i}, %v{i}) from "b{i}"\n'
                         f'{between[kind].format(i=i)}\n'
                         f'  %u{i} = const random(seed=2, min=-1, max=1) : f32[1,1,{c},16]\n  %c{i} = conv(%m{i}, %u{i}) from "c{i}"')
            outputs.append(f'%c{i} "y{i}"')
            continue
        else:
            group = f", groups={c}" if kind == "depthwise" else ""
            out = c if kind == "depthwise" else k
            pad = kernel // 2
            inputs.append(f'%x{i} "x{i}": f32[1,{height},{width},{c}]')
            lines.append(f'  %w{i} = const random(seed=1, min=-1, max=1) : f32[{kernel},{kernel},{1 if group else c},{out}]\n'
                         f'  %a{i} = conv(%x{i}, %w{i}) {{strides=[{stride}, {stride}], pads=[{pad}, {pad}, {pad}, {pad}]{group}}} from "a{i}"\n'
                         f'  %v{i} = const random(seed=2, min=-1, max=1) : f32[1,1,{out},16]\n  %b{i} = conv(%a{i}, %v{i}) from "b{i}"')
        outputs.append(f'%b{i} "y{i}"')
    body = "\n".join(lines)
    return f'graph @main ({", ".join(inputs)}) {{\n{body}\n  return ({", ".join(outputs)})\n}}\n'


PRODUCTS = {"depthwise", "depthwise_strided", "grouped", "pointwise", "rows", "spatial", "three"}
VIEWS = {"reshape", "squeeze", "expand_dims", "identity"}


def compare(model, folder, levels, seconds=0.6):
    """By level: what `tenon check --precision int8` says of the first signature, and with each step its measured time."""
    files = {}
    for precision in ("fp32", "int8"):
        files[precision] = folder / f"{precision}.tenon"
        tenon("compile", model, "-o", files[precision], "--precision", precision, "--no-verify",
              *(["--force-precision"] if precision == "int8" else []))
    for level in levels:
        said = json.loads(tenon("check", model, "--precision", "int8", "--cpu", level, "--json"))["precision"][0]
        for precision, file in files.items():
            profile = json.loads(tenon("bench", file, "--threads", 1, "--profile", "--json", "--duration", seconds, "--signature",
                                       said["signature"], isa=SETS[level]))["steps"]
            profile = [step for step in profile if step["op"] not in VIEWS]
            predicted = [step for step in said["steps"][precision] if step["op"] not in VIEWS]
            if [s["op"] for s in profile] != [s["op"] for s in predicted]:
                raise SystemExit(f"{model}: the steps are others than those predicted")
            for step, got in zip(predicted, profile):
                step["measured_us"] = got["time_ns"] / 1e3
            said["steps"][precision] = predicted
        yield level, said


def measure(levels, per_graph=24):
    """Steps of layers of many sizes, with what the model knows of them."""
    layers, found = list(shapes()), []
    with tempfile.TemporaryDirectory() as name:
        for begin in range(0, len(layers), per_graph):
            graph = Path(name) / "graph.tn"
            graph.write_text(graph_of(layers[begin:begin + per_graph]))
            for level, said in compare(graph, Path(name), levels):
                found += [{"level": level} | step for steps in said["steps"].values() for step in steps]
            print(f"{min(begin + per_graph, len(layers))} of {len(layers)} layers", flush=True)
    return found


def fit(rows):
    """Coefficients by level and kind: non-negative, of the least squared relative error."""
    from scipy.optimize import nnls
    groups = {}
    for row in rows:
        groups.setdefault((row["level"], row["kind"]), []).append(row)
        dtype, form = row["kind"].split(".")
        if form not in PRODUCTS:  # what is said of ops that none was measured of
            groups.setdefault((row["level"], f"{dtype}.other"), []).append(row)
    lines = []
    for (level, kind), group in sorted(groups.items()):
        x, t = np.array([r["features"] for r in group]), 1e3 * np.array([r["measured_us"] for r in group])
        weight = 1 / np.maximum(t, 800)
        c, _ = nnls(x * weight[:, None], t * weight)
        # Outliers, which are interruptions, count less the second time.
        off = np.abs(x @ c - t) * weight
        weight = weight / np.maximum(1, off / 0.3)
        c, _ = nnls(x * weight[:, None], t * weight)
        error = np.abs(np.log(np.maximum(x @ c, 100) / np.maximum(t, 100)))
        print(f"{level:12} {kind:24} {len(t):4} steps, error: median {np.median(error):.2f}, nine of ten {np.quantile(error, .9):.2f}")
        lines.append(f'{{"{level}", "{kind}", {{{", ".join(f"{v:.6g}" for v in c)}}}}},\n')
    return lines


def by_layer(said):
    """(name, predicted gain, measured gain, measured fp32 us) of layers that can be of integers."""
    for i, layer in enumerate(said["layers"]):
        if layer["reason"]:
            continue
        sums = [[sum(s[key] for s in said["steps"][p] if s["layer"] == i) for p in ("fp32", "int8")] for key in ("us", "measured_us")]
        if all(v > 0 for pair in sums for v in pair):
            yield layer["name"], sums[0][0] / sums[0][1], sums[1][0] / sums[1][1], sums[1][0]


def check(models, level):
    from scipy.stats import kendalltau
    every = []
    for model in models:
        with tempfile.TemporaryDirectory() as name:
            _, said = next(compare(model, Path(name), [level], 2))
        rows = list(by_layer(said))
        whole = [sum(s["measured_us"] for s in said["steps"][p]) for p in ("fp32", "int8")]
        tau = kendalltau([r[1] for r in rows], [r[2] for r in rows]).statistic
        same = np.mean([(r[1] > 1) == (r[2] > 1) for r in rows])
        print(f"{model}: {len(rows)} layers, tau {tau:.2f}, right side of 1 {same:.0%}; whole: predicted gain {said['gain']:.2f}, "
              f"measured {whole[0] / whole[1]:.2f}")
        every += rows
    for least in (0, 5):
        some = [r for r in every if r[3] >= least]
        tau = kendalltau([r[1] for r in some], [r[2] for r in some]).statistic
        print(f"all of at least {least} us: {len(some)} layers, tau {tau:.3f}")
    return every


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("measure")
    one.add_argument("--output", type=Path, default=ROOT / "build/layers.json")
    one.add_argument("--levels", nargs="+", default=list(SETS), choices=list(SETS))
    one = commands.add_parser("fit")
    one.add_argument("input", type=Path, nargs="?", default=ROOT / "build/layers.json")
    one.add_argument("--output", type=Path, default=ROOT / "src/cost/coefficients.inc")
    one = commands.add_parser("check")
    one.add_argument("models", nargs="+")
    one.add_argument("--level", default="avx512-vnni", choices=list(SETS))
    one.add_argument("--list", action="store_true", help="every layer")
    a = parser.parse_args()
    if a.command == "measure":
        a.output.write_text(json.dumps(measure(a.levels)))
    if a.command == "fit":
        a.output.write_text("".join(fit(json.loads(a.input.read_text()))))
    if a.command == "check":
        rows = check(a.models, a.level)
        if a.list:
            for name, predicted, got, us in sorted(rows, key=lambda r: r[2]):
                print(f"{predicted:6.2f} {got:6.2f} {us:9.2f} us  {name}")


if __name__ == "__main__":
    main()
