#!/usr/bin/env python3
"""Writes a small network of 3x3 convolutions without padding, with random weights, as a graph in text. Needs Python alone.

    examples/unaligned_winograd/make.py build/odd.tn
    examples/unaligned_winograd/make.py build/padded.tn --pad 1

Its results are an odd number of pixels wide, which keeps all its convolutions from Winograd's algorithm. With --pad the same input
gets so many rows and columns of zeros at its end, and the result loses them again. See README.md.
"""
import argparse
from pathlib import Path

SIZE, CHANNELS, LAYERS = 59, 256, 3


def graph(batch: int, pad: int) -> str:
    lines, x = [], "x"
    if pad:
        lines.append(f"  %pads = const dense<[0, 0, 0, 0, 0, {pad}, {pad}, 0]> : i64[8]")
        lines.append('  %wider = pad(%x, %pads) from "pad"')
        x = "wider"
    for i in range(LAYERS):
        lines.append(f"  %w{i} = const random(seed={i} min=-0.05 max=0.05) : f32[3,3,{CHANNELS},{CHANNELS}]")
        lines.append(f'  %conv{i} = conv(%{x}, %w{i}) {{activation="relu"}} from "conv{i}"')
        x = f"conv{i}"
    if pad:
        # What is computed from the zeros is at the end of rows and columns only: all else is as without them.
        out = SIZE - 2 * LAYERS
        lines.append("  %starts = const dense<[0, 0, 0, 0]> : i64[4]")
        lines.append(f"  %ends = const dense<[{batch}, {out}, {out}, {CHANNELS}]> : i64[4]")
        lines.append('  %y = slice(%conv2, %starts, %ends) from "crop"')
        x = "y"
    body = "\n".join(lines)
    return f"graph @main (%x: f32[{batch},{SIZE},{SIZE},{CHANNELS}]) {{\n{body}\n  return (%{x})\n}}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--pad", type=int, default=0, metavar="N")
    given = parser.parse_args()
    given.file.write_text(graph(given.batch, given.pad))


if __name__ == "__main__":
    main()
