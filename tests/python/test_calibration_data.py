"""What may be given as calibration data, in every form, and what is refused."""
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from test_quantization import GRAPH, compile_graph, quantization, samples  # noqa: E402


@pytest.fixture
def graph(tmp_path):
    file = tmp_path / "graph.tn"
    file.write_text(GRAPH)
    return file


# A tf.Example by hand: map entries {1: name, 2: Feature {2: FloatList {1: packed floats}}}.
def field(number, payload):
    return bytes([number << 3 | 2]) + varint(len(payload)) + payload


def varint(n):
    out = b""
    while n >= 128:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def example(**features):
    entries = b"".join(
        field(1, field(1, name.encode()) + field(2, field(2, field(1, np.asarray(values, "<f4").tobytes()))))
        for name, values in features.items())
    return field(1, entries)


def write_records(path, records):
    path.write_bytes(b"".join(struct.pack("<QI", len(r), 0) + r + struct.pack("<I", 0) for r in records))


def png(pixels):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    h, w, c = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, {1: 0, 3: 2}[c], 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def test_the_same_data_in_every_form_give_the_same_ranges(graph, tmp_path):
    x = samples(8)
    forms = {}
    np.save(tmp_path / "x.npy", x)
    forms["npy"] = tmp_path / "x.npy"
    np.savez(tmp_path / "x.npz", x=x, label=np.zeros(8))
    forms["npz"] = tmp_path / "x.npz"
    write_records(tmp_path / "x.tfrecord", [example(x=row, label=[1]) for row in x])
    forms["tfrecord"] = tmp_path / "x.tfrecord"
    for name, save in (("npys", lambda f, row: np.save(f"{f}.npy", row)),
                       ("npzs", lambda f, row: np.savez(f"{f}.npz", x=row[None]))):
        forms[name] = tmp_path / name
        forms[name].mkdir()
        for i, row in enumerate(x):
            save(forms[name] / str(i), row)
    reports = [quantization(compile_graph(graph, path)) for path in forms.values()]
    for report, name in zip(reports, forms):
        assert report == reports[0], name


def test_pictures(tmp_path):
    graph = tmp_path / "picture.tn"
    graph.write_text("""graph @main (%x "image": f32[?n,3,8,8]) {
  %t = transpose(%x) {perm=[0, 2, 3, 1]}
  %w = const random(seed=8, min=-1, max=1) : f32[3,3,3,4]
  %y = conv(%t, %w) from "conv"
  return (%y "y")
}
""")
    folder = tmp_path / "pictures"
    (folder / "cats").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(3):
        (folder / f"cats/{i}.png").write_bytes(png(rng.integers(0, 256, (20, 16, 3), np.uint8)))
    (folder / "labels.txt").write_text("cat")
    report = quantization(compile_graph(graph, folder, "--force-precision", "--calibration-method", "minmax", "--preprocess",
                                        "resize=10,crop=8,scale=1/255,mean=0.5,std=0.25;0.25;0.5,layout=nchw"))
    tensor = report["tensors"][0]
    assert -2.01 <= tensor["low"] < -1 and 1 < tensor["high"] <= 2.01
    for text, words in (("crop=4", "the model takes"), ("resize=4,crop=8", "a crop of")):
        done = compile_graph(graph, folder, "--preprocess", text, status=1)
        assert words in done.stderr and "0.png" in done.stderr
    for text in ("resize=a", "mean=1;x", "std=0", "layout=hwc", "size=3"):
        assert "--preprocess" in compile_graph(graph, folder, "--preprocess", text, status=2).stderr
    (folder / "cats/1.png").write_bytes(b"no picture")
    assert "1.png" in compile_graph(graph, folder, status=1).stderr


@pytest.mark.parametrize("make, words", [
    (lambda d: np.save(d / "x.npy", samples().astype(np.float64)), ["x.npy", "f64[32,3]", "expected f32[?n,3]"]),
    (lambda d: np.save(d / "x.npy", np.zeros((4, 2), np.float32)), ["x.npy", "f32[4,2]", "expected f32[?n,3]"]),
    (lambda d: np.save(d / "x.npy", np.zeros((0, 3), np.float32)), ["x.npy", "no samples"]),
    (lambda d: np.savez(d / "x.npz", y=samples()), ["x.npz", "no array for input 'x'", "there are: y"]),
    (lambda d: np.save(d / "x.npy", np.array([[1, np.nan, 2]], np.float32)), ["x.npy", "nan", "element 1", "'x'"]),
    (lambda d: np.save(d / "x.npy", np.array([[np.inf, 0, 2]], np.float32)), ["x.npy", "inf"]),
    (lambda d: (d / "x.npy").write_bytes(b"nothing"), ["x.npy"]),
    (lambda d: (d / "x.txt").write_text("1 2 3"), ["no data in the folder"]),
    (lambda d: None, ["no data in the folder"]),
    (lambda d: (np.save(d / "x.npy", samples()), np.savez(d / "x.npz", x=samples())), [".npy files and .npz archives"]),
    (lambda d: (d / "x.tfrecord").write_bytes(b"abc"), ["x.tfrecord, record 0", "TFRecord"]),
    (lambda d: write_records(d / "x.tfrecord", [example(y=[1, 2, 3])]), ["x.tfrecord, record 0", "'x'"]),
    (lambda d: write_records(d / "x.tfrecord", [example(x=[1, 2])]), ["'x' has 2 values", "wants 3"]),
    (lambda d: write_records(d / "x.tfrecord", []), ["no samples"]),
])
def test_bad_data_are_one_clear_error(graph, tmp_path, make, words):
    folder = tmp_path / "data"
    folder.mkdir()
    make(folder)
    error = compile_graph(graph, folder, status=1).stderr
    for word in words:
        assert word in error
    assert not (tmp_path / "m.tenon").exists()


def test_what_has_no_effect_on_the_data_is_refused(graph, tmp_path):
    np.save(tmp_path / "x.npy", samples())
    error = compile_graph(graph, tmp_path / "x.npy", "--preprocess", "scale=1/255", status=1).stderr
    assert "--preprocess is for pictures" in error and ".npy files" in error


def test_a_record_does_not_say_the_sizes_that_a_model_leaves_open(tmp_path):
    graph = tmp_path / "open.tn"
    graph.write_text('graph @main (%x "x": f32[?n,?m,3]) {\n  %w = const random(seed=1, min=-1, max=1) : f32[3,4]\n'
                     '  %y = matmul(%x, %w) from "m"\n  return (%y "y")\n}\n')
    write_records(tmp_path / "x.tfrecord", [example(x=[1, 2, 3, 4, 5, 6])])
    assert "--input-shape x:-1" in compile_graph(graph, tmp_path / "x.tfrecord", status=1).stderr
    compile_graph(graph, tmp_path / "x.tfrecord", "--input-shape", "x:-1,2,3")


def test_a_sample_that_the_model_cannot_run_is_named(tmp_path):
    graph = tmp_path / "g.tn"
    graph.write_text("""graph @main (%i "ids": i32[?n,5]) {
  %table = const random(seed=1) : f32[50,8]
  %w = const random(seed=2) : f32[8,6]
  %e = gather(%table, %i)
  %y = matmul(%e, %w)
  return (%y)
}
""")
    ids = np.zeros((4, 5), np.int32)
    ids[2, 3] = 70
    np.save(tmp_path / "ids.npy", ids)
    said = compile_graph(graph, tmp_path / "ids.npy", status=1).stderr
    assert "index 70" in said and "ids.npy, sample 2" in said
