"""docs/predictions.md: what predictions are made of, and how far from published measurements they are."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from pathlib import Path

HOW = """# Predictions

`tenon predict MODEL --target ascend310p3,mlu370-s4 --batch 1,8` says how long a model takes on chips that are not there; with
`--html FILE` as a page with throughput over batch. Everything it prints is simulated: nothing here ran on a chip. This page is
written by `bench/predictions.py --docs`.

## How

1. The model is optimised for the batch and lowered to tile programs (`src/lower`), the same that `tenon run --device` executes on real
   bytes. What a chip cannot do is left to the host, listed with the reason.
2. `simulate/timing.h` runs the programs without data: every core issues to its queues, queues work in order, flags make them wait for
   each other; the global memory (and on Cambricon each cluster's share of it) serves one request after the other. The cache of the
   chip holds lines of whole chunks, the least recently used goes, and what was written reaches memory only then. On the 310 alone L2 is
   no cache: the vendor's graph engine gives its pages to whole tensors that kernels leave to each other, where they fit, until they were used
   last (`lower/l2_pages.h`); weights and all else come from memory, once for what tiles share (kept in L1). So throughput bends
   where the working set leaves the cache, small channels fill fractals with zeros, and depthwise convolutions go to the vector unit or,
   as products of diagonals, to the cube, whichever takes less, without a rule for any of it. Loops of hundreds of turns are followed until they are steady and then extrapolated.
3. What an instruction costs (`simulate/cost.h`) is made of the chip's numbers (`tenon targets show NAME`): units' rates and start-up,
   copies' rates, latency and start-up, whole fractals and whole transactions. Each kernel adds the chip's `launch`,
   each run of a model its `run_start`, and where all cores wait for each other in a kernel, each time its `barrier`. On Ascend
   sums begin with the bias and the copy out of L0C applies relu, on Cambricon convolutions do, so neither takes the vector unit's time.
4. On Cambricon chips whole samples of a batch go to clusters, as measured throughput shows the vendor's software does: 8 samples on 6
   clusters take two rounds, of which 4 clusters are busy. A layer that would take one cluster longer than `split_time` (of bytes: as
   halves) is shared between all, where most of them would have nothing to do. Floats are multiplied
   at the whole clock by as many clusters as the card's power is enough for (`crowded_rate`); more of them share it: on the MLU370-S4
   measured throughput at batches 4 and 8 is that of three clusters, whatever the layers. The clusters' memories stand for a cache: what cores share is read once, and what a kernel leaves to the next stays
   there if it fits, as the vendor's fused kernels have it. Convolutions write their sums in the type that is asked for.
   Tensor units without floats (MLU220, MLU270, MLU290) are timed as if given them as fixed point: f16 as 16 bits, f32 as four such
   products; what they compute is simulated in floats all the same.
5. Ascend's software keeps images in blocks of channels (NC1HWC0) and operands of products in fractals, and copies between these and rows
   where one kernel leaves what the next does not take. Our programs read and write rows everywhere; `predict/layouts.h` follows which
   layout each tensor would have, and what copies move is added at `layout_rate` of the memory's rate, with a launch each: normalisation
   and attention between convolutions, sequences of 49 or 197 that leave fractals half empty, heads of detectors. A transposition that
   moves channels from behind the batch (of samples or of frames of several) to the end, or back, is such a copy itself; heads lie apart in
   fractals, so that copies of them move the rows there are; views that leave images whole leave their layout.
   Where maps have fewer channels than a block, what moves them and computes with them takes as long as with whole blocks. Chips that
   make fractals as they load (`product_rows`) need none of it for products. Concatenations of maps of one sample, of whole blocks made
   for them alone, take no kernel, and of any batch where convolutions or maximum pools make them, which write with room between (the
   vendor's ConvConcatFusionPass); on Cambricon those of what is made for them alone take none.
6. What Ascend's software does not fuse is added as well: an activation beyond relu, clip and leaky relu (SiLU, GELU, sigmoid, hard swish,
   ELU, …) behind a product is a kernel of its own, which reads the result and writes it again, from and to L2 where a quarter of it
   holds both and memory where not. Found by what residuals have in common: without it EfficientNet, ConvMixer, BERT and PP-OCR were measured at 1.3 to
   2 times what was predicted, and no number of the machine could say why. What a convolution gives to one sum alone is added to on its way
   out, behind an activation that it computes, too (the vendor fuses convolutions with two elementwise kernels): YOLOv3 was a third too long without. The steps of a recurrent layer are gone through by one core
   (but on chips whose cube and vector cores are apart): weights that do not stay in its L1 are read anew in each step for each 16
   sequences, from L2 or memory, as fast as one core may.
7. Time is counted by its cause along the longest way through every kernel (`spent_ms` in `--json`: products, vector unit, reductions,
   memory, starts, latency, layouts, launches, host, …). Each cause is in proportion to one number of the machine, so numbers that nobody publishes can
   be fitted to measurements: `bench/fit_machine.py`, also to your own.

int8 is predicted as if every product took integers and tensors were one byte; the vector unit works in lanes of two bytes.

## How it was checked

Networks are built with random weights by `bench/networks`; `bench/networks/rows.py` says which published measurement is about which.
An error is |predicted / measured - 1| of the latency of one batch on one chip, host transfers not included: the median over a
network's rows, then over networks. Bias is predicted over measured; tau is the rank correlation of rows; best batch is right or one
step off (sweeps of three sizes or more); b8/b1 is the error of the ratio of throughputs. Held out: each network is predicted with numbers
fitted to the other four fifths of the networks (k-fold by network, never by row). The numbers of `targets/` that were fitted have
`source = "fitted"`; no network, layer or row has a number of its own.

`low_ms` and `high_ms` are the band of the held-out residuals: one measurement of ten is below, one above (`low_f16`, `high_f16`, … in
`targets/`). Large matrix products on the 910B are held within 15 % of what is published (`tests/python/test_predict.py`).

The tables below were made on 28 November 2026 by simulating all 865 rows with the model and the numbers that the chips have now. Held-out
figures are read off the planes that `bench/fit_machine.py` fits by; planes are a lower bound of what a simulation gives (0.2 to 0.6 % below), and
the fits begin at numbers that were found with all networks, so a little of each is in what it is held out from. Of the 310, six numbers are
fitted to its 29 networks (memory, port, products, reductions, layouts, launch): fits of all thirteen put the vector unit anywhere between a sixth and twice its
rate, no nearer for what is held out; its 61 % is that of the 310P3 (117 % of eight cores, where fifteen have vector units). `reduce_rate`
of the 310P3 is kept, too: fits would halve it, no nearer for what is held out and BERT further off. The fit makes the error least that is reported here,
|predicted / measured - 1|.
"""


def by_network(records: list[dict], ratio) -> list[str]:
    groups = defaultdict(list)
    for r in records:
        groups[r["chip"], r["group"]].append(r)
    lines = ["| chip | network | error | predicted / measured | most of the time |", "|---|---|---|---|---|"]
    rows = []
    for (chip, group), rs in groups.items():
        error = statistics.median(abs(ratio(r) - 1) for r in rs)
        factors = ", ".join(f"{r['precision']} b{r['batch']} {ratio(r):.2f}"
                            for r in sorted(rs, key=lambda r: (r["precision"], r["batch"]))[:9])
        rows.append((chip, -error, f"| {chip} | {group} | {error:.0%} | {factors} | {causes(rs)} |"))
    return lines + [line for *_, line in sorted(rows)]


def causes(records: list[dict]) -> str:
    spent = Counter()
    for r in records:
        for cause, ms in r["spent_ms"].items():
            spent[cause] += ms / r["predicted_ms"] / len(records)
    return ", ".join(f"{cause} {share:.0%}" for cause, share in spent.most_common(3))


def by_effect(records: list[dict], ratio) -> list[str]:
    """Where predictions are too short or too long: by what most of the time goes to, and by batch."""
    lines = ["| chip | rows where | rows | median error | bias |", "|---|---|---|---|---|"]

    def line(chip: str, what: str, rs: list[dict]) -> None:
        if len(rs) >= 3:
            errors = [abs(ratio(r) - 1) for r in rs]
            bias = statistics.median(ratio(r) for r in rs)
            lines.append(f"| {chip} | {what} | {len(rs)} | {statistics.median(errors):.0%} | {bias:.2f} |")

    for chip in sorted({r["chip"] for r in records}):
        of = [r for r in records if r["chip"] == chip]
        most = defaultdict(list)
        for r in of:
            most[max(r["spent_ms"], key=r["spent_ms"].get)].append(r)
        for cause, rs in sorted(most.items(), key=lambda e: -len(e[1])):
            line(chip, f"most is {cause}", rs)
        for batch in sorted({r["batch"] for r in of}):
            line(chip, f"batch {batch}", [r for r in of if r["batch"] == batch])
    return lines


def unmapped(left: list[dict]) -> list[str]:
    reasons = defaultdict(Counter)
    for row in left:
        reasons[row["reason"]][row["model"]] += 1
    lines = ["| rows | reason | models |", "|---|---|---|"]
    for reason, models in sorted(reasons.items(), key=lambda e: -sum(e[1].values())):
        names = ", ".join(sorted(models)[:8]) + (", …" if len(models) > 8 else "")
        lines.append(f"| {sum(models.values())} | {reason} | {names} |")
    return lines


def write(path: Path, sections: list[tuple[str, list[str]]], lacks: str) -> None:
    """The page: HOW, the sections with their tables, what the model lacks (kept as it is written by hand)."""
    text = HOW
    for title, lines in sections:
        text += f"\n## {title}\n\n" + "\n".join(lines) + "\n"
    path.write_text(text + "\n" + lacks)
