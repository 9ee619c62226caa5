"""INT8 accuracy of Tenon beside ONNX Runtime's static quantiser and LiteRT's converter, on the same models, calibration
data and test data. Writes docs/quantization_accuracy.md.

    .venv-dev/bin/python bench/quantization.py [--models FOLDER] [--output FILE]

Networks are the digits example, some that are trained here on scikit-learn's data sets, and MNIST models where --models
has them (onnx/ort_mnist and data/mnist).
"""
import argparse
import gzip
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
TENON = ROOT / "build/bin/tenon"


class Case:
    """A model with data to calibrate and to test with; `model` is a SavedModel folder or an ONNX file."""

    def __init__(self, name, model, calibration, x, labels, one_by_one=False, keras=None):
        self.name, self.model, self.calibration, self.x, self.labels = name, model, calibration, x, labels
        self.one_by_one, self.keras = one_by_one, keras


def top1(outputs, labels):
    return float((np.asarray(outputs).reshape(len(labels), -1).argmax(axis=1) == labels).mean())


def tenon(case, folder, *options):
    file = folder / "model.tenon"
    calibration = folder / "calibration.npy"
    np.save(calibration, case.calibration)
    line = [TENON, "compile", case.model, "-o", file, "--no-verify", *options]
    if "int8" in options:
        line += ["--calibration", calibration]
    subprocess.run(line, check=True, capture_output=True)
    shutil.rmtree(folder / "out", ignore_errors=True)
    outputs = []
    for x in case.x[:, None] if case.one_by_one else [case.x]:
        np.save(folder / "x.npy", x)
        subprocess.run([TENON, "run", file, "--input", folder / "x.npy", "--output-dir", folder / "out"], check=True,
                       capture_output=True)
        outputs.append(np.load(next((folder / "out").glob("*.npy"))))
    return top1(np.concatenate(outputs), case.labels), file.stat().st_size


def onnx_runtime(case, folder):
    if Path(case.model).suffix != ".onnx":
        return None
    import onnx
    import onnx.version_converter
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self, name):
            self.samples = iter([{name: x[None]} for x in case.calibration])

        def get_next(self):
            return next(self.samples, None)

    def run(path):
        session = onnxruntime.InferenceSession(str(path))
        name = session.get_inputs()[0].name
        return top1(np.concatenate([session.run(None, {name: x[None]})[0].reshape(1, -1) for x in case.x]), case.labels)

    name = onnxruntime.InferenceSession(str(case.model)).get_inputs()[0].name
    # Scales per channel need opset 13.
    upgraded = folder / "opset13.onnx"
    onnx.save(onnx.version_converter.convert_version(onnx.load(str(case.model)), 13), str(upgraded))
    quantize_static(str(upgraded), str(folder / "ort.onnx"), Reader(name), per_channel=True,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
    return run(folder / "ort.onnx")


def litert(case, folder):
    if case.keras is None:
        return None
    import tensorflow as tf
    converter = tf.lite.TFLiteConverter.from_keras_model(case.keras)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([x[None]] for x in case.calibration)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    interpreter = tf.lite.Interpreter(model_content=converter.convert())
    interpreter.allocate_tensors()
    outputs = []
    for x in case.x:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    return top1(outputs, case.labels)


def trained(folder):
    """Networks trained here: (name, Keras model, calibration, test, labels)."""
    import keras
    from keras import layers
    from sklearn.datasets import load_breast_cancer, load_digits, load_wine
    keras.utils.set_random_seed(1)

    def depthwise():
        x = inputs = keras.Input((8, 8, 1), name="x")
        x = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(16, 3, padding="same", use_bias=False)(x)))
        for channels, stride in ((32, 1), (32, 2), (64, 1)):
            x = layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False)(x)
            x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
            x = layers.Conv2D(channels, 1, use_bias=False)(x)
            x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
        return keras.Model(inputs, layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(x)))

    def squeeze():
        x = inputs = keras.Input((8, 8, 1), name="x")
        x = layers.Conv2D(24, 3, padding="same", activation="silu")(x)
        for _ in range(2):
            y = layers.Conv2D(24, 3, padding="same", activation="silu")(x)
            gate = layers.GlobalAveragePooling2D(keepdims=True)(y)
            gate = layers.Conv2D(24, 1, activation="sigmoid")(layers.Conv2D(8, 1, activation="relu")(gate))
            x = layers.Add()([x, layers.Multiply()([y, gate])])
        x = layers.Flatten()(layers.AveragePooling2D(2)(x))
        return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))

    def dense(features, classes):
        x = inputs = keras.Input((features,), name="x")
        for units in (64, 64):
            x = layers.Dense(units, activation="gelu")(x)
        return keras.Model(inputs, layers.Dense(classes, activation="softmax")(x))

    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)[..., None]
    sets = [("depthwise on digits", depthwise(), images, digits.target),
            ("squeeze-excite on digits", squeeze(), images, digits.target)]
    for name, data in (("dense on breast cancer", load_breast_cancer()), ("dense on wine", load_wine())):
        x = ((data.data - data.data.mean(0)) / data.data.std(0)).astype(np.float32)
        sets.append((name, dense(x.shape[1], len(set(data.target))), x, data.target))
    for name, model, x, y in sets:
        order = np.random.default_rng(0).permutation(len(x))
        x, y = x[order], y[order]
        cut = len(x) * 7 // 10
        model.compile(keras.optimizers.Adam(3e-3), loss="sparse_categorical_crossentropy")
        model.fit(x[:cut], y[:cut], batch_size=64, epochs=40, verbose=0)
        path = folder / name.replace(" ", "_")
        model.export(path, verbose=False)
        yield Case(name, path, x[:min(cut, 200)], x[cut:], y[cut:], keras=model)


