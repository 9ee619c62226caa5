// The packed form of GEMM and convolution weights: what the compiler writes into the model file and
// every instruction set reads. Independent of the machine that packs.
//
// A matrix B[k, n] becomes panels of 16 columns, [ceil(n / 16)][k][16] floats, the columns past n
// zero. Kernels want the start 64-byte aligned (they work, more slowly, when it is not).
#pragma once

#include <cstdint>

namespace tenon::cpu {

inline constexpr int64_t kPanelColumns = 16;

// Floats that the packed form of a [k, n] matrix takes.
int64_t packed_b_floats(int64_t k, int64_t n);

// Packs row-major b[k, n], rows `ldb` floats apart; or, transposed, b[n, k].
void pack_b(int64_t k, int64_t n, const float* b, int64_t ldb, bool transposed, float* packed);

// The same of alpha * b.
void pack_b_scaled(int64_t k, int64_t n, const float* b, int64_t ldb, bool transposed, float alpha,
                   float* packed);

// The inverse, into row-major b[k, n]; for tools and tests.
void unpack_b(int64_t k, int64_t n, const float* packed, float* b, int64_t ldb);

// A convolution filter [taps, group_in, out] (taps = product of the kernel's dims, row-major, as in
// TF's HWIO; out = groups * group_out) becomes one packed B[taps * group_in, group_out] per group,
// group after group.
int64_t packed_conv_filter_floats(int64_t taps, int64_t group_in, int64_t out, int64_t groups);
void pack_conv_filter(int64_t taps, int64_t group_in, int64_t out, int64_t groups,
                      const float* filter, float* packed);

// A depthwise filter [taps, channels, multiplier] (TF's [kh, kw, C, M]; equal to the grouped form
// [taps, 1, channels * multiplier]) becomes [taps][channels * multiplier rounded up to 16], zero
// padded.
int64_t packed_depthwise_filter_floats(int64_t taps, int64_t out);
void pack_depthwise_filter(int64_t taps, int64_t out, const float* filter, float* packed);

}  // namespace tenon::cpu
