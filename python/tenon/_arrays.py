"""The slow path into tensors, for what the extension cannot use where it lies. Called from there."""
from typing import Any

import numpy as np


# Types that NumPy has only through ml_dtypes, which calls them so: the integers that hold their bits.
_BITS = {"bfloat16": np.uint16} | dict.fromkeys(
    ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu",
     "float4_e2m1fn", "int4", "uint4", "int2", "uint2"), np.uint8)


def prepare(value: Any, dtype: str, is_list: bool) -> tuple[Any, ...]:
    """(kind, payload…) for a value given for an input of this dtype.

    ("array", contiguous array), ("bits", array of unsigned integers, dtype), ("string", flat list, shape),
    ("list", [prepared…]) or ("absent",). TypeError and ValueError say in words what is wrong.
    """
    if value is None:
        return ("absent",)
    if is_list:
        if not isinstance(value, (list, tuple)):
            raise TypeError(f"a list of arrays is wanted, got {type(value).__name__}")
        return ("list", [prepare(item, dtype, False) for item in value])

    array = _as_array(value, dtype)
    if array.dtype.kind in "OSUT":
        return ("string", _strings(array), array.shape)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    array = np.require(array, requirements=["C", "A"]).reshape(array.shape)
    if array.dtype.name in _BITS:
        return ("bits", array.view(_BITS[array.dtype.name]), array.dtype.name)
    return ("array", array)


def _as_array(value: Any, dtype: str) -> np.ndarray:
    if isinstance(value, (np.ndarray, np.generic)):
        return np.asarray(value)
    if hasattr(value, "__dlpack__"):
        return np.from_dlpack(value)
    if hasattr(value, "__array__") or dtype in ("string", "none"):
        return np.asarray(value, dtype=object if dtype == "string" else None)
    # Python numbers and lists have no dtype of their own: they take the input's.
    plain = np.asarray(value)
    wanted = _numpy_dtype(dtype)
    if plain.dtype.kind not in "biufc":
        raise TypeError(f"{type(value).__name__} is no array of numbers")
    if plain.dtype.kind in "fc" and wanted.kind in "biu":
        raise TypeError(f"values of {plain.dtype} do not fit")
    return np.asarray(value, dtype=wanted)


def _numpy_dtype(name: str) -> np.dtype[Any]:
    if name in _BITS:
        import ml_dtypes
        narrow: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
        return narrow
    return np.dtype(name)


def _strings(array: np.ndarray) -> list[Any]:
    items = array.ravel().tolist()
    for item in items:
        if not isinstance(item, (bytes, str)):
            raise TypeError(f"str or bytes are wanted, got {type(item).__name__} {item!r}")
    return items


def object_array(items: list[bytes], shape: list[int]) -> np.ndarray:
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array.reshape(shape)


def from_bits(bits: np.ndarray, name: str) -> np.ndarray:
    """An array of the ml_dtypes type of this name. Without ml_dtypes: bfloat16 as float32, the bits of
    others."""
    try:
        import ml_dtypes
    except ImportError:
        return (bits.astype(np.uint32) << 16).view(np.float32) if name == "bfloat16" else bits
    array: np.ndarray = bits.view(getattr(ml_dtypes, name))
    return array
