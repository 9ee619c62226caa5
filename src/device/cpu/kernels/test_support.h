// What the kernel tests share: every table to run, random buffers with guards, comparison.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/half.h"
#include "base/test_random.h"
#include "device/cpu/kernels/activation.h"
#include "device/cpu/kernels/kernel_table.h"

namespace tenon::cpu {
namespace wide16 {
const KernelTable& kernel_table();
}

// The tables of this processor, and the sixteen-lane sources on eight-lane hardware.
inline std::vector<const KernelTable*> tables_under_test() {
  const auto supported = supported_kernel_tables();
  std::vector<const KernelTable*> tables(supported.begin(), supported.end());
  tables.push_back(&wide16::kernel_table());
  return tables;
}

inline std::vector<float> random_floats(int64_t n, float low = -1, float high = 1) {
  std::uniform_real_distribution<float> uniform(low, high);
  std::vector<float> values(static_cast<size_t>(n));
  for (float& v : values) v = uniform(test_random());
  return values;
}

// A float array between guards that notice writes outside it.
class GuardedFloats {
 public:
  explicit GuardedFloats(int64_t n, float fill = kUnwritten)
      : n_(n), storage_(static_cast<size_t>(n + 2 * kGuard), kGuardValue) {
    std::fill_n(data(), n, fill);
  }
  explicit GuardedFloats(const std::vector<float>& values)
      : GuardedFloats(static_cast<int64_t>(values.size())) {
    std::copy(values.begin(), values.end(), data());
  }

  static constexpr float kUnwritten = -77777.0f;

  float* data() { return storage_.data() + kGuard; }
  float operator[](int64_t i) const { return storage_[static_cast<size_t>(i + kGuard)]; }
  int64_t size() const { return n_; }
  bool guards_intact() const {
    for (int64_t i = 0; i < kGuard; ++i)
      if ((*this)[i - kGuard] != kGuardValue || (*this)[n_ + i] != kGuardValue) return false;
    return true;
  }

 private:
  static constexpr int64_t kGuard = 32;
  static constexpr float kGuardValue = 12345.0f;
  int64_t n_;
  std::vector<float> storage_;
};

// Scratch of exactly the asked size, filled with NaN so that reading before writing shows.
class Scratch {
 public:
  explicit Scratch(int64_t bytes)
      : floats_(static_cast<size_t>(bytes / 4 + 16), std::numeric_limits<float>::quiet_NaN()) {}
  void* get() {
    const auto address = reinterpret_cast<uintptr_t>(floats_.data());
    return reinterpret_cast<void*>((address + 63) / 64 * 64);
  }

 private:
  std::vector<float> floats_;
};

inline void expect_near(const GuardedFloats& actual, const std::vector<double>& expected,
                        double tolerance, const std::string& what) {
  ASSERT_EQ(actual.size(), static_cast<int64_t>(expected.size())) << what;
  EXPECT_TRUE(actual.guards_intact()) << what << ": wrote outside its output";
  for (int64_t i = 0; i < actual.size(); ++i) {
    const double e = expected[static_cast<size_t>(i)], a = actual[i];
    if (std::isnan(e) ? std::isnan(a) : e == a) continue;
    ASSERT_LE(std::abs(a - e), tolerance * (1 + std::abs(e)))
        << what << ": element " << i << " is " << a << ", expected " << e;
  }
}

// What was written as bf16 to `narrow` is `wide` rounded, and nothing else was written.
inline void expect_rounded(const GuardedFloats& narrow, const GuardedFloats& wide,
                           const std::string& what) {
  ASSERT_EQ(narrow.size(), wide.size()) << what;
  EXPECT_TRUE(narrow.guards_intact()) << what << ": wrote outside its output";
  const auto half_of = [&](int64_t i) {
    return static_cast<uint16_t>(std::bit_cast<uint32_t>(narrow[i / 2]) >> (i % 2 * 16));
  };
  for (int64_t i = 0; i < wide.size(); ++i)
    ASSERT_EQ(half_of(i), BFloat16(wide[i]).bits) << what << ": element " << i;
  const GuardedFloats unwritten(1);
  const auto fill = std::bit_cast<uint32_t>(unwritten[0]);
  for (int64_t i = wide.size(); i < 2 * wide.size(); ++i)
    ASSERT_EQ(half_of(i), static_cast<uint16_t>(fill >> (i % 2 * 16))) << what << ": behind it";
}

// The activation in double precision.
inline double reference_activation(const Activation& activation, double x) {
  const double alpha = activation.alpha, beta = activation.beta;
  switch (activation.kind) {
    case ActivationKind::kNone:
      return x;
    case ActivationKind::kRelu:
      return x < 0 ? 0 : x;
    case ActivationKind::kClip:
      return x < alpha ? alpha : x > beta ? beta : x;
    case ActivationKind::kLeakyRelu:
      return x < 0 ? alpha * x : x;
    case ActivationKind::kSigmoid:
      return 1 / (1 + std::exp(-x));
    case ActivationKind::kTanh:
      return std::tanh(x);
    case ActivationKind::kSilu:
      return x / (1 + std::exp(-x));
    case ActivationKind::kHardSwish:
      return x * std::min(std::max(x + 3, 0.0), 6.0) / 6;
    case ActivationKind::kHardSigmoid:
      return std::min(std::max(alpha * x + beta, 0.0), 1.0);
    case ActivationKind::kGeluErf:
      return x / 2 * std::erfc(-x / std::sqrt(2.0));
    case ActivationKind::kGeluTanh:
      return x / (1 + std::exp(-2 * std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case ActivationKind::kElu:
      return x < 0 ? alpha * std::expm1(x) : x;
  }
  return x;
}

}  // namespace tenon::cpu
