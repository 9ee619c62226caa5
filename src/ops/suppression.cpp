#include "ops/suppression.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <queue>

#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {
namespace {

// A box by its lower and upper corner.
struct Box {
  double low[2], high[2], area = 0;
};

// `at` is the offset of the first corner.
Box box_at(const Tensor& boxes, int64_t at) {
  Box box;
  for (const int k : {0, 1}) {
    const double a = boxes.real_at(at + k), b = boxes.real_at(at + k + 2);
    box.low[k] = std::min(a, b), box.high[k] = std::max(a, b);
  }
  box.area = (box.high[0] - box.low[0]) * (box.high[1] - box.low[1]);
  return box;
}

// How much of the two boxes' union is common.
double overlap(const Box& a, const Box& b) {
  double common = 1;
  for (const int k : {0, 1})
    common *= std::max(std::min(a.high[k], b.high[k]) - std::max(a.low[k], b.low[k]), 0.0);
  if (common == 0 || !(a.area > 0) || !(b.area > 0)) return 0;
  return common / (a.area + b.area - common);
}

struct Candidate {
  int64_t box = 0;
  float score = 0;
  size_t seen = 0;  // how many of the boxes kept have lowered the score already

  // The queue's top is the greatest: the best score, then the lower index.
  bool operator<(const Candidate& other) const {
    return score < other.score || (score == other.score && box > other.box);
  }
};

struct Limits {
  int64_t most = 0;
  double iou = 0.5, score = 0, sigma = 0;
};

// The boxes kept, best first. offset(i) is where box i has its first corner.
template <typename Offset>
std::vector<Candidate> suppress(const Tensor& boxes, std::vector<Candidate> all,
                                const Limits& limits, Offset&& offset) {
  std::priority_queue<Candidate> queue({}, std::move(all));
  std::vector<Candidate> kept;
  std::vector<Box> kept_boxes;
  const double scale = limits.sigma > 0 ? -0.5 / limits.sigma : 0;
  while (!queue.empty() && static_cast<int64_t>(kept.size()) < limits.most) {
    Candidate next = queue.top();
    queue.pop();
    const float before = next.score;
    const Box box = box_at(boxes, offset(next.box));
    bool hidden = false;
    for (size_t i = kept.size(); i-- > next.seen && !hidden;) {
      const double common = overlap(box, kept_boxes[i]);
      // The soft form only lowers scores.
      const bool beyond = limits.sigma <= 0 && common > limits.iou;
      hidden = beyond;
      next.score = beyond       ? 0
                   : scale == 0 ? next.score
                                : static_cast<float>(static_cast<double>(next.score) *
                                                     std::exp(scale * common * common));
      if (static_cast<double>(next.score) <= limits.score) break;
    }
    next.seen = kept.size();
    if (hidden) continue;
    if (next.score == before)
      kept.push_back(next), kept_boxes.push_back(box);
    else if (static_cast<double>(next.score) > limits.score)
      queue.push(next);
  }
  return kept;
}

Result<double> scalar(const EvalContext& context, int i, std::string_view op) {
  if (context.in(i).elements() == 1) return context.in(i).real_at(0);
  return invalid_argument(fmt::format("{}: operand {} must be a single number", op, i));
}

Status check(const InferContext& context, std::string_view op, int rank, int ints) {
  TRY(nn::expect_float(context, op));
  TRY(nn::expect_same_dtype(context, op, {1}));
  TRY(nn::expect_rank(context, op, 0, rank));
  TRY(nn::expect_rank(context, op, 1, rank == 2 ? 1 : 3));
  TRY(nn::expect_dim(context, op, 0, rank - 1, Dim(4), "the coordinates of a box"));
  for (int i = 2; i < 6; ++i) {
    TRY(nn::expect_scalar(context, op, i));
    const bool fits = i < 2 + ints ? is_int(context.dtype(i)) : is_float(context.dtype(i));
    if (!fits)
      return invalid_argument(
          fmt::format("{}: operand {} cannot be {}", op, i, context.type(i).to_string()));
  }
  return {};
}

}  // namespace

Result<TensorTypes> SoftNms::infer(const InferContext& context) const {
  TRY(check(context, name, 2, 1));
  if (context.shape(0).ranked() && context.shape(1).ranked())
    TRY(nn::expect_dim(context, name, 1, 0, context.shape(0)[0], "one score per box"));
  return TensorTypes{{DType::i32, Shape{Dim::unknown()}},
                     {context.dtype(1), Shape{Dim::unknown()}}};
}

