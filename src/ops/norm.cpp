// Shape inference and reference evaluation of the normalisation ops.
#include "ops/norm.h"

#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {
namespace {

// Per-channel vectors beside x [..., C]; they may be f32 beside a 16-bit x.
Result<TensorTypes> infer_channels(const InferContext& context, std::string_view op, int rank,
                                   std::initializer_list<int> vectors) {
  TRY(nn::expect_float(context, op));
  TRY(nn::expect_same_dtype(context, op, vectors, true));
  TRY(nn::expect_rank(context, op, 0, rank, nn::kAnyRank));
  TensorType out = context.type(0);
  Dim channels = Dim::unknown();
  if (out.shape.ranked()) channels = out.shape[out.shape.rank() - 1];
  for (const int i : vectors) {
    TRY(nn::expect_vector(context, op, i, channels, "one value per channel"));
    if (context.shape(i).ranked()) channels = nn::known_of(channels, context.shape(i)[0]);
  }
  if (out.shape.ranked()) out.shape[out.shape.rank() - 1] = channels;
  return TensorTypes{out};
}

Result<TensorTypes> infer_trailing(const InferContext& context, std::string_view op, int64_t axis) {
  TRY(nn::expect_float(context, op));
  TRY(nn::expect_same_dtype(context, op, {1, 2}, true));
  TRY(nn::expect_rank(context, op, 0, 1, nn::kAnyRank));
  const TensorType& out = context.type(0);
  if (out.shape.ranked()) (void)TRY(normalize_axis(axis, out.shape.rank()));
  TRY(nn::expect_broadcastable(context, op, 1, out.shape));
  TRY(nn::expect_broadcastable(context, op, 2, out.shape));
  return TensorTypes{out};
}

// Normalises `values` in rows of the trailing axes, then applies gamma and beta.
Status eval_trailing(EvalContext& context, int64_t axis, double epsilon, bool rms) {
  const Tensor& x = context.in(0);
  Tensor& y = context.out(0);
  auto values = nn::reals(x);
  int64_t cols = 1;
  for (int i = TRY(normalize_axis(axis, x.rank())); i < x.rank(); ++i) cols *= x.dim(i);
  for (int64_t first = 0; cols > 0 && first < x.elements(); first += cols) {
    double* row = values.data() + first;
    double mean = 0, square = 0;
    for (int64_t i = 0; !rms && i < cols; ++i) mean += row[i] / static_cast<double>(cols);
    for (int64_t i = 0; i < cols; ++i)
      square += (row[i] - mean) * (row[i] - mean) / static_cast<double>(cols);
    const double scale = 1 / std::sqrt(square + epsilon);
    for (int64_t i = 0; i < cols; ++i) row[i] = (row[i] - mean) * scale;
  }
  for (const int operand : {1, 2}) {
    if (!context.has(operand)) continue;
    const auto parameter = nn::reals(context.in(operand));
    const auto strides = nn::broadcast_strides(context.in(operand).dims(), x.dims());
    for (size_t i = 0; i < values.size(); ++i) {
      const double p =
          parameter[static_cast<size_t>(nn::offset_of(static_cast<int64_t>(i), x.dims(), strides))];
      values[i] = operand == 1 ? values[i] * p : values[i] + p;
    }
  }
  nn::store_reals(y, values);
  return {};
}

// x [N, pixels, groups, C / groups] normalised over pixels and the channels of a group.
void eval_groups(EvalContext& context, int64_t groups, double epsilon) {
  const Tensor& x = context.in(0);
  auto values = nn::reals(x);
  const auto scale = nn::reals(context.in(1)), bias = nn::reals(context.in(2));
  const int64_t c = x.dim(x.rank() - 1), width = groups > 0 ? c / groups : 0;
  int64_t pixels = 1;
  for (int i = 1; i < x.rank() - 1; ++i) pixels *= x.dim(i);
  const double count = static_cast<double>(pixels * width);
  for (int64_t n = 0; n < x.dim(0); ++n)
    for (int64_t g = 0; g < groups; ++g) {
      double* first = values.data() + n * pixels * c + g * width;
      double mean = 0, variance = 0;
      for (int64_t p = 0; p < pixels; ++p)
        for (int64_t i = 0; i < width; ++i) mean += first[p * c + i] / count;
      for (int64_t p = 0; p < pixels; ++p)
        for (int64_t i = 0; i < width; ++i) {
          const double d = first[p * c + i] - mean;
          variance += d * d / count;
        }
      const double factor = 1 / std::sqrt(variance + epsilon);
      for (int64_t p = 0; p < pixels; ++p)
        for (int64_t i = 0; i < width; ++i) {
          const auto channel = static_cast<size_t>(g * width + i);
          double& v = first[p * c + i];
          v = (v - mean) * factor * scale[channel] + bias[channel];
        }
    }
  nn::store_reals(context.out(0), values);
}

int64_t per_element(int64_t n, std::span<const TensorType> out) {
  return n * out[0].shape.elements().value_or(0);
}

}  // namespace

