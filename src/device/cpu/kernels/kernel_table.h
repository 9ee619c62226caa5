// The inner loops, one table of them per instruction set, all compiled from the sources in isa/.
// Ops call the drivers in the sibling headers (gemm, conv, …), which call these; only the array
// operations of elementwise.h are meant to be called from here directly.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "device/cpu/kernels/activation.h"

namespace tenon::cpu {

struct GemmBlock;
struct DepthwiseRow;
struct GroupedRow;
struct PoolRow;
struct WinogradInput;
struct WinogradOutput;
struct WinogradFilter;
struct LstmGates;
struct GruGates;
struct ByteRange;
struct ScaledSums;
struct LayerNormRow;
struct ScoreRow;
enum class UnaryOp : uint8_t;
enum class BinaryOp : uint8_t;
enum class ReduceKind : uint8_t;

// Fixed here so that the table is a plain array; checked against the enums in isa/table.cpp.
inline constexpr size_t kUnaryOps = 30;
inline constexpr size_t kBinaryOps = 8;
inline constexpr size_t kReduceKinds = 7;

struct KernelTable {
  const char* name = "";  // "avx2", "avx512"
  int lanes = 0;          // floats in a vector
  int tile_rows = 0;      // rows and columns of C that the GEMM micro kernel holds in registers
  int tile_columns = 0;
  bool fits_tiles = false;  // GemmBlock::tile_heights, c_rows

  void (*gemm_block)(const GemmBlock& block) = nullptr;
  void (*depthwise_row)(const DepthwiseRow& row) = nullptr;
  void (*grouped_row)(const GroupedRow& row) = nullptr;
  void (*pool_row)(const PoolRow& row) = nullptr;
  void (*winograd_input)(const WinogradInput& tile) = nullptr;
  void (*winograd_output)(const WinogradOutput& tile) = nullptr;
  void (*winograd_filter)(const WinogradFilter& filter) = nullptr;
  // y[i] = sum over t < count of weights[t] * x[t][i], for i < n.
  void (*weighted_sum)(const float* const* x, const float* weights, int64_t count, float* y,
                       int64_t n) = nullptr;

  void (*activate)(const Activation& activation, const float* x, float* y, size_t n) = nullptr;
  void (*unary[kUnaryOps])(const float* x, float* y, size_t n) = {};
  void (*binary[kBinaryOps])(const float* a, const float* b, float* y, size_t n) = {};
  void (*binary_vs[kBinaryOps])(const float* a, const float* b, float* y, size_t n) = {};
  void (*binary_sv[kBinaryOps])(const float* a, const float* b, float* y, size_t n) = {};

  // Rounded to bf16 as BFloat16 does, its bits.
  void (*round_bf16)(const float* x, uint16_t* y, int64_t n) = nullptr;

  void (*softmax_row)(const float* x, float* y, size_t n, bool log) = nullptr;
  // In tables of pairs only (attention.h).
  float (*weigh_row)(const ScoreRow& row) = nullptr;
  void (*layer_norm_row)(const LayerNormRow& row) = nullptr;
  float (*reduce_row[kReduceKinds])(const float* x, size_t n) = {};
  // y[i] = reduction over r of x[r * stride + i] for i < inner.
  void (*reduce_columns[kReduceKinds])(const float* x, int64_t reduce, int64_t stride,
                                       int64_t inner, float* y) = {};
  // The mean of the bits of bf16, likewise.
  void (*average_columns_bf16)(const uint16_t* x, int64_t reduce, int64_t stride, int64_t inner,
                               float* y) = nullptr;
  void (*lstm_gates)(const LstmGates& gates) = nullptr;
  void (*gru_gates)(const GruGates& gates) = nullptr;
  // A row as dynamic_quantize_linear rounds it, and back from the sums of products with it.
  ByteRange (*quantize_row)(const float* x, uint8_t* y, int64_t n) = nullptr;
  void (*scale_sums)(const ScaledSums& sums) = nullptr;
};

// The table for this processor, chosen once from cpu_features(). Thread-safe.
const KernelTable& kernels();

// The same, whose products are of pairs of bf16 in the place of floats (pairs.h); null where the
// processor has no instruction for that.
const KernelTable* pair_kernels();

// Every table this processor can run, for tests and benchmarks.
std::span<const KernelTable* const> supported_kernel_tables();

}  // namespace tenon::cpu
