// The records are protocol buffers: Example {1: Features}, Features {1: map of name to Feature},
// Feature {1: BytesList, 2: FloatList, 3: Int64List}, each list {1: values, packed or not}.
#include "ops/parse_example.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "ops/movement.h"
#include "ops/registry.h"

namespace tenon {
namespace {

// Reads the fields of one message; `fine` turns false at damage and stays so.
struct Wire {
  std::string_view data;
  bool fine = true;
  uint32_t field = 0, kind = 0;
  uint64_t number = 0;     // kind 0
  std::string_view bytes;  // kinds 1, 2 and 5

  bool varint(uint64_t& value) {
    value = 0;
    for (int shift = 0; shift < 64 && !data.empty(); shift += 7) {
      const auto byte = static_cast<uint8_t>(data[0]);
      data.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return true;
    }
    return fine = false;
  }
  bool next() {
    uint64_t tag = 0;
    if (data.empty() || !varint(tag)) return false;
    field = static_cast<uint32_t>(tag >> 3);
    kind = static_cast<uint32_t>(tag & 7);
    if (kind == 0) return varint(number);
    uint64_t size = kind == 1 ? 8 : 4;
    if (kind == 2 && !varint(size)) return false;
    if ((kind != 1 && kind != 2 && kind != 5) || size > data.size()) return fine = false;
    bytes = data.substr(0, static_cast<size_t>(size));
    data.remove_prefix(static_cast<size_t>(size));
    return true;
  }
};

struct Feature {
  DType dtype = DType::none;
  std::vector<float> floats;
  std::vector<int64_t> ints;
  std::vector<std::string_view> strings;

