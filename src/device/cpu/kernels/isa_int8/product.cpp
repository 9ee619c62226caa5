// The inner loops of products of bytes, compiled once per instruction set: TENON_INT8 is the
// namespace. No standard library templates here, see isa/isa.h.
#include <immintrin.h>

#include "device/cpu/kernels/int8.h"
#include "device/cpu/kernels/isa_int8/vectors.h"
#if defined(TENON_TILES)
#define TENON_TILE_NAMESPACE TENON_INT8
#include "device/cpu/kernels/isa_int8/tiles.h"
#endif

namespace tenon::cpu::TENON_INT8 {

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

TENON_INLINE bool gives_bytes(const Int8Epilogue& e) {
  return e.result == Int8Result::kU8 || e.result == Int8Result::kI8;
}

// What sums are, column_add among them, as real numbers: columns [column, column + kLanes).
TENON_INLINE Floats unclipped(const Int8Epilogue& e, Ints sum, int64_t column) {
  return fma(to_real(sum), load_real(e.scale + column), load_real(e.bias + column));
}
TENON_INLINE Floats scaled(const Int8Epilogue& e, Ints sum, int64_t column) {
  return clip(unclipped(e, sum, column), splat_real(e.low), splat_real(e.high));
}
// Four vectors of real numbers as bytes.
TENON_INLINE Ints bytes_of(const Int8Epilogue& e, Floats (&real)[4]) {
  if (!e.saturates)
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) real[i] = clip(real[i], splat_real(e.low), splat_real(e.high));
  Ints v[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) v[i] = to_int(real[i]);
  return packed_bytes(v, e.zero, e.result == Int8Result::kI8);
}
TENON_INLINE Ints without_zeros(const Int8Epilogue& e, Ints sum, int64_t column, int32_t row_sum) {
  if (e.weights_zero == nullptr) return sum;
  return sub(sum, mul(splat(row_sum), load(e.weights_zero + column)));
}

