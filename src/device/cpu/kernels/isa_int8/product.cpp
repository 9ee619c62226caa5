// The inner loops of products of bytes, compiled once per instruction set: TENON_INT8 is the
// namespace. No standard library templates here, see isa/isa.h.
#include <immintrin.h>

#include "device/cpu/kernels/int8.h"
#include "device/cpu/kernels/isa_int8/finish.h"
#if defined(TENON_TILES)
#define TENON_TILE_NAMESPACE TENON_INT8
#include "device/cpu/kernels/isa_int8/tiles.h"
#endif

namespace tenon::cpu::TENON_INT8 {

// depthwise.cpp
void depthwise_pixel(const Int8DepthwisePixel& p);
void depthwise_row(const Int8DepthwiseRow& p);

// bytes.cpp
void sum_bytes(const ByteSum& p, int64_t first, int64_t count);
void quantize_bytes(const ByteQuantizer& q, const float* x, uint8_t* y, int64_t n);
void add_byte_rows(const ByteColumns& columns);
void average_sums(const ByteMeans& means);

namespace {

constexpr int kVectors = 2;
constexpr int kColumns = kVectors * kLanes;
// Without VNNI both operands are widened, which takes four registers for B and two for A.
constexpr int kRows = kLanes == 16 ? (kVnni ? 12 : 8) : (kVnni ? 6 : 4);
constexpr int64_t kGroupBytes = 64;
// Few rows take as long as the weights take to come: from one place after the other they come half
// as fast again as from two at once, which is what vectors of two panels are.
constexpr int64_t kFewRows = 3;
constexpr bool kPanelByPanel = kLanes == 16;

TENON_INLINE int32_t four_bytes(const uint8_t* p) {
  int32_t v;
  __builtin_memcpy(&v, p, 4);
  return v;
}

#if defined(TENON_TILES)
// Up to 32 rows by 32 columns: kM x kN tiles of sums.
template <int kM, int kN>
TENON_INLINE void tile_step(const uint8_t* a, int64_t lda, const int8_t* b, int64_t second) {
  load_tile<4>(a, lda);
  load_tile<6>(b, kTileBytes);
  multiply_tiles<0, 4, 6>();
  if constexpr (kN == 2) {
    load_tile<7>(b + second, kTileBytes);
    multiply_tiles<1, 4, 7>();
  }
  if constexpr (kM == 2) {
    load_tile<5>(a + kTileRows * lda, lda);
    multiply_tiles<2, 5, 6>();
    if constexpr (kN == 2) multiply_tiles<3, 5, 7>();
  }
}

template <int kM, int kN>
void run_tiles(const Int8Block& block, int64_t row, int rows, int64_t column, int columns) {
  constexpr int64_t kGroups = kTileBytes / 4, kPanelStep = kGroups * kGroupBytes;
  const int64_t panel_bytes = block.groups * kGroupBytes;
  const uint8_t* a = block.a + row * block.lda;
  const int8_t* b = block.b + column / 16 * panel_bytes;
  zero_tile<0>();
  if constexpr (kN == 2) zero_tile<1>();
  if constexpr (kM == 2) zero_tile<2>();
  if constexpr (kM == 2 && kN == 2) zero_tile<3>();
  int64_t left = block.groups;
  for (; left >= kGroups; left -= kGroups, a += kTileBytes, b += kPanelStep)
    tile_step<kM, kN>(a, block.lda, b, panel_bytes);
  if (left > 0) {  // the last step is filled up with zeros
    alignas(64) uint8_t a_part[kM * kTileRows * kTileBytes] = {};
    alignas(64) int8_t b_part[kN * kPanelStep] = {};
    for (int r = 0; r < rows; ++r)
      __builtin_memcpy(a_part + r * kTileBytes, a + r * block.lda, static_cast<size_t>(4 * left));
    for (int j = 0; j < kN; ++j)
      __builtin_memcpy(b_part + j * kPanelStep, b + j * panel_bytes,
                       static_cast<size_t>(left * kGroupBytes));
    tile_step<kM, kN>(a_part, kTileBytes, b_part, kPanelStep);
  }
  constexpr int64_t kRowBytes = 4 * kColumns;
  alignas(64) int32_t sums[2 * kTileRows][kColumns];
  store_tile<0>(sums[0], kRowBytes);
  if constexpr (kN == 2) store_tile<1>(sums[0] + 16, kRowBytes);
  if constexpr (kM == 2) store_tile<2>(sums[kTileRows], kRowBytes);
  if constexpr (kM == 2 && kN == 2) store_tile<3>(sums[kTileRows] + 16, kRowBytes);
  for (int r = 0; r < rows; ++r) {
    char* y = block.y + (row + r) * block.y_row_bytes;
    const int32_t row_sum = block.row_sums != nullptr ? block.row_sums[row + r] : 0;
    for (int c = 0; c < columns; c += kLanes)
      finish(block.epilogue,
             without_zeros(block.epilogue,
                           add(load(sums[r] + c), load(block.epilogue.column_add + column + c)),
                           column + c, row_sum),
             column + c, y, columns - c < kLanes ? columns - c : kLanes);
  }
}

constexpr int kBlockRows = 2 * kTileRows;
constexpr bool kRowsInPlace = true;
void gemm_block(const Int8Block& block) {
  int configured = 0;
  for (int64_t column = 0; column < block.n; column += kColumns) {
    const int columns = static_cast<int>(block.n - column < kColumns ? block.n - column : kColumns);
    for (int64_t row = 0; row < block.m; row += kBlockRows) {
      const int rows = static_cast<int>(block.m - row < kBlockRows ? block.m - row : kBlockRows);
      const int top = rows < kTileRows ? rows : kTileRows;
      if (rows != configured) configure_tiles(top, rows - top);
      configured = rows;
      if (columns > 16)
        (rows > top ? run_tiles<2, 2> : run_tiles<1, 2>)(block, row, rows, column, columns);
      else
        (rows > top ? run_tiles<2, 1> : run_tiles<1, 1>)(block, row, rows, column, columns);
    }
  }
  // Tiles in use make every switch to another thread dearer.
  release_tiles();
}
#else
constexpr int kBlockRows = kRows;
constexpr bool kRowsInPlace = false;
template <int kM, int kN>
TENON_INLINE void step(const uint8_t* const (&a)[kM], int64_t k, const int8_t* b, int64_t second,
                       Ints (&sums)[kM][kN]) {
  Ints v[kN];
  v[0] = load(b);
  if constexpr (kN == 2) v[1] = load(b + second);
  if constexpr (kVnni) {
#pragma GCC unroll 16
    for (int r = 0; r < kM; ++r) {
      const Ints x = splat(four_bytes(a[r] + k));
#pragma GCC unroll 2
      for (int j = 0; j < kN; ++j) dot(sums[r][j], x, v[j]);
    }
  } else {
    Ints even[kN], odd[kN];
#pragma GCC unroll 2
    for (int j = 0; j < kN; ++j) even[j] = even_signed(v[j]), odd[j] = odd_signed(v[j]);
#pragma GCC unroll 16
    for (int r = 0; r < kM; ++r) {
      const Ints x = splat(four_bytes(a[r] + k));
      const Ints x_even = even_unsigned(x), x_odd = odd_unsigned(x);
#pragma GCC unroll 2
      for (int j = 0; j < kN; ++j)
        sums[r][j] = add(sums[r][j], add(madd(x_even, even[j]), madd(x_odd, odd[j])));
    }
  }
}

// Few rows have few sums, which would wait for their own last product: k is dealt to several sets
// of them.
template <int kM, int kN>
inline constexpr int kSets = kM == 1   ? 8 / kN
                             : kM <= 3 ? 4 / kN
                                       : 1;

// A block whose rows consist of `pieces` of 4 * piece_groups bytes; of one without `piece`.
struct Rows : Int8Block {
  explicit Rows(const Int8Block& block) : Int8Block(block), piece_groups(block.groups) {}
  void use(const Int8Part& part) {
    pieces = part.pieces;
    piece_groups = part.groups;
    piece_offsets = part.piece_offsets;
    weights_begin = part.weights_begin;
    weights_skip = part.weights_skip;
  }

