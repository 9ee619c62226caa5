// NumPy's .npy files (format 1.0 to 3.0), and the .npz archives that numpy.savez writes.
#pragma once

#include <map>
#include <string>

#include "tensor/tensor.h"

namespace tenon {

// Maps the file; the tensor points into it. Fixed-length strings of bytes (`|S5`) and of Unicode
// (`<U5`, as UTF-8) become string tensors, two raw bytes (`<V2`, which is how ml_dtypes saves it)
// bfloat16. Errors name the file and say what was expected.
Result<Tensor> read_npy(const std::string& path);

// The arrays of an archive by name; those that are not compressed point into the mapped file.
// Errors: malformed ones, unsupported for what numpy.savez and savez_compressed do not write.
Result<std::map<std::string, Tensor>> read_npz(const std::string& path);

// Strings are written as fixed-length byte strings, bfloat16 as float32 of the same value (NumPy
// has no such type). Lists are refused.
Status write_npy(const std::string& path, const Tensor& tensor);

}  // namespace tenon
