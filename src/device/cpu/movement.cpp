// Ops that only move elements, of any type but strings: by the size of an element.
#include "ops/movement.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "device/cpu/candidates.h"
#include "device/cpu/kernels/layout.h"
#include "device/cpu/strides.h"
#include "ops/concat.h"
#include "ops/expand.h"
#include "ops/gather.h"
#include "ops/pad.h"
#include "ops/reverse.h"
#include "ops/slice.h"
#include "ops/transpose.h"

namespace tenon::cpu {
namespace {

bool is_movable(const StepInfo& s) {
  return !s.inputs[0].is_list && s.inputs[0].dtype != DType::string;
}
int element_bytes(const StepInfo& s) {
  return static_cast<int>(dtype_size(s.inputs[0].dtype));
}

// The view that the op's result is, from what is known when the kernel is chosen.
Result<StridedView> view_of(const StepInfo& s) {
  std::vector<Tensor> inputs;
  for (size_t i = 0; i < s.inputs.size(); ++i) {
    if (i > 0 && s.constants[i] != nullptr)
      inputs.push_back(*s.constants[i]);
    else if (i == 0 || s.op.def().name == Expand::name || s.op.def().name == Tile::name)
      inputs.push_back(Tensor::view(s.inputs[i].dtype, s.inputs[i].shape.sizes(), nullptr));
    else if (s.has(i))
      return invalid_argument(fmt::format("operand {} is not constant", i));
    else
      inputs.emplace_back();
  }
  std::vector<Tensor> outputs = {
      Tensor::view(s.outputs[0].dtype, s.outputs[0].shape.sizes(), nullptr)};
  const EvalContext context(inputs, outputs);
  if (const auto* op = s.op.as<Slice>()) return op->strided_view(context);
  if (const auto* op = s.op.as<StridedSlice>()) return op->strided_view(context);
  if (const auto* op = s.op.as<Reverse>()) return op->strided_view(context);
  if (const auto* op = s.op.as<Expand>()) return op->strided_view(context);
  if (const auto* op = s.op.as<Tile>()) return op->strided_view(context);
  return internal_error("no strided view");
}

// Fills the loops of a copy; false when they are too many.
bool set_loops(const std::vector<int64_t>& shape, const std::vector<int64_t>& x_strides,
               const std::vector<int64_t>& y_strides, StridedCopyParams& p) {
  const Loops loops = collapse(shape, {x_strides, y_strides});
  if (loops.shape.size() > kMaxLayoutDims) return false;
  p.rank = static_cast<int>(loops.shape.size());
  for (size_t d = 0; d < loops.shape.size(); ++d) {
    p.shape[d] = loops.shape[d];
    p.x_strides[d] = loops.strides[0][d];
    p.y_strides[d] = loops.strides[1][d];
  }
  return true;
}

std::string view_refuses(const StepInfo& s) {
  if (!is_movable(s)) return "strings";
  const auto view = view_of(s);
  if (!view.ok()) return view.error().message;
  StridedCopyParams p;
  return set_loops(view->dims, view->strides, row_major_strides(view->dims), p)
             ? ""
             : "too many dimensions";
}

class ViewKernel final : public Kernel {
 public:
  explicit ViewKernel(const StepInfo& s) {
    const StridedView view = view_of(s).value();
    set_loops(view.dims, view.strides, row_major_strides(view.dims), p_);
    p_.element_bytes = element_bytes(s);
    offset_ = view.offset * p_.element_bytes;
  }
  Status run(const RunContext& c) const override {
    StridedCopyParams p = p_;
    p.x = static_cast<const char*>(c.inputs[0]->raw()) + offset_;
    p.y = c.outputs[0]->mutable_raw();
    if (c.outputs[0]->elements() > 0) strided_copy(p, c.pool);
    return {};
  }