Status SoftNms::eval(EvalContext& context) const {
  const Tensor& scores = context.in(1);
  if (context.in(0).dim(0) != scores.elements())
    return invalid_argument("soft_nms needs one score per box");
  const Limits limits{static_cast<int64_t>(TRY(scalar(context, 2, name))),
                      TRY(scalar(context, 3, name)), TRY(scalar(context, 4, name)),
                      TRY(scalar(context, 5, name))};
  std::vector<Candidate> all;
  for (int64_t i = 0; i < scores.elements(); ++i)
    if (scores.real_at(i) > limits.score) all.push_back({i, static_cast<float>(scores.real_at(i))});
  const auto kept =
      suppress(context.in(0), std::move(all), limits, [](int64_t i) { return 4 * i; });
  const auto n = static_cast<int64_t>(kept.size());
  TRY(context.allocate(0, DType::i32, std::span(&n, 1)));
  TRY(context.allocate(1, scores.dtype(), std::span(&n, 1)));
  std::vector<double> values;
  for (size_t i = 0; i < kept.size(); ++i) {
    context.out(0).mutable_data<int32_t>()[i] = static_cast<int32_t>(kept[i].box);
    values.push_back(static_cast<double>(kept[i].score));
  }
  nn::store_reals(context.out(1), values);
  return {};
}

Result<TensorTypes> CombinedNms::infer(const InferContext& context) const {
  TRY(check(context, name, 4, 2));
  const Shape &boxes = context.shape(0), &scores = context.shape(1);
  Dim batch = Dim::unknown(), classes = Dim::unknown();
  if (boxes.ranked()) batch = boxes[0];
  if (scores.ranked()) {
    batch = nn::known_of(batch, scores[0]);
    classes = scores[2];
    if (boxes.ranked()) {
      TRY(nn::expect_dim(context, name, 1, 0, boxes[0], "the batch"));
      TRY(nn::expect_dim(context, name, 1, 1, boxes[1], "one score per box"));
      if (boxes[2].known() && classes.known() && boxes[2] != Dim(1) && boxes[2] != classes)
        return invalid_argument("combined_nms needs boxes for all classes at once or for each");
    }
  }
  Dim most = Dim::unknown();
  const auto per_class = context.known_ints(2), total = context.known_ints(3);
  if (total && total->size() == 1 && !pad_per_class) most = (*total)[0];
  if (total && total->size() == 1 && pad_per_class && per_class && per_class->size() == 1 &&
      classes.known() && (*per_class)[0] >= 0 && (*per_class)[0] <= nn::kMaxExtent)
    most = std::min((*total)[0], (*per_class)[0] * std::min(classes.size(), nn::kMaxExtent));
  const DType t = context.dtype(0);
  return TensorTypes{{t, Shape{batch, most, Dim(4)}},
                     {t, Shape{batch, most}},
                     {t, Shape{batch, most}},
                     {DType::i32, Shape{batch}}};
}

