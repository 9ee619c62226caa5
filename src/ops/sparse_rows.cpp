#include "ops/sparse_rows.h"

#include <fmt/format.h>

#include "ops/movement.h"
#include "ops/nn_util.h"

namespace tenon {

Status expect_sparse(const InferContext& context, std::string_view op, int at) {
  if (context.dtype(at) != DType::i64 || context.dtype(at + 2) != DType::i64)
    return invalid_argument(fmt::format("{}: places and sizes must be i64", op));
  TRY(nn::expect_rank(context, op, at, 2));
  TRY(nn::expect_rank(context, op, at + 1, 1));
  return nn::expect_rank(context, op, at + 2, 1);
}

Result<std::vector<int64_t>> sparse_size(const EvalContext& context, std::string_view op, int at) {
  std::vector<int64_t> size = context.in(at + 2).to_ints();
  if (size.empty()) return invalid_argument(fmt::format("{}: a size without dimensions", op));
  for (const int64_t d : size)
    if (d < 0) return invalid_argument(fmt::format("{}: a negative size", op));
  return size;
}

Result<SparseRows> sparse_rows(const EvalContext& context, std::string_view op, int at,
                               const std::vector<int64_t>& dims) {
  SparseRows result{TRY(sparse_size(context, op, at)), {}};
  const Tensor& places = context.in(at);
  const size_t rank = result.size.size();
  const int64_t n = context.in(at + 1).elements();
  if (places.rank() != 2 || places.dim(0) != n || places.dim(1) != static_cast<int64_t>(rank) ||
      dims.size() + 1 != rank)
    return invalid_argument(fmt::format("{}: {} values of a tensor of rank {} need places [{},{}]",
                                        op, n, rank, n, rank));
  const auto* place = places.data<int64_t>();
  for (int64_t i = 0; i < n; ++i) {
    int64_t row = 0;
    for (size_t k = 0; k < rank; ++k, ++place) {
      if (*place < 0 || *place >= result.size[k])
        return invalid_argument(fmt::format("{}: place {} lies outside of its dimension of {}", op,
                                            *place, result.size[k]));
      if (k + 1 < rank) row = row * dims[k] + *place;
    }
    result.rows[row].push_back(i);
  }
  return result;
}

}  // namespace tenon
