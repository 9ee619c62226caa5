#include "device/cpu/kernels/elementwise.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "device/cpu/kernels/test_support.h"

namespace tenon::cpu {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}
double softplus(double x) {
  return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x)));
}

struct UnaryCase {
  UnaryOp op;
  const char* name;
  std::function<double(double)> reference;
  double max_ulp;
  double low, high;  // random inputs
  // Below this the result may be flushed or lose digits: an absolute error as large is accepted.
  double floor = 1.2e-38;
};

const std::vector<UnaryCase>& unary_cases() {
  static const std::vector<UnaryCase> cases = {
      {UnaryOp::kNeg, "neg", [](double x) { return -x; }, 0, -1e30, 1e30},
      {UnaryOp::kAbs, "abs", [](double x) { return std::abs(x); }, 0, -1e30, 1e30},
      {UnaryOp::kSign, "sign", [](double x) { return x > 0   ? 1
                                                     : x < 0 ? -1
                                                             : x; }, 0, -2, 2},
      {UnaryOp::kExp, "exp", [](double x) { return std::exp(x); }, 2, -104, 89},
      {UnaryOp::kExpm1, "expm1", [](double x) { return std::expm1(x); }, 3, -20, 89},
      {UnaryOp::kLog, "log", [](double x) { return std::log(x); }, 2, 0, 100},
      {UnaryOp::kLog1p, "log1p", [](double x) { return std::log1p(x); }, 4, -1, 10},
      {UnaryOp::kSqrt, "sqrt", [](double x) { return std::sqrt(x); }, 0.5, 0, 1e9},
      {UnaryOp::kRsqrt, "rsqrt", [](double x) { return 1 / std::sqrt(x); }, 2, 0, 1e4},
      {UnaryOp::kReciprocal, "reciprocal", [](double x) { return 1 / x; }, 0.5, -1e4, 1e4},
      {UnaryOp::kSquare, "square", [](double x) { return x * x; }, 0.5, -1e4, 1e4},
      {UnaryOp::kTanh, "tanh", [](double x) { return std::tanh(x); }, 4, -10, 10},
      {UnaryOp::kSigmoid, "sigmoid", sigmoid, 4, -90, 20},
      {UnaryOp::kErf, "erf", [](double x) { return std::erf(x); }, 3, -5, 5},
      {UnaryOp::kFloor, "floor", [](double x) { return std::floor(x); }, 0, -1e9, 1e9},
      {UnaryOp::kCeil, "ceil", [](double x) { return std::ceil(x); }, 0, -50, 50},
      {UnaryOp::kRoundEven, "round_even", [](double x) { return std::nearbyint(x); }, 0, -50, 50},
      {UnaryOp::kTrunc, "trunc", [](double x) { return std::trunc(x); }, 0, -50, 50},
      {UnaryOp::kSin, "sin", [](double x) { return std::sin(x); }, 2, -2e3, 2e3, 1e-7},
      {UnaryOp::kCos, "cos", [](double x) { return std::cos(x); }, 2, -2e5, 2e5, 1e-7},
      {UnaryOp::kRelu, "relu", [](double x) { return x < 0 ? 0 : x; }, 0, -5, 5},
      {UnaryOp::kRelu6, "relu6", [](double x) { return x < 0   ? 0
                                                       : x > 6 ? 6
                                                               : x; }, 0, -9, 9},
      {UnaryOp::kSilu, "silu", [](double x) { return x * sigmoid(x); }, 5, -80, 20},
      {UnaryOp::kHardSwish, "hard_swish",
       [](double x) { return x * std::clamp(x + 3, 0.0, 6.0) / 6; }, 4, -2.9, 9, 1e-7},
      {UnaryOp::kGeluErf, "gelu_erf",
       [](double x) { return x / 2 * std::erfc(-x / std::sqrt(2.)); }, 4, -12, 12, 1e-6},
      // The roundings of the exponent, up to 25, are relative errors of the result that many times.
      {UnaryOp::kGeluTanh, "gelu_tanh",
       [](double x) { return x * sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x)); }, 56,
       -6, 12},
      {UnaryOp::kSoftplus, "softplus", softplus, 4, -50, 50},
      {UnaryOp::kSoftsign, "softsign", [](double x) { return x / (1 + std::abs(x)); }, 2, -9, 9},
      {UnaryOp::kMish, "mish", [](double x) { return x * std::tanh(softplus(x)); }, 6, -50, 30,
       2e-36},
      {UnaryOp::kSelu, "selu",
       [](double x) {
         return 1.0507009873554805 * (x < 0 ? 1.6732632423543772 * std::expm1(x) : x);
       },
       4, -20, 20},
  };
  return cases;
}