// Finishes a vector of sums, column_add among them: columns [column, column + lanes) of a row.
TENON_INLINE void finish(const Int8Epilogue& e, Ints sum, int64_t column, int32_t row_sum,
                         char* row, int lanes) {
  sum = without_zeros(e, sum, column, row_sum);
  if (e.result == Int8Result::kI32)
    store_part(row + 4 * column, sum, lanes);
  else if (e.result == Int8Result::kF32)
    store_part(row + 4 * column, bits(scaled(e, sum, column)), lanes);
  else
    store_bytes(row + column, add(to_int(scaled(e, sum, column)), splat(e.zero)), lanes);
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
      finish(block.epilogue, add(load(sums[r] + c), load(block.epilogue.column_add + column + c)),
             column + c, row_sum, y, columns - c < kLanes ? columns - c : kLanes);
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

// Rows of bytes, two packed at a time, without zero points of the weights: what is done is settled
// before the rows, so that little more than arithmetic is left of each.
template <bool kSaturates, bool kSigned, int kM>
TENON_INLINE void finish_pairs(const Int8Block& block, const Ints (&sums)[kM][2], int64_t row,
                               int64_t column) {
  const Int8Epilogue& e = block.epilogue;
  const Floats scale[2] = {load_real(e.scale + column), load_real(e.scale + column + kLanes)};
  const Floats bias[2] = {load_real(e.bias + column), load_real(e.bias + column + kLanes)};
  char* y = block.y + row * block.y_row_bytes + column;
#pragma GCC unroll 6
  for (int r = 0; r + 1 < kM; r += 2, y += 2 * block.y_row_bytes) {
    Ints v[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      Floats real = fma(to_real(sums[r + i / 2][i % 2]), scale[i % 2], bias[i % 2]);
      if constexpr (!kSaturates) real = clip(real, splat_real(e.low), splat_real(e.high));
      v[i] = to_int(real);
    }
    store_halves(y, y + block.y_row_bytes, in_order(packed_bytes(v, e.zero, kSigned)));
  }
}

// Rows [first, kM) of a tile from memory, which takes a tenth of the code that registers would.
template <int kM, int kN>
TENON_INLINE void finish_rows(const Int8Block& block, const Ints (&sums)[kM][kN], int first,
                              int64_t row, int64_t column, int columns) {
  alignas(64) int32_t stored[kM][kN * kLanes];
#pragma GCC unroll 32
  for (int i = 0; i < kM * kN; ++i)
    store_all(stored[i / kN] + i % kN * kLanes, sums[i / kN][i % kN]);
  for (int r = first; r < kM; ++r) {
    char* y = block.y + (row + r) * block.y_row_bytes;
    const int32_t row_sum = block.row_sums != nullptr ? block.row_sums[row + r] : 0;
    for (int c = 0; c < columns; c += kLanes)
      finish(block.epilogue, load(stored[r] + c), column + c, row_sum, y,
             columns - c < kLanes ? columns - c : kLanes);
  }
}

template <int kM, int kN>
TENON_INLINE void finish_tile(const Int8Block& block, const Ints (&sums)[kM][kN], int64_t row,
                              int64_t column, int columns) {
  const Int8Epilogue& e = block.epilogue;
  if constexpr (kN == 2 && kM > 1)
    if (columns == kColumns && gives_bytes(e) && e.weights_zero == nullptr) {
      const bool is_signed = e.result == Int8Result::kI8;
      if (!e.saturates)
        is_signed ? finish_pairs<false, true, kM>(block, sums, row, column)
                  : finish_pairs<false, false, kM>(block, sums, row, column);
      else
        is_signed ? finish_pairs<true, true, kM>(block, sums, row, column)
                  : finish_pairs<true, false, kM>(block, sums, row, column);
      if constexpr (kM % 2 == 1) finish_rows<kM, kN>(block, sums, kM - 1, row, column, columns);
      return;
    }
  if (columns == kN * kLanes && e.result == Int8Result::kF32 && e.weights_zero == nullptr) {
    char* y = block.y + row * block.y_row_bytes + 4 * column;
#pragma GCC unroll 16
    for (int r = 0; r < kM; ++r, y += block.y_row_bytes)
#pragma GCC unroll 2
      for (int j = 0; j < kN; ++j)
        store_all(y + 4 * kLanes * j, bits(scaled(e, sums[r][j], column + j * kLanes)));
    return;
  }
  if constexpr (kM == 1) {
    char* y = block.y + row * block.y_row_bytes;
    const int32_t row_sum = block.row_sums != nullptr ? block.row_sums[row] : 0;
#pragma GCC unroll 2
    for (int j = 0; j < kN; ++j)
      if (const int left = columns - j * kLanes; left > 0)
        finish(e, sums[0][j], column + j * kLanes, row_sum, y, left < kLanes ? left : kLanes);
  } else {
    finish_rows<kM, kN>(block, sums, 0, row, column, columns);
  }
}

// `ahead`: what is multiplied next, fetched group by group.
template <int kM, int kN>
void run_tile(const Int8Block& block, int64_t row, int64_t column, int columns,
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
  const int8_t* b = block.b + column / 16 * panel_bytes;
  const int64_t second = kLanes == 16 ? panel_bytes : 32;
  const int64_t piece_bytes = 4 * (block.pieces == 1 ? block.groups : block.groups / block.pieces);
  for (int64_t piece = 0; piece < block.pieces; ++piece) {
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

using TileFunction = void (*)(const Int8Block&, int64_t, int64_t, int, const int8_t*);
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
  if (block.row_offsets != nullptr && block.m > 1) {
    const int64_t step = block.row_offsets[1] - block.row_offsets[0];
    if (step > 0 && step * block.pieces < row_bytes) row_bytes = step * block.pieces;
  }
  const int64_t rows = kBytes / (row_bytes + kLine);
  return rows < kLeast ? kLeast : rows;
}

void multiply_rows(const Int8Block& block, int64_t first, int64_t end) {
  // Tiles of about the same size: one of few rows would read the weights for little.
  const int64_t tiles = (end - first + kRows - 1) / kRows;
  const int64_t least_rows = (end - first) / tiles, larger_tiles = (end - first) % tiles;
  const int64_t panel_bytes = block.groups * kGroupBytes;
  const int64_t step = kPanelByPanel && end - first <= kFewRows ? kLanes : kColumns;
  for (int64_t column = 0; column < block.n; column += step) {
    const int columns = static_cast<int>(block.n - column < step ? block.n - column : step);
    const TileFunction* functions = columns > kLanes ? kTileFunctions<2> : kTileFunctions<1>;
    const int8_t* const b = block.b + column / 16 * panel_bytes;
    for (int64_t tile = 0, row = first; tile < tiles; ++tile) {
      const int64_t rows = least_rows + (tile < larger_tiles ? 1 : 0);
      // The first tiles fetch the next columns, where there are some.
      const bool fetches = tile < kVectors && column + step < block.n;
      functions[rows - 1](block, row, column, columns,
                          fetches ? b + (step / 16 + tile) * panel_bytes : b);
      row += rows;
    }
  }
}

void gemm_block(const Int8Block& block) {
  if (block.m <= 0) return;
  const int64_t parts = (block.m + rows_together(block) - 1) / rows_together(block);
  for (int64_t part = 0, row = 0; part < parts; ++part) {
    // Whole tiles, but for the last part.
    int64_t end = part + 1 == parts ? block.m : (part + 1) * block.m / parts;
    if (part + 1 < parts) end = (end + kRows - 1) / kRows * kRows;
    if (end > row) multiply_rows(block, row, end < block.m ? end : block.m);
    row = end;
  }
}
#endif

TENON_INLINE __m256i widened(const uint8_t* x, __m128i flip, __m256i zero, int channels) {
  __m128i bytes;
  if (channels == 16) {
    bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x));
  } else {
#if defined(__AVX512BW__)
    bytes = _mm_maskz_loadu_epi8(static_cast<__mmask16>((1u << channels) - 1), x);
#else
    if (channels == 8) {
      bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(x));
    } else {
      alignas(16) uint8_t part[16] = {};
      __builtin_memcpy(part, x, static_cast<size_t>(channels));
      bytes = _mm_load_si128(reinterpret_cast<const __m128i*>(part));
    }
#endif
  }
  return _mm256_sub_epi16(_mm256_cvtepu8_epi16(_mm_xor_si128(bytes, flip)), zero);
}

