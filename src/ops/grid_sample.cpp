#include "ops/grid_sample.h"

#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {
namespace {

constexpr int kMaxSpatial = 8;

// x mirrored into [low, high].
double reflect(double x, double low, double high) {
  const double span = high - low;
  if (!(span > 0) || !std::isfinite(x)) return low;
  double m = std::fmod(std::abs(x - low), 2 * span);
  if (m > span) m = 2 * span - m;
  return low + m;
}

// The interpolation of Keys, with a = -0.75.
double cubic(double d) {
  constexpr double a = -0.75;
  if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
}

// Adds up all combinations of the taps of the dimensions from `d` on, for all channels.
void accumulate(const std::vector<GridTaps>& taps, std::span<const int64_t> dims, size_t d,
                int64_t offset, double weight, const double* image, std::span<double> out) {
  if (d == taps.size()) {
    const double* pixel = image + offset * static_cast<int64_t>(out.size());
    for (size_t c = 0; c < out.size(); ++c) out[c] += weight * pixel[c];
    return;
  }
  for (int k = 0; k < taps[d].count; ++k)
    if (taps[d].index[k] >= 0 && taps[d].weight[k] != 0)
      accumulate(taps, dims, d + 1, offset * dims[d] + taps[d].index[k], weight * taps[d].weight[k],
                 image, out);
}

}  // namespace

Result<TensorTypes> GridSample::infer(const InferContext& context) const {
  TRY(nn::expect_float(context, name));
  const TensorType& x = context.type(0);
  const TensorType& grid = context.type(1);
  if (grid.is_list || !is_float(grid.dtype))
    return invalid_argument("grid_sample needs a floating-point grid, not " + grid.to_string());
  TensorType y{x.dtype, Shape::unranked()};
  if (!x.shape.ranked() || !grid.shape.ranked()) return TensorTypes{y};
  const int rank = x.shape.rank();
  const auto differ = [](Dim a, Dim b) { return a.known() && b.known() && a.size() != b.size(); };
  if (rank < 3 || rank > kMaxSpatial + 2 || grid.shape.rank() != rank ||
      differ(grid.shape[rank - 1], rank - 2) || differ(grid.shape[0], x.shape[0]))
    return invalid_argument(
        fmt::format("grid_sample: {} does not address {}", grid.to_string(), x.to_string()));
  y.shape = grid.shape;
  y.shape[rank - 1] = x.shape[rank - 1];
  return TensorTypes{y};
}

GridSampler::GridSampler(const GridSample& op, int64_t size) : op_(op), size_(size) {
  low_ = op.align_corners ? 0 : -0.5;
  high_ = static_cast<double>(size) - (op.align_corners ? 1 : 0.5);
}

GridTaps GridSampler::at(double grid) const {
  const double n = static_cast<double>(size_);
  double x = op_.align_corners ? (grid + 1) / 2 * (n - 1) : ((grid + 1) * n - 1) / 2;
  // Far outside everything is alike; this also keeps indices small. NaN samples the start.
  if (!std::isfinite(x)) x = x > 0 ? 2 * n + 8 : -n - 8;
  if (op_.mode != GridMode::cubic) x = inside(x);
  x = std::clamp(x, -n - 8, 2 * n + 8);
  GridTaps taps;
  const double floor = std::floor(x);
  const auto base = static_cast<int64_t>(floor);
  const double t = x - floor;
  if (op_.mode == GridMode::nearest) {
    add(taps, static_cast<int64_t>(std::nearbyint(x)), 1);
  } else if (op_.mode == GridMode::linear) {
    add(taps, base, 1 - t);
    add(taps, base + 1, t);
  } else {
    for (int64_t k = -1; k <= 2; ++k)
      add(taps, base + k, cubic(std::abs(t - static_cast<double>(k))));
  }
  return taps;
}

double GridSampler::inside(double x) const {
  if (op_.padding == GridPadding::border) return std::clamp(x, 0.0, static_cast<double>(size_ - 1));
  return op_.padding == GridPadding::reflection ? reflect(x, low_, high_) : x;
}

void GridSampler::add(GridTaps& taps, int64_t i, double weight) const {
  if (i < 0 || i >= size_) {
    if (op_.padding == GridPadding::zeros)
      i = -1;
    else
      i = std::clamp<int64_t>(std::llrint(inside(static_cast<double>(i))), 0, size_ - 1);
  }
  taps.index[taps.count] = i;
  taps.weight[taps.count++] = weight;
}

Status GridSample::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  const Tensor& grid = context.in(1);
  const std::span<const int64_t> spatial(x.dims().data() + 1, static_cast<size_t>(x.rank() - 2));
  const int64_t channels = x.dim(x.rank() - 1);
  if (x.elements() == 0 && context.out(0).elements() > 0)
    return invalid_argument("grid_sample: the image is empty");
  std::vector<GridSampler> samplers;
  int64_t pixels = 1;
  for (const int64_t d : spatial) samplers.emplace_back(*this, d), pixels *= d;
  const std::vector<double> image = nn::reals(x);
  std::vector<double> values(static_cast<size_t>(context.out(0).elements()), 0.0);
  const size_t k = spatial.size();
  const int64_t positions = grid.elements() / static_cast<int64_t>(k);
  const int64_t per_image = x.dim(0) == 0 ? 0 : positions / x.dim(0);
  std::vector<GridTaps> taps(k);
  for (int64_t p = 0; p < positions; ++p) {
    for (size_t d = 0; d < k; ++d)
      taps[d] = samplers[d].at(
          grid.real_at((p + 1) * static_cast<int64_t>(k) - 1 - static_cast<int64_t>(d)));
    accumulate(taps, spatial, 0, 0, 1, image.data() + p / per_image * pixels * channels,
               std::span(values).subspan(static_cast<size_t>(p * channels),
                                         static_cast<size_t>(channels)));
  }
  nn::store_reals(context.out(0), values);
  return {};
}

constinit const OpDef GridSample::def = define<GridSample>();
OpDefs grid_sample_ops() {
  return {&GridSample::def};
}

}  // namespace tenon
