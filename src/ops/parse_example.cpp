// The records are protocol buffers: Example {1: Features}, Features {1: map of name to Feature}. A
// SequenceExample's context stands in the same place as an Example's features.
#include "ops/parse_example.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "ops/example_record.h"
#include "ops/movement.h"
#include "ops/proto_fields.h"
#include "ops/registry.h"

namespace tenon {
namespace {

using Record = std::map<std::string_view, Feature>;

Result<Record> read_record(const std::string& text) {
  Record record;
  ProtoFields example{text};
  bool fine = true;
  while (example.next()) {
    if (example.field != 1 || example.kind != 2) continue;
    ProtoFields features{example.bytes};
    while (features.next()) {
      if (features.field != 1 || features.kind != 2) continue;
      ProtoFields entry{features.bytes};
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
    TensorType type = TRY(parse_feature_type(dense_types[i]));
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
      store_feature(*found[r], context.out(i + sparse), at);
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
    const TensorType type = TRY(parse_feature_type(dense_types[k]));
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
      if (found[r] != nullptr) store_feature(*found[r], y, at);
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
