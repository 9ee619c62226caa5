#include "emit/simplify.h"

#include <algorithm>

namespace tenon::emit {
namespace {

using isa::Expr;
using isa::Instruction;
using isa::Loop;
using isa::Range;
using isa::Statement;
using isa::View;
using Kind = isa::Expr::Kind;

// Variables that are known to be one number are replaced by it.
class Simplifier {
 public:
  explicit Simplifier(const isa::Program& program) {
    ranges_.assign(static_cast<size_t>(std::max(program.variables, 1)), Range::of(0));
    ranges_[0] = Range::between(0, std::max<int64_t>(program.blocks - 1, 0));
  }

  std::vector<Statement> body(const std::vector<Statement>& statements) {
    std::vector<Statement> out;
    for (const Statement& s : statements)
      if (const auto* instruction = std::get_if<Instruction>(&s))
        add(simplify(*instruction), out);
      else
        add_loop(std::get<Loop>(s), out);
    return out;
  }

 private:
  // Leaves out what has no elements for sure.
  void add(Instruction i, std::vector<Statement>& out) const {
    const isa::OpcodeClass kind = isa::info(i.op).kind;
    const bool any = kind == isa::OpcodeClass::reduce || kind == isa::OpcodeClass::product;
    for (const View& v : i.views)
      for (const isa::Axis& a : v.axes)
        if (!any && range_of(a.size, ranges_).high <= 0) return;
    out.emplace_back(std::move(i));
  }

  Instruction simplify(Instruction i) const {
    for (View& v : i.views) {
      v.offset = simplified(v.offset, ranges_);
      for (isa::Axis& a : v.axes) {
        a.size = simplified(a.size, ranges_);
        a.stride = simplified(a.stride, ranges_);
      }
    }
    for (Expr& n : i.numbers) n = simplified(n, ranges_);
    return i;
  }

  void add_loop(const Loop& loop, std::vector<Statement>& out) {
    const Expr count = simplified(loop.count, ranges_);
    const Range r = range_of(count, ranges_);
    if (r.high <= 0) return;
    const auto variable = static_cast<size_t>(loop.variable);
    if (variable >= ranges_.size()) ranges_.resize(variable + 1, Range::of(0));
    ranges_[variable] = r.high <= 1 ? Range::of(0) : Range::between(0, r.high - 1);
    std::vector<Statement> inner = body(loop.body);
    if (r.is_one() && r.high == 1)
      std::ranges::move(inner, std::back_inserter(out));
    else
      out.emplace_back(Loop{loop.variable, count, std::move(inner)});
  }

