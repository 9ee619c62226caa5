// SequenceExample {1: context, 2: FeatureLists}, FeatureLists {1: map of name to FeatureList},
// FeatureList {1: Feature, one per step}.
#include "ops/parse_feature_lists.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "ops/example_record.h"
#include "ops/movement.h"
#include "ops/nn_util.h"
#include "ops/proto_fields.h"
#include "ops/registry.h"

namespace tenon {
namespace {

using Steps = std::vector<Feature>;
using Record = std::map<std::string_view, Steps>;

bool read_lists(std::string_view text, Record& record) {
  ProtoFields lists{text};
  while (lists.next()) {
    if (lists.field != 1 || lists.kind != 2) continue;
    ProtoFields entry{lists.bytes};
    std::string_view key, value;
    while (entry.next()) {
      if (entry.kind == 2 && entry.field == 1) key = entry.bytes;
      if (entry.kind == 2 && entry.field == 2) value = entry.bytes;
    }
    Steps& steps = record[key];
    steps.clear();
    ProtoFields list{value};
    while (list.next())
      if (list.field == 1 && list.kind == 2 && !read_feature(list.bytes, steps.emplace_back()))
        return false;
    if (!entry.fine || !list.fine) return false;
  }
  return lists.fine;
}

Result<std::vector<Record>> read_records(const Tensor& serialized) {
  std::vector<Record> records;
  for (const std::string& text : serialized.span<std::string>()) {
    Record& record = records.emplace_back();
    ProtoFields example{text};
    bool fine = true;
    while (fine && example.next())
      if (example.field == 2 && example.kind == 2) fine = read_lists(example.bytes, record);
    if (!fine || !example.fine)
      return invalid_argument("a record is no serialized tf.SequenceExample");
  }
  return records;
}

// The steps of one list in every record (null where it has none), of the type that is wanted.
Result<std::vector<const Steps*>> steps_of(const std::vector<Record>& records,
                                           const std::string& key, DType dtype) {
  std::vector<const Steps*> found;
  for (const Record& record : records) {
    const auto it = record.find(key);
    found.push_back(it == record.end() ? nullptr : &it->second);
    if (found.back() == nullptr) continue;
    for (const Feature& step : *found.back())
      if (step.dtype != dtype && step.dtype != DType::none)
        return invalid_argument(fmt::format("feature list '{}' holds {}, the model wants {}", key,
                                            dtype_long_name(step.dtype), dtype_long_name(dtype)));
  }
  return found;
}

Status store_ints(EvalContext& context, int output, std::vector<int64_t> dims,
                  const std::vector<int64_t>& values) {
  TRY(context.allocate(output, DType::i64, dims));
  std::ranges::copy(values, context.out(output).mutable_data<int64_t>());
  return {};
}

// The values of all steps one behind the other.
Status store_values(EvalContext& context, int output, DType dtype,
                    const std::vector<const Steps*>& records) {
  int64_t count = 0;
  for (const Steps* steps : records)
    for (size_t s = 0; steps != nullptr && s < steps->size(); ++s)
      count += static_cast<int64_t>((*steps)[s].size());
  TRY(context.allocate(output, dtype, std::span(&count, 1)));
  int64_t at = 0;
  for (const Steps* steps : records)
    for (size_t s = 0; steps != nullptr && s < steps->size(); ++s) {
      store_feature((*steps)[s], context.out(output), at);
      at += static_cast<int64_t>((*steps)[s].size());
    }
  return {};
}

DType list_type(const std::string& text) {
  return parse_dtype(text).value_or(DType::none);
}

// A dense list: the steps of every record under each other, zeros behind the last.
Status store_dense(EvalContext& context, int output, int lengths_output, const std::string& key,
                   const TensorType& type, const std::vector<const Steps*>& records, bool single) {
  int64_t most = 0;
  std::vector<int64_t> lengths;
  for (const Steps* steps : records) {
    lengths.push_back(steps == nullptr ? 0 : static_cast<int64_t>(steps->size()));
    most = std::max(most, lengths.back());
  }
  std::vector<int64_t> dims = type.shape.sizes();
  const int64_t per = TRY(checked_elements(dims, dtype_size(type.dtype)));
  dims.insert(dims.begin(), most);
  if (!single) dims.insert(dims.begin(), static_cast<int64_t>(records.size()));
  TRY(checked_elements(dims, dtype_size(type.dtype)));
  context.out(output) = TRY(Tensor::zeros(type.dtype, dims));
  for (size_t r = 0; r < records.size(); ++r)
    for (size_t s = 0; records[r] != nullptr && s < records[r]->size(); ++s) {
      const Feature& step = (*records[r])[s];
      if (static_cast<int64_t>(step.size()) != per)
        return invalid_argument(
            fmt::format("step {} of feature list '{}' has {} values, the model "
                        "wants {}",
                        s, key, step.size(), per));
      store_feature(step, context.out(output),
                    (static_cast<int64_t>(r) * most + static_cast<int64_t>(s)) * per);
    }
  return store_ints(
      context, lengths_output,
      single ? std::vector<int64_t>{} : std::vector{static_cast<int64_t>(lengths.size())}, lengths);
}

}  // namespace

Result<TensorTypes> ParseFeatureLists::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  TRY(nn::expect_rank(context, name, 0, 0, 1));
  const Shape& in = context.shape(0);
  if (context.dtype(0) != DType::string || sparse_types.size() != sparse_keys.size() ||
      dense_types.size() != dense_keys.size() || ragged_types.size() != ragged_keys.size() ||
      may_miss.size() != dense_keys.size() || !in.ranked())
    return invalid_argument(
        "parse_feature_lists needs serialized records of known rank and a type for each list");
  for (const auto* types : {&sparse_types, &ragged_types})
    for (const std::string& text : *types)
      if (!is_feature_type(list_type(text)))
        return invalid_argument(fmt::format("{} is no type of a feature", text));
  const bool single = in.rank() == 0;
  const int columns = single ? 2 : 3;
  const Shape vector{Dim::unknown()};
  TensorTypes types(sparse_keys.size(), {DType::i64, Shape{Dim::unknown(), Dim(columns)}});
  for (const std::string& text : sparse_types) types.push_back({list_type(text), vector});
  types.insert(types.end(), sparse_keys.size(), {DType::i64, Shape{Dim(columns)}});
  for (const std::string& text : dense_types) {
    TensorType type = TRY(parse_feature_type(text));
    if (!type.shape.is_static()) return unsupported("a feature list whose steps differ in shape");
    type.shape.dims().insert(type.shape.dims().begin(), Dim::unknown());
    if (!single) type.shape.dims().insert(type.shape.dims().begin(), in[0]);
    types.push_back(type);
  }
  types.insert(types.end(), dense_keys.size(), {DType::i64, single ? Shape{} : Shape{in[0]}});
  for (const std::string& text : ragged_types) types.push_back({list_type(text), vector});
  types.insert(types.end(), 2 * ragged_keys.size(), {DType::i64, vector});
  return types;
}

