// The functions of BANG C as instructions.
#include <fmt/format.h>

#include <algorithm>

#include "lower/custom_kernel.h"

namespace tenon::lower {

using bang::Builtin;
using bang::Vector;
using isa::Axis;
using isa::Expr;
using isa::Opcode;
using isa::View;
using Form = Builtin::Form;

namespace {

constexpr std::string_view kSpaceNames[] = {"GDRAM", "NRAM", "WRAM", "SRAM"};
constexpr std::string_view kMemories[] = {"gdram", "nram", "wram", "sram"};

bool is_comparison(Vector op) {
  return op >= Vector::less && op <= Vector::greater;
}

Opcode opcode_of(Vector op) {
  switch (op) {
    case Vector::add:
      return Opcode::add;
    case Vector::sub:
      return Opcode::sub;
    case Vector::mul:
    case Vector::square:
      return Opcode::mul;
    case Vector::div:
      return Opcode::div;
    case Vector::max:
      return Opcode::max;
    case Vector::min:
      return Opcode::min;
    case Vector::relu:
      return Opcode::relu;
    case Vector::sigmoid:
      return Opcode::sigmoid;
    case Vector::tanh:
      return Opcode::tanh;
    case Vector::exp:
      return Opcode::exp;
    case Vector::ln:
      return Opcode::ln;
    case Vector::sqrt:
      return Opcode::sqrt;
    case Vector::rsqrt:
      return Opcode::rsqrt;
    case Vector::reciprocal:
      return Opcode::reciprocal;
    case Vector::abs:
      return Opcode::abs;
    default:
      return Opcode::compare;
  }
}

isa::Relation relation_of(Vector op) {
  return static_cast<isa::Relation>(static_cast<int>(op) - static_cast<int>(Vector::less));
}

std::optional<Opcode> reduction_of(Vector op) {
  if (op == Vector::add) return Opcode::reduce_sum;
  if (op == Vector::max) return Opcode::reduce_max;
  if (op == Vector::min) return Opcode::reduce_min;
  return std::nullopt;
}

}  // namespace

Expr divided(const Expr& a, int64_t divisor) {
  if (a.is_number()) return a.value() / divisor;
  const auto divides = [&](const auto& self, const Expr& e) -> bool {
    if (e.is_number()) return e.value() % divisor == 0;
    switch (e.kind()) {
      case Expr::Kind::mul:
        return self(self, e.left()) || self(self, e.right());
      case Expr::Kind::add:
      case Expr::Kind::sub:
      case Expr::Kind::min:
      case Expr::Kind::max:
        return self(self, e.left()) && self(self, e.right());
      default:
        return false;
    }
  };
  const auto parts = [&](const auto& self, const Expr& e) -> Expr {
    if (e.is_number()) return e.value() / divisor;
    if (e.kind() != Expr::Kind::mul)
      return Expr::make(e.kind(), self(self, e.left()), self(self, e.right()));
    return divides(divides, e.right()) ? e.left() * self(self, e.right())
                                       : self(self, e.left()) * e.right();
  };
  return divides(divides, a) ? parts(parts, a) : a / Expr(divisor);
}

View KernelCompiler::view(const Value& pointer, DType dtype, std::vector<Axis> axes) const {
  const Object& object = objects_[static_cast<size_t>(pointer.object)];
  View v;
  v.memory = architecture_.memory(kMemories[static_cast<size_t>(object.space)]).value_or(0);
  v.buffer = object.buffer;
  v.dtype = dtype;
  v.offset = pointer.integer + Expr(object.base);
  v.axes = std::move(axes);
  return v;
}

void KernelCompiler::emit(Opcode op, std::vector<View> views, uint32_t at,
                          std::vector<Expr> numbers, double scalar) {
  constexpr int64_t kMostInstructions = 20'000;
  if (failed()) return;
  const isa::Route* route = architecture_.route(op, views);
  if (route == nullptr) {
    std::string memories;
    for (const View& v : views)
      memories += " " + architecture_.memories[static_cast<size_t>(v.memory)].name;
    return fail(at, fmt::format("the chip has no {} over{}", isa::info(op).name, memories));
  }
  if (++instructions_ > kMostInstructions)
    return fail(at, fmt::format("the program takes over {} instructions", kMostInstructions));
  append({op, route->queue, std::move(views), std::move(numbers), scalar}, at);
}

void KernelCompiler::append(isa::Instruction instruction, uint32_t at) {
  const std::string_view before = std::string_view(kernel_.source.text).substr(0, at);
  if (!instruction.views.empty()) instruction.line = std::ranges::count(before, '\n') + 1;
  out_->emplace_back(std::move(instruction));
  places_.push_back(at);
}

void KernelCompiler::sync(int queue) {
  if (!failed()) append({Opcode::sync, 0, {}, {queue}, 0}, 0);
}

View KernelCompiler::operand(const bang::Statement& s, size_t i, std::vector<Axis> axes) {
  const Value pointer = value(s.args[i]);
  if (failed()) return {};
  const Object& object = objects_[static_cast<size_t>(pointer.object)];
  const bool weights = i == 2 && (s.builtin->form == Form::matmul || s.builtin->form == Form::conv);
  if (object.space != (weights ? bang::Space::wram : bang::Space::nram))
    fail(s.args[i].at, fmt::format("'{}' takes an array in {} here, '{}' is in {}", s.builtin->name,
                                   weights ? "WRAM" : "NRAM", object.name,
                                   kSpaceNames[static_cast<size_t>(object.space)]));
  return view(pointer, dtype_of(s.args[i].type.element), std::move(axes));
}

void KernelCompiler::copy(const bang::Statement& s) {
  const bang::Direction& way = bang::direction(s.args[3].integer);
  const Value to = value(s.args[0]), from = value(s.args[1]);
  const Expr bytes = integer(s.args[2]);
  if (failed()) return;
  for (const auto& [i, v, space] : {std::tuple(0, &to, way.to), std::tuple(1, &from, way.from)}) {
    const Object& object = objects_[static_cast<size_t>(v->object)];
    if (static_cast<int>(object.space) != space)
      fail(s.args[static_cast<size_t>(i)].at,
           fmt::format("{} is given '{}', which is in {}", way.name, object.name,
                       kSpaceNames[static_cast<size_t>(object.space)]));
  }
  DType dtype = dtype_of(s.args[0].type.element);
  const bool strided = s.args.size() > 4;
  const Expr dst_stride = strided ? integer(s.args[4]) : Expr(0),
             src_stride = strided ? integer(s.args[5]) : Expr(0);
  const Expr segments = strided ? integer(s.args[6]) + 1 : Expr(1);
  const auto whole = [&](const Expr& e) {
    return divided(e, size_of(dtype)) * Expr(size_of(dtype)) == e ||
           (e.is_number() && e.value() % size_of(dtype) == 0);
  };
  // Bytes where the elements are not whole.
  if (!whole(bytes) || !whole(dst_stride) || !whole(src_stride)) dtype = DType::i8;
  const int64_t size = size_of(dtype);
  const Expr count = divided(bytes, size);
  const auto axes = [&](const Expr& stride) {
    std::vector<Axis> all{{count, 1}};
    if (strided) all.insert(all.begin(), Axis{segments, divided(stride, size)});
    return all;
  };
  const View dst = view(to, dtype, axes(dst_stride)), src = view(from, dtype, axes(src_stride));
  const isa::Route* route = architecture_.route(Opcode::copy, {dst, src});
  const int compute = *architecture_.queue("compute");
  const bool waits = s.builtin->form == Form::copy && route != nullptr && route->queue != compute;
  // A copy that is not asynchronous comes after what was computed, and is done before what follows.
  if (waits) sync(compute);
  emit(Opcode::copy, {dst, src}, s.at);
  if (waits) sync(route->queue);
}

void KernelCompiler::compare(const bang::Statement& s, const View& a, const View& b,
                             const Expr& count) {
  const Value to = value(s.args[0]);
  if (failed()) return;
  const View dst = view(to, a.dtype, {{count, 1}});
  const int64_t most = objects_[static_cast<size_t>(to.object)].bytes / size_of(a.dtype);
  if (!mask_ || mask_->axes[0].size.value() < most)
    mask_ = View{dst.memory, -1, DType::u8, allocate(most, bang::Space::nram, s.at), {{most, 1}}};
  View mask = *mask_;
  mask.axes = {{count, 1}};
  emit(Opcode::compare, {mask, a, b}, s.at, {static_cast<int64_t>(relation_of(s.builtin->op))});
  emit(Opcode::convert, {dst, mask}, s.at, {0});
}

void KernelCompiler::pool(const bang::Statement& s) {
  std::vector<Expr> n;
  for (size_t i = 2; i < s.args.size(); ++i) n.push_back(integer(s.args[i]));
  if (failed()) return;
  for (size_t i = 3; i < n.size(); ++i)
    if (!n[i].is_number() || n[i].value() < 1)
      return fail(s.args[i + 2].at, "windows and strides are positive constants");
  const Expr &c = n[0], &h = n[1], &w = n[2], &kh = n[3], &kw = n[4], &sh = n[5], &sw = n[6];
  const Expr out_h = (h - kh) / sh + 1, out_w = (w - kw) / sw + 1;
  const DType dtype = dtype_of(s.args[0].type.element);
  const Opcode reduction = *reduction_of(s.builtin->op);
  const std::vector<Axis> dst_axes{{out_h, out_w * c}, {out_w, c}, {c, 1}, {1, 1}};
  const View dst = operand(s, 0, dst_axes);
  View src = operand(s, 1, {{out_h, sh * w * c}, {out_w, sw * c}, {c, 1}, {kw, c}});
  // Rows that the window takes as a whole follow each other.
  const bool rows = kw == w;
  if (rows) src.axes[3].size = kh * kw;
  emit(reduction, {dst, src}, s.at);
  if (rows || kh.value() == 1 || failed()) return;
  constexpr int64_t kMostRows = 64;
  if (kh.value() > kMostRows)
    return fail(s.at,
                fmt::format("a window has at most {} rows, unless it is as wide as what it is over",
                            kMostRows));
  View part = dst;
  part.offset = allocate(objects_[static_cast<size_t>(value(s.args[0]).object)].bytes,
                         bang::Space::nram, s.at);
  const auto flat = [](View v) {
    v.axes.pop_back();
    return v;
  };
  for (int64_t row = 1; row < kh.value(); ++row) {
    View next = src;
    next.offset = src.offset + Expr(row * size_of(dtype)) * w * c;
    emit(reduction, {part, next}, s.at);
    emit(opcode_of(s.builtin->op), {flat(dst), flat(dst), flat(part)}, s.at);
  }
}

void KernelCompiler::product(const bang::Statement& s) {
  std::vector<Expr> n;
  for (size_t i = 3; i < s.args.size(); ++i) n.push_back(integer(s.args[i]));
  if (failed()) return;
  const Expr one = 1;
  if (s.builtin->form == Form::matmul) {
    const Expr &m = n[0], &k = n[1], &columns = n[2];
    const View dst = operand(s, 0, {{one, m * columns}, {m, columns}, {columns, one}}),
               a = operand(s, 1, {{one, m * k}, {m, k}, {k, one}}),
               b = operand(s, 2, {{columns, k}, {one, k}, {one, k}, {k, one}});
    return emit(Opcode::conv, {dst, a, b}, s.at, {1, 1, 1, 1, 1, 1, 0, 0, 0});
  }
  const Expr &ci = n[0], &h = n[1], &w = n[2], &kh = n[3], &kw = n[4], &sw = n[5], &sh = n[6],
             &co = n[7];
  for (size_t i = 3; i < 7; ++i)
    if (!n[i].is_number() || n[i].value() < 1)
      return fail(s.args[i + 3].at, "windows and strides are positive constants");
  const Expr out_h = (h - kh) / sh + 1, out_w = (w - kw) / sw + 1;
  const View dst = operand(s, 0, {{out_h, out_w * co}, {out_w, co}, {co, one}}),
             x = operand(s, 1, {{h, w * ci}, {w, ci}, {ci, one}}),
             filter = operand(s, 2, {{co, kh * kw * ci}, {kh, kw * ci}, {kw, ci}, {ci, one}});
  emit(Opcode::conv, {dst, x, filter}, s.at, {kh, kw, sh, sw, 1, 1, 0, 0, 0});
}

void KernelCompiler::vectors(const bang::Statement& s) {
  const Builtin& b = *s.builtin;
  const DType dtype = dtype_of(s.args[0].type.element);
  const auto flat = [](const Expr& count) { return std::vector<Axis>{{count, 1}}; };
  switch (b.form) {
    case Form::binary: {
      const Expr n = integer(s.args[3]);
      const View x = operand(s, 1, flat(n)), y = operand(s, 2, flat(n));
      if (is_comparison(b.op)) return compare(s, x, y, n);
      return emit(opcode_of(b.op), {operand(s, 0, flat(n)), x, y}, s.at);
    }
    case Form::cycle: {
      const Expr n = integer(s.args[3]), repeated = integer(s.args[4]);
      if (failed()) return;
      const Expr rows =
          repeated.is_number() && repeated.value() > 0 ? divided(n, repeated.value()) : Expr(1);
      if (!repeated.is_number() || repeated.value() < 1 ||
          (n.is_number() && n.value() % repeated.value() != 0))
        return fail(s.args[4].at,
                    "what is repeated has a constant number of elements, and goes into the others' "
                    "without rest");
      const std::vector<Axis> all{{rows, repeated}, {repeated, 1}}, again{{rows, 0}, {repeated, 1}};
      return emit(opcode_of(b.op), {operand(s, 0, all), operand(s, 1, all), operand(s, 2, again)},
                  s.at);
    }
    case Form::scalar: {
      const Expr n = integer(s.args[3]);
      const Value number = value(s.args[2]);
      const View x = operand(s, 1, flat(n));
      if (failed()) return;
      static constexpr std::pair<Vector, Opcode> kScalars[] = {{Vector::add, Opcode::adds},
                                                               {Vector::sub, Opcode::adds},
                                                               {Vector::mul, Opcode::muls},
                                                               {Vector::max, Opcode::maxs},
                                                               {Vector::min, Opcode::mins}};
      for (const auto& [op, opcode] : kScalars)
        if (op == b.op && !number.real)
          return emit(opcode, {operand(s, 0, flat(n)), x}, s.at, {},
                      op == Vector::sub ? -number.number : number.number);
      View y = element(number, dtype, s.at);
      y.axes = {{n, 0}};
      if (is_comparison(b.op)) return compare(s, x, y, n);
      return emit(opcode_of(b.op), {operand(s, 0, flat(n)), x, y}, s.at);
    }
    case Form::unary: {
      const Expr n = integer(s.args[2]);
      const View dst = operand(s, 0, flat(n)), x = operand(s, 1, flat(n));
      if (b.op == Vector::square) return emit(Opcode::mul, {dst, x, x}, s.at);
      return emit(opcode_of(b.op), {dst, x}, s.at);
    }
    case Form::convert: {
      const Expr n = integer(s.args[2]);
      if (s.args.size() > 3 && integer(s.args[3]) != Expr(0))
        return fail(s.args[3].at,
                    "the position is to be 0: numbers in fixed point are not supported");
      const isa::Rounding rounding = b.detail == "dn"   ? isa::Rounding::floor
                                     : b.detail == "up" ? isa::Rounding::ceil
                                     : b.detail == "tz" ? isa::Rounding::truncate
                                     : b.detail == "rm" ? isa::Rounding::away
                                                        : isa::Rounding::even;
      return emit(Opcode::convert, {operand(s, 0, flat(n)), operand(s, 1, flat(n))}, s.at,
                  {static_cast<int64_t>(rounding)});
    }
    case Form::fill:
    case Form::zero: {
      const Expr n = integer(s.args[1]);
      const View dst = operand(s, 0, flat(n));
      const Value number = b.form == Form::fill ? value(s.args[2]) : Value();
      if (!number.real) return emit(Opcode::fill, {dst}, s.at, {}, number.number);
      View from = element(number, dtype, s.at);
      from.axes = {{n, 0}};
      return emit(Opcode::copy, {dst, from}, s.at);
    }
    case Form::transpose: {
      const Expr rows = integer(s.args[2]), columns = integer(s.args[3]);
      return emit(Opcode::copy,
                  {operand(s, 0, {{rows, 1}, {columns, rows}}),
                   operand(s, 1, {{rows, columns}, {columns, 1}})},
                  s.at);
    }
    case Form::reduce_blocks: {
      const Expr lanes = 128 / size_of(dtype), blocks = divided(integer(s.args[2]), lanes.value());
      return emit(
          Opcode::reduce_sum,
          {operand(s, 0, {{blocks, lanes}, {1, 1}}), operand(s, 1, {{blocks, lanes}, {lanes, 1}})},
          s.at);
    }
    case Form::extreme: {
      const Expr n = integer(s.args[2]);
      return emit(*reduction_of(b.op), {operand(s, 0, {{1, 1}}), operand(s, 1, flat(n))}, s.at);
    }
    default:
      return;
  }
}

void KernelCompiler::builtin(const bang::Statement& s) {
  switch (s.builtin->form) {
    case Form::copy:
    case Form::copy_async:
      return copy(s);
    case Form::sync: {
      const std::string_view which = s.builtin->detail;
      // Older chips have one queue for both movements.
      const std::string_view queue =
          which == "move" &&
                  architecture_
                          .route(Opcode::copy,
                                 {View{*architecture_.memory("wram"), -1, DType::f32, 0, {}},
                                  View{*architecture_.memory("nram"), -1, DType::f32, 0, {}}})
                          ->queue == *architecture_.queue("io")
              ? "io"
              : which;
      return sync(queue.empty() ? -1 : *architecture_.queue(queue));
    }
    case Form::sync_blocks:
      sync(-1);
      if (conditions_ > 0)
        return fail(s.at,
                    "every task is to reach this: it cannot be under a condition, or in a loop "
                    "whose count depends on the task");
      if (!failed()) append({Opcode::barrier, 0, {}, {}, 0}, s.at);
      return;
    case Form::pool:
      return pool(s);
    case Form::matmul:
    case Form::conv:
      return product(s);
    default:
      return vectors(s);
  }
}

}  // namespace tenon::lower