  Ranges ranges_;
};

void add_ranges(const std::vector<Statement>& body, Ranges& ranges) {
  for (const Statement& s : body)
    if (const auto* loop = std::get_if<Loop>(&s)) {
      const Range r = range_of(loop->count, ranges);
      const auto variable = static_cast<size_t>(loop->variable);
      if (variable >= ranges.size()) ranges.resize(variable + 1, Range::of(0));
      ranges[variable] = r.high <= 1 ? Range::of(0) : Range::between(0, r.high - 1);
      add_ranges(loop->body, ranges);
    }
}

bool is_number(const Expr& e, int64_t value) {
  return e.is_number() && e.value() == value;
}

// e as a sum of something and a number.
std::pair<Expr, int64_t> with_number(const Expr& e) {
  if (e.kind() == Kind::add && e.right().is_number()) return {e.left(), e.right().value()};
  if (e.kind() == Kind::sub && e.right().is_number()) return {e.left(), -e.right().value()};
  return {e, 0};
}

Expr plus_number(const Expr& e, int64_t number) {
  if (number == 0) return e;
  return number > 0 ? Expr::make(Kind::add, e, number) : Expr::make(Kind::sub, e, -number);
}

Expr folded(Kind kind, const Expr& a, const Expr& b, const Ranges& ranges) {
  const Range x = range_of(a, ranges), y = range_of(b, ranges);
  switch (kind) {
    case Kind::min:
      if (x.high <= y.low) return a;
      if (y.high <= x.low) return b;
      break;
    case Kind::max:
      if (x.low >= y.high) return a;
      if (y.low >= x.high) return b;
      break;
    case Kind::mod:
      if (b.is_number() && x.low >= 0 && x.high < b.value()) return a;
      // (a + k b) % b is a % b.
      if (b.is_number() && a.kind() == Kind::add && x.low >= 0) {
        const Range left = range_of(a.left(), ranges), right = range_of(a.right(), ranges);
        if (b.value() > 0 && right.step % b.value() == 0 && left.low >= 0)
          return folded(Kind::mod, a.left(), b, ranges);
      }
      break;
    case Kind::mul:
      if (b.is_number() && a.kind() == Kind::mul && a.right().is_number())
        return Expr::make(Kind::mul, a.left(), a.right().value() * b.value());
      break;
    case Kind::add:
      if (b.is_number())
        if (const auto [rest, number] = with_number(a); number != 0)
          return plus_number(rest, number + b.value());
      break;
    case Kind::div:
      if (b.is_number() && b.value() > 0 && x.low >= 0) {
        // (k b + r) / b is k.
        const auto [rest, number] = with_number(a);
        if (number > 0 && number < b.value() && range_of(rest, ranges).step % b.value() == 0)
          return folded(Kind::div, rest, b, ranges);
        if (a.kind() == Kind::mul && a.right().is_number() && a.right().value() % b.value() == 0)
          return folded(Kind::mul, a.left(), a.right().value() / b.value(), ranges);
      }
      if (b.is_number() && x.low >= 0 && x.high < b.value()) return 0;
      if (b.is_number() && b.value() > 0 && x.is_one()) return x.low / b.value();
      break;
    case Kind::sub:
      if (a == b) return 0;
      if (b.is_number())
        if (const auto [rest, number] = with_number(a); number != 0)
          return plus_number(rest, number - b.value());
      if (a.kind() == Kind::add && a.right() == b) return a.left();
      break;
    default:
      break;
  }
  return Expr::make(kind, a, b);
}

}  // namespace

Expr simplified(const Expr& e, const Ranges& ranges) {
  if (e.is_number()) return e;
  const Range r = range_of(e, ranges);
  if (r.is_one()) return r.low;
  if (e.kind() == Kind::variable) return e;
  return folded(e.kind(), simplified(e.left(), ranges), simplified(e.right(), ranges), ranges);
}

isa::Program simplified(const isa::Program& program) {
  isa::Program out = program;
  out.body = Simplifier(program).body(program.body);
  return out;
}

Ranges ranges_of(const isa::Program& program) {
  Ranges ranges(static_cast<size_t>(std::max(program.variables, 1)), Range::of(0));
  ranges[0] = Range::between(0, std::max<int64_t>(program.blocks - 1, 0));
  add_ranges(program.body, ranges);
  return ranges;
}

Expr divided(const Expr& e, int64_t divisor) {
  if (divisor == 1) return e;
  if (e.is_number())
    return e.value() % divisor == 0 ? Expr(e.value() / divisor) : Expr::make(Kind::div, e, divisor);
  // Whether a term can be divided is seen when it comes back without a division at its root.
  const auto is_exact = [&](const Expr& from, const Expr& to) {
    return !(to.kind() == Kind::div && to.right() == Expr(divisor) && to.left() == from);
  };
  if (e.kind() == Kind::add || e.kind() == Kind::sub) {
    const Expr a = divided(e.left(), divisor), b = divided(e.right(), divisor);
    if (is_exact(e.left(), a) && is_exact(e.right(), b)) return Expr::make(e.kind(), a, b);
  }
  if (e.kind() == Kind::mul) {
    const Expr b = divided(e.right(), divisor);
    if (is_exact(e.right(), b)) return Expr::make(Kind::mul, e.left(), b);
    const Expr a = divided(e.left(), divisor);
    if (is_exact(e.left(), a)) return Expr::make(Kind::mul, a, e.right());
  }
  return Expr::make(Kind::div, e, divisor);
}

Nest::Nest(const std::vector<View>& views, size_t kept) : stride(views.size()) {
  const size_t axes = views[0].axes.size();
  for (size_t i = 0; i < axes; ++i) {
    const Expr& n = views[0].axes[i].size;
    const bool fixed = i + kept >= axes;
    if (!fixed && is_number(n, 1)) continue;
    bool even = !size.empty() && !fixed;
    for (size_t v = 0; v < views.size() && even; ++v)
      even = stride[v].back() == n * views[v].axes[i].stride ||
             (is_number(stride[v].back(), 0) && is_number(views[v].axes[i].stride, 0));
    if (even)
      size.back() = size.back() * n;
    else
      size.push_back(n);
    for (size_t v = 0; v < views.size(); ++v) {
      if (even)
        stride[v].back() = views[v].axes[i].stride;
      else
        stride[v].push_back(views[v].axes[i].stride);
    }
  }
}

}  // namespace tenon::emit
