"""bench/networks: rows of a table of measurements get one meaning, networks are counted and built right."""
import csv
import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = "chip card model input_shape batch precision metric value software_version source notes tier".split()


@pytest.fixture(scope="module")
def rows():
    pytest.importorskip("tomllib")  # Python 3.11
    sys.path.insert(0, str(ROOT / "bench"))
    yield importlib.import_module("networks.rows")
    sys.path.remove(str(ROOT / "bench"))


def read(rows, folder, *given):
    path = folder / "measured.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        for chip, card, model, shape, batch, precision, metric, value, notes in given:
            writer.writerow({"chip": chip, "card": card, "model": model, "input_shape": shape, "batch": batch,
                             "precision": precision, "metric": metric, "value": value, "notes": notes, "tier": "A"})
    return rows.read(path)


def test_a_rate_and_a_time_of_one_measurement_are_one_record(rows, tmp_path):
    card = "MLU370-S4 (6 clusters)"
    records, left = read(
        rows, tmp_path,
        ("MLU370", card, "resnet50_onnx", "", 4, "force_float16", "qps", 1947.97, ""),
        ("MLU370", card, "resnet50_onnx", "", 4, "force_float16", "ms (MLU compute latency mean)", 2.0198, ""),
    )
    assert not left and len(records) == 1
    record = records[0]
    assert (record["chip"], record["network"], record["precision"]) == ("mlu370-s4", "resnet50", "fp16")
    assert record["latency_ms"] == pytest.approx(2.0198) and record["throughput_per_s"] == pytest.approx(1947.97)
    assert record["inputs"] == {"input": [4, 3, 224, 224]}


def test_frames_per_second_give_the_time_of_a_batch_and_repeats_their_mean(rows, tmp_path):
    card, fp16 = "Atlas 300I Pro (1x310P)", "fp16 (ATC default force_fp16; not printed)"
    records, _ = read(
        rows, tmp_path,
        ("Ascend310P3", card, "GoogleNet", "", 8, fp16, "fps", 4000, ""),
        ("Ascend310P3", card, "GoogleNet_for_Pytorch", "", 8, fp16, "fps", 1000, ""),
    )
    assert len(records) == 1 and records[0]["rows"] == 2
    assert records[0]["latency_ms"] == pytest.approx(4.0) and records[0]["throughput_per_s"] == pytest.approx(2000)


def test_the_fastest_kernel_of_an_operator_counts(rows, tmp_path):
    shape = "M2048 N4096 K4000 RowMajor"
    records, _ = read(
        rows, tmp_path,
        ("Ascend910B2", "1 device", "op:matmul basic (baseline)", shape, 1, "fp16? (not printed)", "us", 445, ""),
        ("Ascend910B2", "1 device", "op:matmul split-K", shape, 1, "fp16? (not printed)", "us", 261, ""),
    )
    assert [r["network"] for r in records] == ["matmul_m2048_n4096_k4000"]
    assert records[0]["latency_ms"] == pytest.approx(0.261)


def test_what_is_not_the_chips_time_is_left_out_with_a_reason(rows, tmp_path):
    records, left = read(
        rows, tmp_path,
        ("Ascend310P3", "1", "wav2vec2", "", 1, "fp16", "fps", 100, 'col="基准性能"'),
        ("Ascend310P3", "1", "a network of tomorrow", "", 1, "fp16", "fps", 100, ""),
        ("Ascend910 (910A)", "1 chip", "microbench: vector", "", 1, "n/a", "GFLOPS (measured)", 2000, ""),
    )
    assert not records
    assert ["reference GPU" in left[0]["reason"], left[1]["reason"], left[2]["reason"]] == \
        [True, "no rule in rows.toml", "a peak, not a time"]


def test_every_rule_names_a_network_or_a_reason(rows):
    mapping, networks = rows.load_mapping(), rows.all_networks()
    for rule in mapping["row"]:
        assert "{" in rule["network"] or rule["network"] in networks, rule
        assert rule.get("confidence", "published") == "published" or rule.get("because"), rule
    assert all(rule["reason"] for rule in mapping["unmapped"])


def test_multiply_adds_of_a_graph(rows):
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper
    macs = importlib.import_module("networks.macs")

    def weight(name, *shape):
        size = 1
        for d in shape:
            size *= d
        return helper.make_tensor(name, TensorProto.FLOAT, shape, [0.0] * size)

    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["c"], strides=[2, 2], group=2),
         helper.make_node("Flatten", ["c"], ["f"]),
         helper.make_node("Gemm", ["f", "d"], ["y"], transB=1)],
        "g", [value("x", TensorProto.FLOAT, ["batch", 4, 7, 7])], [value("y", TensorProto.FLOAT, ["batch", 10])],
        [weight("w", 6, 2, 3, 3), weight("d", 10, 54)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    onnx.checker.check_model(model)
    found = macs.count(model, {"x": [2, 4, 7, 7]})
    assert found["macs"] == 2 * (6 * 3 * 3 * 2 * 3 * 3 + 10 * 54)
    assert found["parameters"] == 6 * 2 * 3 * 3 + 10 * 54 and found["uncounted"] == 0


def test_a_built_network_has_its_weights_in_the_shared_file(rows, tmp_path):
    pytest.importorskip("torch")
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("torchvision")
    export, macs = importlib.import_module("networks.export"), importlib.import_module("networks.macs")
    network = rows.all_networks()["squeezenet1_1"]
    model = export.build(network, 1, tmp_path)
    assert macs.count(model, network.shapes(1))["macs"] == pytest.approx(network.gmacs * 1e9, rel=0.02)
    loaded = onnx.load(tmp_path / network.file(1))  # reads the weights from the shared file
    assert (tmp_path / network.file(1)).stat().st_size < 200_000
    large = [t for t in loaded.graph.initializer if len(t.raw_data) >= export.INLINE_BYTES]
    assert len({t.raw_data for t in large}) == len(large) > 10  # all different
