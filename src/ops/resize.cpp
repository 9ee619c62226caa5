// Shape inference and reference evaluation of resize: each axis in turn is a weighted sum.
#include "ops/resize.h"

#include <numbers>

#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {
namespace {

// Sizes per axis: a kernel holds the places and weights of every output element along each.
constexpr int64_t kMaxResized = int64_t{1} << 23;

// Where output element o of spatial axis `axis` lies in the input.
double position(const Resize& op, size_t axis, int64_t o, int64_t in, int64_t out) {
  const double scale = axis < op.scales.size() ? op.scales[axis] : 0;
  const double x = static_cast<double>(o), n = static_cast<double>(in),
               m = static_cast<double>(out);
  // Division by the scale in one step where it is out / in, which keeps exact ratios exact.
  const auto unscale = [&](double v) { return scale > 0 ? v / scale : v * n / m; };
  switch (op.coordinate) {
    case ResizeCoordinate::half_pixel:
      return unscale(x + 0.5) - 0.5;
    case ResizeCoordinate::align_corners:
      return out == 1 ? 0 : x * (n - 1) / (m - 1);
    case ResizeCoordinate::asymmetric:
      return unscale(x);
    case ResizeCoordinate::pytorch_half_pixel:
      return out == 1 ? 0 : unscale(x + 0.5) - 0.5;
    case ResizeCoordinate::half_pixel_symmetric: {
      const double adjustment = scale > 0 ? m / (scale * n) : 1;
      return n / 2 * (1 - adjustment) + unscale(x + 0.5) - 0.5;
    }
    case ResizeCoordinate::tf_half_pixel_for_nn:
      return unscale(x + 0.5);
    case ResizeCoordinate::tf_crop_and_resize: {
      const double from = op.roi[axis] * (n - 1), to = op.roi[axis + op.roi.size() / 2] * (n - 1);
      return out == 1 ? (from + to) / 2 : from + x * (to - from) / (m - 1);
    }
  }
  return 0;
}

double round_nearest(NearestRounding rounding, double x) {
  switch (rounding) {
    case NearestRounding::floor:
      return std::floor(x);
    case NearestRounding::ceil:
      return std::ceil(x);
    case NearestRounding::round_prefer_floor:
      return std::ceil(x - 0.5);
    case NearestRounding::round_prefer_ceil:
      return std::floor(x + 0.5);
  }
  return x;
}

// How far the interpolation kernel reaches.
double radius(ResizeMode mode) {
  switch (mode) {
    case ResizeMode::lanczos3:
      return 3;
    case ResizeMode::lanczos5:
      return 5;
    case ResizeMode::gaussian:
      return 1.5;
    case ResizeMode::cubic:
    case ResizeMode::mitchell:
      return 2;
    default:
      return 1;
  }
}

double lanczos(double reach, double d) {
  if (d > reach) return 0;
  if (d <= 1e-3) return 1;
  const double x = std::numbers::pi * d;
  return reach * std::sin(x) * std::sin(x / reach) / (x * x);
}

// The interpolation kernel at distance d.
double filter(ResizeMode mode, double a, double d) {
  d = std::abs(d);
  switch (mode) {
    case ResizeMode::lanczos3:
    case ResizeMode::lanczos5:
      return lanczos(radius(mode), d);
    case ResizeMode::gaussian:  // of deviation 1/2
      return d < 1.5 ? std::exp(-2 * d * d) : 0;
    case ResizeMode::mitchell:
      if (d < 1) return (7.0 / 6 * d - 2) * d * d + 8.0 / 9;
      return d < 2 ? ((-7.0 / 18 * d + 2) * d - 10.0 / 3) * d + 16.0 / 9 : 0;
    case ResizeMode::cubic:
      if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
      return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
    default:
      return d < 1 ? 1 - d : 0;
  }
}

// The position as TensorFlow computes it for its table of cubic weights.
double stepped_position(const Resize& op, int64_t o, int64_t in, int64_t out) {
  const bool align = op.coordinate == ResizeCoordinate::align_corners && out > 1;
  const float scale =
      static_cast<float>(align ? in - 1 : in) / static_cast<float>(align ? out - 1 : out);
  const auto place = static_cast<float>(o);
  const float x =
      op.coordinate == ResizeCoordinate::half_pixel ? (place + 0.5f) * scale - 0.5f : place * scale;
  const float whole = std::floor(x);
  const auto steps = static_cast<double>(op.cubic_steps);
  return static_cast<double>(whole) +
         std::nearbyint(static_cast<double>(x - whole) * steps) / steps;
}

}  // namespace

