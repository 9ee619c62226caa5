// Sums of bytes as a part of the product that gives some of them.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "device/cpu/kernel.h"
#include "device/cpu/kernels/byte_sums.h"

namespace tenon::cpu {

// A sum with constant factors, but for where its terms and its result lie.
struct ConstantByteSum {
  ByteSum sum;
  size_t operands[ByteSum::kMaxTerms] = {};  // of its kernel, by term
  std::shared_ptr<const std::vector<float>> factors;
};

// What a kernel of `fused` does, if it does such a thing.
std::optional<ConstantByteSum> constant_byte_sum(const Kernel& kernel);

}  // namespace tenon::cpu
