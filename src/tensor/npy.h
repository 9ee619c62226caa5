// NumPy's .npy files (format 1.0 to 3.0). Not for .npz archives.
#pragma once

#include <string>

#include "tensor/tensor.h"

namespace tenon {

// Maps the file; the tensor points into it. Fixed-length byte strings (`|S5`) become string
// tensors. Errors name the file and say what was expected.
Result<Tensor> read_npy(const std::string& path);

// Strings are written as fixed-length byte strings. Lists are refused.
Status write_npy(const std::string& path, const Tensor& tensor);

}  // namespace tenon
