"""Makes resnet_tiny/, a small ResNet with seeded random weights, and sample.npz: an input with
TensorFlow's output for it.

Run with a Python that has TensorFlow and Keras (scripts/setup --dev makes .venv-dev):
    .venv-dev/bin/python examples/resnet_tiny/make.py
"""
import os
import shutil
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import keras
import numpy as np
import tensorflow as tf
from keras import layers

HERE = Path(__file__).resolve().parent
MODEL = HERE / "resnet_tiny"


def conv_bn(x, channels, size, strides=1):
    x = layers.Conv2D(channels, size, strides, padding="same", use_bias=False)(x)
    return layers.BatchNormalization()(x)


def block(x, channels, strides):
    """Two 3x3 convolutions and a shortcut, projected where the shape changes."""
    y = layers.ReLU()(conv_bn(x, channels, 3, strides))
    y = conv_bn(y, channels, 3)
    if strides != 1 or x.shape[-1] != channels:
        x = conv_bn(x, channels, 1, strides)
    return layers.ReLU()(layers.Add()([x, y]))


def make_model():
    images = keras.Input((224, 224, 3), name="images")
    x = layers.ReLU()(conv_bn(images, 16, 7, strides=2))
    x = layers.MaxPooling2D(3, 2, padding="same")(x)
    for channels, strides in ((16, 1), (24, 2), (48, 2), (64, 2)):
        x = block(x, channels, strides)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, layers.Dense(10, activation="softmax", name="probabilities")(x))


def randomise_statistics(model, rng):
    """Moving means and variances as training would leave them: neither zero nor one."""
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            layer.set_weights([rng.uniform(0.8, 1.2, gamma.shape), rng.normal(0, 0.1, beta.shape),
                               rng.normal(0, 0.1, mean.shape), rng.uniform(0.5, 1.5, variance.shape)])


def main():
    keras.utils.set_random_seed(50)
    rng = np.random.default_rng(50)
    model = make_model()
    randomise_statistics(model, rng)
    shutil.rmtree(MODEL, ignore_errors=True)
    model.export(MODEL, verbose=False)

    levels = rng.integers(0, 256, (1, 14, 14, 3)).repeat(16, axis=1).repeat(16, axis=2)
    image = (levels / 255.0).astype(np.float32)
    signature = tf.saved_model.load(MODEL).signatures["serving_default"]
    expected = next(iter(signature(images=tf.constant(image)).values())).numpy()
    np.savez_compressed(HERE / "sample.npz", images=image, expected=expected)
    print(f"{model.count_params()} weights, probabilities {np.round(expected, 3)}")


if __name__ == "__main__":
    main()