Status CombinedNms::eval(EvalContext& context) const {
  const Tensor &boxes = context.in(0), &scores = context.in(1);
  const int64_t batch = scores.dim(0), count = scores.dim(1), classes = scores.dim(2),
                own = boxes.dim(2);
  if (boxes.dim(0) != batch || boxes.dim(1) != count || (own != 1 && own != classes))
    return invalid_argument("combined_nms: boxes and scores do not fit together");
  const auto per_class = static_cast<int64_t>(TRY(scalar(context, 2, name)));
  auto most = static_cast<int64_t>(TRY(scalar(context, 3, name)));
  if (pad_per_class) most = std::min(most, per_class * classes);
  if (per_class < 0 || most < 0 || most > nn::kMaxExtent)
    return invalid_argument("combined_nms: the number of boxes to keep is out of range");
  const Limits limits{per_class, TRY(scalar(context, 4, name)), TRY(scalar(context, 5, name)), 0};
  const int64_t dims[] = {batch, most, 4};
  TRY(context.allocate(0, boxes.dtype(), dims));
  for (const int i : {1, 2}) TRY(context.allocate(i, boxes.dtype(), std::span(dims, 2)));
  TRY(context.allocate(3, DType::i32, std::span(dims, 1)));
  std::vector<double> out_boxes(static_cast<size_t>(batch * most * 4)),
      out_scores(static_cast<size_t>(batch * most)), out_classes(out_scores.size());
  for (int64_t b = 0; b < batch; ++b) {
    std::vector<std::pair<Candidate, int64_t>> found;  // with its class
    for (int64_t k = 0; k < classes; ++k) {
      std::vector<Candidate> all;
      for (int64_t i = 0; i < count; ++i) {
        const double s = scores.real_at((b * count + i) * classes + k);
        if (s > limits.score) all.push_back({i, static_cast<float>(s)});
      }
      const auto offset = [&](int64_t i) {
        return ((b * count + i) * own + (own == 1 ? 0 : k)) * 4;
      };
      for (const Candidate& c : suppress(boxes, std::move(all), limits, offset))
        found.emplace_back(c, k);
    }
    std::stable_sort(found.begin(), found.end(),
                     [](const auto& x, const auto& y) { return x.first.score > y.first.score; });
    const int64_t valid = std::min(most, static_cast<int64_t>(found.size()));
    context.out(3).mutable_data<int32_t>()[b] = static_cast<int32_t>(valid);
    for (int64_t i = 0; i < valid; ++i) {
      const auto& [c, k] = found[static_cast<size_t>(i)];
      const auto at = static_cast<size_t>(b * most + i);
      const int64_t from = ((b * count + c.box) * own + (own == 1 ? 0 : k)) * 4;
      for (int64_t j = 0; j < 4; ++j) {
        const double v = boxes.real_at(from + j);
        out_boxes[at * 4 + static_cast<size_t>(j)] = clip_boxes ? std::clamp(v, 0.0, 1.0) : v;
      }
      out_scores[at] = static_cast<double>(c.score);
      out_classes[at] = static_cast<double>(k);
    }
  }
  nn::store_reals(context.out(0), out_boxes);
  nn::store_reals(context.out(1), out_scores);
  nn::store_reals(context.out(2), out_classes);
  return {};
}

Result<TensorTypes> OverlapNms::infer(const InferContext& context) const {
  TRY(nn::expect_float(context, name));
  TRY(nn::expect_same_dtype(context, name, {1, 3, 4}));
  TRY(nn::expect_rank(context, name, 0, 2));
  TRY(nn::expect_rank(context, name, 1, 1));
  for (int i = 2; i < 5; ++i) TRY(nn::expect_scalar(context, name, i));
  if (!is_int(context.dtype(2)))
    return invalid_argument("overlap_nms: the count must be an integer");
  return TensorTypes{{DType::i32, Shape{Dim::unknown()}}};
}

Status OverlapNms::eval(EvalContext& context) const {
  const Tensor &overlaps = context.in(0), &scores = context.in(1);
  const int64_t n = scores.elements();
  if (overlaps.rank() != 2 || overlaps.dim(0) != n || overlaps.dim(1) != n)
    return invalid_argument("overlap_nms needs the overlap of each box with each, and its score");
  const double most = TRY(scalar(context, 2, name)), limit = TRY(scalar(context, 3, name)),
               least = TRY(scalar(context, 4, name));
  std::vector<Candidate> all;
  for (int64_t i = 0; i < n; ++i)
    if (scores.real_at(i) > least) all.push_back({i, static_cast<float>(scores.real_at(i))});
  std::priority_queue<Candidate> queue({}, std::move(all));
  std::vector<double> kept;
  for (; !queue.empty() && static_cast<double>(kept.size()) < most; queue.pop()) {
    const int64_t box = queue.top().box;
    const bool hidden = std::ranges::any_of(kept, [&](double better) {
      return overlaps.real_at(box * n + static_cast<int64_t>(better)) > limit;
    });
    if (!hidden) kept.push_back(static_cast<double>(box));
  }
  const auto count = static_cast<int64_t>(kept.size());
  TRY(context.allocate(0, DType::i32, std::span(&count, 1)));
  nn::store_reals(context.out(0), kept);
  return {};
}

constinit const OpDef OverlapNms::def = define<OverlapNms>();
constinit const OpDef SoftNms::def = define<SoftNms>();
constinit const OpDef CombinedNms::def = define<CombinedNms>();
OpDefs suppression_ops() {
  return {&SoftNms::def, &OverlapNms::def, &CombinedNms::def};
}

}  // namespace tenon
