// The time that tile programs take on a chip, by simulation of events: cores issue to queues,
// queues work in order, flags let them wait for each other, and the global memory and its cache are
// shared. Long loops are followed until they are steady; the rest is extrapolated. No data is
// touched. Every figure it gives is simulated.
#pragma once

#include <optional>
#include <queue>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "simulate/cache.h"
#include "simulate/cost.h"
#include "simulate/moment.h"

namespace tenon::simulate {

// What went between the cores and one buffer of a program, in bytes.
struct BufferTraffic {
  double read = 0, written = 0;  // by the cores
  double fetched = 0;            // of what was read, what the cache did not hold
  void add(const BufferTraffic& other, double times) {
    read += times * other.read, written += times * other.written;
    fetched += times * other.fetched;
  }
};

// What a kernel took.
struct KernelTime {
  double seconds = 0;
  Causes causes{};                // of the longest way through it; their sum is `seconds`
  std::vector<double> busy;       // per queue, the mean over the cores
  int64_t read = 0, written = 0;  // bytes of the global memory, moved by the cores
  int64_t missed = 0;             // of those, what the cache did not hold
  double operations = 0;          // of products
  std::vector<BufferTraffic> buffers;
};

class TimingModel {
 public:
  TimingModel(const Machine& machine, const isa::Architecture& architecture);

  // Runs a program over buffers at these addresses. What is in the cache stays for the next.
  // `in_l2`: which buffers are there, on chips whose L2 is no cache; empty: none.
  // Errors: internal where the program waits for a flag that nobody raises.
  Result<KernelTime> run(const isa::Program& program, std::span<const int64_t> addresses,
                         const std::vector<bool>& in_l2 = {});

 private:
  struct Core;
  // When a core goes on, and which.
  using Entry = std::pair<double, size_t>;
  using Order = std::priority_queue<Entry, std::vector<Entry>, std::greater<>>;
  struct Shared;
  // What memory moves as a view is read or written through a cache.
  MemoryTraffic moved(const isa::View& view, int64_t address, std::span<const int64_t> variables,
                      bool writes);
  Status order(Core& core, const isa::Instruction& i);
  // Whether memory had to move something for it.
  bool transfer(Core& core, Shared& shared, const isa::Instruction& i, const Cost& cost,
                Moment& end);
  bool is_part_of_last(Core& core, const isa::Instruction& i) const;
  Result<double> step(Core& core, Shared& shared, const isa::Instruction& i);
  void release(std::vector<Core>& cores, Order& order);
  Result<KernelTime> collect(const std::vector<Core>& cores) const;

  const isa::Architecture& architecture_;
  CostModel costs_;
  // Of the program that runs: what its instructions cost, where that is always the same.
  std::unordered_map<const isa::Instruction*, std::optional<Cost>> fixed_;
  Cache cache_;
  double memory_rate_, cluster_rate_;   // bytes/s, shared; cluster: 0 where there is none
  double core_rate_, core_write_rate_;  // of one core
  double near_rate_;                    // bytes/s of a core from and to a cluster's shared memory
  int l0c_ = -1;
  double hit_latency_, miss_latency_, copy_start_, barrier_ = 0;
  int64_t cores_per_cluster_ = 1;
  double clusters_ = 1, crowded_rate_ = 1;  // with all clusters at products of floats, of the clock
  double float_rate_ = 1;                   // and with those of the program that runs
};

}  // namespace tenon::simulate
