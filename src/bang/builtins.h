// The functions of BANG C that kernels may call, and what they compute.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace tenon::bang {

// What a vector function does to elements.
enum class Vector : uint8_t {
  add,
  sub,
  mul,
  div,
  max,
  min,
  less,
  less_equal,
  equal,
  not_equal,
  greater_equal,
  greater,
  relu,
  sigmoid,
  tanh,
  exp,
  ln,
  sqrt,
  rsqrt,
  reciprocal,
  abs,
  square,
};

struct Builtin {
  // How operands are laid out:
  enum class Form : uint8_t {
    binary,         // dst, a, b, count
    cycle,          // dst, a, b, count of a, count of b: b is repeated
    scalar,         // dst, a, number, count
    unary,          // dst, a, count
    convert,        // dst, a, count [, position, which is 0]
    fill,           // dst, count, number
    zero,           // dst, count
    transpose,      // dst, a, rows, columns
    pool,           // dst, a, channels, height, width, kernel_h, kernel_w, stride_h, stride_w
    reduce_blocks,  // dst, a, count: the sum of every 128 bytes, in their first element
    extreme,        // dst, a, count: the largest or smallest in dst[0]
    matmul,         // dst, a [m, k], b [n, k] in WRAM, m, k, n
    conv,           // dst, a, filter in WRAM, ci, h, w, kernel_h, kernel_w, stride_w, stride_h, co
    copy,           // dst, a, bytes, direction [, dst stride, a stride, segments - 1]
    copy_async,
    sync,         // of one queue, or all
    sync_blocks,  // of all tasks
  };
  std::string_view name;
  Form form = Form::binary;
  Vector op = Vector::add;
  // Of arguments: d destination, a b sources, n number of the element's type, i integer, m a
  // direction of movement. Those after '?' may be left out.
  std::string_view arguments;
  // Of sync: "io", "move", "compute" or "" for all; of convert how it is rounded: "rn", "rd", "up",
  // "tz", "rm"
  std::string_view detail;
  std::string_view dst = {}, src = {};  // element types of convert: "f32", "f16", "i32"
};

const Builtin* find_builtin(std::string_view name);
std::vector<std::string_view> builtin_names();

// A direction of movement such as GDRAM2NRAM: spaces as Space numbers.
struct Direction {
  std::string_view name;
  int from, to;
};
const Direction* find_direction(std::string_view name);
const Direction& direction(int64_t index);
int64_t index_of(const Direction& direction);

}  // namespace tenon::bang
