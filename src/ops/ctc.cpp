#include "ops/ctc.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <unordered_map>

#include "ops/movement.h"
#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

float log_sum(float a, float b) {
  if (a == kNever) return b;
  if (b == kNever) return a;
  return std::max(a, b) + std::log1p(std::exp(-std::abs(a - b)));
}

// Log probabilities of a labelling: over all alignments, those that end with a blank, and those
// that end with its last label.
struct Probability {
  float total = kNever, blank = kNever, label = kNever;
};

// A labelling: its parent's and one label more.
struct Labelling {
  Labelling* parent = nullptr;
  int64_t label = -1;
  Probability before, now;
  std::unordered_map<int64_t, Labelling*> children;

  bool is_active() const { return now.total != kNever; }
};

class Search {
 public:
  explicit Search(size_t width) : width_(width) {
    Labelling& root = all_.emplace_back();
    root.now.total = root.now.blank = 0;
    beam_.push_back(&root);
  }

  // One time step: log probabilities of the labels and, last, of the blank.
  void step(const std::vector<float>& scores) {
    std::vector<Labelling*> branches = sorted();
    beam_.clear();
    for (Labelling* b : branches) b->before = b->now;
    for (Labelling* b : branches) {
      if (b->parent != nullptr) {
        const Probability& p = b->parent->before;
        if (b->parent->is_active())
          b->now.label = log_sum(b->now.label, b->label == b->parent->label ? p.blank : p.total);
        b->now.label += scores[static_cast<size_t>(b->label)];
      }
      b->now.blank = b->before.total + scores.back();
      b->now.total = log_sum(b->now.blank, b->now.label);
      add(b);
    }
    for (Labelling* b : branches) {
      if (!is_candidate(b->before)) continue;
      for (size_t label = 0; label + 1 < scores.size(); ++label)
        extend(*b, static_cast<int64_t>(label), scores[label]);
    }
  }

  // The labellings kept, the most probable first.
  std::vector<Labelling*> sorted() const {
    std::vector<Labelling*> all = beam_;
    std::ranges::stable_sort(
        all, [](const Labelling* a, const Labelling* b) { return a->now.total > b->now.total; });
    return all;
  }

 private:
  static bool is_worse(const Labelling* a, const Labelling* b) {
    return a->now.total > b->now.total;
  }
  // beam_ is a heap with the least probable one in front.
  void add(Labelling* b) {
    if (beam_.size() == width_) {
      if (!(b->now.total > beam_.front()->now.total)) return;
      std::ranges::pop_heap(beam_, is_worse);
      beam_.pop_back();
    }
    beam_.push_back(b);
    std::ranges::push_heap(beam_, is_worse);
  }
  bool is_candidate(const Probability& p) const {
    return p.total > kNever && (beam_.size() < width_ || p.total > beam_.front()->now.total);
  }

  void extend(Labelling& b, int64_t label, float score) {
    const auto found = b.children.find(label);
    Labelling* child = found == b.children.end() ? nullptr : found->second;
    if (child != nullptr && child->is_active()) return;
    Probability p;
    p.total = p.label = score + (label == b.label ? b.before.blank : b.before.total);
    if (!is_candidate(p)) {
      // One that has just fallen out is not followed in this step either, as in TensorFlow.
      if (child != nullptr) child->before = {};
      return;
    }
    if (child == nullptr) {
      child = b.children[label] = &all_.emplace_back();
      child->parent = &b;
      child->label = label;
    }
    child->now = p;
    // What falls out of the beam is no longer followed.
    if (beam_.size() == width_) beam_.front()->now = {};
    add(child);
  }

  size_t width_;
  std::deque<Labelling> all_;  // whose elements stay where they are
  std::vector<Labelling*> beam_;
};

