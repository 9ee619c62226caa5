// The rows of a sparse tensor: its values grouped by all dimensions but the last.
#pragma once

#include <map>
#include <string_view>
#include <vector>

#include "ops/op.h"

namespace tenon {

// Operands `at` (places i64 [n,rank]), `at` + 1 (values [n]) and `at` + 2 (size i64 [rank]).
Status expect_sparse(const InferContext& context, std::string_view op, int at);

struct SparseRows {
  std::vector<int64_t> size;
  // By row-major number of the row within `rows`; the indices of its values in their order.
  std::map<int64_t, std::vector<int64_t>> rows;
};

// Checks every place against the size, and numbers rows within `dims`, which are at least as large
// as the size's but the last.
Result<SparseRows> sparse_rows(const EvalContext& context, std::string_view op, int at,
                               const std::vector<int64_t>& dims);
// The elements of the size operand of a sparse tensor, none negative.
Result<std::vector<int64_t>> sparse_size(const EvalContext& context, std::string_view op, int at);

}  // namespace tenon
