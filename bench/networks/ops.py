"""Single operators that were measured alone, as graphs of one node."""

from __future__ import annotations

from .catalogue import Input, add


def graph(kind, inputs, output, **attributes):
    def make(batch):
        from onnx import TensorProto, helper

        def value(name, shape):
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

        node = helper.make_node(kind, [n for n, _ in inputs], ["y"], **attributes)
        made = helper.make_graph([node], kind, [value(n, s) for n, s in inputs], [value("y", output)])
        return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)

    return make


def single(name, kind, inputs, output, gmacs=None, **attributes):
    described = [Input(n, s) for n, s in inputs]
    add(name, graph(kind, inputs, output, **attributes), *described, group=name, gmacs=gmacs, dynamic=False,
        onnx_graph=True)


def matmul(rows, columns, depth, transposed=False):
    b = (columns, depth) if transposed else (depth, columns)
    inputs = [("a", (rows, depth)), ("b", b)]
    name = f"matmul_m{rows}_n{columns}_k{depth}"
    macs = rows * columns * depth / 1e9
    if transposed:
        single(name, "Gemm", inputs, (rows, columns), macs, transB=1)
    else:
        single(name, "MatMul", inputs, (rows, columns), macs)


for rows, columns, depth in ((2048, 4096, 4000), (4096, 4096, 8000), (4096, 4096, 40000), (20, 6144, 16384)):
    matmul(rows, columns, depth)
for rows, columns, depth in ((1024, 576, 6144), (128, 256, 2048), (128, 256, 8192), (256, 512, 16384)):
    matmul(rows, columns, depth, transposed=True)
for kind in ("Relu", "Sigmoid", "Softmax", "Tanh", "Gelu"):
    for elements in (256, 1024, 4096, 16384):
        single(f"{kind.lower()}_{elements}", kind, [("x", (1, elements))], (1, elements))
