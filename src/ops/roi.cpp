#include "ops/roi.h"

#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {
namespace {

constexpr int64_t kMaxRatio = 256;
constexpr double kMaxSamples = 1e9;

Result<TensorTypes> infer_roi(std::string_view op, const InferContext& context, int64_t columns,
                              int64_t height, int64_t width) {
  TRY(nn::expect_float(context, op));
  TRY(nn::expect_rank(context, op, 0, 4, 4));
  TRY(nn::expect_rank(context, op, 1, 2, 2));
  const TensorType& rois = context.type(1);
  if (rois.is_list || !is_float(rois.dtype) ||
      (rois.shape.ranked() && rois.shape[1].known() && rois.shape[1].size() != columns))
    return invalid_argument(
        fmt::format("{} needs regions of {} numbers, not {}", op, columns, rois.to_string()));
  if (height < 1 || width < 1 || height > nn::kMaxExtent || width > nn::kMaxExtent)
    return invalid_argument(fmt::format("{} cannot make {} by {} cells", op, height, width));
  TensorType y{context.dtype(0), Shape{Dim::unknown(), height, width, Dim::unknown()}};
  if (rois.shape.ranked()) y.shape[0] = rois.shape[0];
  if (context.shape(0).ranked()) y.shape[3] = context.shape(0)[3];
  return TensorTypes{y};
}

// One image, channels last.
struct Image {
  const double* data;
  int64_t height, width, channels;

  // The four elements around a point with their weights; nothing when it is outside.
  struct Sample {
    int count = 0;
    int64_t offset[4];
    double weight[4];
  };
  Sample sample(double y, double x) const {
    Sample s;
    const auto row = roi_taps(y, height), column = roi_taps(x, width);
    if (!row || !column) return s;
    s.count = 4;
    const double v = row->high_weight, u = column->high_weight;
    const int64_t rows[] = {row->low, row->low, row->high, row->high};
    const int64_t columns[] = {column->low, column->high, column->low, column->high};
    const double weights[] = {(1 - v) * (1 - u), (1 - v) * u, v * (1 - u), v * u};
    for (int k = 0; k < 4; ++k) {
      s.offset[k] = (rows[k] * width + columns[k]) * channels;
      s.weight[k] = weights[k];
    }
    return s;
  }
};

// Error: x has no image `index`.
Status check_image(std::string_view op, const Tensor& x, int64_t index) {
  if (index < 0 || index >= x.dim(0))
    return invalid_argument(fmt::format("{}: there is no image {} of {}", op, index, x.dim(0)));
  if (x.dim(1) * x.dim(2) == 0 && x.dim(3) != 0)
    return invalid_argument(std::string(op) + ": the images are empty");
  return {};
}

// The image `index` of x, whose elements are `values`.
Image image_of(const Tensor& x, const std::vector<double>& values, int64_t index) {
  return {values.data() + index * x.dim(1) * x.dim(2) * x.dim(3), x.dim(1), x.dim(2), x.dim(3)};
}

void align_cell(const Image& image, RoiMode mode, const RoiSamples& rows, const RoiSamples& columns,
                std::span<double> out) {
  const auto [top, bottom] = rows.inside(image.height);
  const auto [left, right] = columns.inside(image.width);
  const double all = static_cast<double>(rows.count) * static_cast<double>(columns.count);
  // Samples outside of the image are 0, also for the maximum.
  bool first = static_cast<double>((bottom - top) * (right - left)) == all;
  for (int64_t i = top; i < bottom; ++i)
    for (int64_t j = left; j < right; ++j) {
      const Image::Sample s = image.sample(rows.at(i), columns.at(j));
      for (size_t c = 0; c < out.size(); ++c) {
        double sum = 0, most = 0;
        for (int k = 0; k < s.count; ++k) {
          const double part = s.weight[k] * image.data[s.offset[k] + static_cast<int64_t>(c)];
          sum += part;
          most = k == 0 ? part : std::max(most, part);
        }
        // The maximum is over the weighted elements, as ONNX defines it.
        if (mode == RoiMode::avg)
          out[c] += sum;
        else
          out[c] = first ? most : std::max(out[c], most);
      }
      first = false;
    }
  if (mode == RoiMode::avg)
    for (double& v : out) v /= std::max(all, 1.0);
}

}  // namespace

std::pair<int64_t, int64_t> RoiSamples::inside(int64_t size) const {
  if (!(step > 0)) return {0, std::min(count, kMaxRatio)};
  const double most = static_cast<double>(count);
  const double low = std::floor((-1 - from) / step - 0.5);
  const double high = std::ceil((static_cast<double>(size) - from) / step + 0.5);
  if (std::isnan(low) || std::isnan(high)) return {0, 0};
  return {static_cast<int64_t>(std::clamp(low, 0.0, most)),
          static_cast<int64_t>(std::clamp(high, 0.0, most))};
}

std::optional<RoiTaps> roi_taps(double position, int64_t size) {
  if (!(position >= -1 && position <= static_cast<double>(size))) return std::nullopt;
  const double v = std::max(position, 0.0);
  const auto low = static_cast<int64_t>(v);
  if (low >= size - 1) return RoiTaps{size - 1, size - 1, 0};
  return RoiTaps{low, low + 1, v - static_cast<double>(low)};
}

