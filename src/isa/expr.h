// Integers of a tile program: numbers, or expressions over its block and loop variables. Offsets,
// sizes and counts are such, so that a program stays as small as its loop nest.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

namespace tenon::isa {

class Expr {
 public:
  enum class Kind : uint8_t { number, variable, add, sub, mul, div, mod, min, max };

  Expr(int64_t value = 0)
      : value_(value) {}  // NOLINT(google-explicit-constructor): a number is one
  // Variable 0 is the block, the others are those of the loops around.
  static Expr variable(int index);
  // Folds what is known. Division and remainder are those of non-negative numbers; by zero is 0.
  static Expr make(Kind kind, Expr a, Expr b);

  Kind kind() const;
  bool is_number() const { return node_ == nullptr; }
  std::optional<int64_t> number() const;
  // The number, or the index of the variable.
  int64_t value() const { return value_; }
  const Expr& left() const;
  const Expr& right() const;

  // Its value where variable i is variables[i].
  int64_t at(std::span<const int64_t> variables) const;
  // Whether it is the same expression; equal values may be written in different ways.
  bool operator==(const Expr& other) const;
  // The largest index of a variable in it, or -1.
  int last_variable() const;
  // "min(128, 1000 - i0 * 128)".
  std::string to_string() const;

 private:
  struct Node;
  int64_t value_ = 0;
  std::shared_ptr<const Node> node_;  // null for a number
};

struct Expr::Node {
  Kind kind;
  Expr a, b;
};

inline Expr::Kind Expr::kind() const {
  return node_ == nullptr ? Kind::number : node_->kind;
}
inline const Expr& Expr::left() const {
  return node_->a;
}
inline const Expr& Expr::right() const {
  return node_->b;
}

inline Expr operator+(const Expr& a, const Expr& b) {
  return Expr::make(Expr::Kind::add, a, b);
}
inline Expr operator-(const Expr& a, const Expr& b) {
  return Expr::make(Expr::Kind::sub, a, b);
}
inline Expr operator*(const Expr& a, const Expr& b) {
  return Expr::make(Expr::Kind::mul, a, b);
}
inline Expr operator/(const Expr& a, const Expr& b) {
  return Expr::make(Expr::Kind::div, a, b);
}
inline Expr operator%(const Expr& a, const Expr& b) {
  return Expr::make(Expr::Kind::mod, a, b);
}
inline Expr min(const Expr& a, const Expr& b) {
  return Expr::make(Expr::Kind::min, a, b);
}
inline Expr max(const Expr& a, const Expr& b) {
  return Expr::make(Expr::Kind::max, a, b);
}
// a / b, rounded up.
inline Expr ceil_div(const Expr& a, const Expr& b) {
  return (a + b - 1) / b;
}
// The least multiple of b that is not less than a.
inline Expr round_up(const Expr& a, const Expr& b) {
  return ceil_div(a, b) * b;
}

}  // namespace tenon::isa
