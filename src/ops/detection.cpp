// Shape inference and reference evaluation of the detection ops.
#include "ops/detection.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {
namespace {

// Two opposite corners, ordered.
struct Box {
  double y1, x1, y2, x2;

  double area() const { return (y2 - y1) * (x2 - x1); }
};

Box box_at(const Tensor& boxes, int64_t i, bool center) {
  const double a = boxes.real_at(4 * i), b = boxes.real_at(4 * i + 1), c = boxes.real_at(4 * i + 2),
               d = boxes.real_at(4 * i + 3);
  if (center) return {b - d / 2, a - c / 2, b + d / 2, a + c / 2};
  return {std::min(a, c), std::min(b, d), std::max(a, c), std::max(b, d)};
}

double overlap(const Box& a, const Box& b) {
  const double height = std::min(a.y2, b.y2) - std::max(a.y1, b.y1),
               width = std::min(a.x2, b.x2) - std::max(a.x1, b.x1);
  if (!(height > 0) || !(width > 0) || !(a.area() > 0) || !(b.area() > 0)) return 0;
  const double common = height * width;
  return common / (a.area() + b.area() - common);
}

// Boxes that were kept, by the strips of the image that they reach into: most of the thousands that
// detectors keep lie apart from the next one. In a strip, comparing edges tells that of sixteen at
// once.
class Kept {
 public:
  // For boxes of these.
  explicit Kept(const std::vector<Box>& boxes)
      : strips_(std::clamp(boxes.size() / 64, kOne, kMost)) {
    for (const Box& box : boxes) least_ = std::min(least_, box.x1), most_ = std::max(most_, box.x2);
    if (!std::isfinite(most_ - least_) || !(most_ > least_)) strips_.resize(1);
    scale_ = static_cast<double>(strips_.size()) / (most_ - least_);
  }
  // Whether one of them covers more than `iou` of what it and `box` cover.
  bool hides(const Box& box, double iou) const {
    if (iou < 0) return !is_empty_;  // boxes that do not meet overlap by 0
    for (size_t s = first(box); s <= last(box); ++s)
      if (strips_[s].hides(box, iou)) return true;
    return false;
  }
  void add(const Box& box) {
    is_empty_ = false;
    for (size_t s = first(box); s <= last(box); ++s) strips_[s].add(box);
  }

 private:
  static constexpr size_t kOne = 1, kMost = 256, kChunk = 16;
  struct Chunk {
    double y1[kChunk] = {}, x1[kChunk] = {}, y2[kChunk] = {}, x2[kChunk] = {};
    Box at(size_t i) const { return {y1[i], x1[i], y2[i], x2[i]}; }
  };
  struct Strip {
    std::vector<Chunk> chunks;
    size_t count = 0;

    bool hides(const Box& box, double iou) const {
      for (size_t c = 0; c < chunks.size(); ++c) {
        const Chunk& chunk = chunks[c];
        double apart[kChunk];  // below 0: the two meet
        for (size_t i = 0; i < kChunk; ++i)
          apart[i] = std::max(std::max(chunk.y1[i] - box.y2, box.y1 - chunk.y2[i]),
                              std::max(chunk.x1[i] - box.x2, box.x1 - chunk.x2[i]));
        for (size_t i = 0; i < std::min(kChunk, count - c * kChunk); ++i)
          if (!(apart[i] >= 0) && overlap(box, chunk.at(i)) > iou) return true;
      }
      return false;
    }
    void add(const Box& box) {
      const size_t i = count++ % kChunk;
      if (i == 0) chunks.emplace_back();
      Chunk& chunk = chunks.back();
      chunk.y1[i] = box.y1, chunk.x1[i] = box.x1, chunk.y2[i] = box.y2, chunk.x2[i] = box.x2;
    }
  };
  // Of an edge that is no number, all strips.
  size_t first(const Box& box) const { return box.x1 > least_ ? strip(box.x1) : 0; }
  size_t last(const Box& box) const { return box.x2 < most_ ? strip(box.x2) : strips_.size() - 1; }
  size_t strip(double x) const {
    if (strips_.size() == 1) return 0;
    const double last = static_cast<double>(strips_.size() - 1);
    return static_cast<size_t>(std::clamp((x - least_) * scale_, 0.0, last));
  }

