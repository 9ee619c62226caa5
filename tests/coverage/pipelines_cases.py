"""Models that take what a service is given: text, table rows, serialised examples, encoded images; with
signatures of several kinds and modules inside of modules."""
import io

import numpy as np

from harness import Case, DEFAULT, export_function, normal, shake, tensorflow_calls, uniform, whole

SENTENCES = ["the cat sat on the mat", "A dog barks!", "", "cats and dogs; the end", "mat mat mat"]
WORDS = np.array(SENTENCES)


def of(name):
    return np.random.default_rng(sum(map(ord, name)))


def keras_model(folder, model, *sets):
    shake(model, of("shake"))
    model.export(folder / "saved_model", verbose=False)
    return tensorflow_calls(folder, *sets)


def text_classifier(mode, **options):
    def make(folder):
        import keras
        layer = keras.layers.TextVectorization(max_tokens=20, output_mode=mode, **options)
        layer.adapt(SENTENCES)
        text = keras.Input((1,), dtype="string", name="text")
        x = layer(text)
        if mode == "int":
            x = keras.layers.Embedding(20, 8, mask_zero=True)(x)
            x = keras.layers.GlobalAveragePooling1D()(keras.layers.LSTM(6, return_sequences=True)(x))
        return keras_model(folder, keras.Model(text, keras.layers.Dense(3, "softmax")(x)), [WORDS[:, None]])
    return make


def text_keras2(folder):
    import tf_keras
    layer = tf_keras.layers.TextVectorization(max_tokens=20, output_sequence_length=7)
    layer.adapt(SENTENCES)
    model = tf_keras.Sequential([tf_keras.Input((1,), dtype="string", name="text"), layer,
                                 tf_keras.layers.Embedding(20, 8), tf_keras.layers.Bidirectional(tf_keras.layers.GRU(5)),
                                 tf_keras.layers.Dense(2)])
    model.save(folder / "saved_model", save_format="tf", include_optimizer=False)
    return tensorflow_calls(folder, [WORDS[:, None]])


def lookups(folder):
    import keras
    kind = keras.Input((1,), dtype="string", name="kind")
    number = keras.Input((1,), dtype="int64", name="number")
    layers = keras.layers
    parts = [layers.StringLookup(vocabulary=["a", "b", "c"], output_mode="one_hot")(kind),
             layers.StringLookup(vocabulary=["a", "b", "c"], num_oov_indices=2, output_mode="multi_hot")(kind),
             layers.IntegerLookup(vocabulary=[5, 7, 11], output_mode="count")(number),
             layers.Hashing(num_bins=6, output_mode="one_hot")(kind),
             layers.CategoryEncoding(num_tokens=13, output_mode="one_hot")(number)]
    back = layers.StringLookup(vocabulary=["a", "b", "c"], invert=True)(
        layers.StringLookup(vocabulary=["a", "b", "c"])(kind))
    model = keras.Model([kind, number], {"y": layers.Dense(2)(layers.Concatenate()(parts)), "back": back})
    return keras_model(folder, model, {"kind": np.array([["a"], ["c"], ["z"]]), "number": np.array([[5], [7], [12]])})


def numbers(folder):
    import keras
    layers, rng = keras.layers, of("numbers")
    rows = normal(rng, 30, 4)
    normalise, parts = layers.Normalization(), layers.Discretization(num_bins=5)
    normalise.adapt(rows)
    parts.adapt(rows[:, :1])
    x = keras.Input((4,), name="x")
    bins = layers.CategoryEncoding(num_tokens=5, output_mode="multi_hot")(parts(x[:, :1]))
    joined = layers.Concatenate()([normalise(x), bins])
    return keras_model(folder, keras.Model(x, layers.Dense(3)(layers.Rescaling(0.5, offset=1.0)(joined))), [normal(rng, 5, 4)])