ResizeTaps Resize::taps(size_t axis, int64_t o, int64_t in, int64_t out) const {
  ResizeTaps taps;
  const double scale = axis < scales.size() ? scales[axis] : 0;
  const double ratio = scale > 0 ? scale : static_cast<double>(out) / static_cast<double>(in);
  if (mode == ResizeMode::area) {
    const bool align = coordinate == ResizeCoordinate::align_corners && out > 1 && in > 1;
    const double step =
        static_cast<double>(align ? in - 1 : in) / static_cast<double>(align ? out - 1 : out);
    const double from = static_cast<double>(o) * step, to = static_cast<double>(o + 1) * step;
    for (auto i = static_cast<int64_t>(std::floor(from)); static_cast<double>(i) < to; ++i) {
      const double w =
          std::min(to, static_cast<double>(i + 1)) - std::max(from, static_cast<double>(i));
      taps.add(std::clamp<int64_t>(i, 0, in - 1), w / step);
    }
    return taps;
  }
  const double limit = static_cast<double>(in) + 4;
  const bool stepped = mode == ResizeMode::cubic && cubic_steps > 0;
  const double x =
      std::clamp(stepped ? stepped_position(*this, o, in, out) : position(*this, axis, o, in, out),
                 -limit, 2 * limit);
  if (mode == ResizeMode::nearest) {
    const double i = round_nearest(nearest_rounding, x);
    taps.add(static_cast<int64_t>(std::clamp(i, 0.0, static_cast<double>(in - 1))), 1);
    return taps;
  }
  const double shrink = antialias ? std::clamp(ratio, 1.0 / limit, 1.0) : 1;
  const double reach = radius(mode) / shrink;
  double sum = 0;
  for (auto i = static_cast<int64_t>(std::ceil(x - reach)); static_cast<double>(i) <= x + reach;
       ++i) {
    const double w = filter(mode, cubic_coeff, (static_cast<double>(i) - x) * shrink);
    if (w == 0 || (exclude_outside && (i < 0 || i >= in))) continue;
    taps.add(std::clamp<int64_t>(i, 0, in - 1), w);
    sum += w;
  }
  if (sum != 0)
    for (double& w : taps.weight) w /= sum;
  return taps;
}

bool Resize::keeps(size_t axis, int64_t in, int64_t out) const {
  if (in != out || coordinate == ResizeCoordinate::tf_crop_and_resize) return false;
  for (int64_t o = 0; o < out; ++o) {
    const ResizeTaps t = taps(axis, o, in, out);
    if (t.index.size() != 1 || t.index[0] != o || t.weight[0] != 1) return false;
  }
  return true;
}

namespace {

void eval_nearest(const Resize& op, const Tensor& x, Tensor& y) {
  const int rank = x.rank();
  std::vector<std::vector<int64_t>> sources(static_cast<size_t>(rank));
  for (int a = 0; a < rank; ++a) {
    auto& list = sources[static_cast<size_t>(a)];
    if (a == 0 || a == rank - 1)
      for (int64_t i = 0; i < x.dim(a); ++i) list.push_back(i);
    else
      for (int64_t o = 0; o < y.dim(a); ++o)
        list.push_back(op.taps(static_cast<size_t>(a) - 1, o, x.dim(a), y.dim(a)).index[0]);
  }
  visit_storage(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* in = static_cast<const T*>(x.raw());
    T* out = static_cast<T*>(y.mutable_raw());
    for (int64_t e = 0; e < y.elements(); ++e) {
      int64_t rest = e, offset = 0, step = 1;
      for (int a = rank - 1; a >= 0; --a) {
        offset += sources[static_cast<size_t>(a)][static_cast<size_t>(rest % y.dim(a))] * step;
        rest /= y.dim(a), step *= x.dim(a);
      }
      out[e] = in[offset];
    }
  });
}

// What lies outside the input along any axis gets the value for it.
void extrapolate(const Resize& op, const std::vector<int64_t>& in, Tensor& y) {
  std::vector<std::vector<bool>> outside(in.size());
  for (size_t a = 0; a < in.size(); ++a) {
    const int64_t out = y.dim(static_cast<int>(a));
    outside[a].assign(static_cast<size_t>(out), false);
    if (a == 0 || a + 1 == in.size()) continue;
    for (int64_t o = 0; o < out; ++o) {
      const double x = position(op, a - 1, o, in[a], out);
      outside[a][static_cast<size_t>(o)] = !(x >= 0 && x <= static_cast<double>(in[a] - 1));
    }
  }
  visit_real(y.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    T* out = y.mutable_data<T>();
    for (int64_t e = 0; e < y.elements(); ++e) {
      int64_t rest = e;
      bool is_outside = false;
      for (size_t a = in.size(); a-- > 0; rest /= y.dim(static_cast<int>(a)))
        is_outside |= outside[a][static_cast<size_t>(rest % y.dim(static_cast<int>(a)))];
      if (is_outside) out[e] = nn::from_real<T>(op.extrapolation_value);
    }
  });
}

}  // namespace