Result<TensorTypes> BatchNorm::infer(const InferContext& context) const {
  return infer_channels(context, name, 1, {1, 2, 3, 4});
}

Status BatchNorm::eval(EvalContext& context) const {
  auto values = nn::reals(context.in(0));
  const auto scale = nn::reals(context.in(1)), offset = nn::reals(context.in(2)),
             mean = nn::reals(context.in(3)), variance = nn::reals(context.in(4));
  for (size_t i = 0; i < values.size(); ++i) {
    const size_t c = i % scale.size();
    values[i] = (values[i] - mean[c]) / std::sqrt(variance[c] + epsilon) * scale[c] + offset[c];
  }
  nn::store_reals(context.out(0), values);
  return {};
}

int64_t BatchNorm::flops(std::span<const TensorType>, std::span<const TensorType> out) const {
  return per_element(2, out);
}

Result<TensorTypes> LayerNorm::infer(const InferContext& context) const {
  return infer_trailing(context, name, axis);
}
Status LayerNorm::eval(EvalContext& context) const {
  return eval_trailing(context, axis, epsilon, false);
}
int64_t LayerNorm::flops(std::span<const TensorType>, std::span<const TensorType> out) const {
  return per_element(8, out);
}

Result<TensorTypes> RmsNorm::infer(const InferContext& context) const {
  return infer_trailing(context, name, axis);
}
Status RmsNorm::eval(EvalContext& context) const {
  return eval_trailing(context, axis, epsilon, true);
}
int64_t RmsNorm::flops(std::span<const TensorType>, std::span<const TensorType> out) const {
  return per_element(4, out);
}

Result<TensorTypes> InstanceNorm::infer(const InferContext& context) const {
  return infer_channels(context, name, 2, {1, 2});
}
Status InstanceNorm::eval(EvalContext& context) const {
  eval_groups(context, context.in(1).elements(), epsilon);
  return {};
}
int64_t InstanceNorm::flops(std::span<const TensorType>, std::span<const TensorType> out) const {
  return per_element(8, out);
}

Result<TensorTypes> GroupNorm::infer(const InferContext& context) const {
  TensorTypes out = TRY(infer_channels(context, name, 2, {1, 2}));
  if (groups < 1)
    return invalid_argument(fmt::format("group_norm groups must be positive, not {}", groups));
  const Shape& s = out[0].shape;
  if (s.ranked() && s[s.rank() - 1].known() && s[s.rank() - 1].size() % groups != 0)
    return invalid_argument(
        fmt::format("group_norm cannot split the {} channels of {} into {} groups",
                    s[s.rank() - 1].size(), s.to_string(), groups));
  return out;
}
Status GroupNorm::eval(EvalContext& context) const {
  eval_groups(context, groups, epsilon);
  return {};
}
int64_t GroupNorm::flops(std::span<const TensorType>, std::span<const TensorType> out) const {
  return per_element(8, out);
}

Result<TensorTypes> Lrn::infer(const InferContext& context) const {
  TRY(nn::expect_float(context, name));
  TRY(nn::expect_rank(context, name, 0, 1, nn::kAnyRank));
  if (size < 1) return invalid_argument(fmt::format("lrn size must be positive, not {}", size));
  return TensorTypes{context.type(0)};
}

Status Lrn::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  const auto in = nn::reals(x);
  std::vector<double> values(in.size());
  const int64_t c = x.dim(x.rank() - 1), before = std::min((size - 1) / 2, c),
                after = std::min(size - 1 - (size - 1) / 2, c);
  for (int64_t i = 0; i < x.elements(); ++i) {
    const int64_t channel = i % c, first = std::max<int64_t>(channel - before, 0),
                  last = std::min(channel + after, c - 1);
    double sum = 0;
    for (int64_t k = first; k <= last; ++k) {
      const double v = in[static_cast<size_t>(i - channel + k)];
      sum += v * v;
    }
    values[static_cast<size_t>(i)] =
        in[static_cast<size_t>(i)] / std::pow(bias + alpha / static_cast<double>(size) * sum, beta);
  }
  nn::store_reals(context.out(0), values);
  return {};
}

constinit const OpDef BatchNorm::def = define<BatchNorm>();
constinit const OpDef LayerNorm::def = define<LayerNorm>();
constinit const OpDef RmsNorm::def = define<RmsNorm>();
constinit const OpDef InstanceNorm::def = define<InstanceNorm>();
constinit const OpDef GroupNorm::def = define<GroupNorm>();
constinit const OpDef Lrn::def = define<Lrn>();
OpDefs norm_ops() {
  return {&BatchNorm::def,    &LayerNorm::def, &RmsNorm::def,
          &InstanceNorm::def, &GroupNorm::def, &Lrn::def};
}

}  // namespace tenon
