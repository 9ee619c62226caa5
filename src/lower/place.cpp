// Places of the tensors in the global memory: constants, inputs and outputs for good, activations
// as long as they are needed.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <span>

#include "lower/lowering.h"

namespace tenon::lower {
namespace {

constexpr int64_t kAlign = 512;  // whole lines of the caches

int64_t aligned(int64_t bytes) {
  return (bytes + kAlign - 1) / kAlign * kAlign;
}

struct Life {
  size_t tensor;
  size_t first, last;  // steps
};

// The lowest place where no tensor alive at the same time is: the largest tensors first.
int64_t place_activations(DeviceProgram& program, std::vector<Life> lives, int64_t base) {
  std::ranges::sort(lives, [&](const Life& a, const Life& b) {
    const int64_t x = program.tensors[a.tensor].bytes(), y = program.tensors[b.tensor].bytes();
    return x != y ? x > y : a.first < b.first;
  });
  std::vector<Life> placed;  // by address
  int64_t peak = base;
  for (const Life& life : lives) {
    DeviceTensor& t = program.tensors[life.tensor];
    int64_t address = base;
    for (const Life& other : placed) {
      if (other.last < life.first || life.last < other.first) continue;
      const DeviceTensor& o = program.tensors[other.tensor];
      if (o.address >= address + aligned(t.bytes())) break;
      address = std::max(address, o.address + aligned(o.bytes()));
    }
    t.address = address;
    peak = std::max(peak, address + aligned(t.bytes()));
    const auto at = std::ranges::lower_bound(
        placed, address, {}, [&](const Life& l) { return program.tensors[l.tensor].address; });
    placed.insert(at, life);
  }
  return peak;
}

}  // namespace

Status place_tensors(DeviceProgram& program) {
  std::vector<Life> lives;
  std::vector<size_t> life_of(program.tensors.size(), SIZE_MAX);
  for (size_t s = 0; s < program.steps.size(); ++s)
    for (const int operand : program.steps[s].operands) {
      const auto t = static_cast<size_t>(operand);
      if (program.tensors[t].role != DeviceTensor::Role::activation) continue;
      if (life_of[t] == SIZE_MAX) {
        life_of[t] = lives.size();
        lives.push_back({t, s, s});
      }
      lives[life_of[t]].last = s;
    }
  int64_t base = 0;
  for (DeviceTensor& t : program.tensors) {
    if (t.role == DeviceTensor::Role::activation) continue;
    t.address = base;
    base += aligned(t.bytes());
  }
  program.peak_bytes = place_activations(program, std::move(lives), base);
  const int64_t memory = program.architecture.memories[0].bytes;
  if (program.peak_bytes <= memory) return {};
  std::vector<size_t> largest(program.tensors.size());
  std::iota(largest.begin(), largest.end(), size_t{0});
  std::ranges::stable_sort(largest, std::ranges::greater{},
                           [&](size_t t) { return program.tensors[t].bytes(); });
  std::string list;
  for (const size_t t : std::span(largest).first(std::min<size_t>(5, largest.size()))) {
    // The layer that has to do with it first.
    const auto step = std::ranges::find_if(program.steps, [&](const DeviceStep& s) {
      return std::ranges::find(s.operands, static_cast<int>(t)) != s.operands.end();
    });
    const DeviceTensor& tensor = program.tensors[t];
    list += fmt::format("\n  {} bytes: {}{}", tensor.bytes(), tensor.name,
                        step == program.steps.end() || step->node == nullptr
                            ? ""
                            : fmt::format("{}at layer '{}'", tensor.name.empty() ? "" : ", ",
                                          layer_of(*step->node)));
  }
  return resource_exhausted(
      fmt::format("the model needs {} bytes of the chip's {}; the largest tensors:{}\n  a smaller "
                  "batch or a lower precision takes less",
                  program.peak_bytes, memory, list));
}

}  // namespace tenon::lower
