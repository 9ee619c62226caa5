"""tenon.Runner: values, names, memory and threads."""
import gc
import threading

import numpy as np
import pytest

import tenon


def test_digits(digits, runner):
    _, images, labels, expected = digits
    output, = runner.run({"images": images}).values()
    assert (output.argmax(axis=1) == labels).mean() >= 0.97
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-6)
    assert output.dtype == np.float32 and output.flags.writeable


def test_ports(runner):
    assert runner.inputs == (tenon.Port("images", "float32", (None, 8, 8, 1)),)
    assert [(port.dtype, port.shape) for port in runner.outputs] == [("float32", (None, 10))]
    assert runner.signature == "serving_default"
    assert "images" in repr(runner)
    assert runner.metadata["source.format"] == "TensorFlow SavedModel"


def test_ways_to_give_inputs(digits, runner):
    images = digits[1][:2]
    expected, = runner.run({"images": images}).values()
    for results in (runner.run(images), runner.run(images=images), runner.run({"images:0": images})):
        np.testing.assert_array_equal(next(iter(results.values())), expected)


def test_several_inputs_by_position(fixtures):
    path, inputs, outputs = fixtures("keras_multi_io")
    runner = tenon.Runner(tenon.compile(path))
    arrays = [inputs[port.name] for port in runner.inputs]
    assert len(arrays) > 1
    last = runner.inputs[-1].name
    for results in (runner.run(*arrays), runner.run(*arrays[:-1], **{last: arrays[-1]})):
        for name, expected in outputs.items():
            np.testing.assert_allclose(results[name], expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(tenon.Error, match="twice"):
        runner.run(arrays[0], **{runner.inputs[0].name: arrays[0]})
    with pytest.raises(tenon.Error, match="were given"):
        runner.run(*arrays, arrays[0])


def test_signatures(fixtures):
    path, inputs, outputs = fixtures("flow_multi_signature")
    content = tenon.compile(path)
    keys = tenon.Runner(content).signatures
    assert len(keys) > 1
    runner, = (tenon.Runner(content, signature=key) for key in keys
               if set(outputs) <= {port.name for port in tenon.Runner(content, signature=key).outputs})
    np.testing.assert_allclose(runner.run(inputs)["projected"], outputs["projected"], rtol=1e-4)
    for key in keys:
        other = runner.with_signature(key)
        assert other.signature == key and other.outputs == tenon.Runner(content, signature=key).outputs
    with pytest.raises(tenon.Error, match=keys[0]) as caught:
        tenon.Runner(content, signature="missing")
    assert caught.value.code == "not_found"


def test_dtypes(fixtures):
    path, inputs, outputs = fixtures("ops_types")
    results = tenon.Runner(tenon.compile(path)).run(inputs)
    for name, expected in outputs.items():
        assert results[name].shape == expected.shape
        got = results[name].astype(expected.dtype)
        np.testing.assert_allclose(got, expected, rtol=1e-3)


def field(number, value):
    """One field of a protobuf message: an int or bytes."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    return bytes([number << 3 | 2, len(value)]) + value


@pytest.fixture(scope="module")
def words_runner():
    """A GraphDef whose output 'same' is its input 'words', strings of any shape."""
    def node(name, op, inputs, attribute):
        attributes = field(5, field(1, attribute) + field(2, field(6, 7)))
        return field(1, field(1, name) + field(2, op) + inputs + attributes)
    graph = node(b"words", b"Placeholder", b"", b"dtype")
    graph += node(b"same", b"Identity", field(3, b"words"), b"T")
    return tenon.Runner(tenon.compile(graph))


WORDS = [["a", "größer", ""], ["b" * 100, "\0\0", "c"]]


@pytest.mark.parametrize("words", [
    WORDS,
    np.array(WORDS, dtype=object),
    np.array([[word.encode() for word in row] for row in WORDS], dtype=object),
    np.array(WORDS, dtype=object).T.copy().T,
])
def test_strings(words_runner, words):
    assert words_runner.inputs[0].dtype == "string"
    same = words_runner.run(words)["same"]
    assert same.dtype == object
    assert [[item.decode() for item in row] for row in same] == WORDS


def test_strings_of_fixed_width(words_runner):
    for array in (np.array(["left", "right"]), np.array([b"left", b"right"])):
        assert words_runner.run(array)["same"].tolist() == [b"left", b"right"]
    assert words_runner.run("alone")["same"].tolist() == b"alone"
    assert words_runner.run(np.empty((0, 3), object))["same"].shape == (0, 3)
    for wrong in (np.array([[1, "a"]], object), np.zeros(3, np.float32)):
        with pytest.raises(tenon.Error, match="words.*string") as caught:
            words_runner.run(wrong)
        assert caught.value.code == "invalid_argument"


@pytest.mark.parametrize("make, words", [
    (lambda x: x.astype(np.float64), "float64"),
    (lambda x: x[:, :7], r"7,8,1"),
    (lambda x: x[0], r"\[8,8,1\]"),
    (lambda x: "text", "no array of numbers"),
    (lambda x: object(), "images"),
    (lambda x: [[1, 2], [3]], "images"),
    (lambda x: None, "missing"),
    (lambda x: x.astype("datetime64[s]"), "datetime64"),
])
def test_wrong_arrays(digits, runner, make, words):
    with pytest.raises(tenon.Error, match=words) as caught:
        runner.run({"images": make(digits[1][:2])})
    assert caught.value.code == "invalid_argument" and "images" in str(caught.value)


def test_a_size_that_inputs_share(tmp_path):
    graph = tmp_path / "two.tn"
    graph.write_text('graph @main (%a: f32[?n,1], %b: f32[?n,2]) { %c = concat(%a, %b) {axis=1} return (%c "c") }')
    runner = tenon.Runner(tenon.compile(graph))
    assert runner.run(np.ones((2, 1), np.float32), np.ones((2, 2), np.float32))["c"].shape == (2, 3)
    with pytest.raises(tenon.Error, match="'n' is 2 in input 'a'"):
        runner.run(np.ones((2, 1), np.float32), np.ones((3, 2), np.float32))


def test_wrong_names(digits, runner):
    with pytest.raises(tenon.Error, match="no input 'pictures'.*'images'"):
        runner.run({"pictures": digits[1]})
    with pytest.raises(tenon.Error, match="missing: 'images'"):
        runner.run()
    with pytest.raises(tenon.Error, match="no input 5"):
        runner.run({5: digits[1]})
    with pytest.raises(tenon.Error, match="no output 'x'"):
        runner.run(digits[1], out={"x": np.zeros(1)})


def test_error_attributes(runner):
    with pytest.raises(tenon.Error) as caught:
        tenon.Runner("no_such_file.tenon")
    error = caught.value
    assert error.code == "not_found" and "no_such_file.tenon" in str(error)
    assert isinstance(error.where, str) and isinstance(error.notes, tuple)
    assert tenon.Error.__module__ == "tenon"


@pytest.mark.parametrize("options, code", [({"device": "gpu"}, "unsupported"),
                                           ({"precision": "fp16"}, "unsupported"),
                                           ({"threads": 0}, "invalid_argument"),
                                           ({"threads": 1.5}, "invalid_argument"),
                                           ({"threads": "2"}, "invalid_argument"),
                                           ({"threads": 5000}, "invalid_argument")])
def test_wrong_options(digits_file, options, code):
    with pytest.raises(tenon.Error) as caught:
        tenon.Runner(digits_file, **options)
    assert caught.value.code == code


def test_damaged_files(digits_file):
    with open(digits_file, "rb") as file:
        content = file.read()
    for damaged in (b"", content[:100], content[:-1], content[:-200] + bytes(200)):
        with pytest.raises(tenon.Error) as caught:
            tenon.Runner(damaged)
        assert caught.value.code == "invalid_model"


def test_layouts_that_need_a_copy(digits, runner):
    images = digits[1][:6]
    expected, = runner.run(images).values()
    unaligned = np.frombuffer(b"\0" + images.tobytes(), np.uint8)[1:].view(np.float32)
    strange = [np.asfortranarray(images), np.repeat(images, 2, axis=0)[::2], images[::-1][::-1],
               images.astype(">f4"), unaligned.reshape(images.shape), images.tolist()]
    for array in strange:
        np.testing.assert_array_equal(next(iter(runner.run(array).values())), expected)
    read_only = images.copy()
    read_only.flags.writeable = False
    np.testing.assert_array_equal(next(iter(runner.run(read_only).values())), expected)


class OnlyDlpack:
    """An array of another framework."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def test_dlpack(digits, runner):
    images = digits[1][:2]
    expected, = runner.run(images).values()
    output, = runner.run(OnlyDlpack(images)).values()
    np.testing.assert_array_equal(np.from_dlpack(OnlyDlpack(output)), expected)


def test_outputs_own_their_memory(digits, digits_file):
    runner = tenon.Runner(digits_file)
    output, = runner.run(digits[1]).values()
    kept = output.copy()
    other, = runner.run(np.zeros_like(digits[1])).values()
    del runner
    gc.collect()
    assert not np.shares_memory(output, other)
    np.testing.assert_array_equal(output, kept)
    output[:] = 0


def test_output_into_a_given_array(digits, runner):
    images = digits[1]
    name = runner.outputs[0].name
    expected = runner.run(images)[name]
    buffer = np.zeros_like(expected)
    results = runner.run(images, out={name: buffer})
    assert results[name] is buffer
    np.testing.assert_array_equal(buffer, expected)
    buffer.flags.writeable = False
    for wrong in (buffer, np.zeros((3, 10), np.float32), np.zeros(expected.shape), "text"):
        with pytest.raises(tenon.Error, match=name):
            runner.run(images, out={name: wrong})


def test_nothing_leaks(digits, runner):
    import resource
    images = np.repeat(digits[1][:8], 10, axis=1).reshape(80, 8, 8, 1)
    for _ in range(20):
        runner.run(images)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(300):
        runner.run(images)
        with pytest.raises(tenon.Error):
            runner.run(images.astype(np.float64))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


def test_eight_threads_share_a_runner(digits, digits_file):
    _, images, _, expected = digits
    runner = tenon.Runner(digits_file, threads=2)
    problems = []

    def work(seed):
        rng = np.random.default_rng(seed)
        for _ in range(20):
            rows = rng.integers(0, len(images), rng.integers(1, 9))
            output, = runner.run(images[rows]).values()
            if not np.allclose(output, expected[rows], rtol=1e-4, atol=1e-6):
                problems.append(rows)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
