"""Exports the models that bench/peers.py measures: Keras 3 networks with seeded random weights.

    .venv-dev/bin/python bench/make_models.py OUT [NAME…] [--peers onnx,tflite,mnn] [--precision int8]

Each becomes OUT/NAME/: saved_model/ (what Tenon, TensorFlow and OpenVINO read), model.onnx (tf2onnx),
model.tflite (TensorFlow's converter), model.mnn (MNN's, from the ONNX file) and io.npz with `in:KEY` and `out:KEY`
for a batch of two, TensorFlow's outputs. With --precision int8 also model.int8.onnx and model.int8_dynamic.onnx (ONNX
Runtime's static and dynamic quantisers), model.int8.xml (OpenVINO's NNCF), model.int8.tflite and model.int8.mnn
(weights of 8 bits, activations as they come), calibrated like Tenon on calibration.npz: made-up numbers, too. What exists is kept; a conversion that a tool refuses leaves model.KIND.failed with the reason.
"""
import argparse
import os
import subprocess
import sys
import time
import zlib
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

import quantizers

ONNX_OPSET = 17
CALIBRATION_SAMPLES = 16


def gelu(x):
    """The exact form by erf; Keras' own becomes Erfc in TensorFlow, which tf2onnx cannot express."""
    return 0.5 * x * (1.0 + ops.erf(x * np.float32(0.5**0.5)))


