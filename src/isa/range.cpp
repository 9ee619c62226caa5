#include "isa/range.h"

#include <algorithm>
#include <initializer_list>
#include <numeric>

namespace tenon::isa {
namespace {

using Wide = __int128;
constexpr int64_t kMost = int64_t{1} << 62;

int64_t clamp(Wide value) {
  return static_cast<int64_t>(std::clamp<Wide>(value, -kMost, kMost));
}

// std::gcd of magnitudes up to 2^62.
int64_t divisor(int64_t a, int64_t b) {
  return std::gcd(a, b);
}

// A range by its bounds; one value is known exactly.
Range make(Wide low, Wide high, int64_t step) {
  Range r{clamp(low), clamp(high), step};
  if (r.is_one() && r.low > -kMost && r.low < kMost) r.step = r.low < 0 ? -r.low : r.low;
  return r;
}

Range divide(const Range& a, const Range& b) {
  if (b.high <= 0) return Range::of(0);
  const int64_t least = std::max<int64_t>(b.low, 1);
  const auto quotients = {a.low / least, a.low / b.high, a.high / least, a.high / b.high};
  auto [low, high] = std::minmax(quotients);
  if (b.low <= 0) {
    low = std::min<int64_t>(low, 0);
    high = std::max<int64_t>(high, 0);
  }
  const bool exact = b.is_one() && a.step % b.low == 0;
  return make(low, high, exact ? a.step / b.low : 1);
}

Range remainder(const Range& a, const Range& b) {
  if (b.high <= 0) return Range::of(0);
  if (a.is_one() && b.is_one()) return Range::of(a.low % b.low);
  if (a.low >= 0 && a.high < b.low) return a;
  const int64_t low = a.low >= 0 ? 0 : std::max(a.low, -(b.high - 1));
  return make(low, std::max<int64_t>(0, std::min(a.high, b.high - 1)), divisor(a.step, b.step));
}

}  // namespace

Range Range::of(int64_t value) {
  return make(value, value, 1);
}

Range Range::between(int64_t low, int64_t high) {
  return make(low, high, 1);
}

Range operator+(const Range& a, const Range& b) {
  return make(Wide{a.low} + b.low, Wide{a.high} + b.high, divisor(a.step, b.step));
}

Range operator*(const Range& a, const Range& b) {
  const auto products = {Wide{a.low} * b.low, Wide{a.low} * b.high, Wide{a.high} * b.low,
                         Wide{a.high} * b.high};
  const auto [low, high] = std::minmax(products);
  const Wide step = Wide{a.step} * b.step;
  return make(low, high, step > kMost ? std::max(a.step, b.step) : clamp(step));
}

Range range_of(const Expr& expr, std::span<const Range> variables) {
  if (expr.is_number()) return Range::of(expr.value());
  if (expr.kind() == Expr::Kind::variable) {
    const auto i = static_cast<size_t>(expr.value());
    return i < variables.size() ? variables[i] : Range::of(0);
  }
  const Range a = range_of(expr.left(), variables), b = range_of(expr.right(), variables);
  switch (expr.kind()) {
    case Expr::Kind::add:
      return a + b;
    case Expr::Kind::sub:
      return a + b * Range::of(-1);
    case Expr::Kind::mul:
      return a * b;
    case Expr::Kind::div:
      return divide(a, b);
    case Expr::Kind::mod:
      return remainder(a, b);
    case Expr::Kind::min:
      return make(std::min(a.low, b.low), std::min(a.high, b.high), divisor(a.step, b.step));
    case Expr::Kind::max:
      return make(std::max(a.low, b.low), std::max(a.high, b.high), divisor(a.step, b.step));
    default:
      return Range::of(0);
  }
}

}  // namespace tenon::isa
