"""Makes the model of this example, and what it computes, with NumPy.

    .venv-dev/bin/python examples/custom_mlu/make.py
"""
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).resolve().parent


def main():
    rng = np.random.default_rng(3)
    weights = (rng.standard_normal((64, 200)) / 8).astype(np.float32)
    gain = rng.uniform(0.5, 2, 200).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "weights"], ["h"], name="project"),
        helper.make_node("RowNorm", ["h", "gain"], ["n"], name="normalise", domain="my.ops", epsilon=0.01),
        helper.make_node("Relu", ["n"], ["y"], name="act"),
    ]
    graph = helper.make_graph(
        nodes, "row_norm", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 200])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(gain, "gain")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("my.ops", 1)])
    model.ir_version = 8
    onnx.save(model, HERE / "model.onnx")
    x = rng.standard_normal((20, 64)).astype(np.float32)
    h = x @ weights
    y = np.maximum(h / np.sqrt((h * h).sum(-1, keepdims=True) + 0.01) * gain, 0)
    np.save(HERE / "x.npy", x)
    np.save(HERE / "expected.npy", y.astype(np.float32))


if __name__ == "__main__":
    main()
