// What the per-ISA sources offer to the table of their instruction set. TENON_ISA is the namespace,
// TENON_LANES the vector width; both come from the build. These sources use no standard library
// templates: the linker keeps one copy of an inline function, and it must not be one made for a
// wider machine.
#pragma once

#include <cstddef>
#include <cstdint>

#include "device/cpu/kernels/kernel_table.h"

namespace tenon::cpu::TENON_ISA {

template <size_t... kValues>
struct Indices {};
template <size_t kCount, size_t... kValues>
struct IndicesUpTo : IndicesUpTo<kCount - 1, kCount - 1, kValues...> {};
template <size_t... kValues>
struct IndicesUpTo<0, kValues...> {
  using Type = Indices<kValues...>;
};
template <size_t kCount>
using MakeIndices = typename IndicesUpTo<kCount>::Type;

void activate(const Activation& activation, const float* x, float* y, size_t n);

const KernelTable& kernel_table();
// The same with products of pairs.
const KernelTable& pair_table();

void fill_gemm(KernelTable& table);
void fill_elementwise(KernelTable& table);
void fill_rows(KernelTable& table);
void fill_spatial(KernelTable& table);
void fill_grouped(KernelTable& table);
void fill_recurrent(KernelTable& table);
void fill_winograd(KernelTable& table);
void fill_winograd_pairs(KernelTable& table);
void fill_depthwise_pairs(KernelTable& table);
void fill_attention_pairs(KernelTable& table);

}  // namespace tenon::cpu::TENON_ISA