std::vector<float> log_softmax(const Tensor& scores, int64_t at, int64_t classes) {
  std::vector<float> y(static_cast<size_t>(classes));
  for (int64_t i = 0; i < classes; ++i)
    y[static_cast<size_t>(i)] = static_cast<float>(scores.real_at(at + i));
  const float most = *std::ranges::max_element(y);
  float sum = 0;
  for (const float v : y) sum += std::exp(v - most);
  const float offset = most + std::log(sum);
  for (float& v : y) v -= offset;
  return y;
}

std::vector<int64_t> labels_of(const Labelling* end, bool merge_repeated) {
  std::vector<int64_t> labels;
  int64_t last = -1;
  for (; end->parent != nullptr; end = end->parent) {
    if (!merge_repeated || end->label != last) labels.push_back(end->label);
    last = end->label;
  }
  std::ranges::reverse(labels);
  return labels;
}

}  // namespace

Result<TensorTypes> CtcBeamSearch::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  TRY(nn::expect_float(context, name));
  TRY(nn::expect_rank(context, name, 0, 3));
  TRY(require_indices(context, 1, name, "lengths", 1));
  if (beam_width < 1 || paths < 1 || paths > beam_width || beam_width > 1 << 20)
    return invalid_argument("ctc_beam_search needs 1 <= paths <= beam_width");
  const Dim batch = context.shape(0).ranked() ? context.shape(0)[1] : Dim::unknown();
  const auto n = static_cast<size_t>(paths);
  TensorTypes types(n, {DType::i64, Shape{Dim::unknown(), Dim(2)}});
  types.resize(2 * n, {DType::i64, Shape{Dim::unknown()}});
  types.resize(3 * n, {DType::i64, Shape{Dim(2)}});
  types.push_back({context.dtype(0), Shape{batch, Dim(paths)}});
  return types;
}

Status CtcBeamSearch::eval(EvalContext& context) const {
  const Tensor &scores = context.in(0), &lengths = context.in(1);
  if (scores.rank() != 3 || lengths.elements() != scores.dim(1) || scores.dim(2) < 1)
    return invalid_argument(
        "ctc_beam_search needs scores [time, batch, classes] and [batch] lengths");
  const int64_t batch = scores.dim(1), classes = scores.dim(2);
  const auto n = static_cast<size_t>(paths);
  std::vector<std::vector<int64_t>> places(n), labels(n);
  std::vector<int64_t> longest(n, 0);
  std::vector<double> probabilities;
  for (int64_t row = 0; row < batch; ++row) {
    const int64_t length = lengths.int_at(row);
    if (length < 0 || length > scores.dim(0))
      return invalid_argument("ctc_beam_search: a length is longer than the scores");
    Search search(static_cast<size_t>(beam_width));
    for (int64_t t = 0; t < length; ++t)
      search.step(log_softmax(scores, (t * batch + row) * classes, classes));
    const auto best = search.sorted();
    if (best.size() < n)
      return invalid_argument("ctc_beam_search: there are fewer labellings than paths wanted");
    for (size_t k = 0; k < n; ++k) {
      const auto found = labels_of(best[k], merge_repeated);
      probabilities.push_back(static_cast<double>(best[k]->now.total));
      longest[k] = std::max(longest[k], static_cast<int64_t>(found.size()));
      for (size_t i = 0; i < found.size(); ++i) {
        places[k].insert(places[k].end(), {row, static_cast<int64_t>(i)});
        labels[k].push_back(found[i]);
      }
    }
  }
  for (size_t k = 0; k < n; ++k) {
    const auto at = static_cast<int>(k), count = static_cast<int>(n);
    const auto found = static_cast<int64_t>(labels[k].size());
    context.out(at) = Tensor::vector(places[k]).reshaped({found, 2});
    context.out(count + at) = Tensor::vector(labels[k]);
    auto* size = context.out(2 * count + at).mutable_data<int64_t>();
    size[0] = batch, size[1] = longest[k];
  }
  nn::store_reals(context.out(static_cast<int>(3 * n)), probabilities);
  return {};
}

constinit const OpDef CtcBeamSearch::def = define<CtcBeamSearch>();
OpDefs ctc_ops() {
  return {&CtcBeamSearch::def};
}

}  // namespace tenon
