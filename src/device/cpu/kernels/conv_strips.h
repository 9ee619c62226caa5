// Convolutions that follow one another, by strips of rows: what lies between them stays in the
// caches. See gemm.h for the rules on pointers and scratch.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/thread_pool.h"
#include "device/cpu/kernels/conv.h"

namespace tenon::cpu {

struct ConvStrips {
  static constexpr size_t kMostParts = 4;
  struct Part {
    ConvMethodId method = ConvMethodId::kIndirect;
    ConvParams p;  // without residual but for the last one; x and y between two are not looked at
  };
  std::array<Part, kMostParts> parts;  // in the order of data
  size_t count = 0;
};

// Why these are not faster together, or null: looks at sizes and attributes only.
const char* conv_strips_refusal(const ConvStrips& chain);
int64_t conv_strips_scratch_bytes(const ConvStrips& chain, int threads, const KernelTable& table);
void conv_strips(const ConvStrips& chain, ThreadPool& pool, void* scratch,
                 const KernelTable& table);

}  // namespace tenon::cpu
