"""tenon.compile and tenon.check."""
import os
import warnings

import numpy as np
import pytest

import tenon


def test_bytes_and_file_are_the_same(digits, digits_file):
    content = tenon.compile(digits[0])
    assert isinstance(content, bytes)
    with open(digits_file, "rb") as file:
        assert file.read() == content


def test_output_path_is_returned(digits, tmp_path):
    path = tmp_path / "model.tenon"
    assert tenon.compile(str(digits[0]), path) == str(path)
    assert os.listdir(tmp_path) == ["model.tenon"]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_graph_def_from_memory(fixtures, kind):
    path, inputs, outputs = fixtures("v1_cnn_frozen")
    content = tenon.compile(kind(path.read_bytes()))
    results = tenon.Runner(kind(content)).run(inputs)
    np.testing.assert_allclose(results["probabilities"], outputs["probabilities"], rtol=1e-4, atol=1e-6)


def test_protobuf_message(fixtures):
    path, inputs, _ = fixtures("v1_cnn_frozen")

    class Message:
        def SerializeToString(self):
            return path.read_bytes()

    assert tenon.compile(Message()) == tenon.compile(path)


@pytest.mark.parametrize("shapes", [(4, 8, 8, 1), {"images": [4, 8, 8, 1]}, {"images": (4, None, -1, 1)}])
def test_input_shapes(digits, shapes):
    runner = tenon.Runner(tenon.compile(digits[0], input_shapes=shapes, signature="serving_default"))
    assert runner.inputs == (tenon.Port("images", "float32", (4, 8, 8, 1)),)
    assert runner.outputs[0].shape == (4, 10)
    assert runner.signatures == ("serving_default",)
    with pytest.raises(tenon.Error, match="images"):
        runner.run(digits[1])


def test_disable_and_optimize(digits):
    images, expected = digits[1], digits[3]
    for options in ({"disable": ["fuse-bias", "fuse-activation"]}, {"optimize": False}):
        output, = tenon.Runner(tenon.compile(digits[0], **options)).run(images).values()
        np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("options, code, words", [
    ({"precision": "int3"}, "unsupported", "int3"),
    ({"target": "toaster"}, "unsupported", "toaster"),
    ({"disable": ["no-such-rule"]}, "invalid_argument", "no-such-rule"),
    ({"signature": "no_such_key"}, "not_found", "serving_default"),
    ({"input_shapes": (1, 9, 9, 1)}, "invalid_argument", "images"),
    ({"input_shapes": {"images": (1, -7, 8, 1)}}, "invalid_argument", "negative"),
    ({"input_shapes": {"images": "wide"}}, "invalid_argument", "wide"),
])
def test_bad_options(digits, tmp_path, options, code, words):
    with pytest.raises(tenon.Error, match=words) as caught:
        tenon.compile(digits[0], tmp_path / "model.tenon", **options)
    assert caught.value.code == code
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("model", [b"", b"\x00", b"junk" * 100, b"\x0a\xff\xff\xff\xff\x0f"])
def test_bad_bytes(model):
    with pytest.raises(tenon.Error) as caught:
        tenon.compile(model)
    assert caught.value.code in ("invalid_model", "unsupported", "invalid_argument", "not_found")


def test_missing_model():
    with pytest.raises(tenon.Error, match="no/such/model") as caught:
        tenon.compile("no/such/model")
    assert caught.value.code == "not_found"
    with pytest.raises(TypeError):
        tenon.compile(5)


def test_unwritable_output(digits):
    with pytest.raises(tenon.Error) as caught:
        tenon.compile(digits[0], "/no/such/folder/model.tenon")
    assert caught.value.code in ("io", "not_found")


def test_check(digits):
    report = tenon.check(digits[0])
    assert report.ok and "serving_default" in report.signatures
    assert report.format == "TensorFlow SavedModel"
    assert any(node.op == "Conv2D" and node.fate == "mapped" for node in report.nodes)
    assert report.unsupported == ()
    assert "mapped" in str(report)


def test_check_lists_what_is_not_supported(fixtures):
    path, _, _ = fixtures("v1_cnn_frozen")
    content = path.read_bytes()
    assert content.count(b"Softmax") >= 1
    report = tenon.check(content.replace(b"\x12\x07Softmax", b"\x12\x07Sohtmax"))
    assert not report.ok
    assert [node.op for node in report.unsupported] == ["Sohtmax"]
    assert "Sohtmax" in str(report)
    with pytest.raises(tenon.Error, match="Sohtmax") as caught:
        tenon.compile(content.replace(b"\x12\x07Softmax", b"\x12\x07Sohtmax"))
    assert caught.value.code == "unsupported"


def test_warnings_are_python_warnings(digits):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tenon.compile(digits[0])
