// What stands between a step of a plan and the compute kernels: the kernel object a step runs, and
// the list of candidates one is chosen from. Where none applies the op's reference evaluation runs.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "base/thread_pool.h"
#include "device/cpu/tuning.h"
#include "ops/op.h"
#include "tensor/packed_weight.h"

namespace tenon::cpu {

// Constants rearranged for kernels: one copy per model, shared by all its plans. Thread-safe.
class PackStore {
 public:
  using Packed = std::shared_ptr<const float>;
  using Fill = std::function<void(float*)>;
  // Room for the packed form `layout` of a constant, which `fill` makes from the constant's bytes
  // on the next fill_pending(): that must come before the first use, and `fill` may refer to
  // nothing else that is gone by then. `layout` names all that decides the form besides the
  // constant's type: equal bytes under other dims are another form. `lasting`: in any process of
  // any version, so that files may hold it; a form that changes takes another name.
  Packed get(const Tensor& constant, std::string_view layout, int64_t floats, Fill fill,
             bool lasting = false);
  // The same, filled at once where it was not yet.
  Packed get_filled(const Tensor& constant, std::string_view layout, int64_t floats,
                    const Fill& fill);
  // Fills what was asked for; returns when it is all there, whoever asked. Cheap when there is
  // nothing to do.
  void fill_pending(ThreadPool& pool);
  int64_t bytes() const;

  // Weights that the file holds packed, and forms that it holds beside them. All are added before
  // anything is asked for.
  void add_stored(std::shared_ptr<PackedWeight> weight);
  void add_prepacked(PrepackedWeight weight);
  // What the file holds of these; null where `layout` is to be made.
  Packed from_file(const Tensor& constant, std::string_view layout, int64_t floats) const;
  // The lasting forms that were filled so far, in no order: what a file may hold.
  std::vector<PrepackedWeight> lasting() const;
  // What a constant stands for that may not be there dense; null for all others.
  PackedWeight* stored(const Tensor& constant) const;
  // Called before anything reads the elements of a constant, except by StepInfo::pack().
  void make_dense(const Tensor& constant) const;

  // Pages of the mapped file `bytes` are given back once the constants in them are packed.
  void release_pages_of(Bytes bytes);

 private:
  struct Entry {
    Packed values;
    Tensor constant;  // what the key's address stands for
    Fill fill;        // while pending
    size_t size = 0;
    bool lasting = false;
  };
  using Key = std::pair<const void*, std::string>;  // where a constant is, and the form's name
  static Key key(const Tensor& constant, std::string_view layout);
  Entry& entry(const Tensor& constant, std::string_view layout, int64_t floats);
  std::shared_ptr<std::byte> allocate(size_t size);
  void fill(Entry& entry);

  mutable std::mutex mutex_;
  std::map<Key, Entry> packed_;
  std::map<const void*, std::shared_ptr<PackedWeight>> stored_;  // by the dense address
  std::map<Key, Blob> prepacked_;
  std::vector<Entry*> pending_;
  std::atomic<bool> has_pending_ = false;
  int64_t bytes_ = 0;
  // Larger forms lie side by side, in pages as large as the system has.
  std::shared_ptr<std::byte> slab_;
  size_t slab_size_ = 0, slab_used_ = 0;
  Bytes mapped_;
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

// What the kernels of a model are chosen with.
struct KernelSettings {
  PackStore& packs;
  int threads = 1;
  const Tuning* tuning = nullptr;  // null: candidates are taken in their order
  bool strict = false;             // no algorithm that rounds otherwise than the sums themselves
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
  const Tuning* tuning = nullptr;
  // Bit i is set where pack() of constant i found the form in the file: what the kernel got is all
  // it reads of it. Any other operand of a kernel is there dense when it runs.
  uint32_t* taken = nullptr;
  bool strict = false;

  // PackStore::get of constant i in a lasting form, which costs nothing where the file holds it. In
  // `fill`, and only there, the elements of the constant may be read.
  PackStore::Packed pack(size_t i, const std::string& layout, int64_t floats,
                         PackStore::Fill fill) const;

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
  // One kernel for this step, of `operands` operands and one result, and `next`, whose operand 0
  // that result is and which alone takes it; null where that would be no faster. Its operands are
  // this step's, then those of `next`, operand 0 among them but absent.
  virtual std::unique_ptr<Kernel> join(const Kernel& next, size_t operands) const {
    (void)next, (void)operands;
    return nullptr;
  }
  // What it does once it is joined, where that is another way than alone; else empty.
  virtual std::string_view joined_name() const { return {}; }
  // This kernel with parts of so many channels as operands in the place of operand 0, which they
  // are side by side in the last dim: its operands are the parts, then those that it had, operand 0
  // among them but absent. Null where it reads operand 0 whole.
  virtual std::unique_ptr<Kernel> with_parts(std::vector<int64_t> channels) const {
    (void)channels;
    return nullptr;
  }
};

struct KernelCandidate {
  std::string_view op;
  std::string_view name;
  // Why it does not apply; empty when it does.
  std::string (*refuses)(const StepInfo&);
  std::unique_ptr<Kernel> (*make)(const StepInfo&);
};

struct KernelChoice {
  std::unique_ptr<Kernel> kernel;  // null: the reference evaluation
  std::string name = "reference";
  std::vector<std::string> refusals;
  // Where the step has a tuning: its key, and what was measured; while measuring, all that apply.
  std::string key;
  std::vector<MeasuredKernel> measured;
};
KernelChoice choose_kernel(const StepInfo& step);

}  // namespace tenon::cpu
