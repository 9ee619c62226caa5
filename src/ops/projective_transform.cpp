#include "ops/projective_transform.h"

#include <algorithm>
#include <cmath>

#include "ops/movement.h"
#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {
namespace {

// A place outside [0, size - 1] brought inside, as far as the mode says so.
float fold(float at, float size, OutsideFill outside) {
  if (outside == OutsideFill::constant) return at;
  const float most = std::max(size - 1, 0.0F);
  if (outside == OutsideFill::reflect && size > 1) {
    const float period = 2 * size;
    if (at < 0) {
      at = period * std::trunc(-at / period) + at;
      at = at < -size ? at + period : -at - 1;
    } else if (at > most) {
      at -= period * std::trunc(at / period);
      if (at >= size) at = period - at - 1;
    }
  } else if (outside == OutsideFill::wrap && size > 1) {
    if (at < 0)
      at += size * (std::trunc(-at / most) + 1);
    else if (at > most)
      at -= size * std::trunc(at / most);
  }
  return std::clamp(at, 0.0F, most);
}

class Image {
 public:
  Image(const Tensor& images, int64_t index, double fill)
      : images_(images),
        height_(images.dim(1)),
        width_(images.dim(2)),
        channels_(images.dim(3)),
        base_(index * height_ * width_ * channels_),
        fill_(fill) {}

  // Channel k at a whole place; far beyond the image as well.
  double at(float y, float x, int64_t k) const {
    if (!(y >= 0 && y < static_cast<float>(height_) && x >= 0 && x < static_cast<float>(width_)))
      return fill_;
    const auto row = static_cast<int64_t>(y), column = static_cast<int64_t>(x);
    return images_.real_at(base_ + (row * width_ + column) * channels_ + k);
  }

 private:
  const Tensor& images_;
  int64_t height_, width_, channels_, base_;
  double fill_;
};

// In single precision, as the result of integers shows.
double between(const Image& image, float y, float x, int64_t k) {
  const float top = std::floor(y), left = std::floor(x), right = left + 1, bottom = top + 1;
  const auto at = [&](float v, float u) { return static_cast<float>(image.at(v, u, k)); };
  const float upper = (right - x) * at(top, left) + (x - left) * at(top, right);
  const float lower = (right - x) * at(bottom, left) + (x - left) * at(bottom, right);
  return static_cast<double>((bottom - y) * upper + (y - top) * lower);
}

}  // namespace

Result<TensorTypes> ProjectiveTransform::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  const DType t = context.dtype(0);
  if ((!is_float(t) && !is_int(t)) || context.dtype(1) != DType::f32 ||
      context.dtype(3) != DType::f32)
    return invalid_argument(
        "projective_transform needs images of real numbers, maps and fill of f32");
  TRY(nn::expect_rank(context, name, 0, 4));
  TRY(nn::expect_rank(context, name, 1, 2));
  TRY(nn::expect_dim(context, name, 1, 1, Dim(8), "a map"));
  TRY(require_indices(context, 2, name, "a size", 1));
  TRY(nn::expect_vector(context, name, 2, Dim(2), "the size"));
  TRY(nn::expect_scalar(context, name, 3));
  Shape out = Shape::unknown_dims(4);
  if (context.shape(0).ranked()) out[0] = context.shape(0)[0], out[3] = context.shape(0)[3];
  if (const auto size = context.ints(2); size && size->size() == 2)
    for (const int i : {0, 1}) {
      const SymInt& s = (*size)[static_cast<size_t>(i)];
      if (s.value && *s.value < 0) return invalid_argument("projective_transform: a negative size");
      out[i + 1] = s.as_dim();
    }
  return TensorTypes{{t, out}};
}

Status ProjectiveTransform::eval(EvalContext& context) const {
  const Tensor &images = context.in(0), &maps = context.in(1);
  const auto size = context.in(2).to_ints();
  if (images.rank() != 4 || maps.rank() != 2 || maps.dim(1) != 8 || size.size() != 2 ||
      size[0] < 0 || size[1] < 0 || (maps.dim(0) != 1 && maps.dim(0) != images.dim(0)) ||
      context.in(3).elements() != 1)
    return invalid_argument(
        "projective_transform needs images [n, h, w, c], a map of eight numbers for each or one "
        "for "
        "all, and a size of two");
  const int64_t dims[] = {images.dim(0), size[0], size[1], images.dim(3)};
  TRY(checked_elements(dims, sizeof(double)));
  TRY(context.allocate(0, images.dtype(), dims));
  const auto height = static_cast<float>(images.dim(1)), width = static_cast<float>(images.dim(2));
  const double fill = context.in(3).real_at(0);
  std::vector<double> values;
  values.reserve(static_cast<size_t>(context.out(0).elements()));
  for (int64_t i = 0; i < dims[0]; ++i) {
    const float* a = maps.data<float>() + (maps.dim(0) == 1 ? 0 : i * 8);
    const Image image(images, i, fill);
    for (int64_t row = 0; row < dims[1]; ++row)
      for (int64_t column = 0; column < dims[2]; ++column) {
        const auto u = static_cast<float>(column), v = static_cast<float>(row);
        const float k = a[6] * u + a[7] * v + 1;
        const float x = fold((a[0] * u + a[1] * v + a[2]) / k, width, outside);
        const float y = fold((a[3] * u + a[4] * v + a[5]) / k, height, outside);
        for (int64_t c = 0; c < dims[3]; ++c)
          values.push_back(k == 0     ? fill
                           : bilinear ? between(image, y, x, c)
                                      : image.at(std::round(y), std::round(x), c));
      }
  }
  // Integers are cut, not rounded.
  if (is_int(images.dtype()))
    for (double& value : values) value = std::trunc(value);
  nn::store_reals(context.out(0), values);
  return {};
}

constinit const OpDef ProjectiveTransform::def = define<ProjectiveTransform>();
OpDefs projective_transform_ops() {
  return {&ProjectiveTransform::def};
}

}  // namespace tenon
