// The functions of BANG C on the CPU.
#include <algorithm>
#include <cstring>

#include "bang/task.h"
#include "bang/vector_functions.h"

namespace tenon::bang {

void Task::copy(const Statement& s, const std::vector<Value>& args) {
  const Direction& way = direction(args[3].integer);
  const int64_t bytes = args[2].integer;
  const std::pair<size_t, int> ends[] = {{0, way.to}, {1, way.from}};
  for (const auto& [i, space] : ends) {
    const Object& object = objects_[static_cast<size_t>(args[i].object)];
    if (static_cast<int>(object.space) != space)
      fail(s.args[i].at,
           fmt::format("{} {} {}, but '{}' is in {}", way.name, i == 0 ? "writes to" : "reads from",
                       kSpaceNames[static_cast<size_t>(space)], object.name,
                       kSpaceNames[static_cast<size_t>(object.space)]));
  }
  const bool strided = args.size() > 4;
  const int64_t segments = strided ? args[6].integer : 0;
  if (segments < 0 || (strided && (args[4].integer < 0 || args[5].integer < 0)))
    fail(s.at, "the strides and the number of segments of a copy are not negative");
  Value to = args[0], from = args[1];
  for (int64_t i = 0; i <= segments && !failed(); ++i) {
    steps_ += 1 + bytes / 256;
    if (steps_ > options_.max_steps) fail(s.at, "the kernel copies without end");
    std::byte* dst = range(to, bytes, s.args[0].at, true);
    const std::byte* src = range(from, bytes, s.args[1].at, false);
    if (failed()) return;
    std::memmove(dst, src, static_cast<size_t>(bytes));
    if (strided && (__builtin_add_overflow(to.integer, args[4].integer, &to.integer) ||
                    __builtin_add_overflow(from.integer, args[5].integer, &from.integer)))
      fail(s.at, "the strides of this copy are too large");
  }
}

void Task::transpose(const Statement& s, const std::vector<Value>& args) {
  const int64_t rows = args[2].integer, columns = args[3].integer;
  int64_t count = 0;
  if (rows < 0 || columns < 0 || __builtin_mul_overflow(rows, columns, &count))
    return fail(s.at, "the sizes of a transposition are not negative");
  std::byte* dst = operand(s, args, 0, count);
  const std::byte* src = operand(s, args, 1, count);
  if (failed()) return;
  const auto size = static_cast<size_t>(size_of(s.args[0].type.element));
  if (dst < src + static_cast<size_t>(count) * size &&
      src < dst + static_cast<size_t>(count) * size && count > 1)
    return fail(s.at, "a transposition cannot be in place");
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c)
      std::memcpy(dst + static_cast<size_t>(c * rows + r) * size,
                  src + static_cast<size_t>(r * columns + c) * size, size);
}

void Task::windows(const Statement& s, const std::vector<Value>& args) {
  using Form = Builtin::Form;
  const DType dtype = dtype_of(s.args[0].type.element);
  const auto number = [&](size_t i) { return args[i].integer; };
  Window w{};
  if (s.builtin->form == Form::pool)
    w = {number(2), number(3), number(4), number(5), number(6), number(7), number(8), number(2)};
  else if (s.builtin->form == Form::conv)
    w = {number(3), number(4), number(5), number(6), number(7), number(9), number(8), number(10)};
  else
    w = {number(4), 1, number(3), 1, 1, 1, 1, number(5)};
  constexpr int64_t kMost = int64_t{1} << 20;
  for (const int64_t n : {w.channels, w.height, w.width, w.kernel_h, w.kernel_w, w.stride_h,
                          w.stride_w, w.out_channels})
    if (n < 1 || n > kMost)
      return fail(s.at, fmt::format("a size of '{}' is {}; it is to be 1 to {}", s.builtin->name, n,
                                    kMost));
  if (w.kernel_h > w.height || w.kernel_w > w.width)
    return fail(s.at, "the window is larger than what it is over");
  const int64_t pixels = w.out_h() * w.out_w();
  std::byte* dst = operand(s, args, 0, std::min(pixels, kMost) * w.out_channels);
  const std::byte* a = operand(s, args, 1, w.height * w.width * w.channels);
  if (s.builtin->form == Form::pool) {
    steps_ += pixels * w.kernel_h * w.kernel_w;
    if (!failed()) run_pool(s.builtin->op, dtype, dst, a, w);
    return;
  }
  const int64_t depth = w.kernel_h * w.kernel_w * w.channels;
  const std::byte* filter =
      operand(s, args, 2, std::min(depth, kMost) * w.out_channels, Space::wram);
  if (failed()) return;
  if (steps_ += pixels * w.out_channels * (1 + depth / 8); steps_ > options_.max_steps)
    return fail(s.at, "the kernel does not end within its steps");
  run_conv(dtype, dst, a, filter, w);
}