  std::vector<Strip> strips_;
  double least_ = std::numeric_limits<double>::infinity(), most_ = -least_, scale_ = 0;
  bool is_empty_ = true;
};

// Indices of the boxes kept, best score first.
std::vector<int64_t> suppress(const std::vector<Box>& boxes, const Tensor& scores, int64_t first,
                              int64_t max_output, double iou, double threshold) {
  std::vector<std::pair<double, int64_t>> order;
  for (size_t i = 0; i < boxes.size(); ++i)
    if (const double score = scores.real_at(first + static_cast<int64_t>(i)); score > threshold)
      order.emplace_back(score, static_cast<int64_t>(i));
  std::ranges::stable_sort(order, std::greater(), &std::pair<double, int64_t>::first);
  std::vector<int64_t> indices;
  Kept kept(boxes);
  for (const auto& [score, i] : order) {
    if (static_cast<int64_t>(indices.size()) >= max_output) break;
    const Box& box = boxes[static_cast<size_t>(i)];
    if (kept.hides(box, iou)) continue;
    kept.add(box);
    indices.push_back(i);
  }
  return indices;
}

constexpr double kNoThreshold = -std::numeric_limits<double>::infinity();

double scalar_or(const EvalContext& context, int i, double fallback) {
  return context.has(i) && context.in(i).elements() > 0 ? context.in(i).real_at(0) : fallback;
}
int64_t int_or(const EvalContext& context, int i, int64_t fallback) {
  return context.has(i) && context.in(i).elements() > 0 ? context.in(i).int_at(0) : fallback;
}

Status check_boxes(const InferContext& context, std::string_view op, int rank) {
  TRY(nn::expect_float(context, op));
  TRY(nn::expect_same_dtype(context, op, {1}));
  TRY(nn::expect_rank(context, op, 0, rank));
  TRY(nn::expect_dim(context, op, 0, rank - 1, Dim(4), "the coordinates of a box"));
  for (const int i : {2, 3, 4}) TRY(nn::expect_scalar(context, op, i));
  if (context.has(2) && !is_int(context.dtype(2)))
    return invalid_argument(
        fmt::format("{}: the number of boxes to keep must be an integer, not {}", op,
                    context.type(2).to_string()));
  for (const int i : {3, 4})
    if (context.has(i) && !is_float(context.dtype(i)))
      return invalid_argument(fmt::format("{}: threshold {} must be floating-point, not {}", op, i,
                                          context.type(i).to_string()));
  return {};
}

}  // namespace

Result<TensorTypes> NonMaxSuppression::infer(const InferContext& context) const {
  TRY(check_boxes(context, name, 3));
  TRY(nn::expect_rank(context, name, 1, 3));
  if (context.shape(0).ranked()) {
    TRY(nn::expect_dim(context, name, 1, 0, context.shape(0)[0], "the batch"));
    TRY(nn::expect_dim(context, name, 1, 2, context.shape(0)[1], "the number of boxes"));
  }
  return TensorTypes{{DType::i64, Shape{Dim::unknown(), Dim(3)}}};
}

Status NonMaxSuppression::eval(EvalContext& context) const {
  const Tensor& boxes = context.in(0);
  const Tensor& scores = context.in(1);
  const int64_t classes = scores.dim(1), count = boxes.dim(1);
  std::vector<int64_t> rows;
  for (int64_t b = 0; b < boxes.dim(0); ++b) {
    std::vector<Box> list;
    for (int64_t i = 0; i < count; ++i)
      list.push_back(box_at(boxes, b * count + i, center_point_box));
    for (int64_t c = 0; c < classes; ++c)
      for (const int64_t i :
           suppress(list, scores, (b * classes + c) * count, int_or(context, 2, 0),
                    scalar_or(context, 3, 0), scalar_or(context, 4, kNoThreshold)))
        rows.insert(rows.end(), {b, c, i});
  }
  TRY(context.allocate(0, DType::i64,
                       std::array{static_cast<int64_t>(rows.size() / 3), int64_t{3}}));
  std::copy(rows.begin(), rows.end(), context.out(0).mutable_data<int64_t>());
  return {};
}

Result<TensorTypes> NmsV::infer(const InferContext& context) const {
  TRY(check_boxes(context, name, 2));
  TRY(nn::expect_vector(context, name, 1,
                        context.shape(0).ranked() ? context.shape(0)[0] : Dim::unknown(),
                        "one score per box"));
  return TensorTypes{{DType::i32, Shape{Dim::unknown()}}};
}

Status NmsV::eval(EvalContext& context) const {
  std::vector<Box> boxes;
  for (int64_t i = 0; i < context.in(0).dim(0); ++i)
    boxes.push_back(box_at(context.in(0), i, false));
  const auto kept = suppress(boxes, context.in(1), 0, int_or(context, 2, 0),
                             scalar_or(context, 3, 0.5), scalar_or(context, 4, kNoThreshold));
  TRY(context.allocate(0, DType::i32, std::array{static_cast<int64_t>(kept.size())}));
  std::transform(kept.begin(), kept.end(), context.out(0).mutable_data<int32_t>(),
                 [](int64_t i) { return static_cast<int32_t>(i); });
  return {};
}

