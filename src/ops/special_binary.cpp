#include "ops/special_binary.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "ops/broadcast.h"
#include "ops/nn_util.h"
#include "ops/registry.h"
#include "ops/special_eval.h"

namespace tenon {
namespace {

double value(SpecialBinaryKind kind, DType dtype, double x, double y, double z) {
  switch (kind) {
    case SpecialBinaryKind::igamma:
      return special::igamma(x, y);
    case SpecialBinaryKind::igammac:
      return special::igammac(x, y);
    case SpecialBinaryKind::zeta:
      return special::zeta(x, y);
    case SpecialBinaryKind::polygamma:
      return special::polygamma(x, y);
    case SpecialBinaryKind::next_after:
      if (dtype == DType::f64) return std::nextafter(x, y);
      return std::nextafter(static_cast<float>(x), static_cast<float>(y));
    case SpecialBinaryKind::betainc:
      return special::betainc(x, y, z);
  }
  return x;
}

}  // namespace

Result<TensorTypes> infer_special_binary(SpecialBinaryKind kind, const InferContext& context) {
  const SpecialBinaryInfo& info = kSpecialBinaryInfos[static_cast<size_t>(kind)];
  TRY(nn::expect_float(context, info.name));
  TRY(nn::expect_same_dtype(context, info.name, {1, 2}));
  if (kind == SpecialBinaryKind::next_after && dtype_size(context.dtype(0)) < 4)
    return unsupported("next_after: only of f32 and f64");
  TensorType out = context.type(0);
  for (int i = 1; i < info.operands; ++i) {
    if (context.type(i).is_list)
      return invalid_argument(fmt::format("{}: operand {} is a list", info.name, i));
    out.shape = TRY(broadcast_shapes(out.shape, context.shape(i)));
  }
  return TensorTypes{out};
}

Status eval_special_binary(SpecialBinaryKind kind, EvalContext& context) {
  const int operands = kSpecialBinaryInfos[static_cast<size_t>(kind)].operands;
  const DType dtype = context.in(0).dtype();
  const auto a = nn::reals(context.in(0)), b = nn::reals(context.in(1));
  // Two operands: the third is not read.
  const Tensor& last = context.in(operands - 1);
  const auto c = nn::reals(last);
  std::vector<double> y(static_cast<size_t>(context.out(0).elements()));
  const std::array<std::span<const int64_t>, 3> dims{context.in(0).dims(), context.in(1).dims(),
                                                     last.dims()};
  broadcast_each(std::span<const int64_t>(context.out(0).dims()), dims,
                 [&](int64_t i, const auto& at) {
                   y[static_cast<size_t>(i)] =
                       value(kind, dtype, a[static_cast<size_t>(at[0])],
                             b[static_cast<size_t>(at[1])], c[static_cast<size_t>(at[2])]);
                 });
  nn::store_reals(context.out(0), y);
  return {};
}

namespace {
template <size_t... kKinds>
OpDefs all_kinds(std::index_sequence<kKinds...>) {
  return {&SpecialBinary<static_cast<SpecialBinaryKind>(kKinds)>::def...};
}
}  // namespace

OpDefs special_binary_ops() {
  return all_kinds(std::make_index_sequence<kSpecialBinaryInfos.size()>{});
}

}  // namespace tenon
