"""Recurrent layers in Keras 3 and Keras 2, control flow as SavedModels and as frozen graphs with frames, decode
loops with caches, state in variables."""
import numpy as np

from harness import Call, Case, DEFAULT, export_function, normal, shake, tensorflow_calls, whole


def of(name):
    return np.random.default_rng(sum(map(ord, name)))


# Recurrent layers: name, layers made from the module `layers`, shape of a sample, whether it needs a fixed batch.
def recurrent_layers():
    def sequential(*layers):
        return lambda L: [make(L) for make in layers]
    lstm = {
        "lstm": sequential(lambda L: L.LSTM(6)),
        "lstm_sequences": sequential(lambda L: L.LSTM(6, return_sequences=True), lambda L: L.LSTM(4)),
        "lstm_backwards": sequential(lambda L: L.LSTM(6, go_backwards=True, return_sequences=True)),
        "lstm_unrolled": sequential(lambda L: L.LSTM(6, unroll=True)),
        "lstm_activations": sequential(lambda L: L.LSTM(6, activation="relu", recurrent_activation="hard_sigmoid")),
        "lstm_no_bias": sequential(lambda L: L.LSTM(6, use_bias=False)),
        "lstm_masked": sequential(lambda L: L.Masking(0.0), lambda L: L.LSTM(6)),
        "lstm_masked_sequences": sequential(lambda L: L.Masking(0.0), lambda L: L.LSTM(6, return_sequences=True),
                                            lambda L: L.LSTM(4)),
        "lstm_bidirectional": sequential(lambda L: L.Bidirectional(L.LSTM(5, return_sequences=True)),
                                         lambda L: L.Bidirectional(L.LSTM(4), merge_mode="sum")),
        "lstm_bidirectional_masked": sequential(lambda L: L.Masking(0.0), lambda L: L.Bidirectional(L.LSTM(5))),
        "lstm_cells": sequential(lambda L: L.RNN([L.LSTMCell(5), L.LSTMCell(4)], return_sequences=True)),
        "gru": sequential(lambda L: L.GRU(6)),
        "gru_reset_before": sequential(lambda L: L.GRU(6, reset_after=False, return_sequences=True)),
        "gru_masked": sequential(lambda L: L.Masking(0.0), lambda L: L.GRU(6, return_sequences=True)),
        "gru_bidirectional": sequential(lambda L: L.Bidirectional(L.GRU(5), merge_mode="mul")),
        "gru_unrolled": sequential(lambda L: L.GRU(6, unroll=True)),
        "gru_cells": sequential(lambda L: L.RNN([L.GRUCell(5), L.GRUCell(4)])),
        "simple_rnn": sequential(lambda L: L.SimpleRNN(6, return_sequences=True), lambda L: L.SimpleRNN(4)),
        "simple_rnn_masked": sequential(lambda L: L.Masking(0.0), lambda L: L.SimpleRNN(6)),
        "time_distributed": sequential(lambda L: L.TimeDistributed(L.Dense(4)), lambda L: L.LSTM(4)),
        "conv_then_lstm": sequential(lambda L: L.Conv1D(6, 3, padding="causal"), lambda L: L.LSTM(4)),
    }
    image = {
        "conv_lstm_1d": (sequential(lambda L: L.ConvLSTM1D(4, 3, padding="same", return_sequences=True)), (4, 6, 2)),
        "conv_lstm_2d": (sequential(lambda L: L.ConvLSTM2D(4, 3, padding="same", return_sequences=True),
                                    lambda L: L.ConvLSTM2D(3, 3)), (4, 6, 6, 2)),
        "conv_lstm_2d_backwards": (sequential(lambda L: L.ConvLSTM2D(4, 3, strides=2, go_backwards=True)), (3, 6, 6, 2)),
        "conv_lstm_2d_bidirectional": (sequential(lambda L: L.Bidirectional(L.ConvLSTM2D(3, 3, padding="same"))), (3, 5, 5, 2)),
        "conv_lstm_3d": (sequential(lambda L: L.ConvLSTM3D(2, 3, padding="same")), (3, 4, 4, 4, 1)),
    }
    stateful = {
        "stateful_lstm": sequential(lambda L: L.LSTM(6, stateful=True, return_sequences=True), lambda L: L.LSTM(4, stateful=True)),
        "stateful_gru": sequential(lambda L: L.GRU(6, stateful=True)),
        "stateful_simple_rnn": sequential(lambda L: L.SimpleRNN(6, stateful=True)),
        "stateful_lstm_masked": sequential(lambda L: L.Masking(0.0), lambda L: L.LSTM(6, stateful=True)),
    }
    rows = [(name, layers, (7, 5), False) for name, layers in lstm.items()]
    rows += [(name, layers, shape, False) for name, (layers, shape) in image.items()]
    return rows + [(name, layers, (7, 5), True) for name, layers in stateful.items()]


