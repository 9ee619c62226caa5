#include "bang/builtins.h"

#include <algorithm>

namespace tenon::bang {
namespace {

using Form = Builtin::Form;
using enum Vector;

constexpr Builtin kBuiltins[] = {
    {"__bang_add", Form::binary, add, "dabi", ""},
    {"__bang_sub", Form::binary, sub, "dabi", ""},
    {"__bang_mul", Form::binary, mul, "dabi", ""},
    {"__bang_div", Form::binary, div, "dabi", ""},
    {"__bang_maximum", Form::binary, max, "dabi", ""},
    {"__bang_minimum", Form::binary, min, "dabi", ""},
    {"__bang_maxequal", Form::binary, max, "dabi", ""},
    {"__bang_minequal", Form::binary, min, "dabi", ""},
    {"__bang_lt", Form::binary, less, "dabi", ""},
    {"__bang_le", Form::binary, less_equal, "dabi", ""},
    {"__bang_eq", Form::binary, equal, "dabi", ""},
    {"__bang_ne", Form::binary, not_equal, "dabi", ""},
    {"__bang_ge", Form::binary, greater_equal, "dabi", ""},
    {"__bang_gt", Form::binary, greater, "dabi", ""},
    {"__bang_cycle_add", Form::cycle, add, "dabii", ""},
    {"__bang_cycle_sub", Form::cycle, sub, "dabii", ""},
    {"__bang_cycle_mul", Form::cycle, mul, "dabii", ""},
    {"__bang_cycle_maxequal", Form::cycle, max, "dabii", ""},
    {"__bang_cycle_minequal", Form::cycle, min, "dabii", ""},
    {"__bang_add_scalar", Form::scalar, add, "dani", ""},
    {"__bang_sub_scalar", Form::scalar, sub, "dani", ""},
    {"__bang_mul_scalar", Form::scalar, mul, "dani", ""},
    {"__bang_maxeq_scalar", Form::scalar, max, "dani", ""},
    {"__bang_mineq_scalar", Form::scalar, min, "dani", ""},
    {"__bang_lt_scalar", Form::scalar, less, "dani", ""},
    {"__bang_le_scalar", Form::scalar, less_equal, "dani", ""},
    {"__bang_eq_scalar", Form::scalar, equal, "dani", ""},
    {"__bang_ne_scalar", Form::scalar, not_equal, "dani", ""},
    {"__bang_ge_scalar", Form::scalar, greater_equal, "dani", ""},
    {"__bang_gt_scalar", Form::scalar, greater, "dani", ""},
    {"__bang_active_relu", Form::unary, relu, "dai", ""},
    {"__bang_active_sigmoid", Form::unary, sigmoid, "dai", ""},
    {"__bang_active_tanh", Form::unary, tanh, "dai", ""},
    {"__bang_active_exp", Form::unary, exp, "dai", ""},
    {"__bang_active_exphp", Form::unary, exp, "dai", ""},
    {"__bang_active_log", Form::unary, ln, "dai", ""},
    {"__bang_active_loghp", Form::unary, ln, "dai", ""},
    {"__bang_active_sqrt", Form::unary, sqrt, "dai", ""},
    {"__bang_active_sqrthp", Form::unary, sqrt, "dai", ""},
    {"__bang_active_rsqrt", Form::unary, rsqrt, "dai", ""},
    {"__bang_active_rsqrthp", Form::unary, rsqrt, "dai", ""},
    {"__bang_active_recip", Form::unary, reciprocal, "dai", ""},
    {"__bang_active_reciphp", Form::unary, reciprocal, "dai", ""},
    {"__bang_active_abs", Form::unary, abs, "dai", ""},
    {"__bang_relu", Form::unary, relu, "dai", ""},
    {"__bang_sqrt", Form::unary, sqrt, "dai", ""},
    {"__bang_rsqrt", Form::unary, rsqrt, "dai", ""},
    {"__bang_recip", Form::unary, reciprocal, "dai", ""},
    {"__bang_log", Form::unary, ln, "dai", ""},
    {"__bang_abs", Form::unary, abs, "dai", ""},
    {"__bang_square", Form::unary, square, "dai", ""},
    {"__bang_half2float", Form::convert, add, "dai", "rn", "f32", "f16"},
    {"__bang_float2half_rn", Form::convert, add, "dai", "rn", "f16", "f32"},
    {"__bang_int322float", Form::convert, add, "dai?i", "rn", "f32", "i32"},
    {"__bang_float2int32_rn", Form::convert, add, "dai?i", "rn", "i32", "f32"},
    {"__bang_float2int32_tz", Form::convert, add, "dai?i", "tz", "i32", "f32"},
    {"__bang_float2int32_dn", Form::convert, add, "dai?i", "dn", "i32", "f32"},
    {"__bang_float2int32_up", Form::convert, add, "dai?i", "up", "i32", "f32"},
    {"__bang_float2int32_rm", Form::convert, add, "dai?i", "rm", "i32", "f32"},
    {"__bang_write_value", Form::fill, add, "din", ""},
    {"__nramset", Form::fill, add, "din", ""},
    {"__bang_write_zero", Form::zero, add, "di", ""},
    {"__bang_transpose", Form::transpose, add, "daii", ""},
    {"__bang_sumpool", Form::pool, add, "daiiiiiii", ""},
    {"__bang_maxpool", Form::pool, max, "daiiiiiii", ""},
    {"__bang_minpool", Form::pool, min, "daiiiiiii", ""},
    {"__bang_reduce_sum", Form::reduce_blocks, add, "dai", ""},
    {"__bang_argmax", Form::extreme, max, "dai", ""},
    {"__bang_argmin", Form::extreme, min, "dai", ""},
    {"__bang_matmul", Form::matmul, add, "dabiii", ""},
    {"__bang_conv", Form::conv, add, "dabiiiiiiii", ""},
    {"__memcpy", Form::copy, add, "daim?iii", ""},
    {"__memcpy_async", Form::copy_async, add, "daim?iii", ""},
    {"__sync", Form::sync, add, "", ""},
    {"__sync_io", Form::sync, add, "", "io"},
    {"__sync_move", Form::sync, add, "", "move"},
    {"__sync_compute", Form::sync, add, "", "compute"},
    {"__sync_io_move_compute", Form::sync, add, "", ""},
    {"__sync_cluster", Form::sync, add, "", ""},
    {"__sync_all", Form::sync_blocks, add, "", ""},
    {"__sync_all_ipu", Form::sync_blocks, add, "", ""},
};

constexpr Direction kDirections[] = {
    {"GDRAM2NRAM", 0, 1}, {"NRAM2GDRAM", 1, 0}, {"GDRAM2WRAM", 0, 2}, {"GDRAM2SRAM", 0, 3},
    {"SRAM2GDRAM", 3, 0}, {"SRAM2NRAM", 3, 1},  {"NRAM2SRAM", 1, 3},  {"SRAM2WRAM", 3, 2},
    {"NRAM2NRAM", 1, 1},  {"NRAM2WRAM", 1, 2},
};

template <typename Items>
auto* find(const Items& items, std::string_view name) {
  for (const auto& item : items)
    if (item.name == name) return &item;
  return static_cast<decltype(&items[0])>(nullptr);
}

}  // namespace

const Builtin* find_builtin(std::string_view name) {
  return find(kBuiltins, name);
}

std::vector<std::string_view> builtin_names() {
  std::vector<std::string_view> names;
  for (const Builtin& b : kBuiltins) names.push_back(b.name);
  return names;
}

const Direction* find_direction(std::string_view name) {
  return find(kDirections, name);
}
const Direction& direction(int64_t index) {
  return kDirections[static_cast<size_t>(index)];
}
int64_t index_of(const Direction& direction) {
  return &direction - kDirections;
}

}  // namespace tenon::bang
