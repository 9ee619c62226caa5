// scatter_elements, scatter_nd and segment_reduce.
#include "ops/scatter.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <vector>

#include "device/cpu/candidates.h"
#include "device/cpu/kernels/layout.h"
#include "device/cpu/strides.h"
#include "ops/movement.h"

namespace tenon::cpu {
namespace {

// Combines the elements of u with those of y at `places`, `advance` further for each; without
// places with those from y on.
using Combine = void (*)(void* y, const void* u, const int64_t* places, int64_t advance, int64_t n);

template <typename T, ScatterReduction kReduction>
void combine(void* y, const void* u, const int64_t* places, int64_t advance, int64_t n) {
  // Sums and products of integers wrap.
  using A = std::conditional_t<std::is_integral_v<T>, std::make_unsigned<T>, std::type_identity<T>>;
  T* to = static_cast<T*>(y);
  const T* from = static_cast<const T*>(u);
  const auto one = [](T& a, T b) {
    using Wrapping = typename A::type;
    if constexpr (kReduction == ScatterReduction::none) a = b;
    if constexpr (kReduction == ScatterReduction::add)
      a = static_cast<T>(static_cast<Wrapping>(a) + static_cast<Wrapping>(b));
    if constexpr (kReduction == ScatterReduction::mul)
      a = static_cast<T>(static_cast<Wrapping>(a) * static_cast<Wrapping>(b));
    if constexpr (kReduction == ScatterReduction::min) a = std::min(a, b);
    if constexpr (kReduction == ScatterReduction::max) a = std::max(a, b);
  };
  if (places == nullptr)
    for (int64_t i = 0; i < n; ++i) one(to[i], from[i]);
  else
    for (int64_t i = 0; i < n; ++i) one(to[places[i] + i * advance], from[i]);
}

template <typename T>
Combine combine_of(ScatterReduction reduction) {
  switch (reduction) {
    case ScatterReduction::add:
      return combine<T, ScatterReduction::add>;
    case ScatterReduction::mul:
      return combine<T, ScatterReduction::mul>;
    case ScatterReduction::min:
      return combine<T, ScatterReduction::min>;
    case ScatterReduction::max:
      return combine<T, ScatterReduction::max>;
    default:
      return nullptr;
  }
}

// Null where there is none.
Combine combine_of(DType dtype, ScatterReduction reduction) {
  if (dtype == DType::string) return nullptr;
  if (reduction == ScatterReduction::none) switch (dtype_size(dtype)) {
      case 1:
        return combine<uint8_t, ScatterReduction::none>;
      case 2:
        return combine<uint16_t, ScatterReduction::none>;
      case 4:
        return combine<uint32_t, ScatterReduction::none>;
      case 8:
        return combine<uint64_t, ScatterReduction::none>;
      default:
        return nullptr;
    }
  if (dtype == DType::f32) return combine_of<float>(reduction);
  if (dtype == DType::i32) return combine_of<int32_t>(reduction);
  return dtype == DType::i64 ? combine_of<int64_t>(reduction) : nullptr;
}

template <typename Op>
std::string scatter_refuses(const StepInfo& s) {
  return combine_of(s.inputs[0].dtype, s.op.as<Op>()->reduction) != nullptr ? ""
                                                                            : "not for this type";
}

// The result begins as a copy of the data.
void copy_data(const RunContext& c) {
  if (c.outputs[0]->elements() == 0) return;
  StridedCopyParams copy;
  copy.rank = 1;
  copy.shape[0] = c.outputs[0]->elements();
  copy.x_strides[0] = copy.y_strides[0] = 1;
  copy.element_bytes = static_cast<int>(dtype_size(c.outputs[0]->dtype()));
  copy.x = c.inputs[0]->raw(), copy.y = c.outputs[0]->mutable_raw();
  strided_copy(copy, c.pool);
}

// The indices are walked by runs that lie side by side in the result too: along the axis where it
// is the last, else over the dimensions behind it, a run for each place along the axis. Runs of
// equal indices, which slices that are placed as a whole have, are copied at once.
class ScatterElementsKernel final : public Kernel {
 public:
  explicit ScatterElementsKernel(const StepInfo& s) {
    const ScatterElements& op = *s.op.as<ScatterElements>();
    const std::vector<int64_t> y = s.inputs[0].shape.sizes(), index = s.inputs[1].shape.sizes();
    const size_t last = y.size() - 1;
    const auto axis =
        static_cast<size_t>(op.axis < 0 ? op.axis + static_cast<int64_t>(y.size()) : op.axis);
    const auto strides = row_major_strides(y), index_strides = row_major_strides(index);
    combine_ = combine_of(s.inputs[0].dtype, op.reduction);
    bytes_ = static_cast<int64_t>(dtype_size(s.inputs[0].dtype));
    count_ = product(index, 0, static_cast<int>(index.size()));
    size_ = y[axis], stride_ = strides[axis];
    size_t first = last;
    run_ = index[last];
    while (first > axis + 1 && index[first] == y[first]) run_ *= index[--first];
    if (axis < last) runs_ = index[axis], run_step_ = index_strides[axis], advance_ = 1;
    std::vector<int64_t> dims, from, to;
    for (size_t d = 0; d < first; ++d)
      if (d != axis)
        dims.push_back(index[d]), from.push_back(index_strides[d]), to.push_back(strides[d]);
    loops_ = collapse(dims, {from, to});
  }
  Status run(const RunContext& c) const override {
    const Tensor& index = *c.inputs[1];
    copy_data(c);
    if (count_ == 0) return {};
    // Elements of one place along the axis stay in one task: they are combined in order.
    const int64_t group = run_ * runs_, groups = count_ / group;
    const int64_t parts =
        advance_ == 0 ? 1 : std::clamp<int64_t>(group / kTaskElements, 1, c.pool.threads());
    const int64_t part = (run_ + parts - 1) / parts;
    const int64_t block = std::max<int64_t>(1, kTaskElements / group);
    std::atomic<int64_t> bad = count_;
    c.pool.parallel_for((groups + block - 1) / block * parts, [&](int64_t task) {
      const int64_t begin = task % parts * part, end = std::min(run_, begin + part);
      for (int64_t g = task / parts * block; g < std::min(groups, (task / parts + 1) * block);
           ++g) {
        const int64_t outside = scatter_group(c, g, begin, end);
        int64_t known = bad;
        while (outside < known && !bad.compare_exchange_weak(known, outside)) {
        }
      }
    });
    if (bad == count_) return {};
    return wrap_index(index.int_at(bad), size_, ScatterElements::name).error();
  }

