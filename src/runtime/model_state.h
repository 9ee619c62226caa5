// What a loaded model is to the runtime: its file, and for each function the graph with its plans.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "base/thread_pool.h"
#include "format/model_file.h"
#include "runtime/model.h"
#include "runtime/plan.h"

namespace tenon::runtime {

struct FunctionState {
  const FileFunction* file = nullptr;
  std::unique_ptr<GraphState> graph;
  std::vector<PortInfo> inputs, outputs;  // with those of variables, behind the others
  std::vector<size_t> reads;              // the variable of each input behind the others
  std::vector<size_t> writes;             // and of each output
  int64_t weight_bytes = 0;

  size_t input_count() const { return inputs.size() - reads.size(); }
  size_t output_count() const { return outputs.size() - writes.size(); }
};

struct ModelState {
  Blob bytes;  // of the file
  LoadOptions options;
  FileModel file;
  std::vector<FunctionState> functions;
  std::vector<PortInfo> variables;
  std::vector<Tensor> initial;
  cpu::PackStore packs;
  std::optional<cpu::Tuning> tuning;
  std::unique_ptr<ThreadPool> pool;
  int64_t max_loop_iterations = 0;

  bool strict = false;

  cpu::KernelSettings kernels() {
    return {packs, pool->threads(), tuning ? &*tuning : nullptr, strict};
  }
};

}  // namespace tenon::runtime