def crossed(folder):
    import keras
    layers = keras.layers
    a, b = keras.Input((1,), dtype="string", name="a"), keras.Input((1,), dtype="string", name="b")
    y = layers.Dense(2)(layers.HashedCrossing(num_bins=8, output_mode="one_hot")((a, b)))
    return keras_model(folder, keras.Model([a, b], y), {"a": np.array([["x"], ["y"]]), "b": np.array([["p"], ["q"]])})


def feature_space(folder):
    import keras
    import tensorflow as tf
    rng = of("features")
    table = {"age": uniform(rng, 20, high=80), "city": np.array(["rome", "oslo", "bern", "oslo"] * 5), "rooms": whole(rng, 1, 6, 20)}
    space = keras.utils.FeatureSpace(
        features={"age": keras.utils.FeatureSpace.float_normalized(),
                  "city": keras.utils.FeatureSpace.string_categorical(num_oov_indices=1),
                  "rooms": keras.utils.FeatureSpace.integer_categorical()},
        crosses=[keras.utils.FeatureSpace.cross(("city", "rooms"), crossing_dim=8)], output_mode="concat")
    space.adapt(tf.data.Dataset.from_tensor_slices(table).batch(4))
    encoded = space.get_encoded_features()
    model = keras.Model(space.get_inputs(), keras.layers.Dense(2)(encoded))
    return keras_model(folder, model, {"age": table["age"][:3, None], "city": table["city"][:3, None], "rooms": table["rooms"][:3, None]})


def small_cnn(keras):
    layers = keras.layers
    return keras.Sequential([keras.Input((24, 24, 3)), layers.Conv2D(8, 3, 2, activation="relu"), layers.BatchNormalization(),
                             layers.GlobalAveragePooling2D(), layers.Dense(4, "softmax")])


def picture(rng, kind, size=(40, 30)):
    from PIL import Image
    noise = Image.fromarray((uniform(rng, 5, 4, 3, high=255)).astype(np.uint8)).resize(size, Image.BICUBIC)
    content = io.BytesIO()
    noise.save(content, kind)
    return content.getvalue()


def image_bytes(kind):
    def make(folder):
        import keras
        import tensorflow as tf
        rng = of(kind)
        model = small_cnn(keras)
        shake(model, rng)
        decode = tf.io.decode_png if kind == "PNG" else tf.io.decode_jpeg

        def one(content):
            image = tf.image.resize(decode(content, channels=3), (24, 24))
            return (tf.cast(image, tf.float32) - 127.5) / 127.5

        def function(image_bytes):
            return {"scores": model(tf.map_fn(one, image_bytes, fn_output_signature=tf.TensorSpec([24, 24, 3], tf.float32)))}
        return export_function(folder, function, {"image_bytes": np.array([picture(rng, kind), picture(rng, kind, (25, 50))], object)},
                               module=model, open_batch=True)
    return make


def base64_image(folder):
    import base64
    import tensorflow as tf
    rng = of("base64")

    def function(text):
        image = tf.io.decode_image(tf.io.decode_base64(text[0]), channels=3, expand_animations=False)
        return {"mean": tf.reduce_mean(tf.cast(image, tf.float32), [0, 1]), "shape": tf.shape(image)}
    return export_function(folder, function, {"text": np.array([base64.urlsafe_b64encode(picture(rng, "PNG"))])})


