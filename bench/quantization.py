"""INT8 accuracy of Tenon beside ONNX Runtime's static quantiser, OpenVINO's NNCF and LiteRT's converter, on the same models,
calibration data and test data. Writes docs/quantization_accuracy.md.

    .venv-dev/bin/python bench/quantization.py [--models FOLDER] [--output FILE] [--only WORD]

Networks are the digits example, some that are trained here on scikit-learn's data sets, and trained ones of --models, where
that folder is there. What has labels is scored by top-1, the rest by the SQNR of its outputs against each engine's own fp32.
"""
import argparse
import gzip
import os
import subprocess
import sys
import tempfile
import wave
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
TENON = ROOT / "build/bin/tenon"
sys.path.insert(0, str(ROOT / "build/python"))
import tenon as package  # noqa: E402


class Case:
    """A model with data to calibrate and to test with: inputs by name, a sample per row; `model` is a SavedModel folder, a .pb
    or an .onnx file."""

    def __init__(self, name, model, calibration, x, labels=None, keras=None):
        self.name, self.model, self.labels, self.keras = name, Path(model), labels, keras
        as_dict = lambda v: v if isinstance(v, dict) else {"": v}
        self.calibration, self.x = as_dict(calibration), as_dict(x)

    def rows(self, data, names):
        """Samples with a batch of one, by the engine's names for the inputs."""
        by = {n: data[""] if "" in data else data[n.split(":")[0]] for n in names}
        for i in range(len(next(iter(by.values())))):
            yield {n: v[i:i + 1] for n, v in by.items()}


def top1(outputs, labels):
    return float((np.asarray(outputs[0]).reshape(len(labels), -1).argmax(axis=1) == labels).mean())


def sqnr(outputs, exact):
    """Decibels of all outputs together."""
    error = sum(float(((a - b) ** 2).sum()) for a, b in zip(outputs, exact))
    power = sum(float((b.astype(np.float64) ** 2).sum()) for b in exact)
    return 10 * np.log10(power / max(error, 1e-30))


def collect(rows, run):
    parts = [run(row) for row in rows]
    return [np.concatenate([np.asarray(p[i]) for p in parts]) for i in range(len(parts[0]))]


def tenon(case, folder, *options):
    file = folder / "model.tenon"
    if "int8" in options:
        names = [port.name.split(":")[0] for port in package.Runner(folder / "exact.tenon").inputs]
        np.savez(folder / "calibration.npz", **{names[0] if not name else name: v for name, v in case.calibration.items()})
        options = [*options, "--calibration", folder / "calibration.npz"]
    subprocess.run([TENON, "compile", case.model, "-o", file, "--no-verify", *options], check=True, capture_output=True)
    runner = package.Runner(file)
    names = [port.name for port in runner.inputs]
    return collect(case.rows(case.x, names), lambda row: list(runner.run(row).values())), file


def onnx_file(case, folder):
    """The model as ONNX, by tf2onnx where it is none; None where that cannot be."""
    if case.model.suffix == ".onnx":
        return case.model
    if not case.model.is_dir():
        return None
    path = folder / "converted.onnx"
    done = subprocess.run([sys.executable, "-m", "tf2onnx.convert", "--saved-model", case.model, "--output", path, "--opset", "15"],
                          capture_output=True)
    return path if done.returncode == 0 else None


def onnx_runtime(case, folder, path):
    if path is None:
        return None
    import onnx
    import onnx.version_converter
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    def session(file):
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 3, 1
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    names = [i.name for i in session(path).get_inputs()]

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.samples = case.rows(case.calibration, names)

        def get_next(self):
            return next(self.samples, None)

    model = onnx.load(str(path))
    if model.opset_import[0].version < 13:  # scales per channel need it
        model = onnx.version_converter.convert_version(model, 13)
    onnx.save(model, str(folder / "opset13.onnx"))
    quantize_static(str(folder / "opset13.onnx"), str(folder / "ort.onnx"), Reader(), per_channel=True,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
    run = lambda s: collect(case.rows(case.x, names), lambda row: s.run(None, row))
    return run(session(path)), run(session(folder / "ort.onnx"))


def nncf(case, folder, path):
    import logging
    import nncf
    import openvino
    nncf.set_log_level(logging.ERROR)
    core = openvino.Core()
    model = openvino.convert_model(str(path or case.model))
    names = [next(iter(p.get_names())) for p in model.inputs]
    if "" not in case.x:
        names = [next((n for n in p.get_names() if n.split(":")[0] in case.x), n) for p, n in zip(model.inputs, names)]
    samples = list(case.rows(case.calibration, names))
    integers = nncf.quantize(model, nncf.Dataset(samples), subset_size=len(samples))

    def run(m):
        compiled = core.compile_model(m, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1})
        return collect(case.rows(case.x, names), lambda row: list(compiled(row).values()))

    return run(model), run(integers)


