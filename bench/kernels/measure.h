// What the measurements of single kernels share: memory, the clock, the multiply-add peak, and
// rounds in which a kernel, its opponent (onednn.h) and a yardstick take turns, so that other load
// on the machine hits all alike.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "device/cpu/kernels/kernel_table.h"

namespace tenon::bench {

double now();  // seconds

// 64-byte aligned floats, every thirteenth equal: value * (-6 … 6).
struct Buffer {
  explicit Buffer(int64_t floats, float value = 0.01f);
  ~Buffer() { std::free(data); }
  Buffer(const Buffer&) = delete;
  float* data;
};

// GFLOP/s of one core in independent chains of fused multiply-adds at the table's width.
double peak_gflops(const cpu::KernelTable& table);

// One kernel of Tenon and, where it is not empty, the same of oneDNN.
struct Case {
  std::string name;
  double bytes = 0;  // that must be moved
  double flops = 0;
  std::function<void()> tenon, onednn;
};

struct Times {
  double tenon = 0, onednn = 0;  // seconds of the best run; 0 where there was none
};

class Bench {
 public:
  // The options that all these programs know: --threads N, --isa NAME, --filter WORD, --seconds S
  // (of a case), --csv. Ends the program where they are wrong.
  Bench(int argc, char** argv);

  // Runs a case and prints it: the best of both, beside a copy of 64 MB and the peak; what the
  // name lacks the filter's word of is left out.
  Times run(const Case& c);

  ThreadPool& pool() { return *pool_; }
  const cpu::KernelTable& table() const { return *table_; }
  // The value of another option; empty where it was not given.
  std::string option(const std::string& name) const;
  bool flag(const std::string& name) const { return option(name) == "set"; }

 private:
  const cpu::KernelTable* table_ = &cpu::kernels();
  std::unique_ptr<ThreadPool> pool_;
  std::vector<std::pair<std::string, std::string>> options_;
  std::string filter_;
  double seconds_ = 0.3;
  bool csv_ = false;
  Buffer from_{16 << 20}, to_{16 << 20};
};

}  // namespace tenon::bench