// Two taps at a time: products of 9-bit numbers, added in pairs, are exact in i32.
void depthwise_pixel(const Int8DepthwisePixel& p) {
  const __m128i flip = _mm_set1_epi8(static_cast<char>(p.flip));
  const __m256i zero = _mm256_set1_epi16(p.x_zero);
  const int16_t* filter = p.filter;
  for (int64_t c = 0; c < p.channels; c += 16) {
    const int channels = static_cast<int>(p.channels - c < 16 ? p.channels - c : 16);
    __m256i low = _mm256_setzero_si256(), high = low;
    for (int64_t t = 0; t < p.pairs; ++t, filter += 32) {
      const __m256i x = widened(p.x[2 * t] + c, flip, zero, channels);
      const __m256i y = widened(p.x[2 * t + 1] + c, flip, zero, channels);
      const auto* w = reinterpret_cast<const __m256i*>(filter);
      low = _mm256_add_epi32(low,
                             _mm256_madd_epi16(_mm256_unpacklo_epi16(x, y), _mm256_loadu_si256(w)));
      high = _mm256_add_epi32(
          high, _mm256_madd_epi16(_mm256_unpackhi_epi16(x, y), _mm256_loadu_si256(w + 1)));
    }
    alignas(64) int32_t sums[16];
    _mm256_store_si256(reinterpret_cast<__m256i*>(sums), _mm256_permute2x128_si256(low, high, 32));
    _mm256_store_si256(reinterpret_cast<__m256i*>(sums + 8),
                       _mm256_permute2x128_si256(low, high, 49));
    for (int i = 0; i < channels; i += kLanes)
      finish(p.epilogue, add(load(sums + i), load(p.epilogue.column_add + c + i)), c + i, 0, p.y,
             channels - i < kLanes ? channels - i : kLanes);
  }
}

constexpr int kRowBytes = 4 * kLanes;  // results of a step

// A vector of sums whose place in the epilogue is `position`, with what is added to it.
TENON_INLINE Ints whole_sum(const Int8Epilogue& e, Ints sum, int64_t position) {
  return add(sum, load(e.column_add + position));
}
// The bytes of sums; `position` is that of sums[0] in the epilogue.
TENON_INLINE Ints row_bytes(const Int8Epilogue& e, const Ints (&sums)[4], int64_t position) {
  Floats real[4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const int64_t at = position + 16 * j;
    real[j] = unclipped(e, whole_sum(e, sums[j], at), at);
  }
  return bytes_of(e, real);
}

// Finishes the sums of results [at, at + count), bytes that are not a whole step or no bytes.
void finish_row(const Int8DepthwiseRow& p, Ints (&sums)[4], int64_t position, int64_t at,
                int64_t count) {
  const Int8Epilogue& e = p.epilogue;
  if (gives_bytes(e)) {
    alignas(64) char part[kRowBytes];
    store_all(part, row_bytes(e, sums, position));
    __builtin_memcpy(p.y + at, part, static_cast<size_t>(count));
    return;
  }
  alignas(64) int32_t given[4][kLanes], natural[kRowBytes];
  for (int j = 0; j < 4; ++j) {
    const int64_t i = position + 16 * j;
    const Ints sum = whole_sum(e, sums[j], i);
    store_all(given[j], e.result == Int8Result::kI32 ? sum : bits(scaled(e, sum, i)));
  }
  for (int j = 0; j < 4; ++j)
    for (int lane = 0; lane < kLanes / 4; ++lane)
      __builtin_memcpy(natural + 16 * lane + 4 * j, given[j] + 4 * lane, 16);
  __builtin_memcpy(p.y + 4 * at, natural, 4 * static_cast<size_t>(count));
}