def mnist(models):
    data = models / "data/mnist"
    if not data.exists():
        return
    labels = np.frombuffer(gzip.open(data / "t10k-labels-idx1-ubyte.gz").read(), np.uint8, offset=8)[:2000]
    pixels = np.frombuffer(gzip.open(data / "t10k-images-idx3-ubyte.gz").read(), np.uint8, offset=16)
    pixels = pixels[:2000 * 784].reshape(-1, 1, 28, 28).astype(np.float32)
    for name, file, x in (("MNIST, CNTK", "mnist.onnx", pixels),
                          ("MNIST, PyTorch", "testdata/cnn_mnist_pytorch.onnx", (pixels / 255 - 0.1307) / 0.3081)):
        x = x.astype(np.float32)
        yield Case(name, models / "onnx/ort_mnist" / file, x[:200], x[200:1200], labels[200:1200], one_by_one=True)


def digits_example():
    folder = ROOT / "examples/digits"
    x, labels = np.load(folder / "digits.npy"), np.load(folder / "labels.npy")
    # The example has no training images: a third calibrates, all test.
    return Case("digits example", folder / "saved_model", x[::3], x, labels)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=ROOT / "../shared/models")
    parser.add_argument("--output", type=Path, default=ROOT / "docs/quantization_accuracy.md")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for case in [digits_example(), *trained(folder), *mnist(arguments.models)]:
            exact, size = tenon(case, folder)
            integers, small = tenon(case, folder, "--precision", "int8")
            others = [onnx_runtime(case, folder), litert(case, folder)]
            cells = ["" if v is None else f"{v:.2%}" for v in others]
            rows.append(f"| {case.name} | {len(case.labels)} | {exact:.2%} | {integers:.2%} | {100 * (exact - integers):+.2f} | "
                        f"{cells[0]} | {cells[1]} | {size:,} | {small:,} |")
            print(rows[-1], flush=True)
    arguments.output.write_text(
        "# INT8 accuracy\n\nMade by `bench/quantization.py`: top-1 on test data, quantised with the same calibration data. ONNX Runtime: "
        "`quantize_static`, per channel, u8 activations; it reads ONNX files. LiteRT: the converter's full integer "
        "quantisation; it reads the Keras models.\n\n"
        "| network | test samples | fp32 | INT8 | points lost | ONNX Runtime INT8 | LiteRT INT8 | fp32 file | INT8 file |\n"
        "|---|---|---|---|---|---|---|---|---|\n" + "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
