"""Models over 2 GB: weights are mapped and streamed, so that compiling and running stay within twice the file
plus 512 MB. Needs TENON_LARGE_TESTS=1 (12 GB of disk, some minutes) and, for the SavedModel, TensorFlow."""
import inspect
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("TENON_BUILD", ROOT / "build"))
TENON = BUILD / "bin/tenon"
ORACLES = ROOT / ".venv-dev/bin/python"
LAYERS, WIDTH = 9, 8192  # 9 x 256 MB = 2.4 GB
pytestmark = pytest.mark.skipif(os.environ.get("TENON_LARGE_TESTS") != "1",
                                reason="writes some 10 GB; set TENON_LARGE_TESTS=1")


def size_of(path):
    return sum(f.stat().st_size for f in Path(path).rglob("*") if f.is_file())


def peak_of(*command):
    """Runs a command that must succeed; its largest resident memory in bytes."""
    process = subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return usage.ru_maxrss * 1024


def weight(layer):
    """Banded, so that the expected result is a few sums: w[i, i] and w[i, (i + layer + 1) % WIDTH]."""
    w = np.zeros((WIDTH, WIDTH), np.float32)
    rows = np.arange(WIDTH)
    w[rows, rows] = 0.5
    w[rows, (rows + layer + 1) % WIDTH] = 0.25
    w[0, 1] = layer  # no two layers are the same
    return w


def expected(x):
    x = x.astype(np.float64)
    for layer in range(LAYERS):
        x = np.maximum(x @ weight(layer), 0)
    return x


def compile_and_run(model, folder, output):
    size = size_of(model if model.is_dir() else model.parent)
    assert size > 2 << 30
    compiled = folder / "large.tenon"
    peaks = [peak_of(TENON, "compile", model, "-o", compiled)]
    x = np.random.default_rng(3).standard_normal((1, WIDTH)).astype(np.float32)
    np.save(folder / "x.npy", x)
    peaks.append(peak_of(TENON, "run", compiled, "--input", f"x={folder / 'x.npy'}", "--output-dir", folder / "out"))
    want = expected(x)
    got = np.load(folder / "out" / f"{output}.npy")
    assert np.abs(got - want).max() <= 1e-4 * max(1, np.abs(want).max())
    assert max(peaks) < 2 * size + (512 << 20)
    print(f"{size / 1e9:.2f} GB; peak of compile and run {peaks[0] / 1e9:.2f}, {peaks[1] / 1e9:.2f} GB")


def test_onnx_external_data(tmp_path):
    onnx = pytest.importorskip("onnx")
    graph_nodes, initializers, value = [], [], "x"
    with open(tmp_path / "weights.bin", "wb") as data:
        for layer in range(LAYERS):
            tensor = onnx.TensorProto(name=f"w{layer}", dims=[WIDTH, WIDTH], data_type=onnx.TensorProto.FLOAT,
                                      data_location=onnx.TensorProto.EXTERNAL)
            bytes_of = weight(layer).tobytes()
            for key, text in (("location", "weights.bin"), ("offset", data.tell()), ("length", len(bytes_of))):
                tensor.external_data.add(key=key, value=str(text))
            data.write(bytes_of)
            initializers.append(tensor)
            last = "y" if layer + 1 == LAYERS else f"r{layer}"
            graph_nodes += [onnx.helper.make_node("MatMul", [value, f"w{layer}"], [f"m{layer}"]),
                            onnx.helper.make_node("Relu", [f"m{layer}"], [last])]
            value = last
    io = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["n", WIDTH]) for n in "xy"]
    graph = onnx.helper.make_graph(graph_nodes, "large", io[:1], io[1:], initializers)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    compile_and_run(tmp_path / "model.onnx", tmp_path, "y")


EXPORT = """
import sys
import numpy as np
import tensorflow as tf

LAYERS, WIDTH = map(int, sys.argv[2:])
{weight}

class Model(tf.Module):
    def __init__(self):
        self.weights = [tf.Variable(weight(i)) for i in range(LAYERS)]

    @tf.function(input_signature=[tf.TensorSpec([None, WIDTH], tf.float32, name="x")])
    def serve(self, x):
        for w in self.weights:
            x = tf.nn.relu(x @ w)
        return dict(y=x)

model = Model()
tf.saved_model.save(model, sys.argv[1], signatures=model.serve)
"""


def test_saved_model(tmp_path):
    if not ORACLES.exists():
        pytest.skip("needs TensorFlow: scripts/setup --dev")
    script = EXPORT.format(weight=inspect.getsource(weight))
    subprocess.run([ORACLES, "-c", script, tmp_path / "saved_model", str(LAYERS), str(WIDTH)], check=True)
    compile_and_run(tmp_path / "saved_model", tmp_path, "y")
