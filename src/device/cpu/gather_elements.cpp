// gather_elements: elements picked along one axis, row by row of the indices.
#include "device/cpu/candidates.h"
#include "ops/gather.h"
#include "ops/movement.h"
#include "tensor/visit.h"

namespace tenon::cpu {
namespace {

std::string refuses(const StepInfo& s) {
  if (s.inputs[0].dtype == DType::string || dtype_size(s.inputs[0].dtype) > 8)
    return "not for this type";
  const DType index = s.inputs[1].dtype;
  return index == DType::i32 || index == DType::i64 ? "" : "only i32 and i64 indices";
}

class GatherElementsKernel final : public Kernel {
 public:
  explicit GatherElementsKernel(const StepInfo& s)
      : dims_(s.inputs[1].shape.sizes()), strides_(row_major_strides(s.inputs[0].shape.sizes())) {
    const int64_t axis = s.op.as<GatherElements>()->axis;
    axis_ = static_cast<size_t>(axis < 0 ? axis + static_cast<int64_t>(dims_.size()) : axis);
    size_ = s.in_dim(0, static_cast<int>(axis_));
  }
  Status run(const RunContext& c) const override {
    Status status;
    visit_storage(c.outputs[0]->dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      if constexpr (std::is_integral_v<T>)
        status = c.inputs[1]->dtype() == DType::i32 ? gather<T, int32_t>(c) : gather<T, int64_t>(c);
    });
    return status;
  }

 private:
  // Rows of the last dim; a step along it in x is 1 where another axis is indexed.
  template <typename T, typename Index>
  Status gather(const RunContext& c) const {
    const auto* x = static_cast<const T*>(c.inputs[0]->raw());
    const auto* index = static_cast<const Index*>(c.inputs[1]->raw());
    T* y = static_cast<T*>(c.outputs[0]->mutable_raw());
    const int64_t columns = dims_.back(),
                  rows = c.outputs[0]->elements() / std::max<int64_t>(1, columns);
    const int64_t stride = strides_[axis_], step = axis_ + 1 == dims_.size() ? 0 : 1;
    for (int64_t r = 0; r < rows; ++r, index += columns, y += columns) {
      int64_t base = 0, rest = r;
      for (size_t d = dims_.size() - 1; d-- > 0; rest /= dims_[d])
        if (d != axis_) base += rest % dims_[d] * strides_[d];
      for (int64_t i = 0; i < columns; ++i) {
        int64_t at = index[i];
        if (at < 0 || at >= size_) at = TRY(wrap_index(at, size_, "gather_elements"));
        y[i] = x[base + at * stride + i * step];
      }
    }
    return {};
  }

  std::vector<int64_t> dims_, strides_;  // of the indices; of x
  size_t axis_ = 0;
  int64_t size_ = 0;
};

std::unique_ptr<Kernel> make(const StepInfo& s) {
  return std::make_unique<GatherElementsKernel>(s);
}

constexpr KernelCandidate kCandidates[] = {{GatherElements::name, "index_elements", refuses, make}};

}  // namespace

std::span<const KernelCandidate> gather_elements_candidates() {
  return kCandidates;
}

}  // namespace tenon::cpu