 private:
  StridedCopyParams p_;
  int64_t offset_ = 0;
};

class TransposeKernel final : public Kernel {
 public:
  explicit TransposeKernel(const StepInfo& s) {
    const std::vector<int64_t> x = s.inputs[0].shape.sizes();
    p_.element_bytes = element_bytes(s);
    p_.rank = static_cast<int>(x.size());
    const std::vector<int64_t>& perm = s.op.as<Transpose>()->perm;
    for (int d = 0; d < p_.rank; ++d) {
      const auto u = static_cast<size_t>(d);
      p_.shape[d] = x[u];
      int64_t from = perm.empty() ? p_.rank - 1 - d : perm[u];
      if (from < 0) from += p_.rank;
      p_.perm[d] = static_cast<int>(from);
    }
  }
  Status run(const RunContext& c) const override {
    TransposeParams p = p_;
    p.x = c.inputs[0]->raw();
    p.y = c.outputs[0]->mutable_raw();
    transpose(p, c.pool);
    return {};
  }

 private:
  TransposeParams p_;
};

std::string transpose_refuses(const StepInfo& s) {
  if (!is_movable(s)) return "strings";
  return s.inputs[0].shape.rank() <= kMaxLayoutDims ? "" : "too many dimensions";
}

// Concat and split: rows from the axis on, side by side.
class JoinKernel final : public Kernel {
 public:
  explicit JoinKernel(const StepInfo& s) : split_(s.op.as<Split>() != nullptr) {
    const auto parts = split_ ? s.outputs : s.inputs;
    const Shape& joined = split_ ? s.inputs[0].shape : s.outputs[0].shape;
    int64_t axis = 0;
    if (const auto* split = s.op.as<Split>()) axis = split->axis;
    if (const auto* concat = s.op.as<Concat>()) axis = concat->axis;
    if (axis < 0) axis += joined.rank();
    const auto row_bytes = [&](const Shape& shape) {
      return product(shape.sizes(), static_cast<int>(axis), shape.rank()) * element_bytes(s);
    };
    rows_ = product(joined.sizes(), 0, static_cast<int>(axis));
    for (const TensorType& t : parts) bytes_.push_back(row_bytes(t.shape));
    if (!split_ && axis == joined.rank() - 1)
      for (size_t i = 0; i < parts.size(); ++i) channels_.push_back(s.in_dim(i, joined.rank() - 1));
  }
  Status run(const RunContext& c) const override {
    // Part by part in small groups: the pointers live on the stack.
    constexpr size_t kParts = 64;
    void* pointers[kParts];
    char* joined = static_cast<char*>(split_ ? const_cast<void*>(c.inputs[0]->raw())
                                             : c.outputs[0]->mutable_raw());
    JoinRowsParams p;
    p.rows = rows_;
    for (const int64_t n : bytes_) p.joined_bytes += n;
    p.part = pointers;
    p.split = split_;
    for (size_t first = 0; first < bytes_.size(); first += kParts) {
      const size_t n = std::min(kParts, bytes_.size() - first);
      p.parts = static_cast<int>(n);
      p.part_bytes = bytes_.data() + first;
      p.joined = joined;
      for (size_t i = 0; i < n; ++i) {
        pointers[i] = split_ ? c.outputs[first + i]->mutable_raw()
                             : const_cast<void*>(c.inputs[first + i]->raw());
        joined += bytes_[first + i];
      }
      join_rows(p, c.pool);
    }
    return {};
  }
  // What reads rows of channels may read them from the parts.
  std::unique_ptr<Kernel> join(const Kernel& next, size_t) const override {
    return channels_.empty() ? nullptr : next.with_parts(channels_);
  }

