"""Trains the digits classifier and writes everything in this folder that is not code.

Run with a Python that has TensorFlow, Keras and scikit-learn (scripts/setup --dev makes .venv-dev):
    .venv-dev/bin/python examples/digits/train.py
"""
import os
import shutil
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import keras
import numpy as np
import tensorflow as tf
from keras import layers
from scipy import ndimage
from sklearn.datasets import load_digits

HERE = Path(__file__).resolve().parent
TRAINING_IMAGES = 1437


def make_model():
    """Conv + BatchNormalization + ReLU blocks with one residual add, about 28,000 weights."""
    images = keras.Input((8, 8, 1), name="images")
    x = layers.Conv2D(24, 3, padding="same", use_bias=False)(images)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU()(x)
    y = layers.Conv2D(24, 3, padding="same", use_bias=False)(x)
    y = layers.BatchNormalization()(y)
    x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(48, 3, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU()(x)
    x = layers.Flatten()(x)
    x = layers.Dropout(0.3)(x)
    return keras.Model(images, layers.Dense(10, activation="softmax", name="probabilities")(x))


def augmented(images, labels, rng, copies=12):
    """The images with copies moved by up to one pixel and turned by up to ten degrees."""
    variants = [images]
    for _ in range(copies):
        angle, moves = rng.uniform(-10, 10), rng.uniform(-1, 1, 2)
        turned = ndimage.rotate(images, angle, axes=(1, 2), reshape=False, order=1)
        variants.append(ndimage.shift(turned, (0, *moves, 0), order=1).astype(np.float32))
    return np.concatenate(variants), np.tile(labels, copies + 1)


def main():
    keras.utils.set_random_seed(20)
    tf.config.experimental.enable_op_determinism()
    digits = load_digits()
    images = (digits.images / 16.0).astype(np.float32)[..., None]
    labels = digits.target.astype(np.int64)

    model = make_model()
    epochs, batch = 20, 64
    x, y = augmented(images[:TRAINING_IMAGES], labels[:TRAINING_IMAGES], np.random.default_rng(20))
    schedule = keras.optimizers.schedules.CosineDecay(3e-3, epochs * (len(x) // batch))
    model.compile(keras.optimizers.Adam(schedule),
                  loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=batch, epochs=epochs, verbose=0)

    held_out, truth = images[TRAINING_IMAGES:], labels[TRAINING_IMAGES:]
    shutil.rmtree(HERE / "saved_model", ignore_errors=True)
    model.export(HERE / "saved_model", verbose=False)
    signature = tf.saved_model.load(HERE / "saved_model").signatures["serving_default"]
    assert list(signature.structured_input_signature[1]) == ["images"]
    outputs = signature(images=tf.constant(held_out))
    expected = next(iter(outputs.values())).numpy()

    np.save(HERE / "digits.npy", held_out)
    np.save(HERE / "labels.npy", truth)
    np.save(HERE / "expected.npy", expected)
    accuracy = (expected.argmax(axis=1) == truth).mean()
    print(f"{model.count_params()} weights, {len(truth)} held-out images, accuracy {accuracy:.4f}, "
          f"output {list(outputs)[0]}")


if __name__ == "__main__":
    main()