Result<TensorTypes> RoiAlign::infer(const InferContext& context) const {
  if (context.type(2).is_list || !is_int(context.dtype(2)))
    return invalid_argument("roi_align needs integers for the images of the regions, not " +
                            context.type(2).to_string());
  TRY(nn::expect_rank(context, name, 2, 1, 1));
  if (sampling_ratio < 0 || sampling_ratio > kMaxRatio)
    return invalid_argument(fmt::format("roi_align needs a sampling_ratio from 0 to {}, not {}",
                                        kMaxRatio, sampling_ratio));
  return infer_roi(name, context, 4, output_height, output_width);
}

Status RoiAlign::check_images(const Tensor& x, const Tensor& rois, const Tensor& images) const {
  if (images.elements() != rois.dim(0))
    return invalid_argument("roi_align needs the number of an image for each region");
  for (int64_t r = 0; r < rois.dim(0); ++r) TRY(check_image(name, x, images.int_at(r)));
  return {};
}

RoiCells RoiAlign::cells(const Tensor& rois, int64_t region) const {
  const auto edge = [&](int64_t k) {
    return rois.real_at(region * 4 + k) * spatial_scale - (half_pixel ? 0.5 : 0);
  };
  RoiCells cells{edge(1), edge(0), 0, 0};
  double width = edge(2) - cells.left, height = edge(3) - cells.top;
  if (!half_pixel) width = std::max(width, 1.0), height = std::max(height, 1.0);
  cells.height = height / static_cast<double>(output_height);
  cells.width = width / static_cast<double>(output_width);
  return cells;
}

RoiSamples RoiAlign::samples(double start, double cell) const {
  int64_t count = sampling_ratio;
  // What is no number has no samples.
  if (count == 0 && cell > 0) count = static_cast<int64_t>(std::min(std::ceil(cell), kMaxSamples));
  return {start, cell / static_cast<double>(std::max<int64_t>(count, 1)), count};
}

Status RoiAlign::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  const Tensor& rois = context.in(1);
  const Tensor& images = context.in(2);
  TRY(check_images(x, rois, images));
  const auto channels = static_cast<size_t>(x.dim(3));
  const std::vector<double> values = nn::reals(x);
  std::vector<double> out(static_cast<size_t>(context.out(0).elements()), 0.0);
  size_t at = 0;
  for (int64_t r = 0; r < rois.dim(0); ++r) {
    const Image image = image_of(x, values, images.int_at(r));
    const RoiCells c = cells(rois, r);
    for (int64_t i = 0; i < output_height; ++i)
      for (int64_t j = 0; j < output_width; ++j, at += channels)
        align_cell(image, mode, samples(c.top + static_cast<double>(i) * c.height, c.height),
                   samples(c.left + static_cast<double>(j) * c.width, c.width),
                   std::span(out).subspan(at, channels));
  }
  nn::store_reals(context.out(0), out);
  return {};
}

Result<TensorTypes> MaxRoiPool::infer(const InferContext& context) const {
  return infer_roi(name, context, 5, output_height, output_width);
}

RoiBins::Range RoiBins::range(double start, double extent, int64_t i, int64_t size) {
  const auto bound = [size](double v) {
    return static_cast<int64_t>(std::clamp(v, 0.0, static_cast<double>(size)));
  };
  return {bound(std::floor(static_cast<double>(i) * extent) + start),
          bound(std::ceil(static_cast<double>(i + 1) * extent) + start)};
}

Result<RoiBins> MaxRoiPool::bins(const Tensor& x, const Tensor& rois, int64_t region) const {
  const double number = rois.real_at(region * 5);
  RoiBins bins;
  bins.image = number >= 0 && number < 1e9 ? static_cast<int64_t>(number) : -1;
  TRY(check_image(name, x, bins.image));
  const auto edge = [&](int64_t k) {
    return std::clamp(std::round(rois.real_at(region * 5 + k) * spatial_scale), -1e9, 1e9);
  };
  bins.left = edge(1), bins.top = edge(2);
  bins.cell_width = std::max(edge(3) - bins.left + 1, 1.0) / static_cast<double>(output_width);
  bins.cell_height = std::max(edge(4) - bins.top + 1, 1.0) / static_cast<double>(output_height);
  return bins;
}

Status MaxRoiPool::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  const Tensor& rois = context.in(1);
  const std::vector<double> values = nn::reals(x);
  std::vector<double> out(static_cast<size_t>(context.out(0).elements()), 0.0);
  const int64_t channels = x.dim(3);
  int64_t at = 0;
  for (int64_t r = 0; r < rois.dim(0); ++r) {
    const RoiBins cells = TRY(bins(x, rois, r));
    const Image image = image_of(x, values, cells.image);
    for (int64_t i = 0; i < output_height; ++i)
      for (int64_t j = 0; j < output_width; ++j, at += channels) {
        const auto [y0, y1] = cells.rows(i, image.height);
        const auto [x0, x1] = cells.columns(j, image.width);
        if (y0 >= y1 || x0 >= x1) continue;
        for (int64_t c = 0; c < channels; ++c) {
          double most = -std::numeric_limits<double>::infinity();
          for (int64_t v = y0; v < y1; ++v)
            for (int64_t u = x0; u < x1; ++u)
              most = std::max(most, image.data[(v * image.width + u) * channels + c]);
          out[static_cast<size_t>(at + c)] = most;
        }
      }
  }
  nn::store_reals(context.out(0), out);
  return {};
}

constinit const OpDef RoiAlign::def = define<RoiAlign>();
constinit const OpDef MaxRoiPool::def = define<MaxRoiPool>();
OpDefs roi_ops() {
  return {&RoiAlign::def, &MaxRoiPool::def};
}

}  // namespace tenon
