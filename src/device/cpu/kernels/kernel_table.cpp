// Chooses the inner loops for this processor.
#include "device/cpu/kernels/kernel_table.h"

#include "base/cpu_features.h"

namespace tenon::cpu {
namespace avx2 {
const KernelTable& kernel_table();
}
namespace avx512 {
const KernelTable& kernel_table();
const KernelTable& pair_table();
}  // namespace avx512
namespace bf16_amx {
const KernelTable& pair_table();
}

namespace {

struct Supported {
  const KernelTable* tables[2] = {};
  size_t count = 0;

  Supported() {
    tables[count++] = &avx2::kernel_table();
    if (cpu_features().avx512) tables[count++] = &avx512::kernel_table();
  }
};

const Supported& supported() {
  static const Supported tables;
  return tables;
}

}  // namespace

const KernelTable& kernels() {
  return *supported().tables[supported().count - 1];
}

const KernelTable* pair_kernels() {
  const CpuFeatures& f = cpu_features();
  if (f.avx512_bf16 && f.amx_bf16) return &bf16_amx::pair_table();
  return f.avx512_bf16 ? &avx512::pair_table() : nullptr;
}

std::span<const KernelTable* const> supported_kernel_tables() {
  return {supported().tables, supported().count};
}

}  // namespace tenon::cpu
