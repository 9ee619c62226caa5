// Scalars of kernels: integers are expressions over the block and the loops; reals are numbers, or
// elements in NRAM that the vector unit computes one by one.
#include <fmt/format.h>

#include <cmath>

#include "lower/custom_kernel.h"

namespace tenon::lower {

using bang::Op;
using isa::Expr;
using isa::Opcode;
using isa::View;
using Kind = bang::Expr::Kind;

Expr is_less(const Expr& a, const Expr& b) {
  return min(Expr(1), max(Expr(0), b - a));
}

KernelCompiler::Value KernelCompiler::special(bang::Special which) const {
  const Expr block = Expr::variable(0);
  Value v;
  switch (which) {
    case bang::Special::task_id:
      v.integer = block;
      break;
    case bang::Special::task_dim:
      v.integer = program_.blocks;
      break;
    case bang::Special::core_id:
      v.integer = block % Expr(core_dim_);
      break;
    case bang::Special::core_dim:
      v.integer = core_dim_;
      break;
    case bang::Special::cluster_id:
      v.integer = block / Expr(core_dim_);
      break;
    case bang::Special::cluster_dim:
      v.integer = (program_.blocks + core_dim_ - 1) / core_dim_;
      break;
  }
  return v;
}

Expr KernelCompiler::integer(const bang::Expr& e) {
  const Value v = value(e);
  if (v.lost)
    fail(e.at,
         "this integer changes in a loop in a way that a chip's program has no expression for");
  return v.integer;
}

// Expressions have + - * / %, min and max: the rest is made of these.
Expr KernelCompiler::integer_binary(const bang::Expr& e, const Expr& a, const Expr& b) {
  const auto truth = [](const Expr& x) {
    return x.is_number() ? Expr(x.value() != 0) : min(Expr(1), max(x, Expr(0) - x));
  };
  if (a.is_number() && b.is_number()) {
    const auto result = bang::apply(e.op, a.value(), b.value());
    if (!result) fail(e.at, "this divides by zero, or shifts by more than there are bits");
    return result.value_or(0);
  }
  switch (e.op) {
    case Op::add:
      return a + b;
    case Op::sub:
      return a - b;
    case Op::mul:
      return a * b;
    case Op::div:
    case Op::mod:
      if (!b.is_number() || b.value() < 1)
        fail(e.at, "a chip's program divides integers by positive constants only");
      return e.op == Op::div ? divided(a, b.number().value_or(1)) : a % b;
    case Op::less:
      return is_less(a, b);
    case Op::less_equal:
      return is_less(a, b + 1);
    case Op::greater:
      return is_less(b, a);
    case Op::greater_equal:
      return is_less(b, a + 1);
    case Op::not_equal:
      return truth(a - b);
    case Op::equal:
      return Expr(1) - truth(a - b);
    case Op::both:
      return truth(a) * truth(b);
    case Op::either:
      return max(truth(a), truth(b));
    case Op::shift_left:
    case Op::shift_right:
      if (b.is_number() && b.value() >= 0 && b.value() < 62) {
        const Expr power = int64_t{1} << b.value();
        return e.op == Op::shift_left ? a * power : a / power;
      }
      break;
    case Op::bit_and:
      // What is left of a division by a power of two.
      for (const auto& [x, y] : {std::pair(a, b), std::pair(b, a)})
        if (y.is_number() && y.value() > 0 && y.value() < (int64_t{1} << 60) &&
            (y.value() & (y.value() + 1)) == 0)
          return x % (y + 1);
      break;
    default:
      break;
  }
  fail(e.at,
       "a chip's program has no such operation on integers that depend on the task or a loop");
  return 0;
}

KernelCompiler::Value KernelCompiler::binary(const bang::Expr& e) {
  const Value a = value(e.args[0]), b = value(e.args[1]);
  if (failed()) return {};
  if (e.args[0].type.kind == bang::Type::Kind::integer) {
    if (a.lost || b.lost) {
      Value v;
      v.lost = true;
      return v;
    }
    Value v;
    v.integer = integer_binary(e, a.integer, b.integer);
    return v;
  }
  return real_binary(e, a, b);
}

KernelCompiler::Value KernelCompiler::real_binary(const bang::Expr& e, const Value& a,
                                                  const Value& b) {
  Value v;
  if (a.real || b.real) {
    static constexpr std::pair<Op, Opcode> kOps[] = {{Op::add, Opcode::add},
                                                     {Op::sub, Opcode::sub},
                                                     {Op::mul, Opcode::mul},
                                                     {Op::div, Opcode::div}};
    for (const auto& [op, opcode] : kOps)
      if (e.op == op) {
        const View to = slot(DType::f32, e.at), x = element(a, DType::f32, e.at),
                   y = element(b, DType::f32, e.at);
        emit(opcode, {to, x, y}, e.at);
        v.real = to;
        return v;
      }
    fail(e.at, "this condition depends on data, which a chip's program cannot branch by");
    return v;
  }
  const double x = a.number, y = b.number;
  switch (e.op) {
    case Op::add:
      v.number = x + y;
      break;
    case Op::sub:
      v.number = x - y;
      break;
    case Op::mul:
      v.number = x * y;
      break;
    case Op::div:
      v.number = x / y;
      break;
    case Op::less:
      v.integer = x < y;
      break;
    case Op::less_equal:
      v.integer = x <= y;
      break;
    case Op::equal:
      v.integer = x == y;
      break;
    case Op::not_equal:
      v.integer = x != y;
      break;
    case Op::greater_equal:
      v.integer = x >= y;
      break;
    default:
      v.integer = x > y;
      break;
  }
  v.number = static_cast<float>(v.number);
  return v;
}

View KernelCompiler::slot(DType dtype, uint32_t at) {
  return {*architecture_.memory("nram"), -1, dtype, allocate(4, bang::Space::nram, at), {{1, 1}}};
}

View KernelCompiler::element(const Value& v, DType dtype, uint32_t at) {
  if (v.real && v.real->dtype == dtype) return *v.real;
  View to = slot(dtype, at);
  if (v.real)
    emit(Opcode::convert, {to, *v.real}, at, {static_cast<int64_t>(isa::Rounding::truncate)});
  else
    emit(Opcode::fill, {to}, at, {}, v.number);
  return to;
}

// The pointer of a load or an advance.
KernelCompiler::Value KernelCompiler::advanced(const bang::Expr& e) {
  Value pointer = value(e.args[0]);
  pointer.integer = pointer.integer + integer(e.args[1]) * Expr(size_of(e.args[0].type.element));
  return pointer;
}

// An element that is read is copied, as what it was read from may change.
KernelCompiler::Value KernelCompiler::load(const bang::Expr& e) {
  const Value pointer = advanced(e);
  Value v;
  if (failed()) return v;
  if (e.type.kind == bang::Type::Kind::integer) {
    fail(e.at, "this integer is read from a tensor, which a chip's program cannot compute with");
    return v;
  }
  const DType dtype = dtype_of(e.type.element);
  const View from = view(pointer, dtype, {{1, 1}}), to = slot(dtype, e.at);
  const int compute = *architecture_.queue("compute");
  const isa::Route* route = architecture_.route(Opcode::copy, {to, from});
  const bool moves = route != nullptr && route->queue != compute;
  // Of the iteration before, the place may be in use.
  if (moves) sync(compute);
  emit(Opcode::copy, {to, from}, e.at);
  if (moves) sync(route->queue);
  v.real = to;
  return v;
}

void KernelCompiler::store(const bang::Expr& target, const Value& v) {
  const Value pointer = advanced(target);
  if (failed()) return;
  if (target.type.kind == bang::Type::Kind::integer)
    return fail(target.at, "a chip's program writes reals, not single integers");
  const DType dtype = dtype_of(target.type.element);
  const View to = view(pointer, dtype, {{1, 1}});
  const int nram = *architecture_.memory("nram"), compute = *architecture_.queue("compute");
  if (to.memory == nram && !v.real) return emit(Opcode::fill, {to}, target.at, {}, v.number);
  const View from = element(v, dtype, target.at);
  if (to.memory != nram) sync(compute);
  emit(Opcode::copy, {to, from}, target.at);
  const isa::Route* route = architecture_.route(Opcode::copy, {to, from});
  if (route != nullptr && route->queue != compute) sync(route->queue);
}

KernelCompiler::Value KernelCompiler::unary(const bang::Expr& e) {
  Value v = value(e.args[0]);
  if (v.lost || failed()) return v;
  if (e.type.kind == bang::Type::Kind::real) {
    if (v.real) {
      const View to = slot(v.real->dtype, e.at);
      emit(Opcode::muls, {to, *v.real}, e.at, {}, -1);
      v.real = to;
    }
    v.number = -v.number;
  } else if (e.op == Op::negate) {
    v.integer = Expr(0) - v.integer;
  } else if (e.op == Op::invert) {
    v.integer =
        Expr(1) - (v.integer.is_number() ? Expr(v.integer.value() != 0)
                                         : min(Expr(1), max(v.integer, Expr(0) - v.integer)));
  } else {
    v.integer = Expr(-1) - v.integer;
  }
  return v;
}

KernelCompiler::Value KernelCompiler::conditional(const bang::Expr& e) {
  Value v;
  const Expr condition = integer(e.args[0]);
  if (condition.is_number()) return value(e.args[condition.value() != 0 ? 1 : 2]);
  const Value a = value(e.args[1]), b = value(e.args[2]);
  if (failed()) return v;
  // a < b ? a : b and the like are minima and maxima.
  const bang::Expr& c = e.args[0];
  if (c.kind == Kind::binary && e.type.kind == bang::Type::Kind::integer &&
      (c.op == Op::less || c.op == Op::less_equal || c.op == Op::greater ||
       c.op == Op::greater_equal)) {
    const Expr x = integer(c.args[0]), y = integer(c.args[1]);
    const bool less = c.op == Op::less || c.op == Op::less_equal;
    if (x == a.integer && y == b.integer)
      v.integer = less ? min(x, y) : max(x, y);
    else if (x == b.integer && y == a.integer)
      v.integer = less ? max(x, y) : min(x, y);
    else
      v.integer = condition * a.integer + (Expr(1) - condition) * b.integer;
    v.lost = a.lost || b.lost;
    return v;
  }
  if (e.type.kind == bang::Type::Kind::real || a.object != b.object) {
    fail(e.at,
         "the two sides differ in more than an integer, and which of them depends on the task "
         "or a loop; write an if");
    return v;
  }
  v = a;
  v.lost = a.lost || b.lost;
  v.integer = condition * a.integer + (Expr(1) - condition) * b.integer;
  return v;
}

KernelCompiler::Value KernelCompiler::extreme(const bang::Expr& e) {
  Value v;
  const Value a = value(e.args[0]), b = value(e.args[1]);
  if (failed()) return v;
  if (e.type.kind == bang::Type::Kind::integer) {
    v.integer = e.kind == Kind::min ? min(a.integer, b.integer) : max(a.integer, b.integer);
    v.lost = a.lost || b.lost;
  } else if (a.real || b.real) {
    const View to = slot(DType::f32, e.at), x = element(a, DType::f32, e.at),
               y = element(b, DType::f32, e.at);
    emit(e.kind == Kind::min ? Opcode::min : Opcode::max, {to, x, y}, e.at);
    v.real = to;
  } else {
    v.number = e.kind == Kind::min ? std::fmin(a.number, b.number) : std::fmax(a.number, b.number);
  }
  return v;
}

KernelCompiler::Value KernelCompiler::value(const bang::Expr& e) {
  Value v;
  if (failed()) return v;
  switch (e.kind) {
    case Kind::integer:
      v.integer = e.integer;
      return v;
    case Kind::real:
      v.number = static_cast<float>(e.real);
      return v;
    case Kind::size_of:
      v.integer = size_of(e.type.element);
      return v;
    case Kind::variable:
      return frame_[static_cast<size_t>(e.index)];
    case Kind::array:
      v.object = first_array_ + e.index;
      return v;
    case Kind::special:
      return special(static_cast<bang::Special>(e.index));
    case Kind::unary:
      return unary(e);
    case Kind::binary:
      return binary(e);
    case Kind::conditional:
      return conditional(e);
    case Kind::convert:
      v = value(e.args[0]);
      if (e.type.kind == bang::Type::Kind::real &&
          e.args[0].type.kind == bang::Type::Kind::integer) {
        if (!v.integer.is_number() || v.lost)
          fail(e.at,
               "a real that depends on the task or a loop: the vector unit takes numbers from "
               "memory, or constants");
        v.number = static_cast<float>(v.integer.number().value_or(0));
      }
      if (e.type.kind == bang::Type::Kind::integer &&
          e.args[0].type.kind == bang::Type::Kind::real) {
        if (v.real)
          fail(e.at, "this integer depends on data, which a chip's program cannot compute with");
        v.integer = std::isfinite(v.number) && std::fabs(v.number) < 9e18
                        ? static_cast<int64_t>(v.number)
                        : 0;
      }
      return v;
    case Kind::advance:
      return advanced(e);
    case Kind::load:
      return load(e);
    case Kind::min:
    case Kind::max:
      return extreme(e);
    case Kind::call: {
      Frame arguments;
      for (const bang::Expr& arg : e.args) arguments.push_back(value(arg));
      return failed() ? v : call(*e.function, std::move(arguments), e.at);
    }
  }
  return v;
}

}  // namespace tenon::lower