def detection(combined):
    def make(folder):
        import tensorflow as tf
        rng, module = of("detection"), tf.Module()
        module.kernel = tf.Variable(normal(rng, 3, 3, 3, 8) * 0.2)
        module.boxes, module.scores = tf.Variable(normal(rng, 8, 4) * 0.3), tf.Variable(normal(rng, 8, 3))

        def function(image):
            features = tf.reshape(tf.nn.relu(tf.nn.conv2d(image, module.kernel, 4, "SAME")), [1, -1, 8])
            places = tf.stack(tf.meshgrid(tf.range(8), tf.range(8), indexing="ij"), -1)
            centres = (tf.cast(tf.reshape(places, [1, 64, 2]), tf.float32) + 0.5) / 8
            delta = tf.tanh(features @ module.boxes) * 0.2
            boxes = tf.concat([centres - 0.15 + delta[..., :2], centres + 0.15 + delta[..., 2:]], -1)
            scores = tf.sigmoid(features @ module.scores)
            if combined:
                found = tf.image.combined_non_max_suppression(boxes[:, :, None], scores, 5, 10, 0.4, 0.3)
                return {"boxes": found[0], "scores": found[1], "classes": found[2], "count": found[3]}
            best = tf.reduce_max(scores[0], -1)
            chosen, soft = tf.image.non_max_suppression_with_scores(boxes[0], best, 10, 0.4, 0.3, soft_nms_sigma=0.5)
            crops = tf.image.crop_and_resize(image, tf.gather(boxes[0], chosen), tf.zeros_like(chosen), [4, 4])
            return {"boxes": tf.gather(boxes[0], chosen), "scores": soft, "crops": crops,
                    "classes": tf.argmax(tf.gather(scores[0], chosen), -1)}
        return export_function(folder, function, {"image": uniform(rng, 1, 32, 32, 3)}, module=module)
    return make


def parse_example(folder):
    import tensorflow as tf
    rng, module = of("examples"), tf.Module()
    module.words = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(
        tf.constant(["rome", "oslo"]), tf.constant([0, 1], tf.int64)), 2)
    module.table, module.weights = tf.Variable(normal(rng, 3, 4)), tf.Variable(normal(rng, 7, 2))

    def feature(**values):
        def of_kind(value):
            if isinstance(value[0], bytes):
                return tf.train.Feature(bytes_list=tf.train.BytesList(value=value))
            kind = (tf.train.FloatList, "float_list") if isinstance(value[0], float) else (tf.train.Int64List, "int64_list")
            return tf.train.Feature(**{kind[1]: kind[0](value=value)})
        features = {key: of_kind(value) for key, value in values.items()}
        return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()

    def function(examples):
        parsed = tf.io.parse_example(examples, {
            "x": tf.io.FixedLenFeature([2], tf.float32), "n": tf.io.FixedLenFeature([], tf.int64, default_value=3),
            "city": tf.io.FixedLenFeature([], tf.string), "tags": tf.io.VarLenFeature(tf.string)})
        city = tf.gather(module.table, module.words.lookup(parsed["city"]))
        tags = tf.reduce_sum(tf.cast(module.words.lookup(tf.sparse.to_dense(parsed["tags"], "none")) < 2, tf.float32), 1)
        x = tf.concat([parsed["x"], city, tags[:, None]], 1)
        return {"scores": tf.nn.softmax(x @ module.weights), "n": parsed["n"]}
    rows = np.array([feature(x=[1.0, 2.0], n=[7], city=[b"oslo"], tags=[b"rome", b"paris", b"oslo"]),
                     feature(x=[-1.0, 0.5], city=[b"bern"])], object)
    return export_function(folder, function, {"examples": rows}, module=module, open_batch=True)


