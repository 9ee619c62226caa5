// What stands between a step of a plan and the compute kernels: the kernel object a step runs, and
// the list of candidates one is chosen from. Where none applies the op's reference evaluation runs.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "ops/op.h"

namespace tenon::cpu {

// Constants rearranged for kernels: one copy per model, shared by all its plans. Thread-safe.
class PackStore {
 public:
  using Packed = std::shared_ptr<const float>;
  // The packed form `layout` of a constant; made by `fill` on first use. `layout` names all that
  // decides the form besides the constant's type: equal bytes under other dims are another form.
  Packed get(const Tensor& constant, std::string_view layout, int64_t floats,
             const std::function<void(float*)>& fill);
  int64_t bytes() const;

 private:
  mutable std::mutex mutex_;
  std::map<std::pair<const void*, std::string>, Packed> packed_;
  int64_t bytes_ = 0;
};

// The sub-graph of a `fused` step; its values are numbered.
struct Region {
  struct Constant {
    int value;
    const Tensor* tensor;
  };
  struct Step {
    const Op* op;
    std::span<const int> inputs;  // -1 where absent
    std::span<const int> outputs;
  };
  size_t values = 0;
  std::span<const int> inputs, outputs;
  std::vector<Constant> constants;
  std::vector<Step> steps;
};

// A step with everything known of it when its kernel is chosen. All types are static.
struct StepInfo {
  const Op& op;
  std::span<const TensorType> inputs;  // none where absent
  std::span<const TensorType> outputs;
  std::span<const Tensor* const> constants;  // per input: its value where constant, else null
  PackStore& packs;
  int threads = 1;
  const Region* region = nullptr;  // of `fused`

  bool has(size_t i) const { return i < inputs.size() && !inputs[i].is_none(); }
  int64_t in_dim(size_t i, int axis) const { return inputs[i].shape[axis].size(); }
  int64_t out_dim(size_t i, int axis) const { return outputs[i].shape[axis].size(); }
};

struct RunContext {
  std::span<const Tensor* const> inputs;
  std::span<Tensor* const> outputs;
  ThreadPool& pool;
  void* scratch = nullptr;

  bool has(size_t i) const { return i < inputs.size() && inputs[i]->defined(); }
  const float* in(size_t i) const { return has(i) ? inputs[i]->data<float>() : nullptr; }
  float* out(size_t i) const { return outputs[i]->mutable_data<float>(); }
};

// Chosen for one set of shapes. Stateless while running: many executions share it.
class Kernel {
 public:
  virtual ~Kernel() = default;
  virtual int64_t scratch_bytes() const { return 0; }
  virtual Status run(const RunContext& context) const = 0;
};

struct KernelCandidate {
  std::string_view op;
  std::string_view name;
  // Why it does not apply; empty when it does.
  std::string (*refuses)(const StepInfo&);
  std::unique_ptr<Kernel> (*make)(const StepInfo&);
};

// All of them, the preferred ones of an op first.
std::span<const KernelCandidate> kernel_candidates();

struct KernelChoice {
  std::unique_ptr<Kernel> kernel;  // null: the reference evaluation
  std::string name = "reference";
  std::vector<std::string> refusals;
};
KernelChoice choose_kernel(const StepInfo& step);

}  // namespace tenon::cpu
