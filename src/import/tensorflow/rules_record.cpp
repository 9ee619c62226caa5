// Rules of serialized records: tf.Example and tf.SequenceExample, and serialized tensors.
#include <algorithm>

#include "import/tensorflow/compose.h"

namespace tenon::tf {
namespace {

using Axes = std::vector<int64_t>;
using Names = std::vector<std::string>;

// The strings of a constant operand.
Result<Names> texts(const RuleContext& c, size_t i) {
  const Tensor* t = i < c.inputs.size() ? c.inputs[i]->constant() : nullptr;
  if (t == nullptr || t->dtype() != DType::string)
    return unsupported("the names of features must be known when the model is compiled");
  const auto span = t->span<std::string>();
  return Names(span.begin(), span.end());
}

// The strings of an attribute.
Result<Names> names_attr(const RuleContext& c, std::string_view name) {
  const AttrValue list = TRY(c.node.attrs.get(name));
  return Names(list.strings.begin(), list.strings.end());
}

// `count` operands from `first` on that hold a key each.
Result<Names> keys_from(const RuleContext& c, int64_t& first, std::string_view count) {
  const int64_t n = TRY(c.node.attrs.get_int(count, 0));
  if (n < 0 || n > static_cast<int64_t>(c.inputs.size()))
    return invalid_model(std::string(count) + " is out of range");
  Names keys;
  for (const int64_t end = first + n; first < end; ++first) {
    const auto key = TRY(texts(c, static_cast<size_t>(first)));
    if (key.size() != 1) return invalid_model("a key must be a single string");
    keys.push_back(key[0]);
  }
  return keys;
}

Result<std::vector<DType>> types_attr(const RuleContext& c, std::string_view name) {
  std::vector<DType> types;
  if (c.node.attrs.has(name))
    for (const DataType t : TRY(c.node.attrs.get_types(name))) types.push_back(TRY(to_dtype(t)));
  return types;
}

// Types of features as the core ops write them.
Result<Names> type_names(const RuleContext& c, std::string_view name) {
  Names names;
  for (const DType t : TRY(types_attr(c, name))) names.emplace_back(dtype_name(t));
  return names;
}

// With their shapes.
Result<Names> dense_types(const RuleContext& c, std::string_view types, std::string_view shapes) {
  const auto dtypes = TRY(types_attr(c, types));
  if (dtypes.empty()) return Names{};
  const AttrValue list = TRY(c.node.attrs.get(shapes));
  if (list.shapes.size() != dtypes.size())
    return invalid_model("there is not one shape per dense feature");
  Names result;
  for (size_t i = 0; i < dtypes.size(); ++i) {
    TensorType type{dtypes[i], Shape{}};
    for (const int64_t d : list.shapes[i].dims) type.shape.dims().emplace_back(d);
    result.push_back(type.to_string());
  }
  return result;
}

std::vector<Value*> outputs_of(Node* node) {
  std::vector<Value*> out;
  out.reserve(static_cast<size_t>(node->output_count()));
  for (int i = 0; i < node->output_count(); ++i) out.push_back(node->output(i));
  return out;
}

struct Features {
  Names sparse, dense, ragged;              // keys
  std::string prefix;                       // of the attributes that hold their types
  size_t defaults = 0;                      // the first operand that holds one
  std::string_view dense_types = "Tdense";  // the attribute with the types of dense features
};

// Values and splits of a ragged feature from the places of a sparse one: the splits are running
// sums of the numbers of elements in each record.
Result<Value*> splits_from_places(RuleContext& c, Value* places, Value* size, DType dtype) {
  Builder& b = c.builder;
  Value* rows = TRY(b.op("slice", {places, b.ints({0}), b.ints({1})}, {{"axes", Axes{1}}}));
  Value* zeros = TRY(filled(c, 0, DType::i64, TRY(element(c, size, 0))));
  Value* ones = TRY(filled(c, 1, DType::i64, TRY(shape_of(c, places, 0, 1))));
  Value* counts = TRY(b.op("scatter_nd", {zeros, rows, ones}, {{"reduction", std::string("add")}}));
  Value* sums = TRY(b.op("cumsum", {counts}, {{"axis", int64_t{0}}}));
  return cast_to(c, TRY(join(c, {b.ints({0}), sums})), dtype);
}

// Places, values, sizes of the sparse features; the dense ones; values and splits of the ragged.
Values parse_features(RuleContext& c, Value* serialized, const Features& f) {
  const auto attr = [&](const char* name) { return f.prefix + name; };
  const size_t sparse = f.sparse.size(), ragged = f.ragged.size();
  Names keys = f.sparse;
  keys.insert(keys.end(), f.ragged.begin(), f.ragged.end());
  Names types = TRY(type_names(c, attr("sparse_types")));
  const auto ragged_types = TRY(type_names(c, attr("ragged_value_types")));
  types.insert(types.end(), ragged_types.begin(), ragged_types.end());
  const auto split_types = TRY(types_attr(c, attr("ragged_split_types")));
  if (types.size() != keys.size() || ragged_types.size() != ragged || split_types.size() != ragged)
    return invalid_model("there is not one type per feature");
  std::vector<Value*> in{serialized};
  for (size_t i = 0; i < f.dense.size(); ++i) {
    if (f.defaults + i >= c.inputs.size()) return invalid_model("a default value is missing");
    in.push_back(c.inputs[f.defaults + i]);
  }
  const auto all = outputs_of(TRY(
      c.builder.node("parse_example", in,
                     {{"sparse_keys", keys},
                      {"sparse_types", types},
                      {"dense_keys", f.dense},
                      {"dense_types", TRY(dense_types(c, f.dense_types, attr("dense_shapes")))}})));
  if (ragged == 0) return all;
  const bool single = TRY(rank_of(serialized)) == 0;  // whose splits are empty
  const size_t n = keys.size();
  std::vector<Value*> out;
  for (size_t group = 0; group < 3; ++group)
    out.insert(out.end(), all.begin() + static_cast<ptrdiff_t>(group * n),
               all.begin() + static_cast<ptrdiff_t>(group * n + sparse));
  out.insert(out.end(), all.begin() + static_cast<ptrdiff_t>(3 * n), all.end());
  for (size_t i = 0; i < ragged; ++i) out.push_back(all[n + sparse + i]);
  for (size_t i = 0; i < ragged; ++i)
    out.push_back(single ? TRY(cast_to(c, c.builder.ints({}), split_types[i]))
                         : TRY(splits_from_places(c, all[sparse + i], all[2 * n + sparse + i],
                                                  split_types[i])));
  return out;
}

// (serialized, names, sparse keys, dense keys, ragged keys, defaults…)
Values parse_example_v2(RuleContext& c) {
  return parse_features(c, c.inputs[0],
                        {TRY(texts(c, 2)), TRY(texts(c, 3)), TRY(texts(c, 4)), "", 5});
}

// (serialized, names, each sparse key, each dense key, defaults…)
Values parse_example(RuleContext& c) {
  int64_t at = 2;
  Features f;
  f.sparse = TRY(keys_from(c, at, "Nsparse"));
  f.dense = TRY(keys_from(c, at, "Ndense"));
  f.defaults = static_cast<size_t>(at);
  return parse_features(c, c.inputs[0], f);
}

// (serialized, defaults…), the keys being attributes.
Values parse_single_example(RuleContext& c) {
  return parse_features(
      c, c.inputs[0],
      {TRY(names_attr(c, "sparse_keys")), TRY(names_attr(c, "dense_keys")), {}, "", 1});
}

struct FeatureLists {
  Names sparse, dense, ragged;
  std::vector<int64_t> may_miss;  // per dense one
  bool has_lengths = true;        // the op gives the numbers of steps of the dense ones
};

// The outputs of the context, then those of the feature lists.
Values parse_sequence(RuleContext& c, Features context, const FeatureLists& lists) {
  context.prefix = "context_";
  context.dense_types = "Tcontext_dense";
  Value* serialized = c.inputs[0];
  if (TRY(rank_of(serialized)) > 1) return invalid_model("the records must be a vector");
  auto out = TRY(parse_features(c, serialized, context));
  const auto split_types = TRY(types_attr(c, "feature_list_ragged_split_types"));
  const size_t sparse = lists.sparse.size(), dense = lists.dense.size(),
               ragged = lists.ragged.size();
  if (split_types.size() != ragged) return invalid_model("there is not one type per feature list");
  const auto all = outputs_of(TRY(c.builder.node(
      "parse_feature_lists", {serialized},
      {{"sparse_keys", lists.sparse},
       {"sparse_types", TRY(type_names(c, "feature_list_sparse_types"))},
       {"dense_keys", lists.dense},
       {"dense_types",
        TRY(dense_types(c, "feature_list_dense_types", "feature_list_dense_shapes"))},
       {"ragged_keys", lists.ragged},
       {"ragged_types", TRY(type_names(c, "feature_list_ragged_value_types"))},
       {"may_miss", lists.may_miss}})));
  for (size_t i = 0; i < all.size(); ++i) {
    const size_t lengths = 3 * sparse + dense, splits = lengths + dense + ragged;
    if (i >= lengths && i < lengths + dense && !lists.has_lengths) continue;
    out.push_back(i < splits ? all[i]
                             : TRY(cast_to(c, all[i], split_types[(i - splits) % ragged])));
  }
  return out;
}

// Which of the keys are among those that may miss.
std::vector<int64_t> among(const Names& keys, const Names& some) {
  std::vector<int64_t> result;
  for (const std::string& key : keys)
    result.push_back(std::ranges::find(some, key) != some.end() ? 1 : 0);
  return result;
}

// (serialized, name, defaults of the context…), all else being attributes.
Values parse_sequence_example(RuleContext& c) {
  Features context{TRY(names_attr(c, "context_sparse_keys")),
                   TRY(names_attr(c, "context_dense_keys")),
                   {},
                   "",
                   2};
  FeatureLists lists{TRY(names_attr(c, "feature_list_sparse_keys")),
                     TRY(names_attr(c, "feature_list_dense_keys")),
                     {},
                     {}};
  lists.may_miss =
      among(lists.dense, TRY(names_attr(c, "feature_list_dense_missing_assumed_empty")));
  return parse_sequence(c, std::move(context), lists);
}

// (serialized, name, the six lists of keys, which dense lists may miss, defaults…)
Values parse_sequence_example_v2(RuleContext& c) {
  Features context{TRY(texts(c, 2)), TRY(texts(c, 3)), TRY(texts(c, 4)), "", 9};
  FeatureLists lists{TRY(texts(c, 5)), TRY(texts(c, 6)), TRY(texts(c, 7)), {}};
  const Tensor* may_miss = c.inputs[8]->constant();
  if (may_miss == nullptr || may_miss->dtype() != DType::boolean)
    return unsupported("which feature lists may miss must be known when the model is compiled");
  for (int64_t i = 0; i < may_miss->elements(); ++i) lists.may_miss.push_back(may_miss->int_at(i));
  return parse_sequence(c, std::move(context), lists);
}

// (serialized, which dense lists may miss, the four kinds of keys, defaults…, name)
Values parse_single_sequence_example(RuleContext& c) {
  const auto may_miss = TRY(texts(c, 1));
  int64_t at = 2;
  Features context;
  context.sparse = TRY(keys_from(c, at, "Ncontext_sparse"));
  context.dense = TRY(keys_from(c, at, "Ncontext_dense"));
  FeatureLists lists;
  lists.sparse = TRY(keys_from(c, at, "Nfeature_list_sparse"));
  lists.dense = TRY(keys_from(c, at, "Nfeature_list_dense"));
  lists.may_miss = among(lists.dense, may_miss);
  lists.has_lengths = false;
  context.defaults = static_cast<size_t>(at);
  return parse_sequence(c, std::move(context), lists);
}

Values parse_tensor(RuleContext& c) {
  return one(c.builder.op("parse_tensor", {c.inputs[0]},
                          {{"dtype", TRY(dtype_attr(c, "out_type", DataType::f32))}}));
}

// A sparse tensor as three serialized ones.
Values serialize_sparse(RuleContext& c) {
  if (TRY(dtype_attr(c, "out_type", DataType::string)) != DType::string)
    return unsupported("only as strings");
  std::vector<Value*> parts;
  for (Value* part : {c.inputs[0], c.inputs[1], c.inputs[2]}) {
    Value* text = TRY(c.builder.op("serialize_tensor", {part}, {{"strings_as_content", true}}));
    parts.push_back(TRY(c.builder.op("reshape", {text, c.builder.ints({1})})));
  }
  return one(join(c, parts));
}

// Back from [3] strings.
Values deserialize_sparse(RuleContext& c) {
  if (c.inputs[0]->dtype() != DType::string || TRY(rank_of(c.inputs[0])) != 1)
    return unsupported("only of one sparse tensor as three strings");
  const DType dtype = TRY(dtype_attr(c, "dtype", DataType::f32));
  std::vector<Value*> parts;
  for (int64_t i = 0; i < 3; ++i) {
    Value* text = TRY(c.builder.op("squeeze", {TRY(element(c, c.inputs[0], i))}));
    parts.push_back(
        TRY(c.builder.op("parse_tensor", {text}, {{"dtype", i == 1 ? dtype : DType::i64}})));
  }
  return parts;
}

constexpr RuleEntry kRules[] = {
    {"DeserializeSparse", deserialize_sparse},
    {"ParseExample", parse_example, 2},
    {"ParseExampleV2", parse_example_v2, 5},
    {"ParseSequenceExample", parse_sequence_example, 2},
    {"ParseSequenceExampleV2", parse_sequence_example_v2, 9},
    {"ParseSingleExample", parse_single_example},
    {"ParseSingleSequenceExample", parse_single_sequence_example, 2},
    {"ParseTensor", parse_tensor},
    {"SerializeSparse", serialize_sparse, 3},
    {"SerializeTensor", same<"serialize_tensor">},
};

}  // namespace

std::span<const RuleEntry> record_rules() {
  return kRules;
}

}  // namespace tenon::tf
