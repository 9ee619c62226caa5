// The interface between the executor and the kernels of a device.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "base/thread_pool.h"
#include "format/model_file.h"

namespace tenon::runtime {

// What is known of a step when its kernel is chosen: concrete types, constant operands.
struct StepInfo {
  const FileStep& step;
  std::span<const TensorType> inputs;
  std::span<const TensorType> outputs;
  std::span<const Tensor* const> constants;  // per operand; null where not constant
  int threads = 1;
};

// A kernel prepared for one step at fixed shapes. Immutable: run() may be called concurrently.
class Kernel {
 public:
  virtual ~Kernel() = default;
  virtual std::string_view name() const = 0;
  // Bytes of scratch memory run() wants.
  virtual int64_t scratch_bytes() const { return 0; }
  virtual void run(std::span<const Tensor* const> inputs, std::span<Tensor* const> outputs,
                   void* scratch, ThreadPool& pool) const = 0;
};

// One way to compute an op. Candidates of an op are tried in order; the first that does not refuse
// is taken, else the op's reference evaluation.
struct KernelCandidate {
  std::string_view op;
  std::string_view name;
  // Null to accept, else why not.
  const char* (*refuses)(const StepInfo& info);
  std::unique_ptr<Kernel> (*make)(const StepInfo& info);
};

}  // namespace tenon::runtime
