// Rules of the losses of classifiers.
#include <fmt/format.h>

#include "import/onnx/rule_support.h"

namespace tenon::onnx {
namespace {

// -scores[n, target[n, …], …] times the class's weight, then the mean (by weight), sum or all of
// them. Targets equal to ignore_index weigh nothing.
Result<Value*> negative_log_likelihood(RuleContext& c, Value* scores, Value* target,
                                       Value* class_weights) {
  target = TRY(c.cast(target, DType::i64));
  Value* ignored = nullptr;
  if (c.has_attr("ignore_index")) {
    Value* index = c.builder.constant(Tensor::scalar(TRY(c.get_int("ignore_index"))));
    ignored = TRY(c.op("equal", {target, index}));
    target = TRY(c.op("select", {ignored, TRY(c.scalar(DType::i64, 0)), target}));
  }
  Value* picked = TRY(
      c.op("gather_elements", {scores, TRY(expand_dims(c, target, {1}))}, {{"axis", int64_t{1}}}));
  Value* loss = TRY(c.op("neg", {TRY(squeeze(c, picked, {1}))}));
  Value* weights =
      class_weights == nullptr ? nullptr : TRY(c.op("gather", {class_weights, target}));
  if (ignored != nullptr) {
    Value* weight = weights != nullptr ? weights : TRY(c.scalar_like(scores, 1));
    weights = TRY(c.op("select", {ignored, TRY(c.scalar_like(scores, 0)), weight}));
  }
  if (weights != nullptr) loss = TRY(c.op("mul", {loss, weights}));
  constexpr std::string_view kReductions[] = {"none", "sum", "mean"};
  const auto reduction = std::ranges::find(kReductions, TRY(c.get_string("reduction", "mean")));
  if (reduction == std::end(kReductions))
    return invalid_model("'reduction' is expected to be none, sum or mean");
  if (*reduction == "none") return loss;
  if (*reduction == "sum") return c.op("sum", {loss});
  if (weights == nullptr) return c.op("mean", {loss});
  return c.op("div", {TRY(c.op("sum", {loss})), TRY(c.op("sum", {weights}))});
}

Result<Values> nll_loss(RuleContext& c) {
  return one(negative_log_likelihood(c, c.in(0), c.in(1), c.in(2)));
}

Result<Values> softmax_cross_entropy_loss(RuleContext& c) {
  Value* log_probabilities = TRY(c.op("log_softmax", {c.in(0)}, {{"axis", int64_t{1}}}));
  Value* loss = TRY(negative_log_likelihood(c, log_probabilities, c.in(1), c.in(2)));
  return Values{loss, log_probabilities};
}

constexpr Rule kRules[] = {
    {"NegativeLogLikelihoodLoss", {2, 3}, nll_loss},
    {"SoftmaxCrossEntropyLoss", {2, 3}, softmax_cross_entropy_loss},
};

}  // namespace

std::span<const Rule> loss_rules() {
  return kRules;
}

}  // namespace tenon::onnx
