// What tf.Example and tf.SequenceExample records are made of.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tensor/tensor.h"

namespace tenon {

// Feature {1: BytesList, 2: FloatList, 3: Int64List}, each list {1: values, packed or not}. Strings
// are views of the record.
struct Feature {
  DType dtype = DType::none;
  std::vector<float> floats;
  std::vector<int64_t> ints;
  std::vector<std::string_view> strings;

  size_t size() const { return std::max({floats.size(), ints.size(), strings.size()}); }
};

// False for damaged bytes. A message that comes twice replaces what was read before.
bool read_feature(std::string_view text, Feature& feature);

// Writes a feature's values, which are of y's type, from element `at` of y on.
void store_feature(const Feature& feature, Tensor& y, int64_t at);

// The types that features have: f32, i64 and str.
bool is_feature_type(DType t);
// The type and shape of a dense feature as text; only the first dimension may be unknown.
Result<TensorType> parse_feature_type(const std::string& text);

}  // namespace tenon
