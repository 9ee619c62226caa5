"""Exports a SavedModel and an ONNX file with a custom op, and what TensorFlow computes.

    .venv-dev/bin/python examples/custom_op/make.py

The op, SoftShrinkPair, is built from tensorflow_op.cc against the headers of the tensorflow package. Tests
read saved_model/, model.onnx and io.npz and need neither.
"""
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import onnx
import tensorflow as tf
from onnx import TensorProto, helper

HERE = Path(__file__).resolve().parent


def load_op():
    library = Path(tempfile.mkdtemp()) / "op.so"
    flags = [*tf.sysconfig.get_compile_flags(), *tf.sysconfig.get_link_flags()]
    subprocess.run(["g++", "-std=c++17", "-O1", "-w", "-shared", "-fPIC", HERE / "tensorflow_op.cc", "-o", library,
                    *flags], check=True)
    return tf.load_op_library(str(library))


def save_tensorflow(op):
    class Model(tf.Module):
        def __init__(self):
            self.scale = tf.Variable([2.0])

        @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
        def __call__(self, x):
            # One node that leaves its attributes at their defaults, one in a loop, one in a branch.
            shrunk, kept = op.soft_shrink_pair(x=x, w=self.scale, name="pair")
            _, total = tf.while_loop(
                lambda i, t: i < 3,
                lambda i, t: (i + 1, op.soft_shrink_pair(x=t, w=tf.constant([1.5]), lambd=0.1, name="in_loop")[0]),
                [tf.constant(0), shrunk])
            chosen = tf.cond(tf.reduce_sum(x) > 0,
                             lambda: op.soft_shrink_pair(x=x, w=self.scale, lambd=1.0, name="in_branch")[1],
                             lambda: kept)
            return {"shrunk": tf.nn.relu(shrunk) - 1.0, "total": total, "chosen": chosen}

    model = Model()
    shutil.rmtree(HERE / "saved_model", ignore_errors=True)
    tf.saved_model.save(model, str(HERE / "saved_model"), signatures=model.__call__)
    arrays = {}
    rng = np.random.default_rng(5)
    for i, rows in enumerate((1, 4)):
        x = rng.standard_normal((rows, 3)).astype(np.float32) + (1 if i else -1)
        arrays[f"{i}:in:x"] = x
        arrays.update({f"{i}:out:{name}": value.numpy() for name, value in model(x).items()})
    np.savez(HERE / "io.npz", **arrays)


def save_onnx():
    node = helper.make_node("SoftShrinkPair", ["x", "w"], ["shrunk", "kept"], name="pair", domain="my.ops", lambd=0.25)
    after = helper.make_node("Mul", ["shrunk", "kept"], ["y"], name="product")
    graph = helper.make_graph(
        [node, after], "custom", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor("w", TensorProto.FLOAT, [1], [3.0])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("my.ops", 1)],
                              ir_version=9)
    onnx.save(model, HERE / "model.onnx")


if __name__ == "__main__":
    save_tensorflow(load_op())
    save_onnx()
