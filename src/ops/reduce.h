// Reductions over axes.
#pragma once

#include <array>

#include "ops/ints.h"

namespace tenon {

enum class ReduceKind : uint8_t { sum, mean, max, min, prod, all, any, sum_square, log_sum_exp };

struct ReduceInfo {
  std::string_view name;
  std::string_view doc;
};
// In the order of ReduceKind.
inline constexpr std::array<ReduceInfo, 9> kReduceInfos{{
    {"sum", "The sum over axes"},
    {"mean", "The mean over axes; of integers truncated"},
    {"reduce_max", "The largest over axes; NaN when one is NaN"},
    {"reduce_min", "The smallest over axes; NaN when one is NaN"},
    {"prod", "The product over axes"},
    {"all", "Whether all are true"},
    {"any", "Whether any is true"},
    {"sum_square", "The sum of squares over axes"},
    {"log_sum_exp", "log(sum(e^x)) over axes"},
}};

Result<TensorTypes> infer_reduce(ReduceKind kind, const std::vector<int64_t>& axes, bool keep_dims,
                                 const InferContext& context);
Status eval_reduce(ReduceKind kind, const std::vector<int64_t>& axes, EvalContext& context);

template <ReduceKind K>
struct Reduce {
  std::vector<int64_t> axes;  // may be negative; empty means all
  bool keep_dims = false;

  static constexpr ReduceKind kind = K;
  static const OpDef def;
  static constexpr std::string_view name = kReduceInfos[static_cast<size_t>(K)].name;
  static constexpr std::string_view doc = kReduceInfos[static_cast<size_t>(K)].doc;
  static constexpr Arity inputs{1};
  static constexpr auto fields() {
    return std::tuple{Field{1, "axes", &Reduce::axes, "the axes; empty means all"},
                      Field{2, "keep_dims", &Reduce::keep_dims, "keep reduced axes with size 1"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const {
    return infer_reduce(K, axes, keep_dims, context);
  }
  // The number of elements of a shape.
  std::optional<SymInts> infer_ints(const InferContext& context) const {
    if constexpr (K != ReduceKind::prod) return std::nullopt;
    if (!may_be_sizes(context, 0) || !is_int(context.dtype(0))) return std::nullopt;
    const auto ints = context.ints(0);
    if (!ints) return std::nullopt;
    Dim product = 1;
    for (const SymInt& s : *ints) {
      if (s.value && *s.value < 0) return std::nullopt;
      product = product * s.as_dim();
    }
    return SymInts{SymInt::of(product)};
  }
  Status eval(EvalContext& context) const { return eval_reduce(K, axes, context); }
};
template <ReduceKind K>
constinit const OpDef Reduce<K>::def = define<Reduce<K>>();

}  // namespace tenon
