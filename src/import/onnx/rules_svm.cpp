// Rules of support vector machines (ai.onnx.ml).
#include <fmt/format.h>

#include <utility>

#include "import/onnx/ml.h"
#include "import/onnx/rule_support.h"

namespace tenon::onnx {
namespace {

constexpr std::string_view kDomain = "ai.onnx.ml";
constexpr int64_t kMaxClasses = 1000;

Result<Value*> vector_of(const RuleContext& c, std::string_view name) {
  const auto values = TRY(c.get_floats(name));
  if (values.empty()) return invalid_model(fmt::format("attribute '{}' is missing", name));
  return c.builder.constant(Tensor::vector(std::vector<float>(values.begin(), values.end())));
}

// The kernel of each row of x and each of the support vectors [n, features].
Result<Value*> svm_kernel(const RuleContext& c, Value* x, Value* vectors) {
  const std::string kind = TRY(c.get_string("kernel_type", "LINEAR"));
  auto parameters = TRY(c.get_floats("kernel_params"));
  parameters.resize(3, 0);
  Value* gamma = TRY(c.scalar(DType::f32, parameters[0]));
  Value* dot = TRY(c.op("matmul", {x, vectors}, {{"transpose_b", true}}));
  if (kind == "LINEAR") return dot;
  if (kind == "RBF") {
    const auto norms = [&](Value* v, bool keep) -> Result<Value*> {
      return c.op("sum", {TRY(c.op("square", {v}))},
                  {{"axes", std::vector<int64_t>{-1}}, {"keep_dims", keep}});
    };
    Value* apart = TRY(c.op("add", {TRY(norms(x, true)), TRY(norms(vectors, false))}));
    apart = TRY(c.op("sub", {apart, TRY(c.op("add", {dot, dot}))}));
    return c.op("exp", {TRY(c.op("neg", {TRY(c.op("mul", {apart, gamma}))}))});
  }
  Value* shifted = TRY(c.op("mul", {dot, gamma}));
  shifted = TRY(c.op("add", {shifted, TRY(c.scalar(DType::f32, parameters[1]))}));
  if (kind == "SIGMOID") return c.op("tanh", {shifted});
  if (kind == "POLY") return c.op("pow", {shifted, TRY(c.scalar(DType::f32, parameters[2]))});
  return invalid_model(fmt::format("attribute 'kernel_type' is '{}'", kind));
}

Result<Values> svm_regressor(RuleContext& c) {
  const int64_t supports = TRY(c.get_int("n_supports", 0));
  Value* x = TRY(c.cast(c.in(0), DType::f32));
  if (TRY(c.rank(0)) == 1) x = TRY(c.reshape(x, {1, -1}));
  if (supports < 0) return invalid_model(fmt::format("attribute 'n_supports' is {}", supports));
  if (supports > 0) {
    Value* vectors = TRY(c.reshape(TRY(vector_of(c, "support_vectors")), {supports, -1}));
    x = TRY(svm_kernel(c, x, vectors));
  }
  Value* weights = TRY(c.reshape(TRY(vector_of(c, "coefficients")), {-1, 1}));
  const auto rho = TRY(c.get_floats("rho"));
  if (rho.empty()) return invalid_model("attribute 'rho' is missing");
  Value* y = TRY(c.op("matmul", {x, weights}));
  y = TRY(c.op("add", {y, TRY(c.scalar(DType::f32, rho[0]))}));
  if (TRY(c.get_bool("one_class", false))) {
    Value* inside = TRY(c.op("greater", {y, TRY(c.scalar(DType::f32, 0))}));
    y = TRY(c.op("select", {inside, TRY(c.scalar(DType::f32, 1)), TRY(c.scalar(DType::f32, -1))}));
  }
  return one(transformed(c, y));
}

// Classes in pairs, each decided by the support vectors of the two.
struct Pairs {
  int64_t classes = 0;
  std::vector<std::pair<int64_t, int64_t>> all;  // (i, j), i < j

