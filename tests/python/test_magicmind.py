"""The lines that users of the chip know: magicmind.python.runtime and cambricon_model_compiler."""
import subprocess
import sys

import numpy as np
import pytest

import tenon


@pytest.fixture
def command(build):
    return str(build / "bin/cambricon_model_compiler")


def run(arguments, **options):
    return subprocess.run(arguments, capture_output=True, text=True, timeout=120, **options)


def test_resnet_tiny_word_for_word(root, build, tmp_path):
    """The example's own scripts, in a copy of its folder."""
    import os
    import shutil
    folder = tmp_path / "examples/resnet_tiny"
    shutil.copytree(root / "examples/resnet_tiny", folder)
    done = run([folder / "run.sh"], env=dict(os.environ, TENON_BUILD=str(build), PYTHON=sys.executable))
    assert done.returncode == 0, done.stderr
    assert "(1, 10)" in done.stdout


def test_host_buffers(digits, digits_file):
    import magicmind.python.runtime as mm
    _, images, _, expected = digits
    runner = mm.Runner(deserialize_file=digits_file)
    buffer = mm.HostBuffer(images)
    assert buffer.asnumpy() is images and buffer.shape == images.shape
    for inputs in ([buffer], [images]):
        results = runner.infer(inputs)
        assert len(results) == 1 and isinstance(results[0], mm.HostBuffer)
        np.testing.assert_allclose(results[0].asnumpy(), expected, rtol=1e-4, atol=1e-6)
    assert runner.input_names == ["images"] and results[0].name == runner.output_names[0]
    with pytest.raises(tenon.Error, match="deserialize_file"):
        mm.Runner()


def test_graph_def(command, fixtures, tmp_path):
    path, inputs, outputs = fixtures("v1_cnn_frozen")
    file = tmp_path / "model.cambricon"
    done = run([command, "--model_type", "tensorflow", "--input_model", path, "--output_model", file,
                "--precision=force_float32", "--input_shapes=images:[2,12,12,2]"])
    assert done.returncode == 0, done.stderr
    runner = tenon.Runner(file)
    assert runner.inputs[0].shape == (2, 12, 12, 2)
    np.testing.assert_allclose(runner.run(inputs)["probabilities"], outputs["probabilities"], rtol=1e-4,
                               atol=1e-6)


def test_several_shapes(command, fixtures, tmp_path):
    path, inputs, _ = fixtures("keras_multi_io")
    runner = tenon.Runner(tenon.compile(path))
    shapes = ",".join(str(list(inputs[port.name].shape)).replace(" ", "") for port in runner.inputs)
    file = tmp_path / "model.cambricon"
    base = [command, "--model_type=tensorflow", f"--input_saved_model_dir={path}",
            f"--output_model={file}"]
    for text in (shapes, f"[{shapes}]"):
        done = run([*base, f"--input_shapes={text}"])
        assert done.returncode == 0, done.stderr
        assert [port.shape for port in tenon.Runner(file).inputs] == [
            inputs[port.name].shape for port in runner.inputs]
    done = run([*base, "--input_shapes=[1],[2],[3],[4],[5],[6]"])
    assert done.returncode == 1 and "6 shapes" in done.stderr


@pytest.mark.parametrize("arguments, status, words", [
    ([], 2, "output_model"),
    (["--output_model=m", "--no_such_flag"], 2, "no_such_flag"),
    (["--output_model=m"], 2, "input_saved_model_dir"),
    (["--output_model=m", "--model_type=caffe", "--input_model=x"], 2, "caffe"),
    (["--output_model=m", "--model_type=onnx", "--input_saved_model_dir=x"], 2, "tensorflow"),
    (["--output_model=m", "--input_model=missing.pb"], 1, "missing.pb"),
    (["--output_model=m", "--input_model=x.pb", "--input_shapes=[1,b]"], 2, "'b'"),
    (["--output_model=m", "--input_model=x.pb", "--input_shapes=[1,2"], 2, "form"),
    (["--output_model=m", "--input_model=x.pb", "--precision=force_float17"], 2, "force_float16"),
    (["--output_model=m", "--input_model=missing.pb", "--precision=force_float16"], 1, "missing.pb"),
    (["--output_model=m", "--input_model=missing.pb", "--mlu_arch=mtp_372", "--dev_id=0"], 1, "no effect"),
    (["--help"], 0, "Example"),
])
def test_command_line_mistakes(command, tmp_path, arguments, status, words):
    done = run([command, *arguments], cwd=tmp_path)
    assert done.returncode == status, done.stderr
    assert words in done.stdout + done.stderr
    assert not list(tmp_path.iterdir())
