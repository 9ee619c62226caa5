#include "isa/expr.h"

#include <fmt/format.h>

#include <algorithm>

namespace tenon::isa {
namespace {

int64_t apply(Expr::Kind kind, int64_t a, int64_t b) {
  int64_t r = 0;
  switch (kind) {
    // Programs read from text may say anything: what overflows wraps.
    case Expr::Kind::add:
      (void)__builtin_add_overflow(a, b, &r);
      return r;
    case Expr::Kind::sub:
      (void)__builtin_sub_overflow(a, b, &r);
      return r;
    case Expr::Kind::mul:
      (void)__builtin_mul_overflow(a, b, &r);
      return r;
    case Expr::Kind::div:
      return b <= 0 ? 0 : a / b;
    case Expr::Kind::mod:
      return b <= 0 ? 0 : a % b;
    case Expr::Kind::min:
      return std::min(a, b);
    case Expr::Kind::max:
      return std::max(a, b);
    case Expr::Kind::number:
    case Expr::Kind::variable:
      break;
  }
  return 0;
}

// How strongly an operator binds: sums 1, products 2, the rest 3.
int strength(Expr::Kind kind) {
  switch (kind) {
    case Expr::Kind::add:
    case Expr::Kind::sub:
      return 1;
    case Expr::Kind::mul:
    case Expr::Kind::div:
    case Expr::Kind::mod:
      return 2;
    default:
      return 3;
  }
}

std::string operand(const Expr& e, int least) {
  std::string text = e.to_string();
  return strength(e.kind()) < least ? "(" + text + ")" : text;
}

}  // namespace

Expr Expr::variable(int index) {
  Expr e(index);
  e.node_ = std::make_shared<const Node>(Node{Kind::variable, {}, {}});
  return e;
}

Expr Expr::make(Kind kind, Expr a, Expr b) {
  const auto x = a.number(), y = b.number();
  if (x && y) return apply(kind, *x, *y);
  switch (kind) {
    case Kind::add:
      if (x == 0) return b;
      if (y == 0) return a;
      // Numbers to the right, one of them.
      if (x) std::swap(a, b);
      if (a.kind() == Kind::add && a.right().is_number() && b.is_number())
        return make(Kind::add, a.left(), apply(Kind::add, a.right().value(), b.value()));
      break;
    case Kind::sub:
      if (y == 0) return a;
      if (a == b) return 0;
      break;
    case Kind::mul:
      if (x == 0 || y == 0) return 0;
      if (x == 1) return b;
      if (y == 1) return a;
      if (x) std::swap(a, b);
      break;
    case Kind::div:
      if (x == 0) return 0;
      if (y == 1) return a;
      break;
    case Kind::mod:
      if (x == 0 || y == 1) return 0;
      break;
    case Kind::min:
    case Kind::max:
      if (a == b) return a;
      break;
    default:
      break;
  }
  Expr e;
  e.node_ = std::make_shared<const Node>(Node{kind, std::move(a), std::move(b)});
  return e;
}

std::optional<int64_t> Expr::number() const {
  return is_number() ? std::optional(value_) : std::nullopt;
}

int64_t Expr::at(std::span<const int64_t> variables) const {
  if (node_ == nullptr) return value_;
  if (node_->kind == Kind::variable) {
    const auto i = static_cast<size_t>(value_);
    return i < variables.size() ? variables[i] : 0;
  }
  return apply(node_->kind, node_->a.at(variables), node_->b.at(variables));
}

bool Expr::operator==(const Expr& other) const {
  if (kind() != other.kind()) return false;
  if (is_number() || kind() == Kind::variable) return value_ == other.value_;
  return node_ == other.node_ || (left() == other.left() && right() == other.right());
}

int Expr::last_variable() const {
  if (node_ == nullptr) return -1;
  if (node_->kind == Kind::variable) return static_cast<int>(value_);
  return std::max(left().last_variable(), right().last_variable());
}

std::string Expr::to_string() const {
  switch (kind()) {
    case Kind::number:
      return std::to_string(value_);
    case Kind::variable:
      return value_ == 0 ? "block" : fmt::format("i{}", value_ - 1);
    case Kind::min:
      return fmt::format("min({}, {})", left().to_string(), right().to_string());
    case Kind::max:
      return fmt::format("max({}, {})", left().to_string(), right().to_string());
    default:
      break;
  }
  static constexpr std::string_view kSigns = "+-*/%";
  const int s = strength(kind());
  const char sign = kSigns[static_cast<size_t>(kind()) - static_cast<size_t>(Kind::add)];
  return fmt::format("{} {} {}", operand(left(), s), sign, operand(right(), s + 1));
}

}  // namespace tenon::isa
