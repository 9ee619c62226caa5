// Polynomials: those of the Cephes library for f32 (S. Moshier), off by 2e-7 of the result.
#include "lower/vector_functions.h"

#include <cmath>
#include <numbers>
#include <span>

namespace tenon::lower {
namespace {

using isa::Relation;
using std::numbers::pi;

constexpr double kEight = 8;

// Arithmetic that reads as what is computed.
class Formula {
 public:
  explicit Formula(VectorCode& code) : code_(code) {}

  static Register number(double x) { return {{}, x, nullptr}; }
  Register add(const Register& a, const Register& b) { return code_.binary(Opcode::add, a, b); }
  Register add(const Register& a, double b) { return add(a, number(b)); }
  Register sub(const Register& a, const Register& b) { return code_.binary(Opcode::sub, a, b); }
  Register sub(double a, const Register& b) { return sub(number(a), b); }
  Register mul(const Register& a, const Register& b) { return code_.binary(Opcode::mul, a, b); }
  Register mul(const Register& a, double b) { return mul(a, number(b)); }
  Register div(const Register& a, const Register& b) { return code_.binary(Opcode::div, a, b); }
  Register one_over(const Register& x) { return code_.unary(Opcode::reciprocal, x); }
  Register sqrt(const Register& x) { return code_.unary(Opcode::sqrt, x); }
  Register exp(const Register& x) { return code_.unary(Opcode::exp, x); }
  Register ln(const Register& x) { return code_.unary(Opcode::ln, x); }
  Register abs(const Register& x) { return code_.unary(Opcode::abs, x); }
  Register is(const Register& a, Relation relation, double b) {
    return code_.compare(relation, a, number(b));
  }
  Register choose(const Register& condition, const Register& a, const Register& b) {
    return code_.select(condition, a, b);
  }
  // -magnitude where x is below 0.
  Register with_sign_of(const Register& x, const Register& magnitude) {
    return choose(is(x, Relation::less, 0), mul(magnitude, -1), magnitude);
  }
  // The terms from the highest power down.
  Register polynomial(const Register& x, std::span<const double> terms) {
    Register sum = add(mul(x, terms[0]), terms[1]);
    for (const double term : terms.subspan(2)) sum = add(mul(sum, x), term);
    return sum;
  }
  // x + x z polynomial(z) of z = x^2: odd functions near 0.
  Register odd(const Register& x, const Register& z, std::span<const double> terms) {
    return add(x, mul(mul(x, z), polynomial(z, terms)));
  }

