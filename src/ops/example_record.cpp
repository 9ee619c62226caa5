#include "ops/example_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "ops/proto_fields.h"

namespace tenon {
namespace {

void read_floats(std::string_view bytes, std::vector<float>& out) {
  for (size_t at = 0; at + 4 <= bytes.size(); at += 4) {
    float v;
    std::memcpy(&v, bytes.data() + at, 4);
    out.push_back(v);
  }
}

}  // namespace

bool read_feature(std::string_view text, Feature& feature) {
  ProtoFields outer{text};
  while (outer.next()) {
    if (outer.kind != 2 || outer.field < 1 || outer.field > 3) continue;
    feature = {};
    feature.dtype = outer.field == 1 ? DType::string : outer.field == 2 ? DType::f32 : DType::i64;
    ProtoFields list{outer.bytes};
    while (list.next()) {
      if (list.field != 1) continue;
      if (outer.field == 1 && list.kind == 2) feature.strings.push_back(list.bytes);
      if (outer.field == 2 && list.kind != 0) read_floats(list.bytes, feature.floats);
      if (outer.field == 3 && list.kind == 0)
        feature.ints.push_back(static_cast<int64_t>(list.number));
      if (outer.field == 3 && list.kind == 2) {
        ProtoFields packed{list.bytes};
        uint64_t value = 0;
        while (!packed.data.empty() && packed.varint(value))
          feature.ints.push_back(static_cast<int64_t>(value));
        list.fine = list.fine && packed.fine;
      }
    }
    outer.fine = outer.fine && list.fine;
  }
  return outer.fine;
}

void store_feature(const Feature& feature, Tensor& y, int64_t at) {
  for (size_t i = 0; i < feature.strings.size(); ++i)
    y.mutable_data<std::string>()[at + static_cast<int64_t>(i)] = std::string(feature.strings[i]);
  if (!feature.floats.empty()) std::ranges::copy(feature.floats, y.mutable_data<float>() + at);
  if (!feature.ints.empty()) std::ranges::copy(feature.ints, y.mutable_data<int64_t>() + at);
}

bool is_feature_type(DType t) {
  return t == DType::f32 || t == DType::i64 || t == DType::string;
}

Result<TensorType> parse_feature_type(const std::string& text) {
  TensorType type = TRY(parse_tensor_type(text));
  bool fits = is_feature_type(type.dtype) && type.shape.ranked() && !type.is_list;
  for (int i = 0; fits && i < type.shape.rank(); ++i) fits = i == 0 || type.shape[i].known();
  if (!fits) return invalid_argument(fmt::format("{} is no type of a feature", text));
  return type;
}

}  // namespace tenon
