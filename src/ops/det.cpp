#include "ops/det.h"

#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {
namespace {

// Elimination with row exchanges; destroys m [n, n].
double determinant(std::span<double> m, size_t n) {
  double det = 1;
  for (size_t k = 0; k < n; ++k) {
    size_t pivot = k;
    for (size_t i = k + 1; i < n; ++i)
      if (std::abs(m[i * n + k]) > std::abs(m[pivot * n + k])) pivot = i;
    if (m[pivot * n + k] == 0) return 0;
    if (pivot != k) {
      for (size_t j = 0; j < n; ++j) std::swap(m[k * n + j], m[pivot * n + j]);
      det = -det;
    }
    det *= m[k * n + k];
    for (size_t i = k + 1; i < n; ++i) {
      const double factor = m[i * n + k] / m[k * n + k];
      for (size_t j = k; j < n; ++j) m[i * n + j] -= factor * m[k * n + j];
    }
  }
  return det;
}

}  // namespace

Result<TensorTypes> Det::infer(const InferContext& context) const {
  TRY(nn::expect_float(context, name));
  const TensorType& x = context.type(0);
  if (!x.shape.ranked()) return TensorTypes{x};
  const int rank = x.shape.rank();
  const bool differ = rank >= 2 && x.shape[rank - 1].known() && x.shape[rank - 2].known() &&
                      x.shape[rank - 1].size() != x.shape[rank - 2].size();
  if (rank < 2 || differ)
    return invalid_argument("det needs square matrices, not " + x.to_string());
  return TensorTypes{
      {x.dtype, Shape(std::vector<Dim>(x.shape.dims().begin(), x.shape.dims().end() - 2))}};
}

Status Det::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  const auto n = static_cast<size_t>(x.dim(x.rank() - 1));
  std::vector<double> matrices = nn::reals(x);
  std::vector<double> dets;
  for (int64_t i = 0; i < context.out(0).elements(); ++i)
    dets.push_back(
        determinant(std::span(matrices).subspan(static_cast<size_t>(i) * n * n, n * n), n));
  nn::store_reals(context.out(0), dets);
  return {};
}

constinit const OpDef Det::def = define<Det>();
OpDefs det_ops() {
  return {&Det::def};
}

}  // namespace tenon
