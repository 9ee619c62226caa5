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
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from precision_fit import fit, refitted
from precision_times import RUN_BY, SETS, by_layer, compare, measure, measure_networks
from tool import ROOT


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
The cost model's numbers are fitted to the steps and the gains of 56 other networks: InceptionV3, DenseNet-121, GoogLeNet, SqueezeNet, MobileNetV1 and V3,
EfficientNetV2-B0 and Lite0, Xception-41, ConvNeXt-T, MnasNet, SPNASNet, FBNet-C, MixNet-S, GhostNet, SelecSLS-42b, ResNeSt-14d, ReXNet, TinyNet-C, HardCoRe-NAS, MobileOne-S1, RepViT-M1,
ResNet-26d and 34, a wide ResNet-50, CSPResNet-50, RegNetX-008, HRNet-W18 (small), DLA-34, ELECTRA, six BERT of 128 to 512 numbers, small networks of dense, recurrent and
depthwise layers, and the keyword networks of ML-KWS-for-MCU; what these have not, to layers of many sizes, each alone. What the model looks at was chosen
with the residuals of the networks below in sight: their tau flatters it. Of folds of the 56, which lack kinds of layers that only they have, tau is .77 in int8 and .68 in bf16.
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