def litert(case):
    if case.keras is None:
        return None
    import tensorflow as tf

    def run(integers):
        converter = tf.lite.TFLiteConverter.from_keras_model(case.keras)
        if integers:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([x[None]] for x in case.calibration[""])
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        interpreter = tf.lite.Interpreter(model_content=converter.convert())
        interpreter.allocate_tensors()
        place, result = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

        def once(row):
            interpreter.set_tensor(place, row["x"])
            interpreter.invoke()
            return [interpreter.get_tensor(result)]
        return collect(case.rows(case.x, ["x"]), once)

    return run(False), run(True)


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
    labels = np.frombuffer(gzip.open(data / "t10k-labels-idx1-ubyte.gz").read(), np.uint8, offset=8)[:5000]
    pixels = np.frombuffer(gzip.open(data / "t10k-images-idx3-ubyte.gz").read(), np.uint8, offset=16)
    pixels = pixels[:5000 * 784].reshape(-1, 1, 28, 28).astype(np.float32)
    for name, file, x in (("MNIST, CNTK", "ort_mnist/mnist.onnx", pixels),
                          ("MNIST, PyTorch", "ort_mnist/testdata/cnn_mnist_pytorch.onnx", (pixels / 255 - 0.1307) / 0.3081),
                          ("MNIST, wonnx", "wonnx_mnist/opt-mnist.onnx", pixels)):
        x = x.astype(np.float32)
        yield Case(name, models / "onnx" / file, x[:200], x[200:], labels[200:])


def audio(path):
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32).reshape(-1, file.getnchannels())[:, 0] / 32768


