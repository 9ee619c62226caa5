"""Networks and data of quantization.py and precisions.py: the digits example, networks trained here on scikit-learn's data sets,
and trained ones of a folder of models. What is absent is left out, and said by name on stderr."""
import gzip
import io
import sys
import wave
from pathlib import Path

import numpy as np

from tool import ROOT


class Case:
    """A model with data to calibrate and to test with: inputs by name, a sample per row; `model` is a SavedModel folder, a .pb
    or an .onnx file, `ends` the tensors between which a .pb is cut out."""

    def __init__(self, name, model, calibration, x, labels=None, keras=None, ends=None):
        self.name, self.model, self.labels, self.keras, self.ends = name, Path(model), labels, keras, ends
        as_dict = lambda v: v if isinstance(v, dict) else {"": v}
        self.calibration, self.x = as_dict(calibration), as_dict(x)

    def cut(self):
        """Options of tenon that import the part between the ends."""
        if self.ends is None:
            return []
        shape = ",".join(map(str, (1, *self.x[""].shape[1:])))  # recurrent ones have states of a batch of one
        return ["--inputs", self.ends[0], "--outputs", self.ends[1], "--input-shape", f"{self.ends[0]}:{shape}"]

    def rows(self, data, names):
        """Samples with a batch of one, by the engine's names for the inputs."""
        by = {n: data[""] if "" in data else data[n.split(":")[0]] for n in names}
        for i in range(len(next(iter(by.values())))):
            yield {n: v[i:i + 1] for n, v in by.items()}


def trained(folder):
    """Networks trained here on scikit-learn's data sets, or taken from the folder where an earlier run has trained them."""
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

    def residual():
        x = inputs = keras.Input((8, 8, 1), name="x")
        x = layers.Activation("swish")(layers.BatchNormalization()(layers.Conv2D(16, 3, padding="same", use_bias=False)(x)))
        for channels, stride in ((16, 1), (32, 2), (32, 1)):
            y = layers.Conv2D(channels, 3, strides=stride, padding="same", use_bias=False)(x)
            y = layers.Activation("swish")(layers.BatchNormalization()(y))
            y = layers.BatchNormalization()(layers.Conv2D(channels, 3, padding="same", use_bias=False)(y))
            if stride > 1:
                x = layers.Conv2D(channels, 1, strides=stride)(x)
            x = layers.Activation("swish")(layers.Add()([x, y]))
        return keras.Model(inputs, layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(x)))

    def attention():  # every row of pixels is a token
        inputs = keras.Input((8, 8, 1), name="x")
        x = layers.Dense(32)(layers.Reshape((8, 8))(inputs))
        for _ in range(2):
            y = layers.LayerNormalization()(x)
            x = layers.Add()([x, layers.MultiHeadAttention(4, 8)(y, y)])
            y = layers.Dense(64, activation="gelu")(layers.LayerNormalization()(x))
            x = layers.Add()([x, layers.Dense(32)(y)])
        return keras.Model(inputs, layers.Dense(10, activation="softmax")(layers.Flatten()(layers.LayerNormalization()(x))))

    def recurrent():
        inputs = keras.Input((8, 8, 1), name="x")
        x = layers.Bidirectional(layers.GRU(24, return_sequences=True))(layers.Reshape((8, 8))(inputs))
        return keras.Model(inputs, layers.Dense(10, activation="softmax")(layers.GRU(32)(x)))

    def separable():  # all pixels are one sequence
        inputs = keras.Input((8, 8, 1), name="x")
        x = layers.Conv1D(16, 9, strides=2, padding="same", activation="relu")(layers.Reshape((64, 1))(inputs))
        for channels in (32, 48):
            x = layers.SeparableConv1D(channels, 5, strides=2, padding="same", use_bias=False)(x)
            x = layers.Activation("hard_swish")(layers.BatchNormalization()(x))
        return keras.Model(inputs, layers.Dense(10, activation="softmax")(layers.Flatten()(x)))

    def dense(features, classes):
        x = inputs = keras.Input((features,), name="x")
        for units in (64, 64):
            x = layers.Dense(units, activation="gelu")(x)
        return keras.Model(inputs, layers.Dense(classes, activation="softmax")(x))

    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)[..., None]
    sets = [("depthwise on digits", depthwise(), images, digits.target),
            ("squeeze-excite on digits", squeeze(), images, digits.target),
            ("residual on digits", residual(), images, digits.target),
            ("attention on digits", attention(), images, digits.target),
            ("GRU on digits", recurrent(), images, digits.target),
            ("separable 1-D on digits", separable(), images, digits.target)]
    for name, data in (("dense on breast cancer", load_breast_cancer()), ("dense on wine", load_wine())):
        x = ((data.data - data.data.mean(0)) / data.data.std(0)).astype(np.float32)
        sets.append((name, dense(x.shape[1], len(set(data.target))), x, data.target))
    for name, model, x, y in sets:
        order = np.random.default_rng(0).permutation(len(x))
        x, y = x[order], y[order]
        cut = len(x) * 7 // 10
        path = folder / name.replace(" ", "_")
        kept = path.with_suffix(".keras")
        if kept.exists():
            model = keras.models.load_model(kept)
        else:
            model.compile(keras.optimizers.Adam(3e-3), loss="sparse_categorical_crossentropy")
            model.fit(x[:cut], y[:cut], batch_size=64, epochs=40, verbose=0)
            model.export(path, verbose=False)
            model.save(kept)
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
        # There are no others of these pictures: what calibrates, without labels, is tested, too.
        yield Case(name, models / "onnx" / file, x[:200], x, labels)


