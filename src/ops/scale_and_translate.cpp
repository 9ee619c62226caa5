#include "ops/scale_and_translate.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "ops/movement.h"
#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {
namespace {

double radius_of(SamplingKernel kernel) {
  switch (kernel) {
    case SamplingKernel::lanczos3:
      return 3;
    case SamplingKernel::lanczos5:
      return 5;
    case SamplingKernel::gaussian:
      return 1.5;
    case SamplingKernel::keys_cubic:
    case SamplingKernel::mitchell_cubic:
      return 2;
    default:
      return 1;
  }
}

double lanczos(double x, double radius) {
  constexpr double kPi = std::numbers::pi;
  if (x <= 1e-3) return 1;
  return radius * std::sin(kPi * x) * std::sin(kPi * x / radius) / (kPi * kPi * x * x);
}

double weight_of(SamplingKernel kernel, double x) {
  x = std::abs(x);
  const double radius = radius_of(kernel);
  switch (kernel) {
    case SamplingKernel::gaussian: {
      const double sigma = radius / 3;
      return x >= radius ? 0 : std::exp(-x * x / (2 * sigma * sigma));
    }
    case SamplingKernel::box:
      return x < 0.5 ? 1 : x == 0.5 ? 0.5 : 0;
    case SamplingKernel::triangle:
      return x < 1 ? 1 - x : 0;
    case SamplingKernel::keys_cubic:
      return x >= 2 ? 0 : x >= 1 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : (1.5 * x - 2.5) * x * x + 1;
    case SamplingKernel::mitchell_cubic:
      return x >= 2   ? 0
             : x >= 1 ? ((-7.0 / 18 * x + 2) * x - 10.0 / 3) * x + 16.0 / 9
                      : (7.0 / 6 * x - 2) * x * x + 8.0 / 9;
    default:
      return x > radius ? 0 : lanczos(x, radius);
  }
}

// The pixels that one pixel of the result is made of: begin + i with weights[i].
struct Taps {
  int64_t begin = 0;
  std::vector<float> weights;
};

Result<std::vector<Taps>> taps_of(const ScaleAndTranslate& op, int64_t in, int64_t out,
                                  double scale, double translation) {
  if (!(scale > 0) || !std::isfinite(scale) || !std::isfinite(translation))
    return invalid_argument("scale_and_translate: a scale must be positive");
  std::vector<Taps> all(static_cast<size_t>(out));
  const double wider = op.antialias ? std::max(1 / scale, 1.0) : 1;
  const double reach = radius_of(op.kernel) * wider;
  const auto size = static_cast<double>(in);
  for (int64_t i = 0; i < out; ++i) {
    const double place = (static_cast<double>(i) + 0.5 - translation) / scale;
    if (!(place >= 0 && place <= size)) continue;
    Taps& taps = all[static_cast<size_t>(i)];
    taps.begin = static_cast<int64_t>(std::clamp(std::ceil(place - reach - 0.5), 0.0, size - 1));
    const auto end =
        static_cast<int64_t>(std::clamp(std::floor(place + reach - 0.5), 0.0, size - 1)) + 1;
    double total = 0;
    for (int64_t k = taps.begin; k < end; ++k) {
      const double w = weight_of(op.kernel, (static_cast<double>(k) + 0.5 - place) / wider);
      taps.weights.push_back(static_cast<float>(w));
      total += w;
    }
    if (std::abs(total) < 1000 * static_cast<double>(std::numeric_limits<float>::min())) continue;
    for (float& w : taps.weights) w = static_cast<float>(static_cast<double>(w) / total);
  }
  return all;
}

// Along the middle of three dimensions.
void resample(const float* x, float* y, int64_t outer, int64_t size, int64_t inner,
              const std::vector<Taps>& all) {
  for (int64_t o = 0; o < outer; ++o, x += size * inner)
    for (const Taps& taps : all) {
      std::fill_n(y, inner, 0.0F);
      const float* row = x + taps.begin * inner;
      for (const float w : taps.weights)
        for (int64_t i = 0; i < inner; ++i) y[i] += w * *row++;
      y += inner;
    }
}

}  // namespace

Result<TensorTypes> ScaleAndTranslate::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  if (context.dtype(0) != DType::f32 || context.dtype(2) != DType::f32 ||
      context.dtype(3) != DType::f32)
    return invalid_argument("scale_and_translate needs images, scales and translations of f32");
  TRY(nn::expect_rank(context, name, 0, 4));
  TRY(require_indices(context, 1, name, "a size", 1));
  for (const int i : {1, 2, 3}) TRY(nn::expect_vector(context, name, i, Dim(2), "rows, columns"));
  Shape shape = context.shape(0).ranked() ? context.shape(0) : Shape::unknown_dims(4);
  shape[1] = shape[2] = Dim::unknown();
  if (const auto size = context.ints(1); size && size->size() == 2)
    for (int i = 0; i < 2; ++i) {
      const SymInt& s = (*size)[static_cast<size_t>(i)];
      if (s.value && *s.value < 1) return invalid_argument("scale_and_translate: a size below 1");
      shape[i + 1] = s.as_dim();
    }
  return TensorTypes{{DType::f32, shape}};
}

Status ScaleAndTranslate::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  const auto size = context.in(1).to_ints();
  if (x.rank() != 4 || size.size() != 2 || context.in(2).elements() != 2 ||
      context.in(3).elements() != 2)
    return invalid_argument("scale_and_translate needs images of rank 4 and pairs");
  constexpr int64_t kMostPixels = int64_t{1} << 24;  // of a row or column
  if (size[0] < 1 || size[1] < 1 || x.dim(1) < 1 || x.dim(2) < 1 || size[0] > kMostPixels ||
      size[1] > kMostPixels)
    return invalid_argument("scale_and_translate: an image without pixels, or with too many");
  const int64_t dims[] = {x.dim(0), size[0], size[1], x.dim(3)};
  const int64_t between[] = {x.dim(0), size[0], x.dim(2), x.dim(3)};
  TRY(checked_elements(dims, sizeof(float)));
  std::vector<Taps> taps[2];
  for (int i = 0; i < 2; ++i)
    taps[i] = TRY(taps_of(*this, x.dim(i + 1), size[static_cast<size_t>(i)],
                          context.in(2).real_at(i), context.in(3).real_at(i)));
  Tensor rows = TRY(Tensor::allocate(DType::f32, between));
  resample(x.data<float>(), rows.mutable_data<float>(), x.dim(0), x.dim(1), x.dim(2) * x.dim(3),
           taps[0]);
  TRY(context.allocate(0, DType::f32, dims));
  resample(rows.data<float>(), context.out(0).mutable_data<float>(), x.dim(0) * size[0], x.dim(2),
           x.dim(3), taps[1]);
  return {};
}

constinit const OpDef ScaleAndTranslate::def = define<ScaleAndTranslate>();
OpDefs scale_and_translate_ops() {
  return {&ScaleAndTranslate::def};
}

}  // namespace tenon