def estimator_like(folder):
    """What Estimator.export_saved_model left: TensorFlow 1, examples parsed in the graph, three signatures."""
    import tensorflow as tf
    v1, rng = tf.compat.v1, of("estimator")
    example = tf.train.Example(features=tf.train.Features(feature={
        "age": tf.train.Feature(float_list=tf.train.FloatList(value=[30.0])),
        "city": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"oslo"]))})).SerializeToString()
    with tf.Graph().as_default(), v1.Session() as session:
        serialised = v1.placeholder(tf.string, [None], name="input_example_tensor")
        parsed = v1.parse_example(serialised, {"age": v1.FixedLenFeature([1], tf.float32), "city": v1.VarLenFeature(tf.string)})
        table = tf.lookup.StaticVocabularyTable(tf.lookup.KeyValueTensorInitializer(
            tf.constant(["rome", "oslo"]), tf.constant([0, 1], tf.int64)), 2)
        embedding = v1.get_variable("embedding", initializer=normal(rng, 4, 3))
        ids = tf.SparseTensor(parsed["city"].indices, table.lookup(parsed["city"].values), parsed["city"].dense_shape)
        x = tf.concat([parsed["age"] / 100.0, v1.nn.embedding_lookup_sparse(embedding, ids, None, combiner="mean")], 1)
        logits = tf.matmul(x, v1.get_variable("kernel", initializer=normal(rng, 4, 2)))
        scores = tf.nn.softmax(logits)
        classes = tf.as_string(tf.tile([[0, 1]], [tf.shape(x)[0], 1]))
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        info = v1.saved_model.build_tensor_info
        signatures = {
            DEFAULT: v1.saved_model.classification_signature_def(serialised, classes, scores),
            "predict": v1.saved_model.build_signature_def({"examples": info(serialised)}, {
                "logits": info(logits), "class_ids": info(tf.argmax(logits, 1))}, "tensorflow/serving/predict")}
        builder = v1.saved_model.Builder(str(folder / "saved_model"))
        builder.add_meta_graph_and_variables(session, ["serve"], signatures, main_op=v1.tables_initializer())
        builder.save()
    rows = np.array([example, example], object)
    return tensorflow_calls(folder, [rows], ("predict", [rows]))


def hub_module(folder):
    """A TF-Hub style module: a text embedding by hashed words inside of a classifier, functions in functions."""
    import tensorflow as tf
    rng = of("hub")

    class Embedder(tf.Module):
        def __init__(self):
            super().__init__()
            self.table = tf.Variable(normal(rng, 50, 6))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def __call__(self, text):
            clean = tf.strings.regex_replace(tf.strings.lower(text), r"[^a-z ]", "")
            words = tf.strings.split(clean)
            ids = tf.strings.to_hash_bucket_fast(words.values, 50)
            rows = tf.math.unsorted_segment_sum(tf.gather(self.table, ids), words.value_rowids(), words.nrows())
            return rows * tf.math.rsqrt(tf.cast(tf.maximum(words.row_lengths(), 1), tf.float32))[:, None]
    inner = Embedder()
    tf.saved_model.save(inner, str(folder / "module"))
    module = tf.Module()
    module.embed, module.kernel = tf.saved_model.load(folder / "module"), tf.Variable(normal(rng, 6, 3))

    @tf.function
    def head(x):
        return tf.nn.softmax(x @ module.kernel)
    return export_function(folder, lambda text: {"scores": head(module.embed(text))}, {"text": WORDS}, module=module, open_batch=True)


def multi_signature(folder):
    import tensorflow as tf
    rng, module = of("multi"), tf.Module()
    module.encoder, module.decoder = tf.Variable(normal(rng, 6, 3)), tf.Variable(normal(rng, 3, 6))

    @tf.function(input_signature=[tf.TensorSpec([None, 6], name="x")])
    def encode(x):
        return {"code": tf.tanh(x @ module.encoder)}

    @tf.function(input_signature=[tf.TensorSpec([None, 3], name="code")])
    def decode(code):
        return {"x": code @ module.decoder}

    @tf.function(input_signature=[tf.TensorSpec([None, 6], name="x")])
    def both(x):
        return {"x": decode(encode(x)["code"])["x"], "error": tf.reduce_mean((x - decode(encode(x)["code"])["x"]) ** 2)}
    tf.saved_model.save(module, str(folder / "saved_model"), {DEFAULT: both, "encode": encode, "decode": decode})
    x = normal(rng, 2, 6)
    return tensorflow_calls(folder, {"x": x}, ("encode", {"x": x}), ("decode", {"code": x[:, :3]}))