void Task::vectors(const Statement& s, const std::vector<Value>& args) {
  using Form = Builtin::Form;
  const Builtin& b = *s.builtin;
  const DType dtype = dtype_of(s.args[0].type.element);
  const auto count = [&](size_t i) { return args[i].integer; };
  switch (b.form) {
    case Form::binary:
    case Form::cycle: {
      const int64_t n = count(3), repeated = b.form == Form::cycle ? count(4) : n;
      std::byte* dst = operand(s, args, 0, n);
      const std::byte *x = operand(s, args, 1, n), *y = operand(s, args, 2, repeated);
      if (!failed() && repeated < 1 && n > 0) fail(s.at, "the second operand has no elements");
      if (!failed() && n > 0) run_binary(b.op, dtype, dst, x, y, n, repeated);
      return;
    }
    case Form::scalar:
    case Form::unary:
    case Form::convert: {
      const int64_t n = count(b.form == Form::scalar ? 3 : 2);
      std::byte* dst = operand(s, args, 0, n);
      const std::byte* x = operand(s, args, 1, n);
      if (!failed() && b.form == Form::convert && args.size() > 3 && args[3].integer != 0)
        fail(s.args[3].at, "the position is to be 0: numbers in fixed point are not supported");
      if (failed()) return;
      if (b.form == Form::scalar)
        run_scalar(b.op, dtype, dst, x, args[2].real, n);
      else if (b.form == Form::unary)
        run_unary(b.op, dtype, dst, x, n);
      else
        run_convert(b.detail, dst, dtype, x, dtype_of(s.args[1].type.element), n);
      return;
    }
    case Form::fill:
    case Form::zero: {
      std::byte* dst = operand(s, args, 0, count(1));
      if (!failed()) run_fill(dtype, dst, b.form == Form::fill ? args[2].real : 0, count(1));
      return;
    }
    case Form::reduce_blocks: {
      const int64_t n = count(2), lanes = 128 / size_of(dtype);
      if (n % lanes != 0)
        return fail(s.args[2].at,
                    fmt::format("'{}' takes whole blocks of 128 bytes, which {} elements are not",
                                b.name, n));
      std::byte* dst = operand(s, args, 0, n);
      const std::byte* x = operand(s, args, 1, n);
      for (int64_t i = 0; i < n && !failed(); i += lanes)
        run_reduce(Vector::add, dtype, dst + i * size_of(dtype), x + i * size_of(dtype), lanes, 1);
      return;
    }
    case Form::extreme: {
      if (count(2) < 1) return fail(s.args[2].at, "there are no elements to choose from");
      std::byte* dst = operand(s, args, 0, 1);
      const std::byte* x = operand(s, args, 1, count(2));
      if (!failed()) run_reduce(b.op, dtype, dst, x, count(2), 1);
      return;
    }
    default:
      return;
  }
}

void Task::builtin(const Statement& s) {
  using Form = Builtin::Form;
  std::vector<Value> args;
  for (const Expr& e : s.args) args.push_back(value(e));
  if (failed()) return;
  switch (s.builtin->form) {
    case Form::copy:
    case Form::copy_async:
      return copy(s, args);
    case Form::sync:
    case Form::sync_blocks:
      return;  // one task, and everything is done in order
    case Form::transpose:
      return transpose(s, args);
    case Form::pool:
    case Form::matmul:
    case Form::conv:
      return windows(s, args);
    default:
      return vectors(s, args);
  }
}

}  // namespace tenon::bang