def keras_case(name, layers, shape, fixed, old):
    def make(folder):
        import keras
        import tf_keras
        module, rng = tf_keras if old else keras, of(name)
        inputs = module.Input(batch_shape=(2 if fixed else None, *shape), name="x")
        outputs = inputs
        for layer in layers(module.layers):
            outputs = layer(outputs)
        model = module.Model(inputs, outputs)
        shake(model, rng)
        if old:
            model.save(folder / "saved_model", save_format="tf", include_optimizer=False)
        else:
            model.export(folder / "saved_model", verbose=False)

        def values():
            x = normal(rng, 2, *shape)
            if "masked" in name:
                x[0, -2:] = 0
            return x
        return tensorflow_calls(folder, *[[values()] for _ in range(3 if fixed else 1)])
    return Case("sequences", f"{'keras2' if old else 'keras3'}.{name}", make)


def open_steps(folder):
    """An LSTM over sequences of any length and batch."""
    import keras
    inputs = keras.Input((None, 3), name="x")
    model = keras.Model(inputs, keras.layers.GRU(4)(keras.layers.LSTM(5, return_sequences=True)(inputs)))
    model.export(folder / "saved_model", verbose=False)
    rng = of("open")
    return tensorflow_calls(folder, [normal(rng, 2, 5, 3)], [normal(rng, 1, 9, 3)])


# Control flow: functions of tensors, each saved as it is and frozen with its control flow lowered to frames.
def control_flow():
    import tensorflow as tf

    def grow(x, n):
        return {"y": tf.while_loop(lambda i, y: i < n, lambda i, y: (i + 1, tf.concat([y, y[:1] * 0.5], 0)),
                                   (0, x), (tf.TensorShape([]), tf.TensorShape([None, 3])))[1]}

    def nested(x, n):
        def outer(i, y):
            return i + 1, tf.while_loop(lambda j, z: j < i, lambda j, z: (j + 1, z * 0.9 + tf.cast(j, tf.float32)), (0, y))[1]
        return {"y": tf.while_loop(lambda i, y: i < n, outer, (0, x))[1]}

    def breaks(x, n):
        total = tf.zeros_like(x[0])
        for i in tf.range(n):
            if tf.reduce_sum(total) > 3.0:
                break
            if i % 2 == 1:
                continue
            total += tf.abs(x[i])
        return {"total": total}

    def early(x, n):
        y = x[0]
        for row in x:
            if tf.reduce_sum(row) > 0.0:
                y = row * 2.0
                break
        return {"y": y}

    def branches(x, n):
        return {"y": tf.cond(n > 0, lambda: tf.cond(n > 2, lambda: x + 1, lambda: x * 2),
                             lambda: tf.cond(n < -2, lambda: -x, lambda: x * x))}

    def shapes(x, n):
        return {"y": tf.cond(n > 0, lambda: x[:2], lambda: x[:3])}

    def switch(x, n):
        return {"y": tf.switch_case(n, [lambda: x, lambda: x + 1, lambda: tf.cumsum(x), lambda: tf.reverse(x, [0])])}

    def in_loop(x, n):
        return {"y": tf.while_loop(lambda i, y: i < n, lambda i, y: (i + 1, tf.cond(i % 2 == 0, lambda: y + x[i], lambda: y * 2.0)),
                                   (0, x[0]))[1]}

    def arrays(x, n):
        rows = tf.TensorArray(tf.float32, size=0, dynamic_size=True, clear_after_read=False)
        for i in tf.range(n):
            rows = rows.write(rows.size(), x[i] * tf.cast(i, tf.float32))
        return {"stack": rows.stack(), "size": rows.size(), "picked": rows.gather([0, 1]), "one": rows.read(1)}

    def several(x, n):
        y, z = tf.scan(lambda p, row: (p[0] + row, p[1] * 0.9), x, (tf.zeros([3]), tf.constant(1.0)))
        return {"y": y, "z": z, "back": tf.scan(lambda p, row: p * 0.5 + row, x, reverse=True),
                "left": tf.foldl(lambda p, row: p * 0.5 + row, x), "right": tf.foldr(tf.maximum, x)}

    def mapped(x, n):
        y = tf.map_fn(lambda row: {"sum": tf.reduce_sum(row), "rows": tf.map_fn(lambda e: e * e, row)}, x,
                      fn_output_signature={"sum": tf.float32, "rows": tf.float32})
        return {**y, "any": tf.map_fn(lambda row: tf.reduce_any(row > 1.0), x, fn_output_signature=tf.bool)}

    def collatz(x, n):
        steps = tf.constant(0)
        while n != 1:
            n = n // 2 if n % 2 == 0 else 3 * n + 1
            steps += 1
        return {"steps": steps}

    def gradient_free(x, n):
        @tf.custom_gradient
        def clipped(v):
            return tf.clip_by_value(v, -1.0, 1.0), lambda g: g
        return {"y": tf.recompute_grad(clipped)(x) + tf.stop_gradient(x)}

    functions = [grow, nested, breaks, early, branches, shapes, switch, in_loop, arrays, several, mapped, collatz, gradient_free]
    return {function.__name__: function for function in functions}