def without_labels(models):
    """Trained models on real data that nobody labelled."""
    speech = [audio(p) for p in sorted((models / "data/speech_wavs").glob("*_1000ms.wav"))]
    if not speech:
        return
    frames = np.concatenate([s[i:i + 512][None] for s in speech for i in range(0, len(s) - 512, 128)])
    frames = np.random.default_rng(0).permutation(frames)
    spectra = np.abs(np.fft.rfft(frames)).astype(np.float32)[:, None]
    half = min(len(spectra) // 2, 150)
    state = np.zeros((len(spectra), 2, 128, 2), np.float32)
    part = lambda low, high, **arrays: {k: v[low:high] for k, v in arrays.items()}
    both = [part(low, low + half, input_2=spectra, input_3=state) for low in (0, half)]
    yield Case("DTLN, first half", models / "onnx/dtln/model_1.onnx", *both)
    both = [part(low, low + half, input_4=frames[:, None].astype(np.float32), input_5=state) for low in (0, half)]
    yield Case("DTLN, second half", models / "onnx/dtln/model_2.onnx", *both)
    pitch = models / "tf/basic_pitch_nmp"
    windows = [audio(pitch / f"vocadito_{n}.wav")[::2] for n in (10, 14)]
    windows = [np.stack([w[i:i + 43844] for i in range(0, len(w) - 43844, 43844)])[:8, :, None] for w in windows]
    yield Case("Basic Pitch", pitch / "nmp.onnx", *windows)
    from PIL import Image
    rng, crops = np.random.default_rng(0), []
    for path in sorted((models / "onnx/wonnx_mnist/data/images").glob("*.jp*g")):
        image = Image.open(path).convert("RGB")
        if min(image.size) < 128:
            continue
        for _ in range(40):
            side = int(rng.integers(min(image.size) // 2, min(image.size)))
            left, top = rng.integers(0, image.width - side + 1), rng.integers(0, image.height - side + 1)
            crop = image.crop((left, top, left + side, top + side)).resize((128, 128), Image.BILINEAR)
            crops.append((np.asarray(crop, np.float32) - 127.5) / 127.5)
    if crops:
        crops = rng.permutation(np.stack(crops).astype(np.float32))
        half = len(crops) // 2
        yield Case("MobileNet v1 0.25, pictures of birds", models / "tf/mobilenet_v1_025_128/frozen_graph.pb", crops[:half], crops[half:])


def digits_example():
    folder = ROOT / "examples/digits"
    x, labels = np.load(folder / "digits.npy"), np.load(folder / "labels.npy")
    # The example has no training images: a third calibrates, all test.
    return Case("digits example", folder / "saved_model", x[::3], x, labels)


def attempt(what, *arguments):
    """A peer that cannot do a model leaves its cell empty; why goes to stderr."""
    try:
        return what(*arguments)
    except Exception as error:  # noqa: BLE001
        print(f"{what.__name__}: {str(error).strip().splitlines()[-1:]}", file=sys.stderr)
        return None


def measure(case, folder):
    """Scores by engine, (fp32, int8) of each, and the two file sizes."""
    exact, file = tenon(case, folder)
    size = file.stat().st_size
    file.rename(folder / "exact.tenon")
    integers, file = tenon(case, folder, "--precision", "int8", "--force-precision")
    path = attempt(onnx_file, case, folder)
    results = {"tenon": (exact, integers), "ort": attempt(onnx_runtime, case, folder, path), "nncf": attempt(nncf, case, folder, path),
               "litert": attempt(litert, case)}
    score = (lambda pair: tuple(top1(o, case.labels) for o in pair)) if case.labels is not None else (lambda pair: sqnr(pair[1], pair[0]))
    return {k: None if v is None else score(v) for k, v in results.items()}, size, file.stat().st_size


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=ROOT / "../shared/models")
    parser.add_argument("--output", type=Path, default=ROOT / "docs/quantization_accuracy.md")
    parser.add_argument("--only", default="", help="networks whose name holds this word")
    arguments = parser.parse_args()
    labelled, others = [], []
    with tempfile.TemporaryDirectory() as name:
        trained_here = Path(name) / "trained"
        trained_here.mkdir()
        for case in [digits_example(), *trained(trained_here), *mnist(arguments.models), *without_labels(arguments.models)]:
            if arguments.only not in case.name:
                continue
            folder = Path(name) / case.name.replace(" ", "_").replace("/", "_")
            folder.mkdir()
            scores, size, small = measure(case, folder)
            count = len(next(iter(case.x.values())))
            if case.labels is not None:
                drop = lambda v: "" if v is None else f"{100 * (v[0] - v[1]):+.2f}"
                labelled.append(f"| {case.name} | {count:,} | {scores['tenon'][0]:.2%} | {scores['tenon'][1]:.2%} | "
                                + " | ".join(drop(scores[k]) for k in ("tenon", "ort", "nncf", "litert")) + f" | {size:,} | {small:,} |")
                print(labelled[-1], flush=True)
            else:
                cell = lambda v: "" if v is None else f"{v:.1f}"
                others.append(f"| {case.name} | {count:,} | " + " | ".join(cell(scores[k]) for k in ("tenon", "ort", "nncf"))
                              + f" | {size:,} | {small:,} |")
                print(others[-1], flush=True)
    if arguments.only:
        return
    arguments.output.write_text(
        "# INT8 accuracy\n\nMade by `bench/quantization.py`, quantised with the same calibration data; Tenon with `--force-precision`, so that all "
        "that can be of integers is. ONNX Runtime: `quantize_static`, per channel, u8 activations; TensorFlow models through tf2onnx. NNCF: "
        "`nncf.quantize`, run by OpenVINO. LiteRT: the converter's full integer quantisation of the Keras model. An empty cell: the tool cannot "
        "take the model.\n\n## Top-1\n\nPoints lost against the engine's own fp32; negative: INT8 was right more often.\n\n"
        "| network | test samples | Tenon fp32 | Tenon INT8 | Tenon lost | ONNX Runtime lost | NNCF lost | LiteRT lost | fp32 file | INT8 file |\n"
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n" + "\n".join(labelled) + "\n\n## Outputs\n\nWhere there are no labels: decibels of signal to "
        "what was lost, all outputs together, against the engine's own fp32; more is better.\n\n"
        "| network | test samples | Tenon | ONNX Runtime | NNCF | fp32 file | INT8 file |\n|---|--:|--:|--:|--:|--:|--:|\n"
        + "\n".join(others) + "\n")


if __name__ == "__main__":
    main()