 private:
  bool split_;
  int64_t rows_ = 1;
  std::vector<int64_t> bytes_;
  std::vector<int64_t> channels_;  // of the parts of a concat in the last dim
};

std::string movable_refuses(const StepInfo& s) {
  return is_movable(s) ? "" : "strings";
}

class PadKernel final : public Kernel {
 public:
  explicit PadKernel(const StepInfo& s) { (void)set(s); }
  // False: too many dimensions.
  bool set(const StepInfo& s) {
    const std::vector<int64_t> x = s.inputs[0].shape.sizes(), y = s.outputs[0].shape.sizes();
    const auto begins = s.op.as<Pad>()->begins(static_cast<int>(x.size()), *s.constants[1]);
    if (!begins.ok()) return false;
    const auto x_strides = row_major_strides(x), y_strides = row_major_strides(y);
    std::vector<int64_t> body;
    for (size_t d = 0; d < x.size(); ++d) {
      const int64_t begin = (*begins)[d];
      const int64_t first = std::max<int64_t>(0, -begin);
      body.push_back(std::max<int64_t>(0, std::min(x[d], y[d] - begin) - first));
      x_offset_ += first * x_strides[d];
      y_offset_ += (first + begin) * y_strides[d];
      is_empty_ |= body.back() == 0;
    }
    fills_ = s.inputs[0].shape.elements() == 0 || body != y;
    p_.element_bytes = element_bytes(s);
    return set_loops(body, x_strides, y_strides, p_);
  }
  Status run(const RunContext& c) const override {
    Tensor& y = *c.outputs[0];
    if (y.elements() == 0) return {};
    char* const out = static_cast<char*>(y.mutable_raw());
    if (fills_ && !c.has(2)) {
      std::memset(out, 0, y.byte_size());
    } else if (fills_) {
      StridedCopyParams fill;
      fill.rank = 1;
      fill.shape[0] = y.elements();
      fill.y_strides[0] = 1;
      fill.element_bytes = p_.element_bytes;
      fill.x = c.inputs[2]->raw();
      fill.y = out;
      strided_copy(fill, c.pool);
    }
    if (is_empty_) return {};
    StridedCopyParams p = p_;
    p.x = static_cast<const char*>(c.inputs[0]->raw()) + x_offset_ * p.element_bytes;
    p.y = out + y_offset_ * p.element_bytes;
    strided_copy(p, c.pool);
    return {};
  }

 private:
  StridedCopyParams p_;
  int64_t x_offset_ = 0, y_offset_ = 0;
  bool is_empty_ = false, fills_ = true;
};

std::string pad_refuses(const StepInfo& s) {
  if (!is_movable(s)) return "strings";
  if (s.op.as<Pad>()->mode != PadMode::constant) return "only constant padding";
  if (s.constants[1] == nullptr) return "the pads are not constant";
  return s.inputs[0].shape.rank() <= kMaxLayoutDims ? "" : "too many dimensions";
}

constexpr int64_t kMaxMapped = int64_t{1} << 24;

// Padding by elements of x: per axis a list of where each position comes from.
class PadMapKernel final : public Kernel {
 public:
  explicit PadMapKernel(const StepInfo& s) : bytes_(element_bytes(s)) {
    const Pad& op = *s.op.as<Pad>();
    const std::vector<int64_t> x = s.inputs[0].shape.sizes(), y = s.outputs[0].shape.sizes();
    const auto begins = op.begins(static_cast<int>(x.size()), *s.constants[1]).value();
    int64_t stride = bytes_;
    bool tail = true;  // trailing axes that are not padded move as one element
    for (size_t d = x.size(); d-- > 0;) {
      tail &= x[d] == y[d] && begins[d] == 0;
      if (tail) bytes_ *= x[d];
      if (!tail) {
        std::vector<int64_t>& map = maps_.emplace_back();
        for (int64_t i = 0; i < y[d]; ++i)
          map.push_back(pad_source(op.mode, i - begins[d], x[d]) * stride);
      }
      stride *= x[d];
    }
    if (maps_.empty()) maps_.push_back({0});
    for (size_t d = 1; d < maps_.size(); ++d) rows_ *= static_cast<int64_t>(maps_[d].size());
  }
  Status run(const RunContext& c) const override {
    if (c.outputs[0]->elements() == 0) return {};
    const char* x = static_cast<const char*>(c.inputs[0]->raw());
    char* y = static_cast<char*>(c.outputs[0]->mutable_raw());
    const auto n = static_cast<int64_t>(maps_[0].size());
    c.pool.parallel_for(rows_, [&](int64_t row) {
      int64_t rest = row, base = 0;
      for (size_t d = 1; d < maps_.size(); ++d) {
        const auto size = static_cast<int64_t>(maps_[d].size());
        base += maps_[d][static_cast<size_t>(rest % size)];
        rest /= size;
      }
      char* to = y + row * n * bytes_;
      if (bytes_ == 4)
        for (const int64_t from : maps_[0]) std::memcpy(to, x + base + from, 4), to += 4;
      else
        for (const int64_t from : maps_[0]) {
          std::memcpy(to, x + base + from, static_cast<size_t>(bytes_));
          to += bytes_;
        }
    });
    return {};
  }

