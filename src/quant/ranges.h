// From the statistics of a tensor to the range that its 8-bit integers stand for.
#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "quant/statistics.h"

namespace tenon::quant {

enum class Method : uint8_t { automatic, min_max, moving_average, percentile, entropy, mse, aciq };

struct MethodInfo {
  std::string_view name;
  std::string_view doc;
};
// In the order of Method.
inline constexpr std::array<MethodInfo, 7> kMethodInfos{{
    {"auto", "of the methods below, per tensor the one with the least error at the outputs"},
    {"minmax", "all values seen"},
    {"moving-average", "the average of the batches' extremes, later ones counting more"},
    {"percentile", "all but 0.005 % of the values at either end"},
    {"entropy", "the least Kullback-Leibler divergence from the values seen"},
    {"mse", "the least mean squared error"},
    {"aciq", "the least mean squared error of a normal or Laplace distribution fitted"},
}};
constexpr std::string_view method_name(Method method) {
  return kMethodInfos[static_cast<size_t>(method)].name;
}
// What to say of a name that is none of them.
std::string no_such_method(std::string_view name);
std::optional<Method> method_of(std::string_view name);

struct Range {
  double low = 0;
  double high = 0;
  Method method = Method::min_max;  // what it was chosen by
};

// real = (integer - zero) * scale, integers of 0 to 255.
struct QuantParams {
  float scale = 1;
  int32_t zero = 0;
};

// The parameters under which 256 integers cover the range, which is widened to hold 0: 0 is exact.
QuantParams params_of(const Range& range);

// Never empty: holds 0. Values that are clipped are inside of the extremes seen.
Range choose_range(const TensorStatistics& statistics, Method method);

// The mean squared error that these parameters cause on the values seen.
double expected_error(const TensorStatistics& statistics, const QuantParams& params);
// The part of the values that lie outside of what the integers can stand for.
double saturation(const TensorStatistics& statistics, const QuantParams& params);

}  // namespace tenon::quant