def encoder(x, width, heads):
    attention = layers.MultiHeadAttention(heads, width // heads)(x, x)
    x = layers.LayerNormalization(epsilon=1e-12)(layers.Add()([x, attention]))
    hidden = layers.Dense(width)(gelu(layers.Dense(4 * width)(x)))
    return layers.LayerNormalization(epsilon=1e-12)(layers.Add()([x, hidden]))


def bert(depth, width, heads, length=128, vocabulary=30522):
    tokens = keras.Input((length,), dtype="int32", name="tokens")
    positions = layers.Embedding(length, width)(ops.arange(length))
    x = layers.LayerNormalization(epsilon=1e-12)(layers.Embedding(vocabulary, width)(tokens) + positions)
    for _ in range(depth):
        x = encoder(x, width, heads)
    return keras.Model(tokens, layers.Dense(width, "tanh")(x[:, 0]))


def vit(depth=12, width=768, heads=12, patch=16):
    images = keras.Input((224, 224, 3), name="images")
    patches = (224 // patch) ** 2
    x = layers.Reshape((patches, width))(layers.Conv2D(width, patch, patch)(images))
    x = x + layers.Embedding(patches, width)(ops.arange(patches))
    for _ in range(depth):
        x = encoder(x, width, heads)
    return keras.Model(images, layers.Dense(1000)(layers.GlobalAveragePooling1D()(x)))


def recurrent(cell):
    frames = keras.Input((64, 40), name="frames")
    x = cell(128)(cell(128, return_sequences=True)(frames))
    return keras.Model(frames, layers.Dense(10)(x))


def mlp():
    x = features = keras.Input((784,), name="features")
    for units, activation in ((512, "relu"), (512, "relu"), (10, "softmax")):
        x = layers.Dense(units, activation)(x)
    return keras.Model(features, x)


def tabular(fields=39, buckets=100_000):
    ids = keras.Input((fields,), dtype="int32", name="ids")
    x = layers.Flatten()(layers.Embedding(buckets, 16)(ids))
    for units in (512, 256):
        x = layers.Dense(units, "relu")(x)
    return keras.Model(ids, layers.Dense(1, "sigmoid")(x))


def dscnn():
    def normalized(x):
        return layers.ReLU()(layers.BatchNormalization()(x))
    spectrum = keras.Input((49, 10, 1), name="spectrum")
    x = normalized(layers.Conv2D(64, (10, 4), 2, padding="same")(spectrum))
    for _ in range(4):
        x = normalized(layers.DepthwiseConv2D(3, padding="same")(x))
        x = normalized(layers.Conv2D(64, 1)(x))
    return keras.Model(spectrum, layers.Dense(12, "softmax")(layers.GlobalAveragePooling2D()(x)))


def unet(base=32, depth=4):
    def twice(x, channels):
        for _ in range(2):
            x = layers.Conv2D(channels, 3, padding="same", activation="relu")(x)
        return x
    x = images = keras.Input((256, 256, 3), name="images")
    skips = []
    for level in range(depth):
        skips.append(twice(x, base << level))
        x = layers.MaxPooling2D()(skips[-1])
    x = twice(x, base << depth)
    for level in reversed(range(depth)):
        x = layers.Conv2DTranspose(base << level, 2, 2)(x)
        x = twice(layers.Concatenate()([x, skips[level]]), base << level)
    return keras.Model(images, layers.Conv2D(2, 1)(x))


def application(name):
    return lambda: getattr(keras.applications, name)(weights=None)


MODELS = {
    "resnet50": application("ResNet50"),
    "mobilenetv2": application("MobileNetV2"),
    "bert_base": lambda: bert(12, 768, 12),
    "lstm": lambda: recurrent(layers.LSTM),
    "mlp": mlp,
    "bert_4x256": lambda: bert(4, 256, 4),
    "gru": lambda: recurrent(layers.GRU),
    "tabular": tabular,
    "dscnn": dscnn,
    "efficientnetb0": application("EfficientNetB0"),
    "inceptionv3": application("InceptionV3"),
    "densenet121": application("DenseNet121"),
    "unet": unet,
    "vit_b16": vit,
}
TRANSFORMERS = ("bert_base", "bert_4x256", "vit_b16")  # NNCF has a setting for them
DEFAULT = ("resnet50", "mobilenetv2", "bert_base", "lstm", "mlp", "bert_4x256", "gru", "tabular", "dscnn")


def randomise_statistics(model, rng):
    """Moving statistics as training leaves them; zeros and ones would fold away to nothing."""
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.moving_mean.assign(rng.normal(0, 0.1, layer.moving_mean.shape))
            layer.moving_variance.assign(rng.uniform(0.5, 1.5, layer.moving_variance.shape))


def sample(specs, rng, batch):
    def one(spec):
        shape = (batch, *spec.shape[1:])
        return (rng.integers(0, 30_000, shape) if spec.dtype.is_integer else rng.standard_normal(shape)
                ).astype(spec.dtype.as_numpy_dtype)
    return {key: one(spec) for key, spec in specs.items()}


def export(name, folder):
    seed = zlib.crc32(name.encode()) % 2**31
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    model = MODELS[name]()
    randomise_statistics(model, rng)
    model.export(folder / "saved_model", verbose=False)
    signature = tf.saved_model.load(folder / "saved_model").signatures["serving_default"]
    inputs = sample(signature.structured_input_signature[1], rng, batch=2)
    outputs = signature(**{key: tf.constant(value) for key, value in inputs.items()})
    np.savez(folder / "io.npz", **{f"in:{key}": value for key, value in inputs.items()},
             **{f"out:{key}": value.numpy() for key, value in outputs.items()})


def to_onnx(folder, target):
    command = [sys.executable, "-m", "tf2onnx.convert", "--saved-model", str(folder / "saved_model"),
               "--output", str(target), "--opset", str(ONNX_OPSET)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(result.stderr.strip().splitlines()[-1])


def to_tflite(folder, target):
    target.write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved_model")).convert())


def to_mnn(folder, target, *options):
    """In a process of its own, as it ends one that it does not like; without its Python front end, which installs and loads a
    package that reports the use."""
    call = ("import sys, MNN, _tools; _tools.mnnconvert(['mnnconvert', '-f', 'ONNX', '--modelFile', sys.argv[1], '--MNNModel', "
            "sys.argv[2], '--bizCode', 'bench', *sys.argv[3:]])")
    result = subprocess.run([sys.executable, "-c", call, folder / "model.onnx", target, *options], capture_output=True, text=True)
    if not target.exists():
        raise RuntimeError((result.stderr.strip() or result.stdout.strip() or f"status {result.returncode}").splitlines()[-1])


def to_int8_mnn(folder, target):
    to_mnn(folder, target, "--weightQuantBits", "8")


def calibration(folder):
    """Samples with a batch of one, the same for every engine."""
    file = folder / "calibration.npz"
    if not file.exists():
        rng = np.random.default_rng(zlib.crc32(folder.name.encode()) % 2**31 + 1)
        signature = tf.saved_model.load(folder / "saved_model").signatures["serving_default"]
        np.savez(file, **sample(signature.structured_input_signature[1], rng, CALIBRATION_SAMPLES))
    arrays = dict(np.load(file))
    return [{key: array[i:i + 1] for key, array in arrays.items()} for i in range(CALIBRATION_SAMPLES)]


def to_int8_onnx(folder, target):
    quantizers.onnx_static(folder / "model.onnx", target, calibration(folder))


def to_int8_dynamic_onnx(folder, target):
    quantizers.onnx_dynamic(folder / "model.onnx", target)


def to_int8_openvino(folder, target):
    import openvino
    model, samples = openvino.Core().read_model(str(folder / "saved_model")), calibration(folder)
    keys = [next((key for key in samples[0] if key in port.get_names()), next(iter(samples[0]))) for port in model.inputs]
    rows = [[row[key] for key in keys] for row in samples]
    integers = quantizers.openvino_nncf(model, rows, transformer=folder.name in TRANSFORMERS)
    openvino.save_model(integers, str(target), compress_to_fp16=False)


def to_int8_tflite(folder, target):
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved_model"))
    target.write_bytes(quantizers.litert_integers(converter, [list(row.values()) for row in calibration(folder)]))


CONVERTERS = {"onnx": to_onnx, "tflite": to_tflite, "mnn": to_mnn, "int8.onnx": to_int8_onnx,
              "int8_dynamic.onnx": to_int8_dynamic_onnx, "int8.xml": to_int8_openvino, "int8.tflite": to_int8_tflite,
              "int8.mnn": to_int8_mnn}
INT8 = tuple(kind for kind in CONVERTERS if kind.startswith("int8"))


def convert(kind, folder):
    target, refusal = folder / f"model.{kind}", folder / f"model.{kind}.failed"
    if target.exists() or refusal.exists():
        return "kept"
    start = time.monotonic()
    try:
        CONVERTERS[kind](folder, target)
    except Exception as error:
        target.unlink(missing_ok=True)
        refusal.write_text(f"{type(error).__name__}: {error}\n")
        return f"refused: {(str(error).splitlines() or [type(error).__name__])[0][:100]}"
    return f"{time.monotonic() - start:.1f} s, {target.stat().st_size / 1e6:.1f} MB"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*", default=DEFAULT, metavar="NAME", help=f"of {', '.join(MODELS)}")
    parser.add_argument("--peers", default="onnx,tflite,mnn", help="formats to convert to (default: all)")
    parser.add_argument("--precision", choices=("fp32", "int8"), default="fp32", help="int8: the peers' quantised forms, too")
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in MODELS:
            parser.error(f"no model '{name}'; there are {', '.join(MODELS)}")
        folder = arguments.out / name
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "io.npz").exists():
            start = time.monotonic()
            export(name, folder)
            print(f"{name:16s} saved_model {time.monotonic() - start:.1f} s", flush=True)
        kinds = [kind for kind in arguments.peers.split(",") if kind]
        if arguments.precision == "int8":
            calibration(folder)
            kinds += INT8
        for kind in kinds:
            print(f"{name:16s} {kind:11s} {convert(kind, folder)}", flush=True)


if __name__ == "__main__":
    main()