 private:
  std::vector<std::vector<int64_t>> maps_;  // innermost first, in bytes
  int64_t bytes_;
  int64_t rows_ = 1;
};

std::string pad_map_refuses(const StepInfo& s) {
  if (!is_movable(s)) return "strings";
  if (s.op.as<Pad>()->mode == PadMode::constant) return "constant padding";
  if (s.constants[1] == nullptr) return "the pads are not constant";
  for (const int64_t n : s.outputs[0].shape.sizes())
    if (n > kMaxMapped) return "an axis is too long for a list of places";
  return s.op.as<Pad>()->begins(s.inputs[0].shape.rank(), *s.constants[1]).ok()
             ? ""
             : "the pads do not fit";
}

// Batches, if any, are gathered one after the other.
class GatherKernel final : public Kernel {
 public:
  explicit GatherKernel(const StepInfo& s) {
    const Gather& op = *s.op.as<Gather>();
    const std::vector<int64_t> x = s.inputs[0].shape.sizes(), index = s.inputs[1].shape.sizes();
    const int rank = static_cast<int>(x.size()), index_rank = static_cast<int>(index.size());
    const int axis = static_cast<int>(op.axis < 0 ? op.axis + rank : op.axis);
    const int batch =
        static_cast<int>(op.batch_dims < 0 ? op.batch_dims + index_rank : op.batch_dims);
    batches_ = product(x, 0, batch);
    p_.outer = product(x, batch, axis);
    p_.rows = x[static_cast<size_t>(axis)];
    p_.row_bytes = product(x, axis + 1, rank) * element_bytes(s);
    p_.indices = product(index, batch, index_rank);
  }
  Status run(const RunContext& c) const override {
    const Tensor& index = *c.inputs[1];
    GatherRowsParams p = p_;
    const int64_t x_bytes = p.outer * p.rows * p.row_bytes;
    const int64_t y_bytes = p.outer * p.indices * p.row_bytes;
    for (int64_t b = 0; b < batches_; ++b) {
      if (index.dtype() == DType::i32)
        p.index32 = index.data<int32_t>() + b * p.indices;
      else
        p.index64 = index.data<int64_t>() + b * p.indices;
      p.x = static_cast<const char*>(c.inputs[0]->raw()) + b * x_bytes;
      p.y = static_cast<char*>(c.outputs[0]->mutable_raw()) + b * y_bytes;
      const int64_t bad = gather_rows(p, c.pool);
      if (bad >= 0) return wrap_index(index.int_at(b * p.indices + bad), p.rows, "gather").error();
    }
    return {};
  }

 private:
  int64_t batches_ = 1;
  GatherRowsParams p_;
};

std::string gather_refuses(const StepInfo& s) {
  if (!is_movable(s)) return "strings";
  const DType index = s.inputs[1].dtype;
  return index == DType::i32 || index == DType::i64 ? "" : "only i32 and i64 indices";
}

template <typename K>
std::unique_ptr<Kernel> make(const StepInfo& s) {
  return std::make_unique<K>(s);
}

constexpr KernelCandidate kCandidates[] = {
    {"transpose", "move_transpose", transpose_refuses, make<TransposeKernel>},
    {"slice", "move_strided", view_refuses, make<ViewKernel>},
    {"strided_slice", "move_strided", view_refuses, make<ViewKernel>},
    {"reverse", "move_strided", view_refuses, make<ViewKernel>},
    {"expand", "move_strided", view_refuses, make<ViewKernel>},
    {"tile", "move_strided", view_refuses, make<ViewKernel>},
    {"concat", "move_rows", movable_refuses, make<JoinKernel>},
    {"split", "move_rows", movable_refuses, make<JoinKernel>},
    {"pad", "move_pad", pad_refuses, make<PadKernel>},
    {"pad", "move_pad_by_map", pad_map_refuses, make<PadMapKernel>},
    {"gather", "gather_rows", gather_refuses, make<GatherKernel>},
};

}  // namespace

std::span<const KernelCandidate> movement_candidates() {
  return kCandidates;
}

}  // namespace tenon::cpu