  // Of 0 <= m <= 1 the inverse sine of m, or of the root of (1 - m) / 2 where that is small.
  struct Arc {
    Register is_large, angle;
  };
  Arc arc(const Register& m) {
    static constexpr double kTerms[] = {4.2163199048e-2, 2.4181311049e-2, 4.5470025998e-2,
                                        7.4953002686e-2, 1.6666752422e-1};
    const Register is_large = is(m, Relation::greater, 0.5);
    const Register z = choose(is_large, mul(sub(1, m), 0.5), mul(m, m));
    return {is_large, odd(choose(is_large, sqrt(z), m), z, kTerms)};
  }
  Register asin(const Register& x) {
    const Arc a = arc(abs(x));
    return with_sign_of(x, choose(a.is_large, add(mul(a.angle, -2), number(pi / 2)), a.angle));
  }
  Register acos(const Register& x) {
    const Arc a = arc(abs(x));
    const Register y = choose(a.is_large, mul(a.angle, 2), sub(pi / 2, a.angle));
    return choose(is(x, Relation::less, 0), sub(pi, y), y);
  }
  // Of 0 <= m <= 1.
  Register atan_of_magnitude(const Register& m) {
    static constexpr double kTerms[] = {8.05374449538e-2, -1.38776856032e-1, 1.99777106478e-1,
                                        -3.33329491539e-1};
    const Register is_large = is(m, Relation::greater, 0.4142135623730950);  // tan(pi / 8)
    const Register turned = div(add(m, -1), add(m, 1));
    const Register t = choose(is_large, turned, m);
    const Register y = odd(t, mul(t, t), kTerms);
    return choose(is_large, add(y, pi / 4), y);
  }
  Register atan(const Register& x) {
    const Register m = abs(x);
    const Register is_large = is(m, Relation::greater, 1);
    const Register y = atan_of_magnitude(choose(is_large, one_over(m), m));
    return with_sign_of(x, choose(is_large, sub(pi / 2, y), y));
  }
  Register atan2(const Register& y, const Register& x) {
    const Register my = abs(y), mx = abs(x);
    const Register larger = code_.binary(Opcode::max, my, mx);
    const Register ratio = div(code_.binary(Opcode::min, my, mx), larger);
    Register a = atan_of_magnitude(choose(is(larger, Relation::equal, 0), number(0), ratio));
    a = choose(code_.compare(Relation::greater, my, mx), sub(pi / 2, a), a);
    a = choose(is(x, Relation::less, 0), sub(pi, a), a);
    return with_sign_of(y, a);
  }
  // e^x / 2 and e^-x / 2 of x >= 0, of which neither is beyond f32 before its sum is.
  std::pair<Register, Register> half_powers(const Register& m) {
    const Register h = exp(add(m, -std::numbers::ln2));
    return {h, mul(one_over(h), 0.25)};
  }
  Register sinh(const Register& x) {
    static constexpr double kTerms[] = {2.03721912945e-4, 8.33028376239e-3, 1.66667160211e-1};
    const Register m = abs(x);
    const auto [up, down] = half_powers(m);
    return choose(is(m, Relation::less, 1), odd(x, mul(x, x), kTerms),
                  with_sign_of(x, sub(up, down)));
  }
  Register cosh(const Register& x) {
    const auto [up, down] = half_powers(abs(x));
    return add(up, down);
  }
  // ln(m + the root of m^2 + sign), where m^2 may be beyond f32.
  Register ln_of_sum(const Register& m, double sign) {
    const Register part = add(mul(one_over(mul(m, m)), sign), 1);
    return add(ln(m), ln(add(sqrt(part), 1)));
  }
  Register asinh(const Register& x) {
    static constexpr double kTerms[] = {2.0122003309e-2, -4.2699340972e-2, 7.4847586088e-2,
                                        -1.6666288134e-1};
    const Register m = abs(x);
    return choose(is(m, Relation::less, 0.5), odd(x, mul(x, x), kTerms),
                  with_sign_of(x, ln_of_sum(m, 1)));
  }
  Register acosh(const Register& x) {
    static constexpr double kTerms[] = {1.7596881071e-3, -7.5272886713e-3, 2.6454905019e-2,
                                        -1.1784741703e-1, 1.4142135263};
    const Register z = add(x, -1);
    return choose(is(x, Relation::less, 1.5), mul(sqrt(z), polynomial(z, kTerms)),
                  ln_of_sum(x, -1));
  }
  Register atanh(const Register& x) {
    static constexpr double kTerms[] = {1.81740078349e-1, 8.24370301058e-2, 1.46691431730e-1,
                                        1.99782164500e-1, 3.33337300303e-1};
    const Register far = mul(ln(div(add(x, 1), sub(1, x))), 0.5);
    return choose(is(abs(x), Relation::less, 0.5), odd(x, mul(x, x), kTerms), far);
  }
  // a^b by the logarithm of |a|; odd powers of what is below 0 are below 0, others it has not.
  Register pow(const Register& a, const Register& b) {
    const Register m = exp(mul(ln(abs(a)), b));
    const Register whole = floored(b), half = mul(whole, 0.5);
    const Register is_odd = code_.compare(Relation::not_equal, floored(half), half);
    const Register below = choose(is_odd, mul(m, -1), m);
    const Register is_whole = code_.compare(Relation::equal, whole, b);
    const Register none = ln(add(mul(m, 0), -1));
    Register y = choose(is(a, Relation::less, 0), choose(is_whole, below, none), m);
    return choose(is(b, Relation::equal, 0), number(1), y);
  }
  // The formulas for the gamma function hold from 8 on: x moved there, of its mirror image where it
  // is not above 0.
  struct FromEight {
    Register is_below, is_small, mirrored, x;
  };
  FromEight from_eight(const Register& x) {
    const Register is_below = is(x, Relation::less_equal, 0);
    const Register m = choose(is_below, sub(1, x), x);
    const Register is_small = is(m, Relation::less, kEight);
    return {is_below, is_small, m, choose(is_small, add(m, kEight), m)};
  }
  // sin and cos of pi x, by what x is beyond a whole number.
  Register half_turns(const Register& x, double turn) {
    const Register whole = code_.whole_number(x, isa::Rounding::even);
    const Register y = sine(code_, mul(sub(x, whole), pi), turn);
    const Register half = mul(whole, 0.5);
    return choose(code_.compare(Relation::not_equal, floored(half), half), mul(y, -1), y);
  }
  Register lgamma(const Register& x) {
    static constexpr double kTerms[] = {1.0 / 1260, -1.0 / 360, 1.0 / 12};
    const FromEight f = from_eight(x);
    const Register r = one_over(f.x);
    Register y = sub(mul(ln(f.x), add(f.x, -0.5)), f.x);
    y = add(add(y, mul(r, polynomial(mul(r, r), kTerms))), 0.5 * std::log(2 * pi));
    Register product = f.mirrored;
    for (int k = 1; k < static_cast<int>(kEight); ++k) product = mul(product, add(f.mirrored, k));
    y = sub(y, choose(f.is_small, ln(product), number(0)));
    const Register turned = sub(std::log(pi), add(ln(abs(half_turns(x, 0))), y));
    return choose(f.is_below, turned, y);
  }
  Register digamma(const Register& x) {
    static constexpr double kTerms[] = {1.0 / 252, -1.0 / 120, 1.0 / 12};
    const FromEight f = from_eight(x);
    const Register r = one_over(f.x), z = mul(r, r);
    Register y = sub(sub(ln(f.x), mul(r, 0.5)), mul(z, polynomial(z, kTerms)));
    Register sum = one_over(f.mirrored);
    for (int k = 1; k < static_cast<int>(kEight); ++k) sum = add(sum, one_over(add(f.mirrored, k)));
    y = sub(y, choose(f.is_small, sum, number(0)));
    // No number at the poles.
    const Register s = half_turns(x, 0);
    const Register cotangent = div(mul(half_turns(x, 0.5), s), mul(s, s));
    return choose(f.is_below, sub(y, mul(cotangent, pi)), y);
  }
  // By w = -ln(1 - x^2): M. Giles, "Approximating the erfinv function".
  Register erfinv(const Register& x) {
    static constexpr double kNear[] = {2.81022636e-8,  3.43273939e-7, -3.5233877e-6,
                                       -4.39150654e-6, 2.1858087e-4,  -1.25372503e-3,
                                       -4.17768164e-3, 2.46640727e-1, 1.50140941};
    static constexpr double kFar[] = {-2.00214257e-4, 1.00950558e-4, 1.34934322e-3,
                                      -3.67342844e-3, 5.73950773e-3, -7.6224613e-3,
                                      9.43887047e-3,  1.00167406,    2.83297682};
    const Register w = mul(ln(mul(sub(1, x), add(x, 1))), -1);
    const Register y = choose(is(w, Relation::less, 5), polynomial(add(w, -2.5), kNear),
                              polynomial(add(sqrt(w), -3), kFar));
    return mul(x, y);
  }
  Register floored(const Register& x) { return code_.whole_number(x, isa::Rounding::floor); }
  // a less a multiple of b: from 0 to b, or with the sign of a. A quotient that was rounded to a
  // whole number gives one multiple too much.
  Register rest(const Register& a, const Register& b, bool floors) {
    const auto rounding = floors ? isa::Rounding::floor : isa::Rounding::truncate;
    const Register r = sub(a, mul(code_.whole_number(div(a, b), rounding), b));
    const Register is_wrong = code_.compare(Relation::not_equal, is(r, Relation::less, 0),
                                            is(floors ? b : a, Relation::less, 0));
    const Register more = with_sign_of(floors ? b : a, abs(b));
    const Register is_some = is(r, Relation::not_equal, 0);
    return choose(code_.binary(Opcode::min, is_wrong, is_some), add(r, more), r);
  }

