// Decompression of one raw Snappy buffer (a checkpoint's index may be compressed with it).
#pragma once

#include <string>

#include "base/bytes.h"
#include "base/result.h"

namespace tenon::tf {

// Errors: invalid_model for anything that is not exactly one valid buffer.
Result<std::string> snappy_decompress(Bytes compressed);

}  // namespace tenon::tf
