// Kernels that read rounded to bf16 what a cast before them would widen.
#pragma once

#include <memory>

#include "device/cpu/kernel.h"

namespace tenon::cpu {

class RoundedReader : public Kernel {
 public:
  // This kernel with operand 0 of bf16, then one that is absent, then its others; null where it
  // would be no faster.
  virtual std::unique_ptr<Kernel> reading_rounded() const = 0;
};

}  // namespace tenon::cpu