  int64_t pieces = 1;
  int64_t piece_groups;
  const int32_t* piece_offsets = nullptr;
  int64_t weights_begin = 0;
  int64_t weights_skip = 0;
};

// `ahead`: what is multiplied next, fetched group by group.
template <int kM, int kN>
TENON_INLINE void multiply_and_finish(const Rows& block, int64_t row, int64_t column, int columns,
                                      const int8_t* ahead) {
  const uint8_t* a[kM];
#pragma GCC unroll 16
  for (int r = 0; r < kM; ++r)
    a[r] = block.a +
           (block.row_offsets != nullptr ? block.row_offsets[row + r] : (row + r) * block.lda);
  constexpr int kParts = kSets<kM, kN>;
  Ints parts[kParts][kM][kN];
#pragma GCC unroll 32
  for (int i = 0; i < kParts * kM * kN; ++i)
    parts[i / (kM * kN)][i / kN % kM][i % kN] =
        i < kM * kN ? load(block.epilogue.column_add + column + i % kN * kLanes) : splat(0);
  Ints(&sums)[kM][kN] = parts[0];
  const int64_t panel_bytes = block.groups * kGroupBytes;
  const int8_t* const panel = block.b + column / 16 * panel_bytes;
  const int64_t second = kLanes == 16 ? panel_bytes : 32;
  const int64_t piece_bytes = 4 * block.piece_groups;
  const int8_t* b = panel + block.weights_begin;
  for (int64_t piece = 0; piece < block.pieces; ++piece, b += block.weights_skip) {
    int64_t k = block.piece_offsets != nullptr ? block.piece_offsets[piece] : 0;
    const int64_t end = k + piece_bytes;
    if constexpr (kParts > 1) {
      for (; k + 4 * kParts <= end; k += 4 * kParts, b += kParts * kGroupBytes) {
#pragma GCC unroll 8
        for (int i = 0; i < kParts; ++i)
          step<kM, kN>(a, k + 4 * i, b + i * kGroupBytes, second, parts[i]);
      }
    }
    for (; k < end; k += 4, b += kGroupBytes, ahead += kGroupBytes) {
      if constexpr (kParts == 1) __builtin_prefetch(ahead, 0, 2);
      step<kM, kN>(a, k, b, second, sums);
    }
  }
#pragma GCC unroll 32
  for (int i = kM * kN; i < kParts * kM * kN; ++i) {
    Ints& sum = sums[i / kN % kM][i % kN];
    sum = add(sum, parts[i / (kM * kN)][i / kN % kM][i % kN]);
  }
  finish_tile(block, sums, row, column, columns);
}

// Of few rows as many panels as there are, where one is taken after the other: between calls the
// memory would rest.
template <int kM, int kN>
void run_tile(const Rows& block, int64_t row, int64_t column, int columns, const int8_t* ahead) {
  if constexpr (kPanelByPanel && kM <= kFewRows)
    for (; columns > kLanes; columns -= kLanes, column += kLanes)
      multiply_and_finish<kM, kN>(block, row, column, kLanes, ahead);
  multiply_and_finish<kM, kN>(block, row, column, columns, ahead);
}

using TileFunction = void (*)(const Rows&, int64_t, int64_t, int, const int8_t*);
// None for more rows than a tile has, and for few where one panel after the other is taken.
template <int kM, int kN>
constexpr TileFunction tile_function() {
  if constexpr (kM <= kRows && !(kPanelByPanel && kN == 2 && kM <= kFewRows))
    return run_tile<kM, kN>;
  else
    return nullptr;
}
template <int kN>
constexpr TileFunction kTileFunctions[] = {
    tile_function<1, kN>(),  tile_function<2, kN>(),  tile_function<3, kN>(),
    tile_function<4, kN>(),  tile_function<5, kN>(),  tile_function<6, kN>(),
    tile_function<7, kN>(),  tile_function<8, kN>(),  tile_function<9, kN>(),
    tile_function<10, kN>(), tile_function<11, kN>(), tile_function<12, kN>(),
};
static_assert(kRows <= sizeof(kTileFunctions<1>) / sizeof(TileFunction));

// Rows that are multiplied by all columns before the next ones: they and a line of the result of
// each stay in L1 beside the weights of two panels.
int64_t rows_together(const Int8Block& block) {
  constexpr int64_t kBytes = 24 << 10, kLine = 64, kLeast = 4 * kRows;
  int64_t row_bytes = 4 * block.groups;
  if (block.parts != nullptr && block.lda * block.parts->pieces < row_bytes)
    row_bytes = block.lda * block.parts->pieces;
  const int64_t rows = kBytes / (row_bytes + kLine);
  return rows < kLeast ? kLeast : rows;
}

struct Tile {
  const Int8Part* part;  // null: whole rows
  int64_t row, rows;
  bool scattered;   // rows of the result are not one behind the other
  int64_t y_shift;  // of the result's, where they are, from where they would be
};

bool goes_by_panels(const Tile& t) {
  return kPanelByPanel && t.rows <= kFewRows;
}

void multiply_tile(const Rows& block, const Tile& t, int64_t column, int columns,
                   const int8_t* ahead) {
  const TileFunction* functions =
      columns > kLanes && !goes_by_panels(t) ? kTileFunctions<2> : kTileFunctions<1>;
  functions[t.rows - 1](block, t.row, column, columns, ahead);
}

// The rows of the result are made one behind the other and copied to where they belong.
void scatter_tile(const Rows& scattered, const Tile& t, int64_t column, int columns,
                  const int8_t* ahead) {
  Rows block = scattered;
  const int size = gives_bytes(block.epilogue) ? 1 : 4;
  alignas(64) char rows[kRows][4 * kColumns];
  char* const y = block.y + column * size;
  block.y = rows[0] - t.row * sizeof rows[0] - column * size;
  block.y_row_bytes = sizeof rows[0];
  multiply_tile(block, t, column, columns, ahead);
  const size_t bytes = static_cast<size_t>(columns) * static_cast<size_t>(size);
  for (int64_t r = 0; r < t.rows; ++r) {
    char* const to = y + block.y_offsets[t.row + r];
    if (bytes == kColumns)
      __builtin_memcpy(to, rows[r], kColumns);
    else
      __builtin_memcpy(to, rows[r], bytes);
  }
}

// By all columns.
void multiply_tiles(Rows& block, const Tile* tiles, int count) {
  const int64_t panel_bytes = block.groups * kGroupBytes;
  char* const y = block.y;
  const Int8Part* part = nullptr;
  const bool is_alone = count == 1 && goes_by_panels(*tiles) && !tiles->scattered;
  const int64_t most = is_alone ? block.n : kColumns;
  for (int64_t column = 0; column < block.n; column += most) {
    const int columns = static_cast<int>(block.n - column < most ? block.n - column : most);
    const int8_t* const b = block.b + column / 16 * panel_bytes;
    const int fetching = column + kColumns < block.n ? kVectors : 0;
    for (int i = 0; i < count; ++i) {
      const Tile& t = tiles[i];
      if (t.part != part) block.use(*(part = t.part));
      // The first tiles fetch the next columns, where there are some.
      const int8_t* const ahead = i < fetching ? b + (kColumns / 16 + i) * panel_bytes : b;
      block.y = y + t.y_shift;
      if (t.scattered)
        scatter_tile(block, t, column, columns, ahead);
      else
        multiply_tile(block, t, column, columns, ahead);
    }
  }
  block.y = y;
}

void gemm_block(const Int8Block& block) {
  if (block.m <= 0) return;
  constexpr int kMostTiles = 64;
  const int64_t part_count = block.parts != nullptr ? block.part_count : 1;
  const int64_t runs = (block.m + rows_together(block) - 1) / rows_together(block);
  Rows rows_of_part(block);
  Tile tiles[kMostTiles];
  int count = 0;
  int64_t first = 0, run = 1;
  for (int64_t p = 0; p < part_count; ++p) {
    // Tiles of about the same size: one of few rows would read the weights for little.
    const Int8Part* const part = block.parts != nullptr ? block.parts + p : nullptr;
    const int64_t rows = part != nullptr ? part->rows : block.m;
    const int64_t tiles_of_part = (rows + kRows - 1) / kRows;
    for (int64_t tile = 0; tile < tiles_of_part; ++tile) {
      const int64_t size = rows / tiles_of_part + (tile < rows % tiles_of_part ? 1 : 0);
      bool scattered = false;
      int64_t y_shift = 0;
      if (block.y_offsets != nullptr) {
        const int32_t* const to = block.y_offsets + first;
        for (int64_t r = 1; r < size; ++r) scattered |= to[r] - to[0] != r * block.y_row_bytes;
        if (!scattered) y_shift = to[0] - first * block.y_row_bytes;
      }
      tiles[count++] = {part, first, size, scattered, y_shift};
      first += size;
      const bool ends_run = first * runs >= run * block.m;
      if (ends_run) ++run;
      if (!ends_run && count < kMostTiles) continue;
      multiply_tiles(rows_of_part, tiles, count);
      count = 0;
    }
  }
}
#endif

}  // namespace

void finish_stored(const Int8Block& block, const int32_t* sums, int width, int rows, int64_t row,
                   int64_t column, int columns) {
  const Int8Epilogue& e = block.epilogue;
  const int32_t* const row_sums = block.row_sums != nullptr ? block.row_sums + row : nullptr;
  char* y = block.y + row * block.y_row_bytes;
  const auto sum_of = [&](int r, int c) {
    return without_zeros(e, load(sums + r * width + c), column + c,
                         row_sums != nullptr ? row_sums[r] : 0);
  };
  if (columns == 2 * kLanes && gives_bytes(e)) {  // two at a time, the last one maybe twice
    for (int r = 0; r < rows; r += 2, y += 2 * block.y_row_bytes) {
      const int other = r + 1 < rows ? 1 : 0;
      Floats real[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const int c = i % 2 * kLanes;
        real[i] = unclipped(e, sum_of(r + i / 2 * other, c), column + c);
      }
      store_halves(y + column, y + other * block.y_row_bytes + column, in_order(bytes_of(e, real)));
    }
    return;
  }
  for (int r = 0; r < rows; ++r, y += block.y_row_bytes)
    for (int c = 0; c < columns; c += kLanes)
      finish(e, sum_of(r, c), column + c, y, columns - c < kLanes ? columns - c : kLanes);
}
const Int8Table& int8_table() {
  static constexpr Int8Table table{TENON_INT8_NAME,          kBlockRows,    kColumns,
                                   (kVnni ? 4 : 2) * kLanes, kRowsInPlace,  gemm_block,
                                   depthwise_pixel,          depthwise_row, sum_bytes,
                                   quantize_bytes,           add_byte_rows, average_sums};
  return table;
}

}  // namespace tenon::cpu::TENON_INT8
