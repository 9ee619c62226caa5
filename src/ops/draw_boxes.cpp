#include "ops/draw_boxes.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "ops/movement.h"
#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {
namespace {

// Red, green, blue and alpha; grey images get white boxes.
constexpr std::array<std::array<float, 4>, 10> kUsual{{{1, 1, 0, 1},
                                                       {0, 0, 1, 1},
                                                       {1, 0, 0, 1},
                                                       {0, 1, 0, 1},
                                                       {.5F, 0, .5F, 1},
                                                       {.5F, .5F, 0, 1},
                                                       {.5F, 0, 0, 1},
                                                       {0, 0, .5F, 1},
                                                       {0, 1, 1, 1},
                                                       {1, 0, 1, 1}}};
constexpr std::array<float, 4> kWhite{1, 1, 1, 1};

// The first and last row or column of a box, which may lie outside of the image.
struct Span {
  int64_t first = 0, last = 0;

  Span(double begin, double end, int64_t size)
      : first(place(begin, size)), last(place(end, size)) {}
  bool is_visible(int64_t size) const { return first <= last && first < size && last >= 0; }

 private:
  static int64_t place(double at, int64_t size) {
    const double pixel = static_cast<double>(static_cast<float>(at) * static_cast<float>(size - 1));
    constexpr double kFar = 1e9;
    return std::isnan(pixel) ? -1 : static_cast<int64_t>(std::clamp(pixel, -kFar, kFar));
  }
};

}  // namespace

Result<TensorTypes> DrawBoxes::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  TRY(nn::expect_float(context, name));
  if (context.dtype(1) != DType::f32 || context.dtype(2) != DType::f32)
    return invalid_argument("draw_boxes: boxes and colours must be f32");
  TRY(nn::expect_rank(context, name, 0, 4));
  TRY(nn::expect_rank(context, name, 1, 3));
  TRY(nn::expect_rank(context, name, 2, 2));
  TRY(nn::expect_dim(context, name, 1, 2, Dim(4), "corners"));
  return TensorTypes{context.type(0)};
}

Status DrawBoxes::eval(EvalContext& context) const {
  const Tensor &x = context.in(0), &boxes = context.in(1), &colours = context.in(2);
  const bool fits = x.rank() == 4 && boxes.rank() == 3 && colours.rank() == 2 &&
                    boxes.dim(0) == x.dim(0) && boxes.dim(2) == 4;
  const bool usual = colours.elements() == 0;
  if (!fits || (usual ? 4 : colours.dim(1)) < x.dim(3))
    return invalid_argument("draw_boxes needs boxes for every image and colours of its channels");
  TRY(forward(context));
  Tensor& y = context.out(0);
  const int64_t height = x.dim(1), width = x.dim(2), channels = x.dim(3);
  std::vector<double> values = nn::reals(x);
  for (int64_t n = 0; n < x.dim(0); ++n)
    for (int64_t b = 0; b < boxes.dim(1); ++b) {
      const float* box = boxes.data<float>() + (n * boxes.dim(1) + b) * 4;
      const Span rows(static_cast<double>(box[0]), static_cast<double>(box[2]), height);
      const Span columns(static_cast<double>(box[1]), static_cast<double>(box[3]), width);
      if (!rows.is_visible(height) || !columns.is_visible(width)) continue;
      const float* colour = !usual ? colours.data<float>() + b % colours.dim(0) * colours.dim(1)
                            : channels == 1
                                ? kWhite.data()
                                : kUsual[static_cast<size_t>(b % int64_t{kUsual.size()})].data();
      const auto draw = [&](int64_t row, int64_t column) {
        for (int64_t c = 0; c < channels; ++c)
          values[static_cast<size_t>(((n * height + row) * width + column) * channels + c)] =
              static_cast<double>(colour[c]);
      };
      const int64_t top = std::max<int64_t>(rows.first, 0),
                    bottom = std::min(rows.last, height - 1);
      const int64_t left = std::max<int64_t>(columns.first, 0),
                    right = std::min(columns.last, width - 1);
      for (const int64_t row : {rows.first, rows.last})
        for (int64_t k = left; row >= 0 && row < height && k <= right; ++k) draw(row, k);
      for (const int64_t column : {columns.first, columns.last})
        for (int64_t k = top; column >= 0 && column < width && k <= bottom; ++k) draw(k, column);
    }
  nn::store_reals(y, values);
  return {};
}

constinit const OpDef DrawBoxes::def = define<DrawBoxes>();
OpDefs draw_boxes_ops() {
  return {&DrawBoxes::def};
}

}  // namespace tenon