Status ParseFeatureLists::eval(EvalContext& context) const {
  const bool single = context.in(0).rank() == 0;
  const std::vector<Record> records = TRY(read_records(context.in(0)));
  const auto rows = static_cast<int64_t>(records.size());
  const auto sparse = static_cast<int>(sparse_keys.size());
  for (int i = 0; i < sparse; ++i) {
    const auto k = static_cast<size_t>(i);
    const auto found = TRY(steps_of(records, sparse_keys[k], list_type(sparse_types[k])));
    std::vector<int64_t> places;
    int64_t most_steps = 0, most = 0;
    for (size_t r = 0; r < found.size(); ++r)
      for (size_t s = 0; found[r] != nullptr && s < found[r]->size(); ++s) {
        most_steps = std::max(most_steps, static_cast<int64_t>(s) + 1);
        const auto n = static_cast<int64_t>((*found[r])[s].size());
        most = std::max(most, n);
        for (int64_t e = 0; e < n; ++e) {
          if (!single) places.push_back(static_cast<int64_t>(r));
          places.insert(places.end(), {static_cast<int64_t>(s), e});
        }
      }
    const int64_t columns = single ? 2 : 3;
    TRY(store_ints(context, i, {static_cast<int64_t>(places.size()) / columns, columns}, places));
    TRY(store_values(context, i + sparse, list_type(sparse_types[k]), found));
    std::vector<int64_t> size{most_steps, most};
    if (!single) size.insert(size.begin(), rows);
    TRY(store_ints(context, i + 2 * sparse, {columns}, size));
  }
  const auto dense = static_cast<int>(dense_keys.size());
  for (int i = 0; i < dense; ++i) {
    const auto k = static_cast<size_t>(i);
    const TensorType type = TRY(parse_feature_type(dense_types[k]));
    const auto found = TRY(steps_of(records, dense_keys[k], type.dtype));
    if (may_miss[k] == 0 && std::ranges::find(found, nullptr) != found.end())
      return invalid_argument(fmt::format("a record has no feature list '{}'", dense_keys[k]));
    TRY(store_dense(context, 3 * sparse + i, 3 * sparse + dense + i, dense_keys[k], type, found,
                    single));
  }
  const auto ragged = static_cast<int>(ragged_keys.size());
  const int base = 3 * sparse + 2 * dense;
  for (int i = 0; i < ragged; ++i) {
    const auto k = static_cast<size_t>(i);
    const DType dtype = list_type(ragged_types[k]);
    const auto found = TRY(steps_of(records, ragged_keys[k], dtype));
    std::vector<int64_t> outer{0}, inner{0};
    for (const Steps* steps : found) {
      for (size_t s = 0; steps != nullptr && s < steps->size(); ++s)
        inner.push_back(inner.back() + static_cast<int64_t>((*steps)[s].size()));
      outer.push_back(static_cast<int64_t>(inner.size()) - 1);
    }
    TRY(store_values(context, base + i, dtype, found));
    TRY(store_ints(context, base + ragged + i, {static_cast<int64_t>(outer.size())}, outer));
    TRY(store_ints(context, base + 2 * ragged + i, {static_cast<int64_t>(inner.size())}, inner));
  }
  return {};
}

constinit const OpDef ParseFeatureLists::def = define<ParseFeatureLists>();
OpDefs parse_feature_lists_ops() {
  return {&ParseFeatureLists::def};
}

}  // namespace tenon
