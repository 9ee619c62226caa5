// The GEMM block of pairs of bf16 (kernels/pairs.h) on the tiles of AMX, compiled for the tiles and
// for arrays that behave as they do. No standard library templates here, see isa/isa.h.
#include <immintrin.h>

#include "device/cpu/kernels/blocks.h"
#include "device/cpu/kernels/kernel_table.h"
#define TENON_TILE_NAMESPACE TENON_BF16
#include "device/cpu/kernels/isa_int8/tiles.h"

#define TENON_INLINE inline __attribute__((always_inline))

namespace tenon::cpu::avx512 {
const KernelTable& kernel_table();
const KernelTable& pair_table();
void activate(const Activation& activation, const float* x, float* y, size_t n);
}  // namespace tenon::cpu::avx512

namespace tenon::cpu::TENON_BF16 {
namespace {

constexpr int kBlockRows = 2 * kTileRows, kBlockColumns = 32;
constexpr int64_t kPanel = 16;  // columns
constexpr int64_t kStep = 16;   // pairs along k that a tile holds
constexpr int64_t kChunk = 8 * kStep;

int64_t least(int64_t a, int64_t b) {
  return a < b ? a : b;
}

// Copies pairs [k, k + count) of the rows of a block side by side, zeros up to whole steps.
void gather(const GemmBlock& block, int64_t row, int rows, int64_t k, int64_t count, float* to) {
  const int64_t padded = (count + kStep - 1) / kStep * kStep;
  for (int r = 0; r < rows; ++r, to += kChunk) {
    int64_t done = 0;
    while (done < count) {
      const int64_t tap = (k + done) / block.run, at = (k + done) % block.run;
      const int64_t n = least(block.run - at, count - done);
      const auto bytes = static_cast<size_t>(n) * sizeof(float);
      const float* const* pieces =
          block.pieces == nullptr
              ? nullptr
              : block.pieces + (row / kBlockRows * block.tile_taps + tap) * kBlockRows;
      if (pieces == nullptr)
        __builtin_memcpy(to + done, block.a + (row + r) * block.lda + at, bytes);
      else if (pieces[0] == nullptr)
        __builtin_memset(to + done, 0, bytes);
      else
        __builtin_memcpy(to + done, pieces[r] + block.piece_offset + at, bytes);
      done += n;
    }
    __builtin_memset(to + count, 0, static_cast<size_t>(padded - count) * sizeof(float));
  }
}

template <int kM, int kN>
TENON_INLINE void tile_step(const float* a, int64_t lda_bytes, const float* b, int64_t second) {
  load_tile<4>(a, lda_bytes);
  load_tile<6>(b, kTileBytes);
  multiply_pair_tiles<0, 4, 6>();
  if constexpr (kN == 2) {
    load_tile<7>(b + second, kTileBytes);
    multiply_pair_tiles<1, 4, 7>();
  }
  if constexpr (kM == 2) {
    load_tile<5>(reinterpret_cast<const char*>(a) + kTileRows * lda_bytes, lda_bytes);
    multiply_pair_tiles<2, 5, 6>();
    if constexpr (kN == 2) multiply_pair_tiles<3, 5, 7>();
  }
}

__m512 widen(__m256i halves) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

void finish(const GemmBlock& block, int64_t row, int rows, int64_t column, int columns,
            const float (&sums)[kBlockRows][kBlockColumns]) {
  const __m512 low = _mm512_set1_ps(block.low), high = _mm512_set1_ps(block.high);
  for (int r = 0; r < rows; ++r) {
    alignas(64) float before_rounding[kBlockColumns];
    float* const result = element(block.c, (row + r) * block.ldc + column, block.narrow_c);
    float* const c = block.narrow_c ? before_rounding : result;
    for (int v = 0; v < columns; v += 16) {
      const int lanes = columns - v < 16 ? columns - v : 16;
      const auto mask = static_cast<__mmask16>((1u << lanes) - 1);
      __m512 x = _mm512_loadu_ps(sums[r] + v);
      if (block.bias != nullptr)
        x = _mm512_add_ps(x, _mm512_maskz_loadu_ps(mask, block.bias + column + v));
      if (block.add != nullptr) {
        const float* const add =
            element(block.add, (row + r) * block.ld_add + column + v, block.narrow_add);
        x = _mm512_add_ps(x, block.narrow_add ? widen(_mm256_maskz_loadu_epi16(mask, add))
                                              : _mm512_maskz_loadu_ps(mask, add));
      }
      _mm512_mask_storeu_ps(c + v, mask, _mm512_min_ps(high, _mm512_max_ps(low, x)));
    }
    if (block.post.kind != ActivationKind::kNone)
      avx512::activate(block.post, c, c, static_cast<size_t>(columns));
    if (block.narrow_c)
      avx512::kernel_table().round_bf16(c, reinterpret_cast<uint16_t*>(result), columns);
  }
}

template <int kM, int kN>
void run_tiles(const GemmBlock& block, int64_t row, int rows, int64_t column, int columns) {
  alignas(64) float gathered[kBlockRows * kChunk];
  alignas(64) float sums[kBlockRows][kBlockColumns];
  const int64_t depth = block.taps * block.run, second = block.b_panel_stride;
  const float* b = block.b + column / kPanel * second;
  zero_tile<0>();
  if constexpr (kN == 2) zero_tile<1>();
  if constexpr (kM == 2) zero_tile<2>();
  if constexpr (kM == 2 && kN == 2) zero_tile<3>();
  for (int64_t k = 0; k < depth; k += kChunk) {
    const int64_t count = least(kChunk, depth - k), whole = count / kStep * kStep;
    const bool in_place = block.pieces == nullptr && whole == count;
    const float* a = gathered;
    int64_t lda = kChunk;
    if (in_place) {
      a = block.a + row * block.lda + k;
      lda = block.lda;
    } else {
      gather(block, row, rows, k, count, gathered);
    }
    const int64_t lda_bytes = lda * static_cast<int64_t>(sizeof(float));
    for (int64_t s = 0; s < whole; s += kStep)
      tile_step<kM, kN>(a + s, lda_bytes, b + (k + s) * kPanel, second);
    if (whole < count) {  // the last step is filled up with zeros
      alignas(64) float part[kN * kStep * kPanel] = {};
      for (int j = 0; j < kN; ++j)
        __builtin_memcpy(part + j * kStep * kPanel, b + (k + whole) * kPanel + j * second,
                         static_cast<size_t>((count - whole) * kPanel) * sizeof(float));
      tile_step<kM, kN>(a + whole, lda_bytes, part, kStep * kPanel);
    }
  }
  constexpr int64_t kRowBytes = sizeof sums[0];
  store_tile<0>(sums[0], kRowBytes);
  if constexpr (kN == 2) store_tile<1>(sums[0] + kPanel, kRowBytes);
  if constexpr (kM == 2) store_tile<2>(sums[kTileRows], kRowBytes);
  if constexpr (kM == 2 && kN == 2) store_tile<3>(sums[kTileRows] + kPanel, kRowBytes);
  finish(block, row, rows, column, columns, sums);
}

void gemm_block(const GemmBlock& block) {
  int configured = 0;
  for (int64_t column = 0; column < block.n; column += kBlockColumns) {
    const int columns = static_cast<int>(least(block.n - column, kBlockColumns));
    for (int64_t row = 0; row < block.m; row += kBlockRows) {
      const int rows = static_cast<int>(least(block.m - row, kBlockRows));
      const int top = rows < kTileRows ? rows : kTileRows;
      if (rows != configured) configure_tiles(top, rows - top);
      configured = rows;
      if (columns > kPanel)
        (rows > top ? run_tiles<2, 2> : run_tiles<1, 2>)(block, row, rows, column, columns);
      else
        (rows > top ? run_tiles<2, 1> : run_tiles<1, 1>)(block, row, rows, column, columns);
    }
  }
  // Tiles in use make every switch to another thread dearer.
  release_tiles();
}

}  // namespace

const KernelTable& pair_table() {
  static constinit KernelTable table;
  static const bool filled = [] {
    table = avx512::kernel_table();
    table.name = TENON_BF16_NAME;
    table.tile_rows = kBlockRows;
    table.tile_columns = kBlockColumns;
    table.fits_tiles = false;
    table.gemm_block = gemm_block;
    table.depthwise_row = avx512::pair_table().depthwise_row;
    table.weigh_row = avx512::pair_table().weigh_row;
    return true;
  }();
  (void)filled;
  return table;
}

}  // namespace tenon::cpu::TENON_BF16
