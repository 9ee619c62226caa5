"""Ops of com.microsoft that ONNX Runtime computes on GPUs only: against their definition in NumPy."""
import numpy as np
import pytest
import tenon

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
