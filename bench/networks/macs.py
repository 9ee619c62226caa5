"""Multiply-adds and weights of an ONNX graph, counted here so that a wrongly built network shows."""

from __future__ import annotations

import math

import onnx
from onnx import shape_inference


def fix_batch(model: onnx.ModelProto, shapes: dict[str, list[int]]) -> onnx.ModelProto:
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for value in fixed.graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, shapes[value.name]):
            dim.ClearField("dim_param")
            dim.dim_value = size
    for value in fixed.graph.output:
        value.type.tensor_type.ClearField("shape")
    del fixed.graph.value_info[:]
    return fixed


def known_shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    inferred = shape_inference.infer_shapes(model, data_prop=True)
    shapes = {t.name: list(t.dims) for t in inferred.graph.initializer}
    for value in (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output):
        dims = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(d.HasField("dim_value") for d in dims):
            shapes[value.name] = [d.dim_value for d in dims]
    return shapes


def node_macs(node, shapes) -> int | None:
    """None where a shape is unknown."""
    def shape(name):
        return shapes.get(name)

    kind = node.op_type
    if kind in ("Conv", "ConvTranspose"):
        weight, other = shape(node.input[1]), shape(node.output[0] if kind == "Conv" else node.input[0])
        return None if weight is None or other is None else math.prod(other) * math.prod(weight[1:])
    if kind == "DeformConv":
        weight, out = shape(node.input[1]), shape(node.output[0])
        return None if weight is None or out is None else math.prod(out) * math.prod(weight[1:])
    if kind in ("MatMul", "Gemm"):
        a, b = shape(node.input[0]), shape(node.input[1])
        if a is None or b is None or not a or not b:
            return None
        if kind == "Gemm":
            flip = {x.name: x.i for x in node.attribute}
            return math.prod(a) * (b[0] if flip.get("transB") else b[-1])
        batch = math.prod(b[:-2]) if len(b) > len(a) else math.prod(a[:-2])
        rows, columns = (a[-2] if len(a) > 1 else 1), (b[-1] if len(b) > 1 else 1)
        return batch * rows * a[-1] * columns
    if kind in ("LSTM", "GRU", "RNN"):
        x, w, r = shape(node.input[0]), shape(node.input[1]), shape(node.input[2])
        return None if None in (x, w, r) else x[0] * x[1] * (math.prod(w) + math.prod(r))
    return 0


def count(model: onnx.ModelProto, shapes: dict[str, list[int]]) -> dict:
    """Multiply-adds with these input shapes, parameters, and how many layers could not be counted."""
    known = known_shapes(fix_batch(model, shapes))
    layers = [node_macs(n, known) for n in model.graph.node]
    return {
        "macs": sum(m for m in layers if m),
        "parameters": sum(math.prod(t.dims) for t in model.graph.initializer if t.data_type == 1),
        "uncounted": sum(m is None for m in layers),
        "nodes": len(layers),
    }


def multiplications_skipped():
    """A mode in which torch's convolutions and matrix products give zeros of the right shape, and are counted."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    aten = torch.ops.aten

    def convolved(x, weight, _bias, stride, padding, dilation, transposed, extra, groups):
        x, weight, sizes = x.shape, weight.shape, []
        for n, length in enumerate(x[2:]):
            reach = dilation[n] * (weight[2 + n] - 1)
            if transposed:
                sizes.append((length - 1) * stride[n] - 2 * padding[n] + reach + extra[n] + 1)
            else:
                sizes.append((length + 2 * padding[n] - reach - 1) // stride[n] + 1)
        out = (x[0], weight[1] * groups if transposed else weight[0], *sizes)
        return torch.zeros(out), math.prod(x if transposed else out) * math.prod(weight[1:])

    def multiplied(a, b):
        return torch.zeros(*a.shape[:-1], b.shape[-1]), math.prod(a.shape) * b.shape[-1]

    class Skipping(TorchDispatchMode):
        total = 0

        def __torch_dispatch__(self, kind, types, args=(), kwargs=None):
            if kind is aten.convolution.default:
                out, macs = convolved(*args)
            elif kind in (aten.mm.default, aten.bmm.default):
                out, macs = multiplied(*args)
            elif kind in (aten.addmm.default, aten.baddbmm.default):
                out, macs = multiplied(args[1], args[2])
            else:
                return kind(*args, **(kwargs or {}))
            self.total += macs
            return out

    return Skipping()


def count_torch(network, batch: int) -> int:
    """The same by running the module and looking at what reaches torch's kernels."""
    import torch

    from .export import example, quick_weights

    with quick_weights():
        module = network.make().eval()
    inputs = example(network, batch)
    with torch.no_grad(), multiplications_skipped() as mode:
        module(*inputs)
    return mode.total
