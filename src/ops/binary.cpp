#include "ops/binary.h"

#include <fmt/format.h>

#include <utility>

#include "ops/ints.h"
#include "ops/registry.h"
#include "tensor/dim_product.h"

namespace tenon {
namespace {

bool accepts(BinaryKind kind, DType t) {
  switch (kind) {
    case BinaryKind::logical_and:
    case BinaryKind::logical_or:
    case BinaryKind::logical_xor:
      return t == DType::boolean;
    case BinaryKind::bitwise_and:
    case BinaryKind::bitwise_or:
    case BinaryKind::bitwise_xor:
      return is_int(t) || t == DType::boolean;
    case BinaryKind::shift_left:
    case BinaryKind::shift_right:
      return is_int(t);
    case BinaryKind::atan2:
      return is_float(t);
    case BinaryKind::add:
      return is_number(t) || t == DType::string;
    case BinaryKind::sub:
    case BinaryKind::mul:
    case BinaryKind::div:
    case BinaryKind::pow:
    case BinaryKind::squared_difference:
    case BinaryKind::div_no_nan:
      return is_number(t);
    case BinaryKind::equal:
    case BinaryKind::not_equal:
      return is_number(t) || t == DType::boolean || t == DType::string;
    default:
      return is_float(t) || is_int(t);
  }
}

// The same size, whatever it is.
bool same_symbol(const SymInt& a, const SymInt& b) {
  return !a.value && !b.value && a.dim.is_symbol() && a.dim.same(b.dim);
}

SymInt known(BinaryKind kind, int64_t a, int64_t b) {
  int64_t r = 0;
  switch (kind) {
    case BinaryKind::add:
      return __builtin_add_overflow(a, b, &r) ? SymInt{} : SymInt{r};
    case BinaryKind::sub:
      return __builtin_sub_overflow(a, b, &r) ? SymInt{} : SymInt{r};
    case BinaryKind::mul:
      return __builtin_mul_overflow(a, b, &r) ? SymInt{} : SymInt{r};
    case BinaryKind::min:
      return {std::min(a, b)};
    case BinaryKind::max:
      return {std::max(a, b)};
    case BinaryKind::equal:
      return {a == b};
    case BinaryKind::not_equal:
      return {a != b};
    case BinaryKind::less:
      return {a < b};
    case BinaryKind::less_equal:
      return {a <= b};
    case BinaryKind::greater:
      return {a > b};
    case BinaryKind::greater_equal:
      return {a >= b};
    default:
      break;
  }
  // Division: by -1 it could overflow, by 0 it is an error when run.
  if (b == 0 || b == -1) return {};
  const int64_t q = a / b, m = a % b;
  const bool below = m != 0 && (m < 0) != (b < 0);
  if (kind == BinaryKind::div) return {q};
  if (kind == BinaryKind::floor_div) return {below ? q - 1 : q};
  if (kind == BinaryKind::trunc_mod) return {m};
  if (kind == BinaryKind::floor_mod) return {below ? m + b : m};
  return {};
}

SymInt combine(BinaryKind kind, const SymInt& a, const SymInt& b) {
  if (a.value && b.value) return known(kind, *a.value, *b.value);
  switch (kind) {
    case BinaryKind::add:
      if (a.value == 0) return b;
      if (b.value == 0) return a;
      return {};
    case BinaryKind::sub:
      if (b.value == 0) return a;
      return same_symbol(a, b) ? SymInt{0} : SymInt{};
    case BinaryKind::mul:
      if (a.value == 1) return b;
      if (b.value == 1) return a;
      return SymInt::of(a.as_dim() * b.as_dim());
    case BinaryKind::div:
    case BinaryKind::floor_div:
      if (b.value == 1) return a;
      return SymInt::of(a.as_dim() / b.as_dim());  // known only where nothing is left over
    case BinaryKind::min:
    case BinaryKind::max: {
      if (same_symbol(a, b)) return a;
      // A dimension is never negative.
      const SymInt& number = a.value ? a : b;
      const SymInt& symbol = a.value ? b : a;
      if (number.value && *number.value <= 0 && symbol.dim.is_symbol())
        return kind == BinaryKind::max ? symbol : number;
      return {};
    }
    case BinaryKind::equal:
    case BinaryKind::not_equal: {
      if (same_symbol(a, b)) return {kind == BinaryKind::equal};
      const SymInt& number = a.value ? a : b;
      const SymInt& symbol = a.value ? b : a;
      if (number.value && *number.value < 0 && symbol.dim.is_symbol())
        return {kind == BinaryKind::not_equal};
      return {};
    }
    default:
      return {};
  }
}

}  // namespace

Result<TensorTypes> infer_binary(BinaryKind kind, const InferContext& context) {
  const std::string_view name = kBinaryInfos[static_cast<size_t>(kind)].name;
  const TensorType &x = context.type(0), &y = context.type(1);
  if (x.is_list || y.is_list || x.dtype != y.dtype)
    return invalid_argument(fmt::format("{} needs two tensors of one element type, not {} and {}",
                                        name, x.to_string(), y.to_string()));
  if (!accepts(kind, x.dtype))
    return invalid_argument(fmt::format("{} does not take {}", name, x.to_string()));
  auto shape = broadcast_shapes(x.shape, y.shape);
  if (!shape) return std::move(shape).error().note(fmt::format("while inferring {}", name));
  return TensorTypes{{is_comparison(kind) ? DType::boolean : x.dtype, *shape}};
}

std::optional<SymInts> infer_binary_ints(BinaryKind kind, const InferContext& context) {
  if (!is_int(context.dtype(0)) || !may_be_sizes(context, 0) || !may_be_sizes(context, 1))
    return std::nullopt;
  const auto a = context.ints(0), b = context.ints(1);
  if (!a || !b) return std::nullopt;
  if (a->size() != b->size() && a->size() != 1 && b->size() != 1) return std::nullopt;
  const size_t n = a->size() == 1 ? b->size() : a->size();
  SymInts result;
  for (size_t i = 0; i < n; ++i)
    result.push_back(combine(kind, (*a)[a->size() == 1 ? 0 : i], (*b)[b->size() == 1 ? 0 : i]));
  return result;
}

OpDefs binary_ops() {
  return []<size_t... I>(std::index_sequence<I...>) {
    return OpDefs{&Binary<static_cast<BinaryKind>(I)>::def...};
  }
  (std::make_index_sequence<kBinaryInfos.size()>{});
}

}  // namespace tenon