  explicit Pairs(int64_t n) : classes(n) {
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = i + 1; j < n; ++j) all.emplace_back(i, j);
  }
};

Value* matrix(const RuleContext& c, const std::vector<float>& values, int64_t rows) {
  const auto columns = static_cast<int64_t>(values.size()) / rows;
  return c.builder.constant(Tensor::vector(values).reshaped({rows, columns}));
}

// [vectors, pairs]: of the coefficients [classes - 1, vectors] those that decide each pair.
Result<Value*> pair_weights(const RuleContext& c, const Pairs& pairs,
                            const std::vector<int64_t>& per_class, int64_t vectors) {
  const auto given = TRY(c.get_floats("coefficients"));
  if (given.size() != static_cast<size_t>((pairs.classes - 1) * vectors))
    return invalid_model(fmt::format("{} coefficients for {} vectors of {} classes", given.size(),
                                     vectors, pairs.classes));
  std::vector<int64_t> first(1, 0);
  for (const int64_t n : per_class) first.push_back(first.back() + n);
  std::vector<float> weights(static_cast<size_t>(vectors) * pairs.all.size(), 0);
  for (size_t p = 0; p < pairs.all.size(); ++p) {
    const auto [i, j] = pairs.all[p];
    for (const auto& [of, row] : {std::pair(i, j - 1), std::pair(j, i)})
      for (int64_t v = first[static_cast<size_t>(of)]; v < first[static_cast<size_t>(of) + 1]; ++v)
        weights[static_cast<size_t>(v) * pairs.all.size() + p] =
            static_cast<float>(given[static_cast<size_t>(row * vectors + v)]);
  }
  return matrix(c, weights, vectors);
}

// How many pairs each class wins: its own where the score is above 0, the other's elsewhere.
Result<Value*> votes(const RuleContext& c, const Pairs& pairs, Value* scores) {
  const size_t n = static_cast<size_t>(pairs.classes);
  std::vector<float> wins(pairs.all.size() * n, 0), base(n, 0);
  for (size_t p = 0; p < pairs.all.size(); ++p) {
    const auto [i, j] = pairs.all[p];
    wins[p * n + static_cast<size_t>(i)] = 1;
    wins[p * n + static_cast<size_t>(j)] = -1;
    ++base[static_cast<size_t>(j)];
  }
  Value* won = TRY(c.op("greater", {scores, TRY(c.scalar(DType::f32, 0))}));
  Value* y = TRY(c.op("matmul", {TRY(c.cast(won, DType::f32)),
                                 matrix(c, wins, static_cast<int64_t>(pairs.all.size()))}));
  return c.op("add", {y, c.builder.constant(Tensor::vector(base))});
}

// Probabilities of the classes from those r of the pairs.
Result<Value*> coupled(RuleContext& c, const Pairs& pairs, Value* scores) {
  const auto count = static_cast<int64_t>(pairs.all.size());
  const int64_t n = pairs.classes;
  const auto size = static_cast<size_t>(n);
  Value* slope = TRY(vector_of(c, "prob_a"));
  Value* shift = TRY(vector_of(c, "prob_b"));
  Value* r = TRY(c.op("add", {TRY(c.op("mul", {scores, slope})), shift}));
  r = TRY(c.op("sigmoid", {TRY(c.op("neg", {r}))}));
  r = TRY(c.op("clip", {r}, {{"min", 1e-7}, {"max", 1 - 1e-7}}));
  // r [n, n]: r_ij of a pair, 1 - r_ij for r_ji.
  std::vector<float> spread(pairs.all.size() * size * size, 0), base(size * size, 0);
  for (size_t p = 0; p < pairs.all.size(); ++p) {
    const auto i = static_cast<size_t>(pairs.all[p].first);
    const auto j = static_cast<size_t>(pairs.all[p].second);
    spread[p * size * size + i * size + j] = 1;
    spread[p * size * size + j * size + i] = -1;
    base[j * size + i] = 1;
  }
  r = TRY(c.op("matmul", {r, matrix(c, spread, count)}));
  r = TRY(c.op("add", {r, c.builder.constant(Tensor::vector(base))}));
  return c.op("pairwise_coupling", {TRY(c.reshape(r, {-1, n, n}))});
}

Result<Values> svm_classifier(RuleContext& c) {
  size_t count = 0;
  Value* labels = TRY(labels_of(c, "classlabels_ints", count));
  const auto per_class = TRY(c.get_ints("vectors_per_class"));
  int64_t vectors = 0;
  for (const int64_t n : per_class) {
    if (n < 0 || n > int64_t{1} << 31) return invalid_model("'vectors_per_class' is out of range");
    vectors += n;
  }
  if (vectors == 0) return unsupported("a linear classifier without support vectors");
  if (per_class.size() != count || count < 2 || count > kMaxClasses)
    return invalid_model(
        fmt::format("vectors of {} classes for {} labels", per_class.size(), count));
  const Pairs pairs(static_cast<int64_t>(count));
  const auto rho = TRY(c.get_floats("rho"));
  if (rho.size() != pairs.all.size())
    return invalid_model(
        fmt::format("'rho' has {} elements for {} pairs of classes", rho.size(), pairs.all.size()));
  Value* x = TRY(c.cast(c.in(0), DType::f32));
  if (TRY(c.rank(0)) == 1) x = TRY(c.reshape(x, {1, -1}));
  Value* known = TRY(c.reshape(TRY(vector_of(c, "support_vectors")), {vectors, -1}));
  Value* scores = TRY(c.op(
      "matmul", {TRY(svm_kernel(c, x, known)), TRY(pair_weights(c, pairs, per_class, vectors))}));
  scores = TRY(c.op("add", {scores, TRY(vector_of(c, "rho"))}));
  if (c.has_attr("prob_a")) {
    Value* p = TRY(coupled(c, pairs, scores));
    return Values{TRY(best_label(c, labels, p)), TRY(transformed(c, p))};
  }
  Value* label = TRY(best_label(c, labels, TRY(votes(c, pairs, scores))));
  if (count == 2)
    scores = TRY(c.op("concat", {TRY(c.op("neg", {scores})), scores}, {{"axis", int64_t{1}}}));
  return Values{label, TRY(transformed(c, scores))};
}

constexpr Rule kRules[] = {
    {"SVMClassifier", 1, svm_classifier, 1, kDomain},
    {"SVMRegressor", 1, svm_regressor, 1, kDomain},
};

}  // namespace

std::span<const Rule> svm_rules() {
  return kRules;
}

}  // namespace tenon::onnx
