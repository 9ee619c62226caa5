// Rules of random tensors. Their values are other ones than TensorFlow's: what a model computes
// from them must not depend on which (dropout that keeps everything, noise).
#include "import/tensorflow/rule.h"

namespace tenon::tf {
namespace {

Values uniform(RuleContext& c) {
  const DType dtype = TRY(to_dtype(TRY(c.node.attrs.get_type("dtype", DataType::f32))));
  return one(c.builder.op("random_uniform", {c.inputs[0]}, {{"dtype", dtype}}));
}

Values normal(RuleContext& c) {
  const DType dtype = TRY(to_dtype(TRY(c.node.attrs.get_type("dtype", DataType::f32))));
  return one(c.builder.op("random_normal", {c.inputs[0]},
                          {{"dtype", dtype}, {"truncated", c.node.op == "TruncatedNormal"}}));
}

constexpr RuleEntry kRules[] = {
    {"RandomStandardNormal", normal},
    {"RandomUniform", uniform},
    {"StatelessRandomNormalV2", normal, 4},
    {"StatelessRandomUniformV2", uniform, 4},
    {"TruncatedNormal", normal},
};

}  // namespace

std::span<const RuleEntry> random_rules() {
  return kRules;
}

}  // namespace tenon::tf