Result<TensorTypes> Resize::infer(const InferContext& context) const {
  TensorType out = context.type(0);
  if (mode != ResizeMode::nearest) TRY(nn::expect_float(context, name));
  if (out.is_list) return invalid_argument("resize needs a tensor, not a list");
  TRY(nn::expect_rank(context, name, 0, 3, nn::kAnyRank));
  if (!is_int(context.dtype(1)))
    return invalid_argument(
        fmt::format("resize: the sizes must be integers, not {}", context.type(1).to_string()));
  if (cubic_steps < 0 || cubic_steps > nn::kMaxExtent)
    return invalid_argument(fmt::format("resize: {} steps are out of range", cubic_steps));
  for (const double s : scales)
    if (!(s > 0) || !std::isfinite(s))
      return invalid_argument(fmt::format("resize: scales must be positive, not {}", s));
  const auto sizes = context.ints(1);
  const Shape& count = context.shape(1);
  int spatial = out.shape.ranked() ? out.shape.rank() - 2 : -1;
  if (spatial < 0 && sizes) spatial = static_cast<int>(sizes->size());
  if (spatial < 0 && count.ranked() && count.rank() == 1 && count[0].known() &&
      count[0].size() <= 64)
    spatial = static_cast<int>(count[0].size());
  if (spatial < 0) return TensorTypes{out};
  TRY(nn::expect_vector(context, name, 1, spatial, "one size per spatial dimension"));
  if (!scales.empty() && scales.size() != static_cast<size_t>(spatial))
    return invalid_argument(fmt::format("resize needs {} scales, not {}", spatial, scales.size()));
  if (coordinate == ResizeCoordinate::tf_crop_and_resize) {
    if (!roi.empty() && roi.size() != 2 * static_cast<size_t>(spatial))
      return invalid_argument(
          fmt::format("resize needs a region of {} numbers, not {}", 2 * spatial, roi.size()));
    if (!is_float(out.dtype) && !is_int(out.dtype))
      return invalid_argument("resize crops numbers, not " + out.to_string());
  }
  if (!out.shape.ranked()) out.shape = Shape::unknown_dims(spatial + 2);
  for (int i = 0; i < spatial; ++i) {
    const SymInt s = sizes ? (*sizes)[static_cast<size_t>(i)] : SymInt{};
    if (s.value && (*s.value < 0 || *s.value > kMaxResized))
      return invalid_argument(
          fmt::format("resize: a size of {} is out of range 0..{}", *s.value, kMaxResized));
    const Dim in = out.shape[i + 1];
    if (in.known() && in.size() == 0 && s.as_dim() != Dim(0))
      return invalid_argument(
          fmt::format("resize: the input {} has nothing to sample", context.shape(0).to_string()));
    out.shape[i + 1] = s.as_dim();
  }
  return TensorTypes{out};
}

Status Resize::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  std::vector<int64_t> dims = x.dims();
  for (int64_t i = 0; i < context.in(1).elements(); ++i)
    dims[static_cast<size_t>(i) + 1] = context.in(1).int_at(i);
  if (!context.out(0).defined()) TRY(context.allocate(0, x.dtype(), dims));
  Tensor& y = context.out(0);
  const bool crops = coordinate == ResizeCoordinate::tf_crop_and_resize;
  if (crops && roi.size() != 2 * (dims.size() - 2))
    return invalid_argument("resize needs a region of two numbers per spatial dimension");
  if (mode == ResizeMode::nearest) {
    eval_nearest(*this, x, y);
    if (crops) extrapolate(*this, x.dims(), y);
    return {};
  }
  auto values = nn::reals(x);
  std::vector<int64_t> now = x.dims();
  for (size_t a = 1; a + 1 < dims.size(); ++a) {
    const int64_t in = now[a], out = dims[a];
    int64_t outer = 1, inner = 1;
    for (size_t i = 0; i < a; ++i) outer *= now[i];
    for (size_t i = a + 1; i < now.size(); ++i) inner *= now[i];
    // A middle step can be larger than both ends.
    now[a] = out;
    const int64_t size = TRY(checked_elements(now, sizeof(double)));
    std::vector<double> next(static_cast<size_t>(size));
    for (int64_t o = 0; o < out; ++o) {
      const ResizeTaps t = taps(a - 1, o, in, out);
      for (int64_t n = 0; n < outer; ++n) {
        double* to = next.data() + (n * out + o) * inner;
        for (size_t k = 0; k < t.index.size(); ++k) {
          const double* from = values.data() + (n * in + t.index[k]) * inner;
          for (int64_t i = 0; i < inner; ++i) to[i] += t.weight[k] * from[i];
        }
      }
    }
    values = std::move(next);
  }
  nn::store_reals(y, values);
  if (crops) extrapolate(*this, x.dims(), y);
  return {};
}

constinit const OpDef Resize::def = define<Resize>();
OpDefs resize_ops() {
  return {&Resize::def};
}

}  // namespace tenon
