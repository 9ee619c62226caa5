#include "ops/mel_weights.h"

#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {
namespace {

constexpr int64_t kMost = int64_t{1} << 24;

Result<int64_t> count_of(int64_t value, std::string_view what) {
  if (value < 0 || value > kMost)
    return invalid_argument(
        fmt::format("mel_weights needs {} from 0 to {}, not {}", what, kMost, value));
  return value;
}

}  // namespace

Result<TensorTypes> MelWeights::infer(const InferContext& context) const {
  for (int i = 0; i < 5; ++i) {
    const TensorType& t = context.type(i);
    const bool fits = !t.is_list && (is_int(t.dtype) || (i > 2 && is_float(t.dtype)));
    if (!fits || t.shape.elements().value_or(1) != 1)
      return invalid_argument(
          fmt::format("mel_weights needs operand {} to be one number, not {}", i, t.to_string()));
  }
  if (!is_float(dtype) && !is_int(dtype))
    return invalid_argument(fmt::format("mel_weights does not make {}", dtype_name(dtype)));
  Dim bins = Dim::unknown(), frequencies = Dim::unknown();
  if (const auto n = context.known_ints(0); n && n->size() == 1)
    bins = TRY(count_of((*n)[0], "num_bins"));
  if (const auto n = context.known_ints(1); n && n->size() == 1)
    frequencies = TRY(count_of((*n)[0], "dft_length")) / 2 + 1;
  return TensorTypes{{dtype, Shape{frequencies, bins}}};
}

Status MelWeights::eval(EvalContext& context) const {
  const int64_t bins = TRY(count_of(context.in(0).int_at(0), "num_bins"));
  const int64_t length = TRY(count_of(context.in(1).int_at(0), "dft_length"));
  const double rate = context.in(2).real_at(0);
  const auto mel = [](double hertz) { return 2595 * std::log10(1 + hertz / 700); };
  const double low = mel(context.in(3).real_at(0)), high = mel(context.in(4).real_at(0));
  const int64_t frequencies = length / 2 + 1;
  const int64_t dims[] = {frequencies, bins};
  TRY(checked_elements(dims, sizeof(double)));
  TRY(context.allocate(0, dtype, dims));
  // The frequency of the transform where triangle i begins; it peaks at point i + 1.
  const auto point = [&](int64_t i) {
    const double m = low + (high - low) * static_cast<double>(i) / static_cast<double>(bins + 2);
    const double hertz = 700 * (std::pow(10, m / 2595) - 1);
    const double at = std::floor(static_cast<double>(length + 1) * hertz / rate);
    return std::isfinite(at) ? std::clamp(at, -1e9, 1e9) : 0.0;
  };
  std::vector<double> weights(static_cast<size_t>(frequencies * bins), 0.0);
  for (int64_t b = 0; b < bins; ++b) {
    const double from = point(b), peak = point(b + 1), to = point(b + 2);
    for (int64_t f = 0; f < frequencies; ++f) {
      const double x = static_cast<double>(f);
      double w = 0;
      if (x == peak)
        w = 1;
      else if (x >= from && x < peak)
        w = (x - from) / (peak - from);
      else if (x > peak && x < to)
        w = (to - x) / (to - peak);
      weights[static_cast<size_t>(f * bins + b)] = w;
    }
  }
  nn::store_reals(context.out(0), weights);
  return {};
}

constinit const OpDef MelWeights::def = define<MelWeights>();
OpDefs mel_weights_ops() {
  return {&MelWeights::def};
}

}  // namespace tenon
