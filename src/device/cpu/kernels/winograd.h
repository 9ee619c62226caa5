// Winograd convolution F(4x4, 3x3): the "winograd" method of conv.h. A quarter of the
// multiplications of the direct form, for an error some ten times as large (2e-6 of the output's
// scale); "winograd_f6", F(6x6, 3x3), for large maps: a fifth, for four times the error of that.
// Kernels of one dim take F(4, 3), half of the multiplications. Longer kernels are sums of those of
// three taps, each of inputs further on, or of four, by F(3x3, 4x4): 5x5 takes 36 % of the
// multiplications, 7 in one dim 57 %. Of pairs (pairs.h),
// for a KernelTable of theirs: transforms are in f32, what is multiplied is rounded to bf16 once
// more, which leaves an error of 1e-2 of the output's norm.
#pragma once

#include "device/cpu/kernels/conv.h"
#include "device/cpu/kernels/pack.h"

namespace tenon::cpu {

// Output channels that are multiplied and transformed back at a time.
inline constexpr int64_t kWinogradColumns = 2 * kPanelColumns;

// A kernel as a sum of groups of taps: squares or lines.
struct WinogradTaps {
  int line = -1;  // the only dim of the kernel, or -1: tiles are squares of the last two dims
  int64_t height = 1, width = 1;  // of the kernel: within tiles, 1 high where tiles are lines
  int64_t depth = 1;              // taps that products sum
  int64_t side = 3;               // of a group, 3 or 4
  int64_t inputs = 6;             // of a tile, in each dim: 6 or 8
  int64_t rows() const { return (height + side - 1) / side; }
  int64_t columns() const { return (width + side - 1) / side; }
  int64_t groups() const { return rows() * columns(); }
  int64_t outputs() const { return inputs + 1 - side; }  // of a tile, in each dim
  int64_t frequencies() const { return line >= 0 ? inputs : inputs * inputs; }
};
// Large: of tiles of six outputs, for kernels of 3x3.
WinogradTaps winograd_taps(const ConvParams& p, bool large = false);

const char* winograd_refusal(const ConvParams& p);
int64_t winograd_filter_floats(const ConvParams& p);
// `packed` is 32-byte aligned.
void pack_winograd(const ConvParams& p, const float* filter, float* packed);
// The same of pairs; the filter has floats, which are rounded when they are transformed.
const char* winograd_pairs_refusal(const ConvParams& p);
void pack_winograd_pairs(const ConvParams& p, const float* filter, float* packed);
int64_t winograd_scratch_bytes(const ConvParams& p, int threads, const KernelTable& table);
void run_winograd(const ConvParams& p, ThreadPool& pool, void* scratch, const KernelTable& table);

// The same of tiles of six outputs.
const char* winograd_f6_refusal(const ConvParams& p);
int64_t winograd_f6_filter_floats(const ConvParams& p);
void pack_winograd_f6(const ConvParams& p, const float* filter, float* packed);
int64_t winograd_f6_scratch_bytes(const ConvParams& p, int threads, const KernelTable& table);
void run_winograd_f6(const ConvParams& p, ThreadPool& pool, void* scratch,
                     const KernelTable& table);

// The first of a filter in panels, transformed part by part in every run: for few tiles, which
// share each part, and filters whose transformed form would take four times much memory.
const char* winograd_panels_refusal(const ConvParams& p);
int64_t winograd_panels_scratch_bytes(const ConvParams& p, int threads, const KernelTable& table);
void run_winograd_panels(const ConvParams& p, ThreadPool& pool, void* scratch,
                         const KernelTable& table);

}  // namespace tenon::cpu