// The products of four taps with results [first, first + kRowBytes); one tap: the others are none.
template <bool kSingle>
TENON_INLINE void add_taps(const uint8_t* const* x, int64_t first, const Ints (&filter)[4],
                           Ints (&sums)[4]) {
  const Ints none = splat(0), a = load(x[0] + first);
  const Ints b = kSingle ? none : load(x[1] + first);
  const Ints low = low_bytes(a, b), high = high_bytes(a, b);
  Ints low2 = none, high2 = none;
  if constexpr (!kSingle) {
    const Ints c = load(x[2] + first), d = load(x[3] + first);
    low2 = low_bytes(c, d), high2 = high_bytes(c, d);
  }
  add_dot(sums[0], low_words(low, low2), filter[0]);
  add_dot(sums[1], high_words(low, low2), filter[1]);
  add_dot(sums[2], low_words(high, high2), filter[2]);
  add_dot(sums[3], high_words(high, high2), filter[3]);
}
TENON_INLINE void load_taps(const int8_t* from, Ints (&filter)[4]) {
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) filter[j] = load(from + 64 * j);
}

// kGroups: of four taps, the last one of a single tap; 0: any number of whole groups. kHeld: how
// many of their filters stay in registers.
template <int kGroups, int kHeld>
TENON_INLINE void sum_taps(const Int8DepthwiseRow& p, const int8_t* filter,
                           const Ints (&held)[kHeld + 1][4], int64_t first, Ints (&sums)[4]) {
  const int64_t groups = kGroups > 0 ? kGroups : p.groups;
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) sums[j] = splat(0);
#pragma GCC unroll 8
  for (int64_t g = 0; g < groups; ++g) {
    Ints taps[4];
    if constexpr (kHeld == 0) load_taps(filter + 256 * g, taps);
    const Ints(&used)[4] = kHeld == 0 ? taps : held[kHeld == 0 ? 0 : g];
    if (kGroups > 0 && g == kGroups - 1)
      add_taps<true>(p.x + 4 * g, first, used, sums);
    else
      add_taps<false>(p.x + 4 * g, first, used, sums);
  }
}

template <int kGroups>
void depthwise_row_of(const Int8DepthwiseRow& p) {
  constexpr int kHeld = kLanes == 16 && kGroups > 0 && kGroups <= 3 ? kGroups : 0;
  const Int8Epilogue e = p.epilogue;
  char* const y = p.y;
  const int64_t n = p.n, step = 64 * p.blocks;
  for (int64_t block = 0; block < p.blocks; ++block)
    for (int part = 0; part < 64 / kRowBytes; ++part) {
      const int8_t* filter = p.filter + block * p.groups * 256 + part * kRowBytes;
      const int64_t position = 64 * block + part * kLanes;
      Ints held[kHeld + 1][4], sums[4];
#pragma GCC unroll 4
      for (int g = 0; g < kHeld; ++g) load_taps(filter + 256 * g, held[g]);
      int64_t first = 64 * block + part * kRowBytes;
      // Nothing is called here: what is held in registers stays there.
      for (const int64_t end = gives_bytes(e) ? n - kRowBytes : -1; first <= end; first += step) {
        sum_taps<kGroups, kHeld>(p, filter, held, first, sums);
        store_all(y + first, row_bytes(e, sums, position));
      }
      for (; first < n; first += step) {
        sum_taps<kGroups, 0>(p, filter, {}, first, sums);
        finish_row(p, sums, position, first, n - first < kRowBytes ? n - first : kRowBytes);
      }
    }
}

// Windows of 3 by 3 and 5 by 5 on their own.
void depthwise_row(const Int8DepthwiseRow& p) {
  if (p.taps == 9)
    depthwise_row_of<3>(p);
  else if (p.taps == 25)
    depthwise_row_of<7>(p);
  else
    depthwise_row_of<0>(p);
}

}  // namespace

const Int8Table& int8_table() {
  static constexpr Int8Table table{TENON_INT8_NAME,          kBlockRows,    kColumns,
                                   (kVnni ? 4 : 2) * kLanes, kRowsInPlace,  gemm_block,
                                   depthwise_pixel,          depthwise_row, sum_bytes,
                                   quantize_bytes,           add_byte_rows, average_sums};
  return table;
}

}  // namespace tenon::cpu::TENON_INT8