  size_t size() const { return std::max({floats.size(), ints.size(), strings.size()}); }
};

void read_floats(std::string_view bytes, std::vector<float>& out) {
  for (size_t at = 0; at + 4 <= bytes.size(); at += 4) {
    float v;
    std::memcpy(&v, bytes.data() + at, 4);
    out.push_back(v);
  }
}

bool read_feature(std::string_view text, Feature& feature) {
  Wire outer{text};
  while (outer.next()) {
    if (outer.kind != 2 || outer.field < 1 || outer.field > 3) continue;
    feature = {};
    feature.dtype = outer.field == 1 ? DType::string : outer.field == 2 ? DType::f32 : DType::i64;
    Wire list{outer.bytes};
    while (list.next()) {
      if (list.field != 1) continue;
      if (outer.field == 1 && list.kind == 2) feature.strings.push_back(list.bytes);
      if (outer.field == 2 && list.kind != 0) read_floats(list.bytes, feature.floats);
      if (outer.field == 3 && list.kind == 0)
        feature.ints.push_back(static_cast<int64_t>(list.number));
      if (outer.field == 3 && list.kind == 2) {
        Wire packed{list.bytes};
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

using Record = std::map<std::string_view, Feature>;

Result<Record> read_record(const std::string& text) {
  Record record;
  Wire example{text};
  bool fine = true;
  while (example.next()) {
    if (example.field != 1 || example.kind != 2) continue;
    Wire features{example.bytes};
    while (features.next()) {
      if (features.field != 1 || features.kind != 2) continue;
      Wire entry{features.bytes};
      std::string_view key, value;
      while (entry.next()) {
        if (entry.kind == 2 && entry.field == 1) key = entry.bytes;
        if (entry.kind == 2 && entry.field == 2) value = entry.bytes;
      }
      fine = fine && entry.fine && read_feature(value, record[key]);
    }
    fine = fine && features.fine;
  }
  if (!fine || !example.fine) return invalid_argument("a record is no serialized tf.Example");
  return record;
}

// Writes a feature's values from element `at` of y on.
void store(const Feature& feature, Tensor& y, int64_t at) {
  for (size_t i = 0; i < feature.strings.size(); ++i)
    y.mutable_data<std::string>()[at + static_cast<int64_t>(i)] = std::string(feature.strings[i]);
  if (!feature.floats.empty()) std::ranges::copy(feature.floats, y.mutable_data<float>() + at);
  if (!feature.ints.empty()) std::ranges::copy(feature.ints, y.mutable_data<int64_t>() + at);
}

// The feature of this name, null where the record has none (or an empty one).
Result<const Feature*> find(const Record& record, const std::string& key, DType dtype) {
  const auto it = record.find(key);
  if (it == record.end() || it->second.dtype == DType::none || it->second.size() == 0)
    return nullptr;
  if (it->second.dtype != dtype)
    return invalid_argument(fmt::format("feature '{}' holds {}, the model wants {}", key,
                                        dtype_long_name(it->second.dtype), dtype_long_name(dtype)));
  return &it->second;
}

bool is_feature_type(DType t) {
  return t == DType::f32 || t == DType::i64 || t == DType::string;
}

Result<TensorType> parse_type(const std::string& text) {
  TensorType type = TRY(parse_tensor_type(text));
  bool fits = is_feature_type(type.dtype) && type.shape.ranked() && !type.is_list;
  for (int i = 0; fits && i < type.shape.rank(); ++i) fits = i == 0 || type.shape[i].known();
  if (!fits)
    return invalid_argument(fmt::format("parse_example: {} is no type of a feature", text));
  return type;
}

}  // namespace

Result<TensorTypes> ParseExample::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  const Shape& in = context.shape(0);
  const size_t dense = dense_keys.size();
  if (context.dtype(0) != DType::string || sparse_types.size() != sparse_keys.size() ||
      dense_types.size() != dense || static_cast<size_t>(context.size()) != dense + 1 ||
      (in.ranked() && in.rank() > 1))
    return invalid_argument(
        "parse_example needs serialized records, a type for each feature and a default for each "
        "dense one");
  const bool single = in.ranked() && in.rank() == 0;
  const int columns = single ? 1 : 2;
  TensorTypes types(sparse_keys.size(), {DType::i64, Shape{Dim::unknown(), Dim(columns)}});
  for (const std::string& text : sparse_types) {
    const auto dtype = parse_dtype(text);
    if (!dtype || !is_feature_type(*dtype))
      return invalid_argument(fmt::format("parse_example: {} is no type of a feature", text));
    types.push_back({*dtype, Shape{Dim::unknown()}});
  }
  types.insert(types.end(), sparse_keys.size(), {DType::i64, Shape{Dim(columns)}});
  for (size_t i = 0; i < dense; ++i) {
    TensorType type = TRY(parse_type(dense_types[i]));
    if (context.dtype(static_cast<int>(i) + 1) != type.dtype)
      return invalid_argument(
          fmt::format("parse_example: the default of feature '{}' is of "
                      "another type than the feature",
                      dense_keys[i]));
    if (!in.ranked()) type.shape = Shape::unranked();
    if (in.ranked() && !single) type.shape.dims().insert(type.shape.dims().begin(), in[0]);
    types.push_back(type);
  }
  return types;
}

Status ParseExample::eval(EvalContext& context) const {
  const Tensor& in = context.in(0);
  std::vector<Record> records;
  for (const std::string& text : in.span<std::string>()) records.push_back(TRY(read_record(text)));
  const bool single = in.rank() == 0;
  const auto sparse = static_cast<int>(sparse_keys.size());
  for (int i = 0; i < sparse; ++i) {
    const auto k = static_cast<size_t>(i);
    const DType dtype = parse_dtype(sparse_types[k]).value_or(DType::none);
    std::vector<const Feature*> found;
    int64_t count = 0, longest = 0;
    for (const Record& record : records) {
      found.push_back(TRY(find(record, sparse_keys[k], dtype)));
      const auto n = static_cast<int64_t>(found.back() == nullptr ? 0 : found.back()->size());
      count += n;
      longest = std::max(longest, n);
    }
    const int64_t dims[] = {count, single ? 1 : 2};
    TRY(context.allocate(i, DType::i64, dims));
    TRY(context.allocate(i + sparse, dtype, std::span(dims, 1)));
    int64_t* place = context.out(i).mutable_data<int64_t>();
    int64_t at = 0;
    for (size_t r = 0; r < found.size(); ++r) {
      if (found[r] == nullptr) continue;
      store(*found[r], context.out(i + sparse), at);
      for (size_t e = 0; e < found[r]->size(); ++e, ++at) {
        if (!single) *place++ = static_cast<int64_t>(r);
        *place++ = static_cast<int64_t>(e);
      }
    }
    int64_t* size = context.out(i + 2 * sparse).mutable_data<int64_t>();
    if (!single) *size++ = static_cast<int64_t>(records.size());
    *size = longest;
  }
  for (size_t k = 0; k < dense_keys.size(); ++k) {
    const TensorType type = TRY(parse_type(dense_types[k]));
    const Tensor& fallback = context.in(static_cast<int>(k) + 1);
    std::vector<const Feature*> found;
    for (const Record& record : records)
      found.push_back(TRY(find(record, dense_keys[k], type.dtype)));
    // Elements of one record, and of one step of a first dimension that varies.
    const bool varies = type.shape.rank() > 0 && !type.shape[0].known();
    int64_t step = 1, steps = 1;
    std::vector<int64_t> dims;
    for (int i = varies ? 1 : 0; i < type.shape.rank(); ++i) {
      dims.push_back(type.shape[i].size());
      if (__builtin_mul_overflow(step, dims.back(), &step))
        return invalid_argument("parse_example: a feature is too large");
    }
    if (varies) {
      steps = 0;
      for (const Feature* f : found)
        if (f != nullptr)
          steps = std::max(steps, static_cast<int64_t>(f->size()) / std::max<int64_t>(step, 1));
      dims.insert(dims.begin(), steps);
    }
    if (!single) dims.insert(dims.begin(), static_cast<int64_t>(records.size()));
    TRY(checked_elements(dims, dtype_size(type.dtype)));
    const int out = 3 * sparse + static_cast<int>(k);
    TRY(context.allocate(out, type.dtype, dims));
    Tensor& y = context.out(out);
    const int64_t per = step * steps;
    for (size_t r = 0; r < found.size(); ++r) {
      const int64_t at = static_cast<int64_t>(r) * per;
      const auto have = static_cast<int64_t>(found[r] == nullptr ? 0 : found[r]->size());
      if (found[r] != nullptr && (varies ? step == 0 || have % step != 0 : have != per))
        return invalid_argument(fmt::format("feature '{}' has {} values, the model wants {}",
                                            dense_keys[k], have, varies ? step : per));
      if (found[r] != nullptr) store(*found[r], y, at);
      if (have == per) continue;
      const int64_t n = fallback.elements();
      if (n == 0 || (n != 1 && n != per))
        return invalid_argument(
            fmt::format("feature '{}' is missing in a record and has no default", dense_keys[k]));
      for (int64_t i = have; i < per; ++i) copy_elements(y, at + i, fallback, n == 1 ? 0 : i, 1);
    }
  }
  return {};
}

constinit const OpDef ParseExample::def = define<ParseExample>();
OpDefs parse_example_ops() {
  return {&ParseExample::def};
}

}  // namespace tenon