 private:
  static constexpr int64_t kTaskElements = 16 << 10;
  static constexpr int64_t kAtOnce = 512;

  // The elements [begin, end) of all runs of a group. The first index outside; count_ if none is.
  int64_t scatter_group(const RunContext& c, int64_t group, int64_t begin, int64_t end) const {
    int64_t from = 0, to = 0;
    for (size_t d = loops_.shape.size(); d-- > 0; group /= loops_.shape[d]) {
      from += group % loops_.shape[d] * loops_.strides[0][d];
      to += group % loops_.shape[d] * loops_.strides[1][d];
    }
    const Tensor& index = *c.inputs[1];
    for (int64_t k = 0; k < runs_; ++k)
      for (int64_t i = begin; i < end; i += kAtOnce) {
        const int64_t at = from + k * run_step_ + i, n = std::min(kAtOnce, end - i);
        const void* u = static_cast<const char*>(c.inputs[2]->raw()) + at * bytes_;
        void* y = static_cast<char*>(c.outputs[0]->mutable_raw()) + (to + i * advance_) * bytes_;
        const int64_t good = index.dtype() == DType::i32
                                 ? scatter(index.data<int32_t>() + at, y, u, n)
                                 : scatter(index.data<int64_t>() + at, y, u, n);
        if (good < n) return at + good;
      }
    return count_;
  }

