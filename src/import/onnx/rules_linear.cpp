// Rules of linear algebra: contractions, determinants.
#include "import/einsum.h"
#include "import/onnx/rule_support.h"

namespace tenon::onnx {
namespace {

Result<Values> einsum(RuleContext& c) {
  return one(add_einsum(c.builder, TRY(c.get_string("equation")), c.inputs));
}

constexpr Rule kRules[] = {
    {"Det", 1, direct<"det">},
    {"Einsum", {1, kVariadic}, einsum},
};

}  // namespace

std::span<const Rule> linear_rules() {
  return kRules;
}

}  // namespace tenon::onnx