 private:
  VectorCode& code_;
};

Register wide(VectorCode& code, const Register& x) {
  return x.number ? x : code.tile(x, DType::f32);
}

}  // namespace

// Of x less the nearest multiple of pi, which is taken off in three parts so that nothing of x is
// lost.
Register sine(VectorCode& code, const Register& x, double turn) {
  static constexpr double kPi[] = {3.140625, 9.670257568359375e-4, 6.2783292e-7};
  static constexpr double kTerms[] = {-2.5052108e-8, 2.7557319e-6, -1.9841270e-4, 8.3333333e-3,
                                      -1.6666667e-1};
  Formula f(code);
  const Register n =
      code.tile(code.round(f.add(f.mul(x, std::numbers::inv_pi), turn)), x.view.dtype);
  const Register multiple = f.add(n, -turn);
  Register r = x;
  for (const double part : kPi) r = f.sub(r, f.mul(multiple, part));
  const Register y = f.odd(r, f.mul(r, r), kTerms);
  // Odd multiples turn the sign.
  const Register pairs = code.tile(code.floor(f.mul(n, 0.5)), x.view.dtype);
  const Register odd = f.sub(n, f.mul(pairs, 2));
  return f.mul(y, f.add(f.mul(odd, -2), 1));
}

std::optional<Register> real_function(VectorCode& code, std::string_view op, const Register& in) {
  using Function = Register (*)(Formula&, VectorCode&, const Register&);
  static constexpr std::pair<std::string_view, Function> kFunctions[] = {
      {"sin", [](Formula&, VectorCode& c, const Register& x) { return sine(c, x, 0); }},
      {"cos", [](Formula&, VectorCode& c, const Register& x) { return sine(c, x, 0.5); }},
      {"tan", [](Formula& f, VectorCode& c,
                 const Register& x) { return f.div(sine(c, x, 0), sine(c, x, 0.5)); }},
      {"asin", [](Formula& f, VectorCode&, const Register& x) { return f.asin(x); }},
      {"acos", [](Formula& f, VectorCode&, const Register& x) { return f.acos(x); }},
      {"atan", [](Formula& f, VectorCode&, const Register& x) { return f.atan(x); }},
      {"sinh", [](Formula& f, VectorCode&, const Register& x) { return f.sinh(x); }},
      {"cosh", [](Formula& f, VectorCode&, const Register& x) { return f.cosh(x); }},
      {"asinh", [](Formula& f, VectorCode&, const Register& x) { return f.asinh(x); }},
      {"acosh", [](Formula& f, VectorCode&, const Register& x) { return f.acosh(x); }},
      {"atanh", [](Formula& f, VectorCode&, const Register& x) { return f.atanh(x); }},
      {"lgamma", [](Formula& f, VectorCode&, const Register& x) { return f.lgamma(x); }},
      {"digamma", [](Formula& f, VectorCode&, const Register& x) { return f.digamma(x); }},
      {"erfinv", [](Formula& f, VectorCode&, const Register& x) { return f.erfinv(x); }}};
  for (const auto& [name, function] : kFunctions)
    if (op == name) {
      Formula f(code);
      return code.tile(function(f, code, code.tile(in, DType::f32)), in.view.dtype);
    }
  return std::nullopt;
}

std::optional<Register> real_function(VectorCode& code, std::string_view op, const Register& a,
                                      const Register& b) {
  if (op != "atan2" && op != "pow" && op != "floor_div" && op != "floor_mod" && op != "trunc_mod")
    return std::nullopt;
  const DType dtype = a.number ? (b.number ? code.real() : b.view.dtype) : a.view.dtype;
  Formula f(code);
  // Each is a tile: what is computed of one alone has to be.
  const Register x = code.tile(wide(code, a), DType::f32), y = code.tile(wide(code, b), DType::f32);
  const auto of = [&]() -> Register {
    if (op == "atan2") return f.atan2(x, y);
    if (op == "pow") return f.pow(x, y);
    if (op == "floor_div") return f.floored(f.div(x, y));
    return f.rest(x, y, op == "floor_mod");
  };
  return code.tile(of(), dtype);
}

// By quotients in f32, which are a little too small, so that nothing is taken off too much: what
// is left after two of them is less than twice b.
Division divide(VectorCode& code, const Register& a, const Register& b) {
  constexpr double kLess = 1 - 0x1p-21;
  Formula f(code);
  const Register x = code.tile(a, DType::i32), y = code.tile(b, DType::i32);
  const Register by = code.tile(y, DType::f32);
  const auto part = [&](const Register& of) {
    const Register q = f.mul(f.div(code.tile(of, DType::f32), by), kLess);
    return code.tile(q, DType::i32);
  };
  Division d{part(x), {}};
  d.rest = f.sub(x, f.mul(d.quotient, y));
  const Register more = part(d.rest);
  d.quotient = f.add(d.quotient, more);
  d.rest = f.sub(d.rest, f.mul(more, y));
  const auto as_number = [&](const Register& condition) {
    return code.tile(condition, DType::i32);
  };
  const Register is_left =
      as_number(code.compare(Relation::greater_equal, f.abs(d.rest), f.abs(y)));
  const Register differ = as_number(
      code.compare(Relation::not_equal, f.is(x, Relation::less, 0), f.is(y, Relation::less, 0)));
  const Register last = f.mul(is_left, f.add(f.mul(differ, -2), 1));
  d.quotient = f.add(d.quotient, last);
  d.rest = f.sub(d.rest, f.mul(last, y));
  return d;
}

std::optional<Register> whole_function(VectorCode& code, std::string_view op, const Register& a,
                                       const Register& b) {
  const bool floors = op == "floor_div" || op == "floor_mod";
  if (!floors && op != "div" && op != "trunc_mod" && op != "div_no_nan") return std::nullopt;
  Formula f(code);
  const Register y = code.tile(b, DType::i32);
  Division d = divide(code, a, y);
  if (op == "div_no_nan")
    return f.choose(f.is(y, Relation::equal, 0), Formula::number(0), d.quotient);
  if (!floors) return op == "div" ? d.quotient : d.rest;
  // Down instead of towards 0: one less where something is left and the signs differ.
  const Register below = code.compare(Relation::not_equal, f.is(d.rest, Relation::less, 0),
                                      f.is(y, Relation::less, 0));
  const Register is_left = f.is(d.rest, Relation::not_equal, 0);
  const Register step = code.tile(code.binary(Opcode::min, below, is_left), DType::i32);
  return op == "floor_div" ? f.sub(d.quotient, step) : f.add(d.rest, f.mul(step, y));
}

}  // namespace tenon::lower