double ulps(float actual, double expected) {
  const double magnitude = std::max(std::abs(expected), 1.2e-38);
  const double ulp = std::ldexp(1.0, std::ilogb(magnitude) - 23);
  return std::abs(actual - expected) / ulp;
}

TEST(Unary, EveryOpIsTested) {
  ASSERT_EQ(unary_cases().size(), kUnaryOps);
  for (size_t i = 0; i < kUnaryOps; ++i) EXPECT_EQ(static_cast<size_t>(unary_cases()[i].op), i);
}

TEST(Unary, WithinUlps) {
  for (const KernelTable* table : tables_under_test())
    for (const UnaryCase& c : unary_cases()) {
      std::vector<float> x =
          random_floats(200000, static_cast<float>(c.low), static_cast<float>(c.high));
      // Every binade inside the range too, where the uniform draw hardly comes.
      for (int i = 0; i < 100000; ++i) {
        const float v = std::bit_cast<float>(static_cast<uint32_t>(test_random()()));
        if (v >= c.low && v <= c.high) x.push_back(v);
      }
      std::vector<float> y(x.size());
      unary(c.op, x.data(), y.data(), x.size(), *table);
      double worst = 0;
      float worst_x = 0;
      for (size_t i = 0; i < x.size(); ++i) {
        const double expected = c.reference(x[i]);
        if (std::abs(y[i] - expected) <= c.floor || std::isnan(expected)) continue;
        if (std::abs(expected) > 3.4e38 && std::isinf(y[i])) continue;
        if (const double error = ulps(y[i], expected); !(error <= worst))
          worst = error, worst_x = x[i];
      }
      EXPECT_LE(worst, c.max_ulp) << table->name << " " << c.name << " at " << worst_x;
    }
}

TEST(Unary, SpecialValues) {
  const std::vector<float> x = {kInf,    -kInf,   kNan,    0.0f,     -0.0f,  1.0f,    -1.0f,
                                1e-40f,  -1e-40f, 3.4e38f, -3.4e38f, 100.0f, -100.0f, 1e-30f,
                                -1e-30f, 2.5f,    -2.5f,   0.5f,     -0.5f,  1e6f,    -1e6f};
  for (const KernelTable* table : tables_under_test())
    for (const UnaryCase& c : unary_cases()) {
      GuardedFloats y(static_cast<int64_t>(x.size()));
      unary(c.op, x.data(), y.data(), x.size(), *table);
      EXPECT_TRUE(y.guards_intact()) << c.name;
      for (size_t i = 0; i < x.size(); ++i) {
        double expected = c.reference(x[i]);
        // x * 0 at -inf: the limit is what the kernels give.
        const bool limit = c.op == UnaryOp::kSilu || c.op == UnaryOp::kGeluErf ||
                           c.op == UnaryOp::kGeluTanh || c.op == UnaryOp::kMish;
        if (limit && x[i] == -kInf) expected = 0;
        if (std::isnan(expected) && !std::isnan(x[i]) &&
            (c.op == UnaryOp::kHardSwish || c.op == UnaryOp::kSoftsign))
          continue;
        const float actual = y[static_cast<int64_t>(i)];
        const float rounded = static_cast<float>(expected);
        if (std::isnan(expected)) {
          EXPECT_TRUE(std::isnan(actual)) << table->name << " " << c.name << "(" << x[i] << ")";
        } else if (std::isinf(rounded)) {
          EXPECT_EQ(actual, rounded) << table->name << " " << c.name << "(" << x[i] << ")";
        } else {
          EXPECT_NEAR(actual, expected, 3e-6 * std::abs(expected) + std::max(c.floor, 2e-38))
              << table->name << " " << c.name << "(" << x[i] << ")";
        }
      }
    }
}

