"""Compiles trained TensorFlow and ONNX models into one file and runs it.

    import tenon
    tenon.compile("saved_model", "model.tenon")
    runner = tenon.Runner("model.tenon")
    outputs = runner.run({"images": images})
"""
from typing import TYPE_CHECKING, Any

from tenon import _native
from tenon._error import Error
from tenon._runner import Device, Port, Runner, State, devices

if TYPE_CHECKING:
    from tenon._compiler import CheckedNode, CheckReport, check, compile

__version__ = _native.version()
__all__ = ["CheckReport", "CheckedNode", "Device", "Error", "Port", "Runner", "State", "check", "compile",
           "devices"]


def __getattr__(name: str) -> Any:
    # A program that only runs models does not wait for what compiles them.
    if name in __all__:
        from tenon import _compiler
        return getattr(_compiler, name)
    raise AttributeError(f"module 'tenon' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
