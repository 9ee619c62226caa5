"""Layers of many sizes, as graphs of text: what precision_speed.py measures one by one. Which there are decides what its fit knows of."""
import random

import numpy as np


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
