// Convolutions that follow one another, joined to one kernel (kernels/conv_chain.h).
#pragma once

#include <memory>
#include <vector>

#include "device/cpu/conv.h"
#include "device/cpu/kernel.h"
#include "device/cpu/kernels/conv.h"

namespace tenon::cpu {

// Where a convolution of a chain has its operands.
struct ChainOperands {
  size_t first = 0;  // the input's, absent but for the first convolution
  bool bias = false;
  bool residual = false;
};

// One of a chain, packed.
struct ChainPart {
  ChainRole role = ChainRole::kNone;
  ConvParams p;
  ChainOperands at;
  PackStore::Packed packed;  // null: packed in every run, which no chain does
  bool pairs = false;        // multiplies pairs of bf16
  // Of products of f32: what computes it, and what it reads in the place of x.
  const ConvMethod* method = nullptr;
  InputParts input;
  int threads = 1;
};

class ChainableConv : public Kernel {
 public:
  // Its operands in the chain begin at `operands`.
  virtual ChainPart chain_part(size_t operands) const = 0;
};

// The chain of `parts`, in the order of data, and `next`, whose operands begin at `operands`; null
// where they are none or it does not pay.
std::unique_ptr<Kernel> join_chain(std::vector<ChainPart> parts, const Kernel& next,
                                   size_t operands, int threads);

}  // namespace tenon::cpu