  // How many of n indices lie inside; all elements are placed if all do.
  template <typename I>
  int64_t scatter(const I* index, void* y, const void* u, int64_t n) const {
    const auto wrapped = [&](int64_t i) { return index[i] < 0 ? index[i] + size_ : index[i]; };
    const auto is_inside = [&](int64_t v) { return v >= 0 && v < size_; };
    I differing = 0;
    if (advance_ != 0)
      for (int64_t i = 1; i < n; ++i) differing |= index[i] ^ index[0];
    if (advance_ != 0 && differing == 0) {
      if (!is_inside(wrapped(0))) return 0;
      combine_(static_cast<char*>(y) + wrapped(0) * stride_ * bytes_, u, nullptr, 1, n);
      return n;
    }
    int64_t places[kAtOnce];
    for (int64_t i = 0; i < n; ++i) {
      if (!is_inside(wrapped(i))) return i;
      places[i] = wrapped(i) * stride_;
    }
    combine_(y, u, places, advance_, n);
    return n;
  }

  Combine combine_ = nullptr;
  int64_t bytes_ = 0, count_ = 0;
  int64_t size_ = 0, stride_ = 0;  // of the axis in the result
  // Each group has runs_ runs of run_ indices, run_step_ apart; in the result an element of a run
  // begins advance_ behind the one before.
  int64_t run_ = 1, runs_ = 1, run_step_ = 0, advance_ = 0;
  Loops loops_;  // over the groups: in the indices, in the result
};

// Rows of the data by indices of their first dimensions, in order.
class ScatterNdKernel final : public Kernel {
 public:
  explicit ScatterNdKernel(const StepInfo& s) {
    const std::vector<int64_t> y = s.inputs[0].shape.sizes(), index = s.inputs[1].shape.sizes();
    const int last = static_cast<int>(index.size()) - 1;
    const int depth = static_cast<int>(index.back());
    combine_ = combine_of(s.inputs[0].dtype, s.op.as<ScatterNd>()->reduction);
    sizes_.assign(y.begin(), y.begin() + depth);
    count_ = product(index, 0, last);
    run_ = product(y, depth, static_cast<int>(y.size()));
    run_bytes_ = run_ * static_cast<int64_t>(dtype_size(s.inputs[0].dtype));
  }
  Status run(const RunContext& c) const override {
    copy_data(c);
    if (run_ == 0) return {};
    const Tensor& index = *c.inputs[1];
    const char* u = static_cast<const char*>(c.inputs[2]->raw());
    char* const y = static_cast<char*>(c.outputs[0]->mutable_raw());
    int64_t at = 0;
    for (int64_t i = 0; i < count_; ++i, u += run_bytes_) {
      int64_t place = 0;
      for (const int64_t size : sizes_) {
        const int64_t k =
            index.dtype() == DType::i32 ? index.data<int32_t>()[at] : index.data<int64_t>()[at];
        place = place * size + (k >= 0 && k < size ? k : TRY(wrap_index(k, size, ScatterNd::name)));
        ++at;
      }
      combine_(y + place * run_bytes_, u, nullptr, 1, run_);
    }
    return {};
  }

