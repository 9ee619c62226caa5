// What is moved because a memory nearer to the units is too small.
#pragma once

#include <map>
#include <span>
#include <utility>
#include <vector>

#include "lower/device_program.h"
#include "simulate/timing.h"

namespace tenon {

// In bytes.
struct Spills {
  int64_t reread = 0;     // operands and results from and to the cores, beyond once in a layer
  int64_t passed = 0;     // written and read by the kernels of one layer, for no other
  int64_t refetched = 0;  // made by kernels before, but the cache does not hold it any more
  void add(const Spills& other) {
    reread += other.reread, passed += other.passed, refetched += other.refetched;
  }
};

class SpillCounter {
 public:
  // Of a program that outlives it.
  explicit SpillCounter(const DeviceProgram& program);
  // Of one kernel, by what went between the cores and its buffers.
  Spills of(const DeviceStep& kernel, std::span<const simulate::BufferTraffic> traffic) const;

 private:
  bool is_made_by_kernel(int tensor) const;
  bool is_of_one_layer(int tensor) const;

  const DeviceProgram& program_;
  std::vector<const DeviceStep*> first_;  // by tensor, the step that has to do with it first,
  std::vector<bool> shared_;              // and whether those of other layers have, too
  // The first kernel of a layer that has to do with a tensor.
  std::map<std::pair<const Node*, int>, const DeviceStep*> first_of_layer_;
};

}  // namespace tenon