def flow_case(name, frozen):
    def make(folder):
        import tensorflow as tf
        rng = of(name)
        converted = tf.autograph.to_graph(control_flow()[name]) if name in ("breaks", "early", "arrays", "collatz") \
            else control_flow()[name]
        sets = [{"x": normal(rng, 4, 3), "n": np.int32(n)} for n in (3, 2)]
        if not frozen:
            return export_function(folder, converted, *sets)
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
        specs = {key: tf.TensorSpec(np.shape(value), tf.as_dtype(value.dtype), name=key) for key, value in sets[0].items()}
        concrete = tf.function(lambda x, n: converted(x=x, n=n)).get_concrete_function(**specs)
        graph = convert_variables_to_constants_v2(concrete, lower_control_flow=True)
        tf.io.write_graph(graph.graph, str(folder), "model.pb", as_text=False)
        names = [tensor.op.name for tensor in graph.inputs]
        calls = []
        for values in sets:
            outputs = graph(*[tf.constant(values[key]) for key in names])
            calls.append(Call({key: values[key] for key in names}, {
                tensor.name.removesuffix(":0"): value.numpy() for tensor, value in zip(graph.outputs, outputs)}))
        return calls
    return Case("sequences", f"{'frozen' if frozen else 'flow'}.{name}", make)


# A small decoder, whose step is used by hand, in loops, and over a cache in variables.
WIDTH, HEADS, WORDS, STEPS = 16, 2, 11, 8


