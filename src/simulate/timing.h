// The time that tile programs take on a chip, by simulation of events: cores issue to queues,
// queues work in order, flags let them wait for each other, and the global memory and its cache are
// shared. No data is touched. Every figure it gives is simulated.
#pragma once

#include <algorithm>
#include <list>
#include <queue>
#include <unordered_map>

#include "base/result.h"
#include "simulate/cost.h"

namespace tenon::simulate {

// What a kernel took.
struct KernelTime {
  double seconds = 0;
  std::vector<double> busy;       // per queue, the mean over the cores
  int64_t read = 0, written = 0;  // bytes of the global memory, moved by the cores
  int64_t missed = 0;             // of those, what the cache did not hold
  double operations = 0;          // of products
};

// A cache of the chip between its cores and memory: lines within chunks; of chunks the least
// recently used goes.
class Cache {
 public:
  Cache(int64_t bytes, int64_t line) : most_(bytes / kChunk), line_(std::max(line, kChunk / 64)) {}
  // Bytes of the lines of [address, address + bytes) that are not there; they are then.
  int64_t miss(int64_t address, int64_t bytes);
  bool is_there() const { return most_ > 0; }

 private:
  static constexpr int64_t kChunk = 16 * 1024;
  struct Chunk {
    std::list<int64_t>::iterator place;  // in the order of use
    uint64_t lines = 0;                  // that are there
  };
  int64_t most_, line_;
  std::list<int64_t> order_;
  std::unordered_map<int64_t, Chunk> held_;
};

class TimingModel {
 public:
  TimingModel(const Machine& machine, const isa::Architecture& architecture);

  // Runs a program over buffers at these addresses. What is in the cache stays for the next.
  // Errors: internal where the program waits for a flag that nobody raises.
  Result<KernelTime> run(const isa::Program& program, std::span<const int64_t> addresses);

 private:
  struct Core;
  // When a core goes on, and which.
  using Entry = std::pair<double, size_t>;
  using Order = std::priority_queue<Entry, std::vector<Entry>, std::greater<>>;
  struct Shared;
  int64_t missed(const isa::View& view, int64_t address, std::span<const int64_t> variables);
  Result<double> step(Core& core, Shared& shared, const isa::Instruction& i, KernelTime& time);

  void release(std::vector<Core>& cores, Order& order);

  const isa::Architecture& architecture_;
  CostModel costs_;
  Cache cache_;
  double memory_rate_, cluster_rate_;   // bytes/s, shared; cluster: 0 where there is none
  double core_rate_, core_write_rate_;  // of one core
  double hit_latency_, miss_latency_, copy_start_;
  int64_t cores_per_cluster_ = 1;
};

}  // namespace tenon::simulate
