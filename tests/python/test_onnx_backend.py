"""tenon.onnx_backend against ONNX's own interface."""
import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper

import tenon
from tenon import onnx_backend


def linear_model():
    weights = helper.make_tensor("w", TensorProto.FLOAT, [3, 2], [1, 2, 3, 4, 5, 6])
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Relu", ["p"], ["y"])], "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])], [weights])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


X = np.array([[1, 0, -1], [0, 2, 0]], np.float32)
Y = np.array([[0, 0], [6, 8]], np.float32)


def test_compile_takes_bytes_and_messages(tmp_path):
    model = linear_model()
    path = tmp_path / "linear.onnx"
    onnx.save(model, path)
    contents = {tenon.compile(source) for source in (model, model.SerializeToString(), path)}
    assert len(contents) == 1
    np.testing.assert_array_equal(tenon.Runner(contents.pop()).run(X)["y"], Y)


def test_prepare_and_run_model():
    rep = onnx_backend.prepare(linear_model(), "CPU")
    for inputs in ([X], X, {"x": X}):
        outputs = rep.run(inputs)
        np.testing.assert_array_equal(outputs[0], Y)
        np.testing.assert_array_equal(outputs["y"], Y)
    np.testing.assert_array_equal(onnx_backend.run_model(linear_model(), [X])[0], Y)


def test_run_node():
    node = helper.make_node("Add", ["a", "b"], ["c"])
    outputs = onnx_backend.run_node(node, [X, X])
    np.testing.assert_array_equal(outputs[0], X + X)
    square = helper.make_node("Mul", ["a", "a"], ["c"])
    outputs = onnx_backend.run_node(square, [X], outputs_info=[(np.dtype(np.float32), X.shape)])
    np.testing.assert_array_equal(outputs[0], X * X)


def test_slice_takes_scalars_for_vectors_of_one():
    """As tf2onnx writes them and ONNX Runtime takes them."""
    scalars = [helper.make_tensor(name, TensorProto.INT64, [], [value])
               for name, value in (("start", 1), ("end", 9), ("axis", 1), ("step", 2))]
    graph = helper.make_graph([helper.make_node("Slice", ["x", "start", "end", "axis", "step"], ["y"])], "slice",
                              [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 6])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])], scalars)
    x = np.arange(12, dtype=np.float32).reshape(2, 6)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    np.testing.assert_array_equal(onnx_backend.run_model(model, [x])[0], x[:, 1::2])


@pytest.mark.parametrize("split, shape", [([1, 1], (1, 3)), (None, (3,))])
def test_sizes_keep_the_dimension_that_a_sequence_is_split_along(split, shape):
    """keepdims=0 is for splits without sizes."""
    sizes = [] if split is None else [helper.make_tensor("split", TensorProto.INT64, [2], split)]
    zero = helper.make_tensor("zero", TensorProto.INT64, [], [0])
    graph = helper.make_graph(
        [helper.make_node("SplitToSequence", ["x"] + [s.name for s in sizes], ["s"], axis=0, keepdims=0),
         helper.make_node("SequenceAt", ["s", "zero"], ["y"])], "split",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, list(shape))], [*sizes, zero])
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    np.testing.assert_array_equal(onnx_backend.run_model(model, [x])[0], x[0].reshape(shape))


@pytest.mark.parametrize("opset", [6, 10, 11])
def test_clip_has_its_bounds_where_its_version_has_them(opset):
    bounds = [helper.make_tensor(name, TensorProto.FLOAT, [], [value]) for name, value in (("low", -1), ("high", 2))]
    node = (helper.make_node("Clip", ["x", "low", "high"], ["y"]) if opset >= 11 else
            helper.make_node("Clip", ["x"], ["y"], min=-1.0, max=2.0))
    graph = helper.make_graph([node], "clip", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])], bounds if opset >= 11 else [])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    np.testing.assert_array_equal(onnx_backend.run_model(model, [np.float32([-3, -1, 1, 3])])[0], [-1, -1, 1, 2])


def unpool_model(sizes):
    graph = helper.make_graph(
        [helper.make_node("MaxPool", ["x"], ["p", "i"], kernel_shape=[2, 2], strides=[2, 2]),
         helper.make_node("MaxUnpool", ["p", "i"], ["y"], kernel_shape=[2, 2], strides=[2, 2])], "unpool",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, sizes)])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def unpooled(x):
    n, c, h, w = x.shape
    windows = x.reshape(n, c, h // 2, 2, w // 2, 2)
    largest = windows == windows.max(axis=(3, 5), keepdims=True)
    return np.where(largest, windows, 0).reshape(x.shape)


def test_max_unpool_of_open_sizes():
    """Every largest value of a 2x2 window goes back where it was, of any batch and image."""
    rep = onnx_backend.prepare(unpool_model(["n", 3, "h", "w"]), "CPU")
    for n, h, w in ((1, 4, 6), (3, 2, 8)):
        x = np.random.default_rng(n).standard_normal((n, 3, h, w)).astype(np.float32)
        np.testing.assert_array_equal(rep.run([x])[0], unpooled(x))


def test_max_unpool_within_windows():
    """Of images whose size is known nothing is scattered: every window looks for its own place."""
    rep = onnx_backend.prepare(unpool_model(["n", 3, 4, 6]), "CPU")
    for n in (1, 3):
        x = np.random.default_rng(n).standard_normal((n, 3, 4, 6)).astype(np.float32)
        np.testing.assert_array_equal(rep.run([x])[0], unpooled(x))


def test_devices():
    assert onnx_backend.supports_device("CPU")
    assert not onnx_backend.supports_device("CUDA")
    assert not onnx_backend.supports_device("TOASTER:1")
    with pytest.raises(ValueError, match="CUDA"):
        onnx_backend.prepare(linear_model(), "CUDA")


def test_unknown_operator_is_named():
    model = linear_model()
    model.graph.node[1].op_type = "Celu"
    model.graph.node[1].domain = "acme"
    model.opset_import.append(helper.make_opsetid("acme", 1))
    with pytest.raises(tenon.Error, match="Celu") as caught:
        onnx_backend.prepare(model)
    assert caught.value.code == "unsupported"


def test_suite_can_drive_it():
    """A handful of ONNX's own cases, through its own runner."""
    import unittest

    import onnx.backend.test

    suite = onnx.backend.test.BackendTest(onnx_backend.TenonBackend, __name__)
    suite.include(r"^test_(relu|add|softmax_axis_0|conv_with_strides_padding|gemm_all_attributes)_cpu$")
    result = unittest.TestResult()
    suite.test_suite.run(result)
    assert result.testsRun >= 5
    assert result.wasSuccessful(), result.failures + result.errors
