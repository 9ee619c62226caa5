"""Ops of com.microsoft that ONNX Runtime computes on GPUs only, or rounds otherwise: against their definition in NumPy."""
import numpy as np
import pytest
import tenon
from conftest import command

onnx = pytest.importorskip("onnx")


def run(body, inputs, outputs, tmp_path):
    kinds = {"float32": "float", "int8": "int8", "uint8": "uint8", "bool": "bool"}
    arguments = ", ".join(f"{kinds[v.dtype.name]}[{','.join(map(str, v.shape))}] {k}" for k, v in inputs.items())
    results = ", ".join(f"{kind} {name}" for name, kind in outputs.items())
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]> g ({arguments}) => ({results}) {{ {body} }}')
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    return tenon.Runner(tenon.compile(tmp_path / "m.onnx")).run(inputs)


def softmax(x, axes):
    e = np.exp(x - x.max(axes, keepdims=True))
    return e / e.sum(axes, keepdims=True)


def group_norm(x, groups, gamma, beta):
    n, h, w, c = x.shape
    parts = x.reshape(n, h, w, groups, c // groups)
    mean, variance = parts.mean((1, 2, 4), keepdims=True), parts.var((1, 2, 4), keepdims=True)
    return ((parts - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape) * gamma + beta


def silu(x):
    return x / (1 + np.exp(-x))


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def test_bias_and_softmax(rng, tmp_path):
    x, skip = (rng.standard_normal((2, 3, 4, 5)).astype(np.float32) for _ in range(2))
    bias, mask = rng.standard_normal(5).astype(np.float32), rng.standard_normal((2, 1, 1, 5)).astype(np.float32)
    got = run("""
        a = com.microsoft.BiasAdd(x, bias, skip)
        s = com.microsoft.BiasSoftmax<axis=3, is_inner_broadcast=0>(x, mask)
        t = com.microsoft.BiasSoftmax<axis=2, is_inner_broadcast=0>(x, mask)
    """, {"x": x, "skip": skip, "bias": bias, "mask": mask}, {n: "float[2,3,4,5]" for n in "ast"}, tmp_path)
    np.testing.assert_allclose(got["a"], x + bias + skip, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(got["s"], softmax(x + mask, (3,)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got["t"], softmax(x + mask, (2, 3)), rtol=1e-5, atol=1e-6)


def test_split_gelu(rng, tmp_path):
    from math import erf
    x, bias = rng.standard_normal((2, 3, 8)).astype(np.float32), rng.standard_normal(8).astype(np.float32)
    got = run("y = com.microsoft.BiasSplitGelu(x, bias)", {"x": x, "bias": bias}, {"y": "float[2,3,4]"}, tmp_path)["y"]
    left, right = np.split(x + bias, 2, -1)
    gelu = right * 0.5 * (1 + np.vectorize(erf)(right / np.sqrt(2)))
    np.testing.assert_allclose(got, left * gelu, rtol=1e-5, atol=1e-5)


def test_group_norm(rng, tmp_path):
    x, skip = (rng.standard_normal((2, 3, 4, 8)).astype(np.float32) for _ in range(2))
    gamma, beta, bias = (rng.standard_normal(8).astype(np.float32) for _ in range(3))
    per_image = rng.standard_normal((2, 8)).astype(np.float32)
    got = run("""
        y = com.microsoft.GroupNorm<groups=2, epsilon=0.00001, activation=1>(x, g, b)
        z, s = com.microsoft.SkipGroupNorm<groups=4, epsilon=0.00001, activation=0>(x, g, b, skip, bias)
        v = com.microsoft.SkipGroupNorm<groups=4, epsilon=0.00001, activation=0>(x, g, b, image)
    """, {"x": x, "skip": skip, "g": gamma, "b": beta, "bias": bias, "image": per_image},
        {n: "float[2,3,4,8]" for n in "yzsv"}, tmp_path)
    np.testing.assert_allclose(got["y"], silu(group_norm(x, 2, gamma, beta)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got["s"], x + skip + bias, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(got["z"], group_norm(x + skip + bias, 4, gamma, beta), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got["v"], group_norm(x + per_image[:, None, None], 4, gamma, beta), rtol=1e-4, atol=1e-5)


def test_complex_and_integer_products(rng, tmp_path):
    a, b = (rng.standard_normal((3, 2)).astype(np.float32) for _ in range(2))
    i, j, zero = rng.integers(-99, 99, (2, 3), np.int8), rng.integers(-99, 99, (3,), np.int8), np.array([3], np.int8)
    got = run("""
        y = com.microsoft.ComplexMul(a, b)
        z = com.microsoft.ComplexMulConj(a, b)
        p = com.microsoft.MulInteger(i, zero, j)
    """, {"a": a, "b": b, "i": i, "j": j, "zero": zero}, {"y": "float[3,2]", "z": "float[3,2]", "p": "int32[2,3]"}, tmp_path)
    p, q = a[:, 0] + 1j * a[:, 1], b[:, 0] + 1j * b[:, 1]
    for name, expected in (("y", p * q), ("z", p * q.conj())):
        np.testing.assert_allclose(got[name], np.stack([expected.real, expected.imag], -1), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(got["p"], (i.astype(np.int32) - 3) * j.astype(np.int32))


def test_finite(tmp_path):
    inputs = {"x": np.float32([1, 2]), "i": np.float32([1, np.inf]), "n": np.float32([np.nan])}
    got = run("""
        a = com.microsoft.IsAllFinite(x, x)
        b = com.microsoft.IsAllFinite(x, i)
        c = com.microsoft.IsAllFinite<isnan_only=1>(x, i)
        d = com.microsoft.IsAllFinite<isinf_only=1>(x, n)
        e = com.microsoft.IsAllFinite<isnan_only=1>(x, n)
    """, inputs, {n: "bool" for n in "abcde"}, tmp_path)
    assert [bool(got[n]) for n in "abcde"] == [True, False, True, True, False]


def test_channels_last_convolution(rng, tmp_path):
    x, skip = rng.standard_normal((1, 4, 5, 2)).astype(np.float32), rng.standard_normal((1, 4, 5, 3)).astype(np.float32)
    w, bias = rng.standard_normal((3, 2, 3, 3)).astype(np.float32), rng.standard_normal(3).astype(np.float32)
    got = run("""
        y = com.microsoft.NhwcConv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w, bias)
        z = com.microsoft.NhwcFusedConv<kernel_shape=[3,3], pads=[1,1,1,1], activation="Relu">(x, w, bias, skip)
    """, {"x": x, "w": w, "bias": bias, "skip": skip}, {"y": "float[1,4,5,3]", "z": "float[1,4,5,3]"}, tmp_path)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    expected = np.einsum("nhwcij,ocij->nhwo", windows, w) + bias
    np.testing.assert_allclose(got["y"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got["z"], np.maximum(expected + skip, 0), rtol=1e-4, atol=1e-5)


def bucket(distance, both_ways, buckets, farthest):
    """T5's, written as in its paper's code."""
    first = 0
    if both_ways:
        buckets //= 2
        first, distance = buckets * (distance > 0), abs(distance)
    else:
        distance = max(-distance, 0)
    near = buckets // 2
    if distance < near:
        return first + distance
    far = near + int(np.log(distance / near) / np.log(farthest / near) * (buckets - near))
    return first + min(far, buckets - 1)


@pytest.mark.parametrize("both_ways", (0, 1))
def test_relative_position_bias(both_ways, rng, tmp_path):
    table = rng.standard_normal((8, 3)).astype(np.float32)
    body = f"""
        q = Constant<value = int64[1] {{7}}>()
        k = Constant<value = int64[1] {{9}}>()
        y = com.microsoft.RelativePositionBias<is_bidirectional={both_ways}, max_distance=6>(table, q, k)
    """
    got = run(body, {"table": table}, {"y": "float[1,3,7,9]"}, tmp_path)["y"]
    places = [[bucket(k - q, both_ways, 8, 6) for k in range(9)] for q in range(7)]
    np.testing.assert_array_equal(got[0], table[places].transpose(2, 0, 1))


def test_gated_relative_position_bias(rng, tmp_path):
    batch, steps, heads, size = 2, 3, 2, 4
    def normal(*shape):
        return rng.standard_normal(shape).astype(np.float32)
    q, qb, bias = normal(batch, steps, heads * size), normal(heads * size), normal(1, heads, steps, steps)
    w, b, eco = normal(size, 8), normal(8), normal(1, heads, 1, 1)
    got = run("y = com.microsoft.GatedRelativePositionBias<num_heads=2>(q, qb, bias, w, b, eco)",
              {"q": q, "qb": qb, "bias": bias, "w": w, "b": b, "eco": eco}, {"y": "float[2,2,3,3]"}, tmp_path)["y"]
    parts = (q + qb).reshape(batch, steps, heads, size).transpose(0, 2, 1, 3)
    gates = (parts @ w + b).reshape(batch, heads, steps, 2, 4).sum(-1)
    gates = 1 / (1 + np.exp(-gates))
    gate = gates[..., :1] * (gates[..., 1:] * eco - 1) + 2
    np.testing.assert_allclose(got, gate * bias, rtol=1e-4, atol=1e-5)


def test_small_ops(rng, tmp_path):
    x, w, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((3, 4), (4, 5), (5,)))
    bytes_ = rng.integers(0, 255, (3, 4), np.uint8)
    got = run("""
        g = com.microsoft.GemmFastGelu(x, w, b)
        s = com.microsoft.ReduceSumInteger<axes=[1], keepdims=0>(bytes)
        i = Constant<value = int64[2] {2, 0}>()
        e = com.microsoft.TorchEmbedding(x, i)
    """, {"x": x, "w": w, "b": b, "bytes": bytes_}, {"g": "float[3,5]", "s": "int32[3]", "e": "float[2,4]"}, tmp_path)
    y = x @ w + b
    np.testing.assert_allclose(got["g"], y / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (y + 0.044715 * y**3))), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(got["s"], bytes_.sum(1, dtype=np.int32))
    np.testing.assert_array_equal(got["e"], x[[2, 0]])


def test_experts_with_a_third_layer(rng, tmp_path):
    def normal(*shape):
        return rng.standard_normal(shape).astype(np.float32)
    x, r, w1, w2, w3 = normal(2, 3, 4), normal(6, 5), normal(5, 6, 4), normal(5, 4, 6), normal(5, 6, 4)
    got = run('y = com.microsoft.MoE<k=2, activation_type="silu", normalize_routing_weights=1>(x, r, w1, , w2, , w3)',
              {"x": x, "r": r, "w1": w1, "w2": w2, "w3": w3}, {"y": "float[2,3,4]"}, tmp_path)["y"]
    for token, scores, y in zip(x.reshape(6, 4), r, got.reshape(6, 4)):
        best = np.argsort(-scores)[:2]
        weights = np.exp(scores[best]) / np.exp(scores[best]).sum()
        expected = sum(weight * (w2[e] @ (silu(w1[e] @ token) * (w3[e] @ token))) for weight, e in zip(weights, best))
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def lstm(x, w, r):
    """One direction, x [T,B,I], w [I,4H], r [H,4H], gates input, output, forget, cell: every state."""
    h = c = np.zeros((x.shape[1], r.shape[0]))
    states = []
    for step in x:
        i, o, f, g = np.split(step @ w + h @ r, 4, axis=-1)
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
        states.append(h)
    return np.stack(states)


@pytest.mark.parametrize("kind,zero,in_bytes", [("int8", 0, True), ("uint8", 100, True), ("uint8", 130, False)])
def test_lstm_of_bytes(kind, zero, in_bytes, rng, tmp_path):
    # Weights of 9 bits without their zero point are multiplied as reals.
    low, high = (-128, 128) if kind == "int8" else (0, 227 if in_bytes else 256)
    x = rng.normal(size=(5, 2, 6)).astype(np.float32)
    w, r = (rng.integers(low, high, (2, n, 32), dtype=kind) for n in (6, 8))
    w[0, 0, 0] = low
    scales = [rng.uniform(0.001, 0.01, (2, 32)).astype(np.float32) for _ in range(2)]
    zeros = np.full((2, 32), zero, kind)
    names = dict(zip(("w", "r", "ws", "wz", "rs", "rz"), (w, r, scales[0], zeros, scales[1], zeros)))
    file = tmp_path / "m.onnx"
    node = onnx.helper.make_node("DynamicQuantizeLSTM", ["x", "w", "r", "", "", "", "", "", "ws", "wz", "rs", "rz"], ["y"],
                                 domain="com.microsoft", direction="bidirectional", hidden_size=8)
    graph = onnx.helper.make_graph([node], "g", [onnx.helper.make_tensor_value_info("x", 1, x.shape)],
                                   [onnx.helper.make_tensor_value_info("y", 1, (5, 2, 2, 8))],
                                   [onnx.numpy_helper.from_array(v, k) for k, v in names.items()])
    onnx.save(onnx.helper.make_model(graph, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", 17),
                                                                         onnx.helper.make_opsetid("com.microsoft", 1)]), file)
    command("compile", file, "-o", tmp_path / "m.tenon")
    assert ("the weights are not bytes" not in command("explain", tmp_path / "m.tenon").stdout) == in_bytes
    np.save(tmp_path / "x.npy", x)
    command("run", tmp_path / "m.tenon", "--input", f"x={tmp_path / 'x.npy'}", "--output-dir", tmp_path)
    real = [(v.astype(np.float64) - zero) * s[:, None] for v, s in zip((w, r), scales)]
    wanted = np.stack([lstm(x, real[0][0], real[1][0]), lstm(x[::-1], real[0][1], real[1][1])[::-1]], axis=1)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), wanted, atol=0.02 if in_bytes else 1e-5)
