// A constant of the model in plain form: element bytes as a view of the file where that is
// possible.
#pragma once

#include "import/tensorflow/proto.h"

namespace tenon::tf {

struct TensorValue {
  DataType dtype = DataType::invalid;
  std::vector<int64_t> dims;
  // Little-endian elements; with `splat`, one element that stands for all. Empty for strings.
  Blob data;
  bool splat = false;
  std::vector<std::string> strings;  // dtype == string; one entry with `splat`
};

// The number of elements. Errors: a negative dimension, a product beyond 2^62, more than
// `max_bytes` in all.
Result<int64_t> element_count(const std::vector<int64_t>& dims, DataType dtype,
                              int64_t max_bytes = int64_t{1} << 46);

// `owner` keeps the proto's bytes alive and is shared by the result.
Result<TensorValue> tensor_value(const TensorProto& proto, std::shared_ptr<const void> owner);

}  // namespace tenon::tf