def decoder(rng):
    import tensorflow as tf

    class Decoder(tf.Module):
        def __init__(self):
            super().__init__()
            self.words, self.places = tf.Variable(normal(rng, WORDS, WIDTH)), tf.Variable(normal(rng, STEPS, WIDTH))
            self.qkv, self.out = tf.Variable(normal(rng, WIDTH, 3 * WIDTH) * 0.3), tf.Variable(normal(rng, WIDTH, WIDTH) * 0.3)

        def step(self, token, i, keys, values):
            x = tf.gather(self.words, token) + self.places[i]
            q, k, v = [tf.reshape(part, [tf.shape(x)[0], HEADS, -1]) for part in tf.split(x @ self.qkv, 3, axis=-1)]
            keys = tf.tensor_scatter_nd_update(keys, [[i]], [k])
            values = tf.tensor_scatter_nd_update(values, [[i]], [v])
            scores = tf.einsum("bhd,lbhd->bhl", q, keys) / 2.0
            scores = tf.where(tf.range(STEPS) <= i, scores, -1e9)
            read = tf.reshape(tf.einsum("bhl,lbhd->bhd", tf.nn.softmax(scores), values), [-1, WIDTH])
            return tf.tanh(x + read @ self.out) @ tf.transpose(self.words), keys, values

        def caches(self, batch):
            return (tf.zeros([STEPS, batch, HEADS, WIDTH // HEADS]),) * 2
    return Decoder()


CACHE = (STEPS, None, HEADS, WIDTH // HEADS)


def greedy(folder):
    import tensorflow as tf
    rng = of("greedy")
    model = decoder(rng)

    def function(token):
        batch = tf.shape(token)[0]
        keys, values = model.caches(batch)

        def body(i, token, keys, values, out, done):
            logits, keys, values = model.step(token, i, keys, values)
            token = tf.where(done, 0, tf.argmax(logits, -1, tf.int32))
            return i + 1, token, keys, values, out.write(i, token), done | (token == 1)
        start = (0, token, keys, values, tf.TensorArray(tf.int32, STEPS, element_shape=[None]), tf.zeros([batch], tf.bool))
        i, _, keys, _, out, _ = tf.while_loop(
            lambda i, t, k, v, o, done: (i < STEPS) & ~tf.reduce_all(done), body, start,
            (tf.TensorShape([]), tf.TensorShape([None]), tf.TensorShape(CACHE), tf.TensorShape(CACHE),
             tf.TensorShape(None), tf.TensorShape([None])))
        return {"tokens": tf.transpose(out.stack()), "steps": i, "keys": keys}
    return export_function(folder, function, {"token": whole(rng, 2, WORDS, 3)}, {"token": whole(rng, 2, WORDS, 2)},
                           module=model, open_batch=True)


def beam_search(folder):
    import tensorflow as tf
    rng, beams = of("beam"), 3
    model = decoder(rng)

    def function(token):
        batch = tf.shape(token)[0]
        keys, values = model.caches(batch * beams)

        def body(i, token, keys, values, score, sequence):
            logits, keys, values = model.step(token, i, keys, values)
            total = tf.reshape(tf.nn.log_softmax(logits), [batch, beams, WORDS]) + score[..., None]
            score, best = tf.math.top_k(tf.reshape(total, [batch, beams * WORDS]), beams)
            parent, token = best // WORDS, best % WORDS
            rows = tf.reshape(parent + tf.range(batch)[:, None] * beams, [-1])
            sequence = tf.gather(sequence, parent, batch_dims=1)
            sequence = tf.where(tf.range(STEPS) == i, token[..., None], sequence)
            return i + 1, tf.reshape(token, [-1]), tf.gather(keys, rows, axis=1), tf.gather(values, rows, axis=1), score, sequence
        start = (0, tf.repeat(token, beams), keys, values, tf.tile([[0.0] + [-1e9] * (beams - 1)], [batch, 1]),
                 tf.zeros([batch, beams, STEPS], tf.int32))
        result = tf.while_loop(lambda i, *_: i < STEPS, body, start, (
            tf.TensorShape([]), tf.TensorShape([None]), tf.TensorShape(CACHE), tf.TensorShape(CACHE),
            tf.TensorShape([None, beams]), tf.TensorShape([None, beams, STEPS])))
        return {"scores": result[4], "sequences": result[5]}
    return export_function(folder, function, {"token": whole(rng, 2, WORDS, 2)}, module=model, open_batch=True)


def cache_in_variables(folder):
    import tensorflow as tf
    rng = of("cache")
    model = decoder(rng)
    model.keys, model.values = [tf.Variable(cache) for cache in model.caches(2)]
    model.place = tf.Variable(0)

    def function(token):
        logits, keys, values = model.step(token, model.place.read_value(), model.keys, model.values)
        model.keys.assign(keys)
        model.values.assign(values)
        model.place.assign_add(1)
        return {"logits": logits}
    return export_function(folder, function, *[{"token": whole(rng, 2, WORDS, 2)} for _ in range(5)], module=model)


def two_signatures(folder):
    import tensorflow as tf
    rng, module = of("two"), tf.Module()
    module.memory = tf.Variable(normal(rng, 2, 3))

    @tf.function(input_signature=[tf.TensorSpec([2, 3], name="rows")])
    def remember(rows):
        module.memory.assign(rows)
        return {"sum": tf.reduce_sum(rows)}

    @tf.function(input_signature=[tf.TensorSpec([3], name="x")])
    def ask(x):
        return {"y": tf.linalg.matvec(module.memory, x)}
    tf.saved_model.save(module, str(folder / "saved_model"), {DEFAULT: ask, "remember": remember})
    ask_inputs = {"x": normal(rng, 3)}
    return tensorflow_calls(folder, ask_inputs, ("remember", {"rows": normal(rng, 2, 3)}), ask_inputs)


def cases():
    for old in (False, True):
        for row in recurrent_layers():
            yield keras_case(*row, old)
    for frozen in (False, True):
        for name in control_flow():
            yield flow_case(name, frozen)
    for make in (open_steps, greedy, beam_search, cache_in_variables, two_signatures):
        yield Case("sequences", make.__name__, make)