Result<TensorTypes> CropAndResize::infer(const InferContext& context) const {
  if (!is_float(context.dtype(0)) && !is_int(context.dtype(0)))
    return invalid_argument(
        fmt::format("{} needs a real image, not {}", name, context.type(0).to_string()));
  if (!is_float(context.dtype(1)) || !is_int(context.dtype(2)) || !is_int(context.dtype(3)))
    return invalid_argument(
        fmt::format("{} needs floating-point boxes, integer indices and sizes", name));
  TRY(nn::expect_rank(context, name, 0, 4));
  TRY(nn::expect_rank(context, name, 1, 2));
  TRY(nn::expect_dim(context, name, 1, 1, Dim(4), "the coordinates of a box"));
  const Dim n = context.shape(1).ranked() ? context.shape(1)[0] : Dim::unknown();
  TRY(nn::expect_vector(context, name, 2, n, "one image per box"));
  TRY(nn::expect_vector(context, name, 3, Dim(2), "height and width"));
  Shape out{n, Dim::unknown(), Dim::unknown(), Dim::unknown()};
  if (context.shape(0).ranked()) out[3] = context.shape(0)[3];
  if (const auto sizes = context.ints(3); sizes && sizes->size() == 2)
    for (size_t i = 0; i < 2; ++i) {
      const SymInt& s = (*sizes)[i];
      if (s.value && (*s.value < 1 || *s.value > nn::kMaxExtent))
        return invalid_argument(
            fmt::format("{}: a crop size of {} is out of range", name, *s.value));
      out[static_cast<int>(i) + 1] = s.as_dim();
    }
  return TensorTypes{{DType::f32, out}};
}

Status CropAndResize::eval(EvalContext& context) const {
  const Tensor& image = context.in(0);
  const Tensor& boxes = context.in(1);
  Tensor& y = context.out(0);
  const int64_t h = image.dim(1), w = image.dim(2), c = image.dim(3);
  const auto sample = [](double from, double to, int64_t i, int64_t out, int64_t in) {
    const double last = static_cast<double>(in - 1);
    if (out == 1) return (from + to) / 2 * last;
    return from * last + static_cast<double>(i) * (to - from) * last / static_cast<double>(out - 1);
  };
  std::vector<double> values(static_cast<size_t>(y.elements()), extrapolation_value);
  for (int64_t n = 0; n < y.dim(0); ++n) {
    const int64_t b = context.in(2).int_at(n);
    if (b < 0 || b >= image.dim(0))
      return invalid_argument(
          fmt::format("{}: box {} refers to image {} of {}", name, n, b, image.dim(0)));
    for (int64_t p = 0; p < y.dim(1) * y.dim(2); ++p) {
      const double fy =
          sample(boxes.real_at(4 * n), boxes.real_at(4 * n + 2), p / y.dim(2), y.dim(1), h);
      const double fx =
          sample(boxes.real_at(4 * n + 1), boxes.real_at(4 * n + 3), p % y.dim(2), y.dim(2), w);
      if (!(fy >= 0 && fy <= static_cast<double>(h - 1) && fx >= 0 &&
            fx <= static_cast<double>(w - 1)))
        continue;
      double* out = values.data() + (n * y.dim(1) * y.dim(2) + p) * c;
      const auto pixel = [&](double py, double px, int64_t i) {
        return image.real_at(
            ((b * h + static_cast<int64_t>(py)) * w + static_cast<int64_t>(px)) * c + i);
      };
      const double top = std::floor(fy), left = std::floor(fx), dy = fy - top, dx = fx - left;
      for (int64_t i = 0; i < c; ++i)
        out[i] =
            method == CropMethod::nearest
                ? pixel(std::round(fy), std::round(fx), i)
                : (1 - dy) * ((1 - dx) * pixel(top, left, i) + dx * pixel(top, std::ceil(fx), i)) +
                      dy * ((1 - dx) * pixel(std::ceil(fy), left, i) +
                            dx * pixel(std::ceil(fy), std::ceil(fx), i));
    }
  }
  nn::store_reals(y, values);
  return {};
}

constinit const OpDef NonMaxSuppression::def = define<NonMaxSuppression>();
constinit const OpDef NmsV::def = define<NmsV>();
constinit const OpDef CropAndResize::def = define<CropAndResize>();
OpDefs detection_ops() {
  return {&NonMaxSuppression::def, &NmsV::def, &CropAndResize::def};
}

}  // namespace tenon
