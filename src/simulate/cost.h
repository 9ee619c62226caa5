// What one instruction costs: time of its unit, and bytes it moves to and from the global memory.
#pragma once

#include <span>

#include "isa/architecture.h"
#include "simulate/moment.h"

namespace tenon::simulate {

struct Cost {
  double start = 0;             // seconds of the queue before anything moves or is computed
  double seconds = 0;           // and then, the global memory apart
  int64_t bytes = 0;            // moved to or from the global memory, whole transactions
  int64_t copies = 1;           // that start one after the other
  bool writes = false;          // to the global memory
  double efficiency = 1;        // of the global memory at this length of runs
  double operations = 0;        // of products; a multiply-accumulate is two
  Cause cause = Cause::vector;  // of the seconds
};

// Costs of one chip's instructions by the numbers of its units (machine/chips.h). Thread-safe.
class CostModel {
 public:
  CostModel(const Machine& machine, const isa::Architecture& architecture)
      : machine_(machine), architecture_(architecture) {}

  // Of an instruction with these values of the variables.
  Cost of(const isa::Instruction& instruction, std::span<const int64_t> variables) const;
  // Whether that is the same for all values.
  static bool is_fixed(const isa::Instruction& instruction);

 private:
  const Machine& machine_;
  const isa::Architecture& architecture_;
};

// Multiply-accumulates a cycle of one core for operands of this type. Tensor units without floats
// (MLU220 to MLU290) are given them as fixed point, as the vendor's software does: f16 and bf16 as
// i16, f32 in two parts and so as four such products.
double product_macs(const CambriconChip& chip, DType dtype);

// The elements of a view, those repeated by a stride of 0 once, and how many of them lie side by
// side.
struct Extent {
  int64_t elements = 1;  // with the repeated ones
  int64_t distinct = 1;
  int64_t run = 1;
};
Extent extent_of(const isa::View& view, std::span<const int64_t> variables);

}  // namespace tenon::simulate
