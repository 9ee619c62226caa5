// Rules of ai.onnx.ml: the models and encoders of classical machine learning. What gives maps
// (ZipMap) gives the tensor they are made of; what takes one takes the vectors of its keys and
// values.
#include <fmt/format.h>

#include <cmath>

#include "import/onnx/graph_importer.h"
#include "import/onnx/ml.h"

namespace tenon::onnx {

Result<Value*> transformed(const RuleContext& c, Value* scores) {
  const std::string how = TRY(c.get_string("post_transform", "NONE"));
  if (how == "NONE") return scores;
  if (how == "SOFTMAX") return c.op("softmax", {scores}, {{"axis", int64_t{-1}}});
  if (how == "LOGISTIC") return c.op("sigmoid", {scores});
  return unsupported(
      fmt::format("attribute 'post_transform' is '{}', which is not supported", how));
}

Result<Value*> labels_of(const RuleContext& c, std::string_view ints, size_t& count) {
  const auto numbers = TRY(c.get_ints(ints));
  const auto names = TRY(c.get_strings("classlabels_strings"));
  count = std::max(numbers.size(), names.size());
  if (count == 0) return invalid_model("the labels of the classes are missing");
  return numbers.empty() ? c.builder.constant(Tensor::vector(names)) : c.builder.ints(numbers);
}

Result<Value*> best_label(const RuleContext& c, Value* labels, Value* scores) {
  Value* best = TRY(c.op("arg_max", {scores}, {{"axis", int64_t{-1}}}));
  return c.op("gather", {labels, best}, {{"axis", int64_t{0}}});
}

namespace {

constexpr std::string_view kDomain = "ai.onnx.ml";

// x times a matrix [rows, features] transposed, plus one intercept per row.
Result<Value*> linear(const RuleContext& c, int64_t rows) {
  const auto weights = TRY(c.get_floats("coefficients"));
  const auto intercepts = TRY(c.get_floats("intercepts"));
  if (rows < 1 || weights.empty() || weights.size() % static_cast<size_t>(rows) != 0)
    return invalid_model(
        fmt::format("{} coefficients are not {} equal rows", weights.size(), rows));
  const auto narrow = [&](const std::vector<double>& v) {
    return c.builder.constant(Tensor::vector(std::vector<float>(v.begin(), v.end())));
  };
  Value* w = TRY(c.reshape(narrow(weights), {rows, -1}));
  Value* x = TRY(c.cast(c.in(0), DType::f32));
  if (TRY(c.rank(0)) == 1) x = TRY(c.reshape(x, {1, -1}));
  Value* y = TRY(c.op("matmul", {x, w}, {{"transpose_b", true}}));
  if (intercepts.empty()) return y;
  if (intercepts.size() != static_cast<size_t>(rows))
    return invalid_model(fmt::format("{} intercepts for {} rows", intercepts.size(), rows));
  return c.op("add", {y, narrow(intercepts)});
}

Result<Values> linear_regressor(RuleContext& c) {
  return one(transformed(c, TRY(linear(c, TRY(c.get_int("targets", 1))))));
}

// One row of coefficients for two classes: the second's score.
Result<Value*> two_classes(const RuleContext& c, Value* score) {
  const std::string how = TRY(c.get_string("post_transform", "NONE"));
  Value* first = how == "LOGISTIC" ? TRY(c.op("neg", {score}))
                                   : TRY(c.op("sub", {TRY(c.scalar_like(score, 1)), score}));
  return c.op("concat", {first, score}, {{"axis", int64_t{1}}});
}

Result<Values> linear_classifier(RuleContext& c) {
  size_t count = 0;
  Value* labels = TRY(labels_of(c, "classlabels_ints", count));
  const auto intercepts = TRY(c.get_floats("intercepts"));
  const bool is_single = count == 2 && intercepts.size() == 1;
  Value* scores = TRY(linear(c, is_single ? 1 : static_cast<int64_t>(count)));
  if (is_single) scores = TRY(two_classes(c, scores));
  // Transformed scores may be too near to 1 to differ.
  return Values{TRY(best_label(c, labels, scores)), TRY(transformed(c, scores))};
}

Result<Values> normalizer(RuleContext& c) {
  const std::string norm = TRY(c.get_string("norm", "MAX"));
  Value* x = TRY(c.cast(c.in(0), DType::f32));
  const std::vector<int64_t> last{-1};
  const auto reduced = [&](std::string_view op, Value* v) {
    return c.op(op, {v}, {{"axes", last}, {"keep_dims", true}});
  };
  Value* size = nullptr;
  if (norm == "MAX") size = TRY(reduced("reduce_max", x));
  if (norm == "L1") size = TRY(reduced("sum", TRY(c.op("abs", {x}))));
  if (norm == "L2") size = TRY(c.op("sqrt", {TRY(reduced("sum", TRY(c.op("square", {x}))))}));
  if (size == nullptr) return invalid_model(fmt::format("attribute 'norm' is '{}'", norm));
  return one(c.op("div_no_nan", {x, size}));
}

Result<Values> scaler(RuleContext& c) {
  Value* x = TRY(c.cast(c.in(0), DType::f32));
  for (const auto& [name, op] : {std::pair("offset", "sub"), std::pair("scale", "mul")}) {
    const auto values = TRY(c.get_floats(name));
    if (values.empty()) continue;
    const std::vector<float> narrow(values.begin(), values.end());
    x = TRY(c.op(op, {x, c.builder.constant(Tensor::vector(narrow))}));
  }
  return Values{x};
}

Result<Values> zip_map(RuleContext& c) {
  return Values{c.in(0)};
}

// A list of one of the kinds tables come in; null where none is there.
Result<Value*> table(const RuleContext& c, const std::string& prefix) {
  if (c.has_attr(prefix + "_tensor")) {
    const Tensor t = TRY(c.get_tensor(prefix + "_tensor"));
    return c.builder.constant(t.reshaped({t.elements()}));
  }
  if (c.has_attr(prefix + "_strings"))
    return c.builder.constant(Tensor::vector(TRY(c.get_strings(prefix + "_strings"))));
  if (c.has_attr(prefix + "_int64s")) return c.builder.ints(TRY(c.get_ints(prefix + "_int64s")));
  if (c.has_attr(prefix + "_floats")) {
    const auto floats = TRY(c.get_floats(prefix + "_floats"));
    return c.builder.constant(Tensor::vector(std::vector<float>(floats.begin(), floats.end())));
  }
  return nullptr;
}

Result<Value*> default_of(const RuleContext& c, DType type) {
  if (c.has_attr("default_tensor")) {
    const Tensor t = TRY(c.get_tensor("default_tensor"));
    if (t.elements() != 1) return invalid_model("attribute 'default_tensor' is not one value");
    return c.builder.constant(t.reshaped({}));
  }
  if (type == DType::string)
    return c.builder.constant(Tensor::scalar(TRY(c.get_string("default_string", "_Unused"))));
  if (is_int(type)) return c.scalar(type, static_cast<double>(TRY(c.get_int("default_int64", -1))));
  return c.scalar(type, TRY(c.get_float("default_float", -0.0)));
}

Result<Values> label_encoder(RuleContext& c) {
  Value* keys = TRY(table(c, "keys"));
  Value* values = TRY(table(c, "values"));
  if (c.opset < 2) {
    // One list of strings, numbered; the way depends on what comes in.
    Value* names = c.builder.constant(Tensor::vector(TRY(c.get_strings("classes_strings"))));
    std::vector<int64_t> count(static_cast<size_t>(names->constant()->elements()));
    for (size_t i = 0; i < count.size(); ++i) count[i] = static_cast<int64_t>(i);
    Value* numbers = c.builder.ints(count);
    const bool from_names = c.in(0)->dtype() == DType::string;
    keys = from_names ? names : numbers;
    values = from_names ? numbers : names;
  }
  if (keys == nullptr || values == nullptr)
    return invalid_model("the keys or the values of the table are missing");
  return one(c.op("table_find", {c.in(0), keys, values, TRY(default_of(c, values->dtype()))}));
}

Result<Values> binarizer(RuleContext& c) {
  Value* limit = TRY(c.scalar_like(c.in(0), TRY(c.get_float("threshold", 0))));
  return one(c.cast(TRY(c.op("greater", {c.in(0), limit})), c.in(0)->dtype()));
}

Result<Values> array_feature_extractor(RuleContext& c) {
  Value* picked =
      TRY(c.op("gather", {c.in(0), TRY(c.reshape(c.in(1), {-1}))}, {{"axis", int64_t{-1}}}));
  if (TRY(c.rank(0)) > 1) return Values{picked};
  return one(c.reshape(picked, {1, -1}));
}

// Columns of all inputs side by side.
Result<Values> feature_vectorizer(RuleContext& c) {
  Values columns;
  for (Value* v : c.inputs) {
    if (v == nullptr) return invalid_model("an input is missing");
    columns.push_back(TRY(c.cast(v, DType::f32)));
  }
  return one(c.op("concat", columns, {{"axis", int64_t{-1}}}));
}

// Elements equal to one value become another, of one value or one per column.
Result<Values> imputer(RuleContext& c) {
  Value* x = c.in(0);
  const bool is_real = is_float(x->dtype());
  const auto floats = TRY(c.get_floats("imputed_value_floats"));
  const auto ints = TRY(c.get_ints("imputed_value_int64s"));
  if ((is_real ? floats.size() : ints.size()) == 0)
    return invalid_model("the values to put in are missing");
  Value* made =
      is_real ? c.builder.constant(Tensor::vector(std::vector<float>(floats.begin(), floats.end())))
              : c.builder.ints(ints);
  made = TRY(c.cast(made, x->dtype()));
  const double gone = is_real ? TRY(c.get_float("replaced_value_float", 0))
                              : static_cast<double>(TRY(c.get_int("replaced_value_int64", 0)));
  Value* found = std::isnan(gone) ? TRY(c.op("is_nan", {x}))
                                  : TRY(c.op("equal", {x, TRY(c.scalar_like(x, gone))}));
  return one(c.op("select", {found, made, x}));
}

// A new last dimension, 1 where the category is. What is none of them gives zeros.
Result<Values> one_hot_encoder(RuleContext& c) {
  const auto ints = TRY(c.get_ints("cats_int64s"));
  const auto names = TRY(c.get_strings("cats_strings"));
  if (ints.empty() == names.empty()) return invalid_model("there must be one list of categories");
  if (TRY(c.get_int("zeros", 1)) == 0)
    return unsupported("an error for unknown categories (zeros=0) when the model runs");
  Value* categories =
      names.empty() ? c.builder.ints(ints) : c.builder.constant(Tensor::vector(names));
  Value* x = names.empty() ? TRY(c.cast(c.in(0), DType::i64)) : c.in(0);
  x = TRY(c.op("expand_dims", {x}, {{"axes", std::vector<int64_t>{-1}}}));
  return one(c.cast(TRY(c.op("equal", {x, categories})), DType::f32));
}

Result<Values> category_mapper(RuleContext& c) {
  const auto ints = TRY(c.get_ints("cats_int64s"));
  const auto names = TRY(c.get_strings("cats_strings"));
  if (ints.empty() || ints.size() != names.size())
    return invalid_model(fmt::format("{} numbers for {} names", ints.size(), names.size()));
  Value* numbers = c.builder.ints(ints);
  Value* words = c.builder.constant(Tensor::vector(names));
  const bool from_words = c.in(0)->dtype() == DType::string;
  Value* values = from_words ? numbers : words;
  return one(c.op("table_find", {c.in(0), from_words ? words : numbers, values,
                                 TRY(default_of(c, values->dtype()))}));
}

Result<Value*> keys_of_map(const RuleContext& c) {
  Value* keys = c.importer.map_keys(c.in(0));
  if (keys == nullptr) return invalid_model("its input is no map");
  return keys;
}

// The values of a map as a row: of these keys, `missing` where the map has none.
Result<Value*> row_of(const RuleContext& c, Value* wanted, Value* values, Value* missing) {
  Value* keys = TRY(keys_of_map(c));
  if (keys->dtype() != wanted->dtype())
    return invalid_model("the keys of the map are of another type than those asked for");
  return c.reshape(TRY(c.op("table_find", {wanted, keys, values, missing})), {1, -1});
}

Result<Values> dict_vectorizer(RuleContext& c) {
  const auto ints = TRY(c.get_ints("int64_vocabulary"));
  const auto names = TRY(c.get_strings("string_vocabulary"));
  if (ints.empty() == names.empty()) return invalid_model("there must be one vocabulary");
  Value* wanted = names.empty() ? c.builder.ints(ints) : c.builder.constant(Tensor::vector(names));
  Value* missing = c.in(0)->dtype() == DType::string
                       ? c.builder.constant(Tensor::scalar(std::string()))
                       : TRY(c.scalar_like(c.in(0), 0));
  return one(row_of(c, wanted, c.in(0), missing));
}

// Texts are six decimals and a missing one is "0.f", as in ONNX Runtime.
Result<Values> cast_map(RuleContext& c) {
  const std::string to = TRY(c.get_string("cast_to", "TO_FLOAT"));
  Value* values = c.in(0);
  const bool from_text = values->dtype() == DType::string;
  Value* missing = nullptr;
  if (to == "TO_STRING") {
    if (!from_text)
      values = TRY(c.op("text_from_number", {values},
                        {{"style", std::string("fixed")}, {"precision", int64_t{6}}}));
    missing = c.builder.constant(Tensor::scalar(std::string("0.f")));
  } else if (to == "TO_FLOAT" || to == "TO_INT64") {
    const DType type = to == "TO_FLOAT" ? DType::f32 : DType::i64;
    values = from_text ? TRY(c.op("number_from_text", {values}, {{"dtype", type}}))
                       : TRY(c.cast(values, type));
    missing = TRY(c.scalar(type, 0));
  } else {
    return invalid_model(fmt::format("attribute 'cast_to' is '{}'", to));
  }
  const std::string form = TRY(c.get_string("map_form", "DENSE"));
  if (form == "SPARSE") {
    const int64_t size = TRY(c.get_int("max_map", 1));
    if (size < 1 || size > (int64_t{1} << 31))
      return invalid_model(fmt::format("attribute 'max_map' is {}", size));
    Value* wanted = TRY(c.op("range", {c.int_scalar(0), c.int_scalar(size), c.int_scalar(1)}));
    return one(row_of(c, wanted, values, missing));
  }
  if (form != "DENSE") return invalid_model(fmt::format("attribute 'map_form' is '{}'", form));
  // A map is in the order of its keys.
  Value* keys = TRY(keys_of_map(c));
  Value* count = TRY(c.dim(keys, 0));
  const Values sorted =
      TRY(all(c.builder.node("top_k", {keys, count}, {{"axis", int64_t{0}}, {"largest", false}})));
  Value* in_order = TRY(c.op("gather", {values, sorted[1]}, {{"axis", int64_t{0}}}));
  return one(c.reshape(in_order, {1, -1}));
}

constexpr Rule kRules[] = {
    {"ArrayFeatureExtractor", 2, array_feature_extractor, 1, kDomain},
    {"Binarizer", 1, binarizer, 1, kDomain},
    {"CastMap", 1, cast_map, 1, kDomain},
    {"CategoryMapper", 1, category_mapper, 1, kDomain},
    {"DictVectorizer", 1, dict_vectorizer, 1, kDomain},
    {"FeatureVectorizer", {1, kVariadic}, feature_vectorizer, 1, kDomain},
    {"Imputer", 1, imputer, 1, kDomain},
    {"LabelEncoder", 1, label_encoder, 1, kDomain},
    {"LinearClassifier", 1, linear_classifier, 1, kDomain},
    {"LinearRegressor", 1, linear_regressor, 1, kDomain},
    {"Normalizer", 1, normalizer, 1, kDomain},
    {"OneHotEncoder", 1, one_hot_encoder, 1, kDomain},
    {"Scaler", 1, scaler, 1, kDomain},
    {"ZipMap", 1, zip_map, 1, kDomain},
};

}  // namespace

std::span<const Rule> ml_rules() {
  return kRules;
}

}  // namespace tenon::onnx
