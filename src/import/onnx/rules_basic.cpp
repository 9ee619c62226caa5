// Rules of the ops that need no more than a name: constants, pass-through.
#include <fmt/format.h>

#include "import/onnx/graph_importer.h"
#include "import/onnx/rule.h"

namespace tenon::onnx {
namespace {

Result<Values> identity(RuleContext& c) {
  return Values{c.in(0)};
}

// One attribute gives the value; which one is its type.
Result<Values> constant(RuleContext& c) {
  Tensor value;
  if (c.has_attr("value")) {
    value = TRY(c.get_tensor("value"));
  } else if (const AttributeProto* a = c.attr("sparse_value")) {
    if (a->sparse_tensors.empty()) return invalid_model("attribute 'sparse_value' has no tensor");
    value = TRY(c.importer.source().value(a->sparse_tensors[0]));
  } else if (c.has_attr("value_float")) {
    value = Tensor::scalar(static_cast<float>(TRY(c.get_float("value_float"))));
  } else if (c.has_attr("value_int")) {
    value = Tensor::scalar(TRY(c.get_int("value_int")));
  } else if (c.has_attr("value_string")) {
    value = Tensor::scalar(TRY(c.get_string("value_string")));
  } else if (c.has_attr("value_floats")) {
    const auto floats = TRY(c.get_floats("value_floats"));
    value = Tensor::vector(std::vector<float>(floats.begin(), floats.end()));
  } else if (c.has_attr("value_ints")) {
    value = Tensor::vector(TRY(c.get_ints("value_ints")));
  } else if (c.has_attr("value_strings")) {
    value = Tensor::vector(TRY(c.get_strings("value_strings")));
  } else {
    return invalid_model("none of the attributes that give a constant its value is there");
  }
  return Values{c.builder.constant(std::move(value))};
}

constexpr Rule kRules[] = {
    {"Constant", 0, constant},
    {"Identity", 1, identity},
};

}  // namespace

std::span<const Rule> basic_rules() {
  return kRules;
}

}  // namespace tenon::onnx
