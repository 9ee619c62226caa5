#include "ops/pairwise_coupling.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/registry.h"

namespace tenon {
namespace {

constexpr double kTolerance = 0.005;
constexpr int64_t kLeastRounds = 100;

// p' Q p with sum 1 is brought down one p_t after the other.
class Coupling {
 public:
  explicit Coupling(size_t k) : k_(k), q_(k * k), p_(k), qp_(k) {}

  void run(const float* r, float* probabilities) {
    set(r);
    const auto rounds = std::max(kLeastRounds, static_cast<int64_t>(k_));
    for (int64_t round = 0; round < rounds; ++round) {
      double pqp = multiply();
      double off = 0;
      for (const double v : qp_) off = std::max(off, std::abs(v - pqp));
      if (off < kTolerance / static_cast<double>(k_)) break;
      for (size_t t = 0; t < k_; ++t) pqp = improve(t, pqp);
    }
    for (size_t t = 0; t < k_; ++t) probabilities[t] = static_cast<float>(p_[t]);
  }

 private:
  void set(const float* r) {
    std::fill(p_.begin(), p_.end(), 1 / static_cast<double>(k_));
    for (size_t t = 0; t < k_; ++t) {
      double sum = 0;
      for (size_t j = 0; j < k_; ++j) {
        if (j == t) continue;
        const double of_j = r[j * k_ + t];
        sum += of_j * of_j;
        q_[t * k_ + j] = -of_j * r[t * k_ + j];
      }
      q_[t * k_ + t] = sum;
    }
  }

  // Q p, and p' Q p.
  double multiply() {
    double pqp = 0;
    for (size_t t = 0; t < k_; ++t) {
      qp_[t] = 0;
      for (size_t j = 0; j < k_; ++j) qp_[t] += q_[t * k_ + j] * p_[j];
      pqp += p_[t] * qp_[t];
    }
    return pqp;
  }

  // Sets p_t to where its condition holds and scales all to sum 1; the new p' Q p.
  double improve(size_t t, double pqp) {
    const double step = (pqp - qp_[t]) / q_[t * k_ + t];
    const double sum = 1 + step;
    const double next = (pqp + step * (step * q_[t * k_ + t] + 2 * qp_[t])) / (sum * sum);
    for (size_t j = 0; j < k_; ++j) qp_[j] = (qp_[j] + step * q_[t * k_ + j]) / sum;
    p_[t] += step;
    for (double& p : p_) p /= sum;
    return next;
  }

  size_t k_;
  std::vector<double> q_, p_, qp_;
};

}  // namespace

Result<TensorTypes> PairwiseCoupling::infer(const InferContext& context) const {
  const Shape& r = context.shape(0);
  if (context.dtype(0) != DType::f32) return invalid_argument("pairwise_coupling: r must be f32");
  if (!r.ranked()) return TensorTypes{{DType::f32, Shape::unknown_dims(2)}};
  if (r.rank() != 3 || (r[1].known() && r[2].known() && r[1] != r[2]))
    return invalid_argument(
        fmt::format("pairwise_coupling: r must be [N,k,k], not {}", r.to_string()));
  return TensorTypes{{DType::f32, Shape{r[0], r[1]}}};
}

Status PairwiseCoupling::eval(EvalContext& context) const {
  const Tensor& r = context.in(0);
  if (r.dim(1) != r.dim(2)) return invalid_argument("pairwise_coupling: r must be [N,k,k]");
  Tensor& y = context.out(0);
  const int64_t k = r.dim(1);
  Coupling coupling(static_cast<size_t>(k));
  for (int64_t row = 0; row < r.dim(0); ++row)
    coupling.run(r.data<float>() + row * k * k, y.mutable_data<float>() + row * k);
  return {};
}

constinit const OpDef PairwiseCoupling::def = define<PairwiseCoupling>();
OpDefs pairwise_coupling_ops() {
  return {&PairwiseCoupling::def};
}

}  // namespace tenon