def audio(folder):
    import tensorflow as tf
    rng, module = of("audio"), tf.Module()
    module.kernel = tf.Variable(normal(rng, 10, 4))
    mel = tf.signal.linear_to_mel_weight_matrix(20, 65, 8000, 80.0, 4000.0)

    def function(wave):
        spectrum = tf.abs(tf.signal.stft(wave, 128, 64, 128))
        log = tf.math.log(spectrum @ mel + 1e-6)
        mfcc = tf.signal.mfccs_from_log_mel_spectrograms(log)[..., :10]
        return {"scores": tf.nn.softmax(tf.reduce_mean(mfcc, 1) @ module.kernel * 0.1), "mfcc": mfcc}
    return export_function(folder, function, {"wave": normal(rng, 2, 1024)}, {"wave": normal(rng, 1, 1024)},
                           module=module, open_batch=True)


def wav_bytes(folder):
    import tensorflow as tf
    rng = of("wav")
    content = tf.audio.encode_wav(tf.constant(uniform(rng, 800, 1, low=-0.5, high=0.5)), 8000).numpy()

    def function(content):
        wave, rate = tf.audio.decode_wav(content, desired_channels=1)
        return {"spectrum": tf.abs(tf.signal.rfft(tf.reshape(wave, [-1])[:512])), "rate": rate}
    return export_function(folder, function, {"content": np.array(content)})


def recommender(folder):
    """Two towers and a search for the nearest among stored vectors, by names."""
    import tensorflow as tf
    rng, module = of("recommender"), tf.Module()
    module.users, module.items = tf.Variable(normal(rng, 12, 8)), tf.Variable(normal(rng, 30, 8))
    module.names = tf.Variable(np.array([f"item {i}" for i in range(30)]))

    def function(user):
        ids = tf.strings.to_hash_bucket_farm(user, 12) if hasattr(tf.strings, "to_hash_bucket_farm") else tf.strings.to_hash_bucket_fast(user, 12)
        scores = tf.matmul(tf.gather(module.users, ids), module.items, transpose_b=True)
        best, places = tf.math.top_k(scores, 5)
        return {"scores": best, "names": tf.gather(module.names, places)}
    return export_function(folder, function, {"user": np.array(["ann", "bob"])}, module=module, open_batch=True)


def ragged(folder):
    import tensorflow as tf
    rng, module = of("ragged"), tf.Module()
    module.table = tf.Variable(normal(rng, 20, 4))

    def function(values, lengths):
        rows = tf.RaggedTensor.from_row_lengths(values, lengths)
        vectors = tf.ragged.map_flat_values(tf.nn.embedding_lookup, module.table, rows)
        return {"mean": tf.reduce_mean(vectors, 1), "dense": vectors.to_tensor(), "max": tf.reduce_max(rows, 1)}
    return export_function(folder, function, {"values": whole(rng, 0, 20, 7), "lengths": np.array([2, 4, 1])}, module=module)


def mutable_table(folder):
    import tensorflow as tf
    module = tf.Module()
    module.seen = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, 0)
    module.seen.insert(tf.constant(["a", "b"]), tf.constant([5, 6], tf.int64))

    def function(keys):
        before = module.seen.lookup(keys)
        module.seen.insert(keys, before + 1)
        return {"before": before, "size": module.seen.size()}
    return export_function(folder, function, {"keys": np.array(["a", "z"])}, {"keys": np.array(["z", "q"])}, module=module)


def cases():
    for mode, options in (("int", {"output_sequence_length": 6}), ("int", {"ngrams": 2, "output_sequence_length": 8}),
                          ("multi_hot", {"ngrams": 2}), ("count", {}), ("tf_idf", {})):
        yield Case("pipelines", f"text_{mode}{'_ngrams' if 'ngrams' in options else ''}", text_classifier(mode, **options))
    for kind in ("JPEG", "PNG"):
        yield Case("pipelines", f"image_{kind.lower()}", image_bytes(kind))
    yield Case("pipelines", "detection", detection(False))
    yield Case("pipelines", "detection_combined", detection(True))
    for make in (text_keras2, lookups, numbers, crossed, feature_space, base64_image, parse_example, estimator_like,
                 hub_module, multi_signature, audio, wav_bytes, recommender, ragged, mutable_table):
        yield Case("pipelines", make.__name__, make)
