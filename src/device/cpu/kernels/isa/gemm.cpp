// The GEMM micro kernels: a tile of C in registers, rows of A broadcast, panels of B streamed.
#include <algorithm>

#include "base/cpu_features.h"
#include "device/cpu/kernels/blocks.h"
#include "device/cpu/kernels/isa/gemm_tile.h"
#include "device/cpu/kernels/isa/isa.h"
#include "device/cpu/kernels/isa/simd.h"
#include "device/cpu/kernels/pack.h"
#if defined(TENON_PAIRS)
#include "device/cpu/kernels/isa/activation_sums.h"
#include "device/cpu/kernels/isa/pair_tile.h"
#endif

namespace tenon::cpu::TENON_ISA {
namespace {

// Where masks are cheap, pairs do without a copy of the code for whole vectors.
#if defined(TENON_PAIRS) && defined(__AVX512F__)
constexpr bool kMasks = true;
#else
constexpr bool kMasks = false;
#endif

#if defined(TENON_PAIRS)
void activate_post(const Activation& activation, float* x, size_t n) {
  activate_sums(activation, x, n);
}
#else
void activate_post(const Activation& activation, float* x, size_t n) {
  activate(activation, x, x, n);
}
#endif

// What is added comes from far away, a line or two of every row: no stream that the processor sees.
constexpr int64_t kAddAhead = 2 * kRows;
TENON_INLINE void fetch_added(const GemmBlock& block, int64_t row, int64_t column) {
#if defined(TENON_PAIRS)
  const bool narrow = block.narrow_add;
#else
  constexpr bool narrow = false;
#endif
  const float* add = element(block.add, row * block.ld_add + column, narrow);
  for (int r = 0; r < kRows; ++r, add = element(add, block.ld_add, narrow)) {
    __builtin_prefetch(add, 0, 2);
    if (!narrow && kColumns * sizeof(float) > 64) __builtin_prefetch(add + kColumns / 2, 0, 2);
  }
}

// What is stored to from far away is fetched while it is computed.
TENON_INLINE void fetch_stored(const GemmBlock& block, int rows, int64_t row, int64_t column) {
#if defined(TENON_PAIRS)
  const bool narrow = block.narrow_c;
#else
  constexpr bool narrow = false;
#endif
  const float* c = element(block.c, row * block.ldc + column, narrow);
#pragma GCC unroll 1
  for (int r = 0; r < rows; ++r, c = element(c, block.ldc, narrow)) {
    __asm__ volatile("prefetchw %0" : : "m"(*c));
    if (!narrow && kColumns * sizeof(float) > 64)
      __asm__ volatile("prefetchw %0" : : "m"(c[kColumns / 2]));
  }
}

#if defined(TENON_PAIRS)
// Stores a tile where C or what is added is of bf16. An activation that is not a clip comes before
// the rounding.
template <int kM, int kN>
TENON_INLINE void store_narrow(const GemmBlock& block, const Tile& tile,
                               const Floats (&acc)[kM][kN], int64_t row, int64_t column,
                               int columns, int64_t apart) {
  const Floats low = splat(block.low), high = splat(block.high);
  const bool in_tile = tile.before_post != nullptr;
  const bool narrow_c = block.narrow_c && !in_tile, narrow_add = block.narrow_add;
  const int64_t ldc = in_tile ? kColumns : block.ldc, ld_add = block.ld_add;
  float* c = in_tile ? tile.before_post : element(block.c, row * ldc + column, narrow_c);
  const float* add =
      block.add != nullptr ? element(block.add, row * ld_add + column, narrow_add) : nullptr;
  int lanes[kN];
#pragma GCC unroll 4
  for (int v = 0; v < kN; ++v)
    lanes[v] = columns - v * kLanes < kLanes ? columns - v * kLanes : kLanes;
#pragma GCC unroll 16
  for (int r = 0; r < kM; ++r) {
    Floats x[kN];
#pragma GCC unroll 4
    for (int v = 0; v < kN; ++v) {
      x[v] = acc[r][v];
      const int64_t from = r * ld_add + v * apart;
      if (add != nullptr)
        x[v] += narrow_add ? load_bf16_part(reinterpret_cast<const uint16_t*>(add) + from, lanes[v])
                           : load_part(add + from, lanes[v]);
      x[v] = clip(x[v], low, high);
      float* const to = c + r * ldc + v * apart;
      if (narrow_c) continue;
      if (!kMasks && lanes[v] == kLanes)
        store(to, x[v]);
      else
        store_part(to, x[v], lanes[v]);
    }
    if (!narrow_c) continue;
    auto* const to = reinterpret_cast<uint16_t*>(c) + r * ldc;
    if constexpr (kN == 2) {
      round_and_store(to, x[0], x[1], columns);
    } else {
#pragma GCC unroll 4
      for (int v = 0; v < kN; ++v) round_and_store(to + v * apart, x[v], lanes[v]);
    }
  }
}
#endif

// Multiplies and stores one tile of kM rows; `columns` <= kN * kLanes of them exist, vectors of
// them `apart`.
template <int kM, int kN, Last kLast>
TENON_INLINE void multiply_and_store(const GemmBlock& block, const Tile& tile, int64_t row,
                                     int64_t column, int columns, int64_t apart = kLanes) {
  Floats acc[kM][kN];
  if (kM == kRows && block.add != nullptr) fetch_added(block, row + kAddAhead, column);
  if (kM > kFewRows && kN == kVectors && block.fetch_c) fetch_stored(block, kM, row, column);
  Floats offset[kN];
#pragma GCC unroll 4
  for (int v = 0; v < kN; ++v) {
    const float* const from = block.bias + column + v * apart;
    const bool whole = !kMasks && columns == kN * kLanes;
    offset[v] = block.bias == nullptr ? Floats{}
                : whole               ? load(from)
                                      : load_part(from, std::min(columns - v * kLanes, kLanes));
  }
  multiply<kM, kN, kLast>(tile, offset, acc);
  const Floats low = splat(block.low), high = splat(block.high);
#if defined(TENON_PAIRS)
  if (block.narrow_c || block.narrow_add) {
    store_narrow<kM, kN>(block, tile, acc, row, column, columns, apart);
    return;
  }
#endif
  // Not read again after each store.
  const int64_t ldc = block.ldc, ld_add = block.ld_add;
  float* c = block.c + row * ldc + column;
  const float* add = block.add != nullptr ? block.add + row * ld_add + column : nullptr;
  // Whole vectors need no masks.
  if (!kMasks && columns == kN * kLanes) {
#pragma GCC unroll 4
    for (int v = 0; v < kN; ++v) {
#pragma GCC unroll 16
      for (int r = 0; r < kM; ++r) {
        Floats x = acc[r][v];
        if (add != nullptr) x += load(add + r * ld_add + v * apart);
        store(c + r * ldc + v * apart, clip(x, low, high));
      }
    }
    return;
  }
#pragma GCC unroll 4
  for (int v = 0; v < kN; ++v) {
    const int lanes = columns - v * kLanes < kLanes ? columns - v * kLanes : kLanes;
#pragma GCC unroll 16
    for (int r = 0; r < kM; ++r) {
      Floats x = acc[r][v];
      if (add != nullptr) x += load_part(add + r * ld_add + v * apart, lanes);
      x = clip(x, low, high);
      if (!kMasks && lanes == kLanes)
        store(c + r * ldc + v * apart, x);
      else
        store_part(c + r * ldc + v * apart, x, lanes);
    }
  }
}

// Of one or two rows as many panels as there are: between calls the memory would rest. Where they
// come from beyond L2 four at a time, of each quarter of B one: of L2 its banks would be shared.
template <int kM, int kN, Last kLast>
void run_tile(const GemmBlock& block, const Tile& tile, int64_t row, int64_t column, int columns) {
  if constexpr (kM <= kOnePanelRows && kN == 1 && kLanes == kPanelColumns) {
    Tile panel = tile;
    // With an activation of their own results of bf16 come panel by panel, and have the same sums.
    const bool is_far = tile.taps * tile.run * columns > kFloatsOfL2;
    const bool together = is_far && block.post.kind == ActivationKind::kNone;
    const int64_t quarter = together ? columns / kLanes / kPanelsTogether : 0;
    panel.second_vector = quarter * block.b_panel_stride;
    for (int64_t i = 0; i < quarter; ++i, column += kLanes, panel.b += block.b_panel_stride)
      multiply_and_store<kM, kPanelsTogether, Last::kWhole>(
          block, panel, row, column, kPanelsTogether * kLanes, quarter * kLanes);
    constexpr int64_t kOthers = kPanelsTogether - 1;
    panel.b += kOthers * panel.second_vector;
    column += kOthers * quarter * kLanes;
    columns -= static_cast<int>(kPanelsTogether * quarter * kLanes);
    if (columns == 0) return;
    for (; columns > kLanes; columns -= kLanes, column += kLanes, panel.b += block.b_panel_stride)
      multiply_and_store<kM, kN, kLast>(block, panel, row, column, kLanes);
    multiply_and_store<kM, kN, kLast>(block, panel, row, column, columns);
  } else {
    multiply_and_store<kM, kN, kLast>(block, tile, row, column, columns);
  }
}

using TileFunction = void (*)(const GemmBlock&, const Tile&, int64_t, int64_t, int);

// With few rows the time is not that of arithmetic.
template <int kN, Last kLast>
constexpr TileFunction kTileFunctions[] = {
    run_tile<1, kN, Last::kWhole>, run_tile<2, kN, Last::kWhole>, run_tile<3, kN, Last::kWhole>,
    run_tile<4, kN, Last::kWhole>, run_tile<5, kN, Last::kWhole>, run_tile<6, kN, Last::kWhole>,
#if TENON_LANES == 16
    run_tile<7, kN, kLast>,        run_tile<8, kN, kLast>,        run_tile<9, kN, kLast>,
    run_tile<10, kN, kLast>,       run_tile<11, kN, kLast>,       run_tile<12, kN, kLast>,
#endif
};
static_assert(sizeof(kTileFunctions<1, Last::kWhole>) / sizeof(TileFunction) == kRows);

// For so many columns.
const TileFunction* tile_functions(int columns) {
  if constexpr (kHalves) {
    if (columns <= kLanes / 2) return kTileFunctions<1, Last::kHalf>;
    if (columns > kLanes && columns <= kLanes + kLanes / 2) return kTileFunctions<2, Last::kHalf>;
  }
  return columns > kLanes ? kTileFunctions<2, Last::kWhole> : kTileFunctions<1, Last::kWhole>;
}

// A tile and its activation.
TENON_INLINE void run_rows(const GemmBlock& block, const Tile& tile, TileFunction function,
                           int64_t row, int rows, int64_t column, int columns) {
  function(block, tile, row, column, columns);
#if defined(TENON_PAIRS)
  if (tile.before_post != nullptr)
    return finish_tile<kColumns>(block, tile.before_post, row, rows, column, columns);
#endif
  if (block.post.kind == ActivationKind::kNone) return;
  // Rows behind each other are one, whose vectors are full but for the last.
  const int together = block.ldc == columns ? rows : 1;
  for (int r = 0; r < rows; r += together) {
    float* c = block.c + (row + r) * block.ldc + column;
    activate_post(block.post, c, static_cast<size_t>(together) * static_cast<size_t>(columns));
  }
}

TENON_INLINE void copy_columns(float* to, const float* from, int columns, bool narrow) {
  if (columns == kColumns && !narrow)
    __builtin_memcpy(to, from, kColumns * sizeof(float));
  else if (columns == kColumns)
    __builtin_memcpy(to, from, kColumns * sizeof(uint16_t));
  else
    __builtin_memcpy(to, from, static_cast<size_t>(columns) * (narrow ? 2 : 4));
}

// A tile whose rows of C are anywhere, in memory of its own: storing each at a place of its own
// would cost all products.
[[gnu::noinline]] void run_apart(const GemmBlock& block, const Tile& tile, TileFunction function,
                                 int64_t row, int rows, int64_t column, int columns) {
  alignas(64) float c[kRows * kColumns], add[kRows * kColumns];
  const int32_t* const places = block.c_rows + row;
  GemmBlock own = block;
  own.c = c;
  own.ldc = kColumns;
  own.fetch_c = false;
  if (block.bias != nullptr) own.bias += column;
  if (block.add != nullptr) {
    own.add = add;
    own.ld_add = kColumns;
    const bool narrow = block.narrow_add;
    for (int r = 0; r < rows; ++r)
      copy_columns(element(add, r * kColumns, narrow),
                   element(block.add, places[r] * block.ld_add + column, narrow), columns, narrow);
  }
  run_rows(own, tile, function, 0, rows, 0, columns);
  const bool narrow = block.narrow_c;
  for (int r = 0; r < rows; ++r)
    copy_columns(element(block.c, places[r] * block.ldc + column, narrow),
                 element(c, r * kColumns, narrow), columns, narrow);
}

void gemm_block(const GemmBlock& block) {
  const float* plain_rows[kRows];
#if defined(TENON_PAIRS)
  alignas(64) float before_post[kRows * kColumns] = {};
#endif
  const bool few = block.m <= kFewRows;
  const bool far =
      few && block.taps * block.run * block.n > kFloatsOfL2 && !cpu_features().streams_alone;
  // Rows are dealt to tiles evenly: of 49, 48 and one more would take as long as 52.
  const int64_t tiles = (block.m + kRows - 1) / kRows;
  const int64_t height = block.pieces != nullptr ? kRows : (block.m + tiles - 1) / tiles;
  const bool one_panel = block.m <= kOnePanelRows && kLanes == kPanelColumns;
  const bool has_post = block.post.kind != ActivationKind::kNone;
  const bool all_panels = one_panel && block.c_rows == nullptr && !(block.narrow_c && has_post);
  const int64_t most = all_panels ? block.n : one_panel ? kLanes : kColumns;
  for (int64_t column = 0; column < block.n; column += most) {
    const int columns = static_cast<int>(block.n - column < most ? block.n - column : most);
    const TileFunction* const functions = tile_functions(one_panel ? kLanes : columns);
    Tile tile{plain_rows,
              block.piece_offset,
              block.taps,
              block.run,
              block.b + column / kPanelColumns * block.b_panel_stride,
              block.b_panel_stride,
              0,
              nullptr};
#if defined(TENON_PAIRS)
    if (block.narrow_c && has_post) tile.before_post = before_post;
#endif
    int rows = 0;
    int64_t panel = kColumns / kPanelColumns;
    for (int64_t row = 0, index = 0; row < block.m; row += rows, ++index, ++panel) {
      rows = static_cast<int>(block.m - row < height ? block.m - row : height);
      if (block.tile_heights != nullptr) rows = block.tile_heights[index];
      if (block.pieces != nullptr) {
        tile.rows = block.pieces + index * block.tile_taps * kRows;
      } else {
        for (int r = 0; r < rows; ++r) plain_rows[r] = block.a + (row + r) * block.lda;
      }
      // The first tiles of rows fetch the next panels, one each, while they compute.
      const int64_t behind = column + panel * kPanelColumns - block.n;
      const bool fetches = index < kColumns / kPanelColumns && behind < block.next_columns;
      tile.ahead = fetches ? panel * block.b_panel_stride : 0;
      if (fetches && behind >= 0 && block.next != nullptr)
        tile.ahead = block.next + behind / kPanelColumns * block.next_panel_stride - tile.b;
      if (few) tile.ahead = far ? kFetchAhead : 0;
      // NOLINTNEXTLINE(clang-analyzer-core.uninitialized.Assign): tiles have a row
      const TileFunction function = functions[rows - 1];
      if (block.c_rows != nullptr)
        run_apart(block, tile, function, row, rows, column, columns);
      else
        run_rows(block, tile, function, row, rows, column, columns);
    }
  }
}

}  // namespace

#if defined(TENON_PAIRS)
const KernelTable& pair_table() {
  static constinit KernelTable table;
  static const bool filled = [] {
    table = kernel_table();
    table.name = TENON_PAIRS;
    table.gemm_block = gemm_block;
    fill_winograd_pairs(table);
    fill_depthwise_pairs(table);
    fill_attention_pairs(table);
    return true;
  }();
  (void)filled;
  return table;
}
#else
void fill_gemm(KernelTable& table) {
  table.tile_rows = kRows;
  table.tile_columns = kColumns;
  table.fits_tiles = true;
  table.gemm_block = gemm_block;
}
#endif

}  // namespace tenon::cpu::TENON_ISA