def audio(path):
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32).reshape(-1, file.getnchannels())[:, 0] / 32768


def speech(models):
    """Recordings of a second by what is said in them."""
    folder = models / "data/speech_wavs"
    return {word: audio(folder / f"{word}_1000ms.wav") for word in ("yes", "no", "silence", "noise")
            if (folder / f"{word}_1000ms.wav").exists()}


def utterances(recordings, count, seed):
    """yes and no, shifted by up to 100 ms, of several loudnesses, with noise: samples of 16 bits, and the words."""
    rng, samples, words = np.random.default_rng(seed), [], []
    for i in range(count):
        words.append(("yes", "no")[i % 2])
        x = np.resize(np.roll(recordings[words[-1]], int(rng.integers(-1600, 1600))), 16000) * rng.uniform(0.5, 1.5)
        x = x + np.resize(np.roll(recordings["noise"], int(rng.integers(16000))), 16000) * rng.uniform(0, 0.3)
        samples.append(np.clip(x * 32768, -32768, 32767).astype(np.int16))
    return samples, words


def wav(samples):
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(samples.tobytes())
    return data.getvalue()


def mel_features(samples):
    """What the MLPerf reference model hears: 10 coefficients of 40 mel bands, windows of 30 ms every 20 ms."""
    import tensorflow as tf
    x = samples / max(1, np.abs(samples).max())
    spectrum = tf.abs(tf.signal.stft(tf.constant(x, tf.float32), 480, 320, window_fn=tf.signal.hann_window))
    bands = tf.signal.linear_to_mel_weight_matrix(40, spectrum.shape[-1], 16000, 20.0, 4000.0)
    return tf.signal.mfccs_from_log_mel_spectrograms(tf.math.log(spectrum @ bands + 1e-6))[..., :10].numpy()[..., None]


def keyword_models(models):
    recordings = speech(models)
    if len(recordings) < 4:
        return
    import tensorflow as tf
    sets = [utterances(recordings, count, seed) for seed, count in enumerate((100, 2000))]
    folder = models / "tf/kws_mcu"
    names = (folder / "labels.txt").read_text().split() if folder.exists() else []
    for file in sorted(folder.glob("*/*.pb")):
        definition = tf.compat.v1.GraphDef.FromString(file.read_bytes())
        with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
            tf.import_graph_def(definition, name="")
            x = [np.concatenate([session.run("Mfcc:0", {"wav_data:0": wav(s)}) for s in samples]) for samples, _ in sets]
        yield Case(f"keywords, {file.stem}", file, *x, np.array([names.index(word) for word in sets[1][1]]),
                   ends=("Mfcc", "labels_softmax"))
    model = models / "tf/mlperf_tiny_kws"
    if model.exists():
        x = [np.stack([mel_features(s) for s in samples]) for samples, _ in sets]
        yield Case("keywords, MLPerf Tiny", model, *x, np.array([{"no": 3, "yes": 9}[word] for word in sets[1][1]]))


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
        yield Case("MobileNet v1 0.25, pictures of birds", models / "tf/mobilenet_v1_025_128/frozen_graph.pb", crops[:half], crops[half:],
                   ends=("input", "MobilenetV1/Predictions/Reshape_1"))


def digits_example():
    folder = ROOT / "examples/digits"
    x, labels = np.load(folder / "digits.npy"), np.load(folder / "labels.npy")
    # The example has no training images: a third calibrates, all test.
    return Case("digits example", folder / "saved_model", x[::3], x, labels)


def labelled(models, folder):
    """All that is scored by top-1."""
    yield digits_example()
    yield from trained(folder)
    yield from found("the MNIST models and images", mnist(models), models)
    yield from found("the keyword models and recordings", keyword_models(models), models)


def found(what, cases, models):
    count = 0
    for count, case in enumerate(cases, 1):
        yield case
    if count == 0:
        print(f"left out: {what}, which are not in {models}", file=sys.stderr)