TEST(Unary, EveryTailLengthInPlace) {
  for (const KernelTable* table : tables_under_test())
    for (int64_t n = 0; n <= 40; ++n) {
      const auto x = random_floats(n);
      GuardedFloats y(x);
      unary(UnaryOp::kSquare, y.data(), y.data(), static_cast<size_t>(n), *table);
      std::vector<double> expected(x.size());
      for (size_t i = 0; i < x.size(); ++i) expected[i] = double{x[i]} * x[i];
      expect_near(y, expected, 1e-7, std::to_string(n));
    }
}

double reference_binary(BinaryOp op, double a, double b) {
  switch (op) {
    case BinaryOp::kAdd:
      return a + b;
    case BinaryOp::kSub:
      return a - b;
    case BinaryOp::kMul:
      return a * b;
    case BinaryOp::kDiv:
      return a / b;
    case BinaryOp::kMin:
      return std::isnan(a) || std::isnan(b) ? kNan : std::min(a, b);
    case BinaryOp::kMax:
      return std::isnan(a) || std::isnan(b) ? kNan : std::max(a, b);
    case BinaryOp::kPow:
      return std::pow(a, b);
    case BinaryOp::kSquaredDifference:
      return (a - b) * (a - b);
    case BinaryOp::kCount:
      break;
  }
  return kNan;
}

TEST(Binary, ThreeFormsAndTails) {
  for (const KernelTable* table : tables_under_test())
    for (size_t op = 0; op < kBinaryOps; ++op)
      for (const int64_t n : {0, 1, 3, 7, 8, 9, 16, 17, 31, 100}) {
        auto a = random_floats(n, 0.1f, 3), b = random_floats(n, -2, 2);
        if (n > 3) a[1] = kNan, b[2] = kNan, a[3] = kInf;
        const auto expect = [&](auto& functions, bool a_scalar, bool b_scalar, const float* av,
                                const float* bv) {
          GuardedFloats y(n);
          functions[op](av, bv, y.data(), static_cast<size_t>(n));
          std::vector<double> expected;
          for (int64_t i = 0; i < n; ++i)
            expected.push_back(reference_binary(static_cast<BinaryOp>(op), av[a_scalar ? 0 : i],
                                                bv[b_scalar ? 0 : i]));
          expect_near(y, expected, 1e-6, std::string(table->name) + " op " + std::to_string(op));
        };
        expect(table->binary, false, false, a.data(), b.data());
        for (const float scalar : {2.0f, 0.5f, -0.5f, -1.0f, 1.0f, 3.0f, 0.3f, kNan}) {
          expect(table->binary_vs, false, true, a.data(), &scalar);
          expect(table->binary_sv, true, false, &scalar, b.data());
        }
      }
}

TEST(Activate, EveryKind) {
  const auto x = random_floats(1003, -8, 8);
  for (const KernelTable* table : tables_under_test())
    for (int kind = 0; kind <= static_cast<int>(ActivationKind::kElu); ++kind) {
      const Activation activation{static_cast<ActivationKind>(kind), 0.25f, 0.6f};
      GuardedFloats y(static_cast<int64_t>(x.size()));
      activate(activation, x.data(), y.data(), x.size(), *table);
      std::vector<double> expected;
      for (const float v : x) expected.push_back(reference_activation(activation, v));
      expect_near(y, expected, 1e-6, std::string(table->name) + " " + std::to_string(kind));
    }
}

}  // namespace
}  // namespace tenon::cpu
