"""Compiles trained TensorFlow and ONNX models into one file and runs it.

    import tenon
    tenon.compile("saved_model", "model.tenon")
    runner = tenon.Runner("model.tenon")
    outputs = runner.run({"images": images})
"""
from tenon._compiler import CheckedNode, CheckReport, check, compile
from tenon._error import Error
from tenon._runner import Device, Port, Runner, State, devices

__version__ = "0.1.0"
__all__ = ["CheckReport", "CheckedNode", "Device", "Error", "Port", "Runner", "State", "check", "compile",
           "devices"]
