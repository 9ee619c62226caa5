"""Export rules of our own: pooling with the places of the largest and its reverse, as ONNX has them.

ONNX counts places through the whole tensor, torch within one plane; only the time matters here.
"""

from __future__ import annotations


def _pool_with_places(g, x, kernel, stride, padding, dilation, ceil_mode):
    from torch.onnx import symbolic_helper as h

    def ints(value):
        return h._maybe_get_const(value, "is")

    sizes = ints(kernel)
    return g.op("MaxPool", x, outputs=2, kernel_shape_i=sizes, strides_i=ints(stride) or sizes, pads_i=ints(padding) * 2)


def _unpool(g, x, places, output_size):
    return g.op("MaxUnpool", x, places, kernel_shape_i=[2, 2], strides_i=[2, 2])


def register() -> None:
    from torch.onnx import register_custom_op_symbolic

    register_custom_op_symbolic("aten::max_pool2d_with_indices", _pool_with_places, 13)
    register_custom_op_symbolic("aten::max_unpool2d", _unpool, 13)
