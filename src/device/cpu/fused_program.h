// The program of a `fused` kernel: what its sub-graph does to the values of a tile.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "device/cpu/candidates.h"
#include "device/cpu/kernels/byte_sums.h"

namespace tenon::cpu {

constexpr int64_t kTile = 1024;  // values of a register
constexpr int kMaxRegisters = 16;
constexpr int kMaxScalars = 160;  // all values where a result is one number
constexpr int kMaxSlots = 192;
constexpr size_t kMaxLoops = 8;

// What an instruction does.
enum class Code : uint8_t { kUnary, kBinary, kActivate, kMap, kMap2, kSelect, kNot, kTruth, kCopy };

using Map2 = void (*)(const float* a, const float* b, float* y, size_t n);

// Reads and writes slots; a scalar operand is one float.
struct Instruction {
  Code code = Code::kCopy;
  uint8_t kernel = 0;  // UnaryOp or BinaryOp
  bool scalar[3] = {};
  int dst = 0;
  int src[3] = {};
  Activation activation;
  Map2 map2 = nullptr;
  std::function<double(double)> map;
};

// What an operand needs before the program runs on a tile.
struct Load {
  size_t input = 0;
  int slot = 0;
  DType dtype = DType::f32;
  bool direct = false;           // the slot points into the operand
  bool once = false;             // the same in every tile
  bool dense = false;            // an element for each of the result, in their order
  std::vector<int64_t> strides;  // of the loops
};

struct Program {
  std::vector<int64_t> loops;  // the last one is walked by tiles
  int64_t inner = 1, rows = 1;
  std::vector<Load> loads, scalar_loads;
  std::vector<std::pair<int, float>> constants;  // scalar slots
  std::vector<Instruction> scalar_code, code;
  std::vector<int> output_slots;
  std::vector<DType> output_types;
  std::vector<std::optional<ByteQuantizer>> output_rounding;  // of reals as they are stored
  int registers = 0, scalars = 0, slots = 0;
  std::vector<int> register_slots, scalar_slots;
};

// Translates the step's sub-graph. The text is the reason the kernel does not apply, empty for
// none.
std::string translate(const StepInfo& step, Program& program);

}  // namespace tenon::cpu