 private:
  Combine combine_ = nullptr;
  std::vector<int64_t> sizes_;  // of the dimensions that are indexed
  int64_t count_ = 0, run_ = 0, run_bytes_ = 0;
};

ScatterReduction as_scatter(SegmentReduction reduction) {
  switch (reduction) {
    case SegmentReduction::max:
      return ScatterReduction::max;
    case SegmentReduction::min:
      return ScatterReduction::min;
    case SegmentReduction::prod:
      return ScatterReduction::mul;
    default:
      return ScatterReduction::add;
  }
}

std::string segments_refuses(const StepInfo& s) {
  if (s.inputs[1].dtype != DType::i32 && s.inputs[1].dtype != DType::i64)
    return "only i32 and i64 ids";
  const auto reduction = as_scatter(s.op.as<SegmentReduce>()->reduction);
  return combine_of(s.inputs[0].dtype, reduction) != nullptr ? "" : "not for this type";
}

// Slices of T combined with those of the result their ids tell, in order.
template <typename T>
class SegmentKernel final : public Kernel {
 public:
  explicit SegmentKernel(const StepInfo& s)
      : op_(*s.op.as<SegmentReduce>()), is_sorted_(!s.has(2)) {
    combine_ = combine_of(s.inputs[0].dtype, as_scatter(op_.reduction));
    segments_ = s.out_dim(0, 0);
    run_ = product(s.outputs[0].shape.sizes(), 1, s.outputs[0].shape.rank());
  }
  Status run(const RunContext& c) const override {
    return c.inputs[1]->dtype() == DType::i32 ? reduce<int32_t>(c) : reduce<int64_t>(c);
  }

 private:
  template <typename I>
  Status reduce(const RunContext& c) const {
    const I* ids = c.inputs[1]->data<I>();
    const T* u = c.inputs[0]->data<T>();
    T* y = c.outputs[0]->mutable_data<T>();
    std::fill_n(y, segments_ * run_, start());
    const bool counts = op_.reduction == SegmentReduction::mean || (is_sorted_ && op_.extreme());
    std::vector<int64_t> sizes(counts ? static_cast<size_t>(segments_) : 0);
    for (int64_t i = 0, n = c.inputs[1]->elements(); i < n; ++i, u += run_) {
      const int64_t id = ids[i];
      if (id >= segments_)
        return invalid_argument("segment_reduce: id " + std::to_string(id) + " with " +
                                std::to_string(segments_) + " segments");
      if (id < 0) continue;
      if (counts) ++sizes[static_cast<size_t>(id)];
      combine_(y + id * run_, u, nullptr, 1, run_);
    }
    for (size_t k = 0; k < sizes.size(); ++k) {
      T* const segment = y + static_cast<int64_t>(k) * run_;
      if (!op_.extreme())
        for (int64_t i = 0; i < run_ && sizes[k] > 0; ++i) segment[i] /= static_cast<T>(sizes[k]);
      else if (sizes[k] == 0)
        std::fill_n(segment, run_, T(0));
    }
    return {};
  }
  // What a segment is before its first slice.
  T start() const {
    if (op_.reduction == SegmentReduction::max) return std::numeric_limits<T>::lowest();
    if (op_.reduction == SegmentReduction::min) return std::numeric_limits<T>::max();
    return T(op_.reduction == SegmentReduction::prod ? 1 : 0);
  }

  SegmentReduce op_;
  bool is_sorted_;  // there are as many segments as the ids tell
  Combine combine_ = nullptr;
  int64_t segments_ = 0, run_ = 0;
};

std::unique_ptr<Kernel> make_segments(const StepInfo& s) {
  if (s.inputs[0].dtype == DType::f32) return std::make_unique<SegmentKernel<float>>(s);
  if (s.inputs[0].dtype == DType::i32) return std::make_unique<SegmentKernel<int32_t>>(s);
  return std::make_unique<SegmentKernel<int64_t>>(s);
}

template <typename K>
std::unique_ptr<Kernel> make(const StepInfo& s) {
  return std::make_unique<K>(s);
}

constexpr KernelCandidate kCandidates[] = {
    {ScatterElements::name, "index_scatter", scatter_refuses<ScatterElements>,
     make<ScatterElementsKernel>},
    {ScatterNd::name, "index_scatter", scatter_refuses<ScatterNd>, make<ScatterNdKernel>},
    {SegmentReduce::name, "segment_rows", segments_refuses, make_segments},
};

}  // namespace

std::span<const KernelCandidate> scatter_candidates() {
  return kCandidates;
}

}  // namespace tenon::cpu
