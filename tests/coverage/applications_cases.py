"""Every model of keras.applications, in three ways of exporting it."""
import inspect

import numpy as np

from harness import Case, DEFAULT, shake, tensorflow_calls, uniform

# The smallest images that the classes take; 64 for all others.
SIZES = {"InceptionV3": 75, "InceptionResNetV2": 75, "Xception": 71}
# What takes minutes comes last.
LARGE = {"ConvNeXtLarge", "ConvNeXtXLarge", "EfficientNetB5", "EfficientNetB6", "EfficientNetB7", "EfficientNetV2L",
         "NASNetLarge"}


def model_names(applications):
    """The functions that make models."""
    names = [name for name, function in vars(applications).items()
             if inspect.isfunction(function) and "weights" in inspect.signature(function).parameters]
    return sorted(names)


def build(applications, name, rng):
    size = SIZES.get(name, 64)
    # Logits: a softmax over what random weights give is all zeros and a one, whatever the errors.
    model = getattr(applications, name)(weights=None, input_shape=(size, size, 3), classes=100, classifier_activation=None)
    shake(model, rng)
    images = pictures(rng, 6, size)
    settle(model, images)
    return model, images[:2]


def pictures(rng, count, size):
    """Coarse patches of colour with noise on them."""
    coarse = uniform(rng, count, 8, 8, 3, high=200.0).repeat(-(-size // 8), 1).repeat(-(-size // 8), 2)
    return coarse[:, :size, :size] + uniform(rng, count, size, size, 3, high=55.0)


def settle(model, images):
    """Gives normalisations the statistics of images and small weights, as training would. With arbitrary ones rounding
    errors grow from layer to layer, and TensorFlow itself is further from the truth than what is allowed here."""
    layers = [layer for layer in model.layers if type(layer).__name__ == "BatchNormalization"]
    kept = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
        if layer.gamma is not None:
            layer.gamma.assign(layer.gamma * 0.3)
    if layers:
        model(images, training=True)
    for layer, momentum in zip(layers, kept):
        layer.momentum = momentum


def in_float64(keras, name, model, images):
    """What the network gives in double precision."""
    weights = [weight.astype(np.float64) for weight in model.get_weights()]

    def run():
        keras.backend.set_floatx("float64")
        keras.mixed_precision.set_global_policy("float64")
        try:
            exact = getattr(keras.applications, name)(weights=None, input_shape=images.shape[1:], classes=100,
                                                      classifier_activation=None)
            exact.set_weights(weights)
            return np.asarray(exact(images.astype(np.float64), training=False))
        finally:
            keras.backend.set_floatx("float32")
            keras.mixed_precision.set_global_policy("float32")
    return run


def with_truth(calls, truth):
    for call in calls:
        call.exact = truth
    return calls


def keras3(name, export):
    def make(folder):
        import keras
        rng = np.random.default_rng(len(name))
        model, images = build(keras.applications, name, rng)
        export(folder, model)
        calls = tensorflow_calls(folder, [images] if export is exported else ("classify", [images]))
        return with_truth(calls, in_float64(keras, name, model, images))
    return make


def exported(folder, model):
    model.export(folder / "saved_model", verbose=False)


def named_signature(folder, model):
    import tensorflow as tf
    spec = tf.TensorSpec([None, *model.input_shape[1:]], tf.float32, name="image")
    concrete = tf.function(lambda image: {"logits": model(image, training=False)}).get_concrete_function(spec)
    tf.saved_model.save(model, str(folder / "saved_model"), {"classify": concrete})


def keras2(name):
    def make(folder):
        import tf_keras
        rng = np.random.default_rng(len(name))
        model, images = build(tf_keras.applications, name, rng)
        model.save(folder / "saved_model", save_format="tf", include_optimizer=False)
        calls = tensorflow_calls(folder, (DEFAULT, [images]))
        return with_truth(calls, in_float64(tf_keras, name, model, images))
    return make


def cases():
    import keras
    import tf_keras
    new, old = model_names(keras.applications), model_names(tf_keras.applications)
    made = [Case("applications", f"{name}.export", keras3(name, exported)) for name in new]
    made += [Case("applications", f"{name}.saved_model", keras3(name, named_signature)) for name in new]
    made += [Case("applications", f"{name}.tf_keras", keras2(name)) for name in old]
    return sorted(made, key=lambda case: case.name.split(".")[0] in LARGE)
