#include "ops/random.h"

#include <fmt/format.h>

#include <atomic>
#include <cmath>
#include <random>

#include "ops/registry.h"
#include "tensor/visit.h"

namespace tenon {
namespace {

class Philox {
 public:
  explicit Philox(uint64_t key, uint64_t stream) : key_(key), stream_(stream) {}

  uint32_t next() {
    if (used_ == 4) refill();
    return block_[used_++];
  }
  // In [0, 1) with 53 random bits.
  double uniform() {
    const uint64_t high = next() >> 5, low = next() >> 6;
    return static_cast<double>((high << 26) | low) * 0x1p-53;
  }

 private:
  void refill() {
    constexpr uint64_t kMul0 = 0xD2511F53, kMul1 = 0xCD9E8D57;
    constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
    uint32_t c[4] = {static_cast<uint32_t>(counter_), static_cast<uint32_t>(counter_ >> 32),
                     static_cast<uint32_t>(stream_), static_cast<uint32_t>(stream_ >> 32)};
    auto k0 = static_cast<uint32_t>(key_), k1 = static_cast<uint32_t>(key_ >> 32);
    for (int round = 0; round < 10; ++round) {
      const uint64_t p0 = kMul0 * c[0], p1 = kMul1 * c[2];
      const uint32_t c0 = static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0;
      const uint32_t c2 = static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1;
      c[1] = static_cast<uint32_t>(p1);
      c[3] = static_cast<uint32_t>(p0);
      c[0] = c0, c[2] = c2;
      k0 += kWeyl0, k1 += kWeyl1;
    }
    for (int i = 0; i < 4; ++i) block_[i] = c[i];
    ++counter_;
    used_ = 0;
  }

  uint64_t key_, stream_, counter_ = 0;
  uint32_t block_[4] = {};
  int used_ = 4;
};

Philox generator(int64_t seed) {
  if (seed != 0) return Philox(static_cast<uint64_t>(seed), 0);
  static const uint64_t key = [] {
    std::random_device device;
    return (uint64_t{device()} << 32) | device();
  }();
  static std::atomic<uint64_t> stream{0};
  return Philox(key, ++stream);
}

Result<TensorTypes> infer_random(std::string_view op, DType dtype, bool ints,
                                 const InferContext& context) {
  if (!is_float(dtype) && !(ints && is_int(dtype)))
    return invalid_argument(fmt::format("{} does not make {}", op, dtype_name(dtype)));
  const TensorType& operand = context.type(0);
  if (operand.is_list || !is_int(operand.dtype) ||
      (operand.shape.ranked() && operand.shape.rank() != 1))
    return invalid_argument(
        fmt::format("{} needs a shape as a list of integers, not {}", op, operand.to_string()));
  TensorType out{dtype, Shape::unranked()};
  if (const auto ints_known = context.ints(0)) {
    std::vector<Dim> dims;
    for (const SymInt& s : *ints_known) {
      if (s.value && *s.value < 0)
        return invalid_argument(fmt::format("{} of a shape with size {}", op, *s.value));
      dims.push_back(s.as_dim());
    }
    out.shape = Shape(std::move(dims));
  } else if (operand.shape.ranked() && operand.shape[0].known() && operand.shape[0].size() <= 64) {
    out.shape = Shape::unknown_dims(static_cast<int>(operand.shape[0].size()));
  }
  return TensorTypes{out};
}

Status allocate_random(DType dtype, EvalContext& context) {
  const std::vector<int64_t> dims = context.in(0).to_ints();
  for (const int64_t d : dims)
    if (d < 0) return invalid_argument(fmt::format("random values of a shape with size {}", d));
  return context.allocate(0, dtype, dims);
}

// In [0, 1) with as many random bits as the fraction of T has, so that neither it nor one more than
// it is rounded up to the next whole number: a dropout that keeps all is floor(1 + draw).
template <typename T>
double draw(Philox& random) {
  constexpr double kSteps = std::is_same_v<T, BFloat16> ? 0x1p7
                            : std::is_same_v<T, Half>   ? 0x1p10
                            : std::is_same_v<T, float>  ? 0x1p23
                                                        : 0x1p52;
  return std::floor(random.uniform() * kSteps) / kSteps;
}

}  // namespace

Result<TensorTypes> RandomUniform::infer(const InferContext& context) const {
  if (!(low <= high) || !std::isfinite(high - low))
    return invalid_argument(
        fmt::format("random_uniform needs finite low <= high, not {} and {}", low, high));
  return infer_random(name, dtype, true, context);
}

Status RandomUniform::eval(EvalContext& context) const {
  TRY(allocate_random(dtype, context));
  Tensor& out = context.out(0);
  Philox random = generator(seed);
  visit_real(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    T* y = out.mutable_data<T>();
    for (int64_t i = 0; i < out.elements(); ++i) {
      const double v = low + draw<T>(random) * (high - low);
      if constexpr (std::is_integral_v<T>) {
        constexpr auto kLow = static_cast<double>(std::numeric_limits<T>::min());
        constexpr auto kHigh = static_cast<double>(std::numeric_limits<T>::max());
        const double whole = std::floor(v);
        y[i] = whole <= kLow    ? std::numeric_limits<T>::min()
               : whole >= kHigh ? std::numeric_limits<T>::max()
                                : static_cast<T>(whole);
      } else {
        // Rounding to a narrow type may reach the upper end, which is excluded.
        y[i] = T(static_cast<Arithmetic<T>>(v));
        if (static_cast<double>(static_cast<Arithmetic<T>>(y[i])) >= high)
          y[i] = T(static_cast<Arithmetic<T>>(low));
      }
    }
  });
  return {};
}

Result<TensorTypes> RandomNormal::infer(const InferContext& context) const {
  return infer_random(name, dtype, false, context);
}

Status RandomNormal::eval(EvalContext& context) const {
  TRY(allocate_random(dtype, context));
  Tensor& out = context.out(0);
  Philox random = generator(seed);
  const auto normal = [&] {
    // Box-Muller; 1 - u is never 0.
    const double radius = std::sqrt(-2 * std::log(1 - random.uniform()));
    return radius * std::cos(2 * M_PI * random.uniform());
  };
  visit_float(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    T* y = out.mutable_data<T>();
    for (int64_t i = 0; i < out.elements(); ++i) {
      double v = normal();
      while (truncated && std::fabs(v) > 2) v = normal();
      y[i] = T(static_cast<Arithmetic<T>>(mean + stddev * v));
    }
  });
  return {};
}

constinit const OpDef RandomUniform::def = define<RandomUniform>();
constinit const OpDef RandomNormal::def = define<RandomNormal>();
OpDefs random_ops() {
  return {&RandomUniform::def, &RandomNormal::def};
}

}  // namespace tenon
