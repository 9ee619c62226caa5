#!/usr/bin/env python3
"""Writes yolo.tn: a detector like YOLOv5s with random weights, as a graph in text. Needs Python alone.

    examples/batch_size/make.py build/yolo.tn
    tenon predict build/yolo.tn --target ascend910a --batch 1,2,4,8,16,32,64 --html build/yolo.html

The weights do not matter for how long a chip takes; sizes do. See README.md.
"""
import sys
from pathlib import Path


class Graph:
    """Lines of a graph, with the channels of every value."""

    def __init__(self):
        self.lines, self.channels, self.count = [], {"x": 3}, 0

    def add(self, op: str, operands: list[str], channels: int, attributes: str = "", name: str = "") -> str:
        self.count += 1
        value = f"v{self.count}"
        self.channels[value] = channels
        given = ", ".join(f"%{o}" for o in operands)
        origin = f' from "{name}"' if name else ""
        self.lines.append(f"  %{value} = {op}({given}){' {' + attributes + '}' if attributes else ''}{origin}")
        return value

    def conv(self, x: str, out: int, size: int, stride: int, name: str, activation: str = "silu") -> str:
        seed = 1000 + self.count
        self.lines.append(f"  %w{seed} = const random(seed={seed} min=-0.05 max=0.05) : "
                          f"f32[{size},{size},{self.channels[x]},{out}]")
        pad = (size - 1) // 2 if size != 6 else 2
        attributes = f'strides=[{stride}, {stride}], pads=[{pad}, {pad}, {pad}, {pad}], activation="{activation}"'
        return self.add("conv", [x, f"w{seed}"], out, attributes, name)

    def c3(self, x: str, out: int, depth: int, shortcut: bool, name: str) -> str:
        """A cross-stage block: one half of the channels through bottlenecks, the other past them."""
        a = self.conv(x, out // 2, 1, 1, f"{name}.cv1")
        for i in range(depth):
            y = self.conv(a, out // 2, 1, 1, f"{name}.m.{i}.cv1")
            y = self.conv(y, out // 2, 3, 1, f"{name}.m.{i}.cv2")
            a = self.add("add", [a, y], out // 2, "", f"{name}.m.{i}.add") if shortcut else y
        b = self.conv(x, out // 2, 1, 1, f"{name}.cv2")
        return self.conv(self.join([a, b], f"{name}.concat"), out, 1, 1, f"{name}.cv3")

    def join(self, parts: list[str], name: str) -> str:
        return self.add("concat", parts, sum(self.channels[p] for p in parts), "axis=3", name)

    def twice(self, x: str, size: int, name: str) -> str:
        self.count += 1
        sizes = f"s{self.count}"
        self.lines.append(f"  %{sizes} = const dense<[{size}, {size}]> : i64[2]")
        return self.add("resize", [x, sizes], self.channels[x], 'mode="nearest", coordinate="asymmetric", '
                        'nearest_rounding="floor"', name)


def yolo(g: Graph, size: int) -> list[str]:
    x = g.conv("x", 32, 6, 2, "backbone.0")
    x = g.c3(g.conv(x, 64, 3, 2, "backbone.1"), 64, 1, True, "backbone.2")
    p3 = g.c3(g.conv(x, 128, 3, 2, "backbone.3"), 128, 2, True, "backbone.4")
    p4 = g.c3(g.conv(p3, 256, 3, 2, "backbone.5"), 256, 3, True, "backbone.6")
    x = g.c3(g.conv(p4, 512, 3, 2, "backbone.7"), 512, 1, True, "backbone.8")
    x = g.conv(x, 256, 1, 1, "sppf.cv1")
    pools = [x]
    for i in range(3):
        pools.append(g.add("max_pool", [pools[-1]], 256, "kernel=[5, 5], strides=[1, 1], pads=[2, 2, 2, 2]", f"sppf.m.{i}"))
    x = g.conv(g.join(pools, "sppf.concat"), 512, 1, 1, "sppf.cv2")
    n5 = g.conv(x, 256, 1, 1, "neck.10")
    x = g.c3(g.join([g.twice(n5, size // 16, "neck.11"), p4], "neck.12"), 256, 1, False, "neck.13")
    n4 = g.conv(x, 128, 1, 1, "neck.14")
    o3 = g.c3(g.join([g.twice(n4, size // 8, "neck.15"), p3], "neck.16"), 128, 1, False, "neck.17")
    o4 = g.c3(g.join([g.conv(o3, 128, 3, 2, "neck.18"), n4], "neck.19"), 256, 1, False, "neck.20")
    o5 = g.c3(g.join([g.conv(o4, 256, 3, 2, "neck.21"), n5], "neck.22"), 512, 1, False, "neck.23")
    return [g.conv(o, 255, 1, 1, f"head.{i}", "none") for i, o in enumerate((o3, o4, o5))]


def main() -> int:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    size, g = 640, Graph()
    outputs = yolo(g, size)
    text = f"graph @main (%x: f32[?n,{size},{size},3]) {{\n" + "\n".join(g.lines)
    text += "\n  return (" + ", ".join(f"%{o}" for o in outputs) + ")\n}\n"
    Path(sys.argv[1]).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
