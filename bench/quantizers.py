"""The peers' quantisers, as quantization.py and make_models.py drive them: a model and samples to calibrate on go in, the model in
integers comes out. A sample is {name: array with a batch of one}, names as the engine has them."""


def onnx_static(source, target, samples):
    """QDQ form, per channel, u8 activations."""
    import onnx
    import onnx.version_converter
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.samples = iter(samples)

        def get_next(self):
            return next(self.samples, None)

    model = onnx.load(str(source))
    if model.opset_import[0].version < 13:  # scales per channel need it
        model = onnx.version_converter.convert_version(model, 13)
    quantize_static(model, str(target), Reader(), per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)


def onnx_dynamic(source, target):
    """Products whose activations are quantised as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic
    quantize_dynamic(str(source), str(target), per_channel=True, weight_type=QuantType.QInt8)


def openvino_nncf(model, samples, transformer=False):
    """An OpenVINO model of another one."""
    import logging
    import nncf
    nncf.set_log_level(logging.ERROR)
    samples = list(samples)
    options = {"model_type": nncf.ModelType.TRANSFORMER} if transformer else {}
    return nncf.quantize(model, nncf.Dataset(samples), subset_size=len(samples), **options)


def litert_integers(converter, samples):
    """Bytes of the .tflite file of a converter; what has no kernel for integers stays float."""
    import tensorflow as tf
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: iter(samples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS]
    return converter.convert()
