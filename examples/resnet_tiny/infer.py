"""The inference snippet that users of Cambricon's MagicMind know, run on the file that run.sh compiles."""
import numpy as np

sample = np.load("sample.npz")
input_data = sample["images"]

import magicmind.python.runtime as mm

runner = mm.Runner(deserialize_file="model.cambricon")
inputs = [mm.HostBuffer(input_data)]
results = runner.infer(inputs)
print(results[0].asnumpy().shape)

difference = np.abs(results[0].asnumpy() - sample["expected"]).max()
print(f"largest difference to TensorFlow's output: {difference:.1e}")
assert results[0].asnumpy().shape == (1, 10) and difference < 1e-4
