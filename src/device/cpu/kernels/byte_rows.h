// Rows of floats rounded to bytes, each by its own range, and products of them with weights of
// bytes: what is quantised while a model runs. See gemm.h for the rules on pointers.
#pragma once

#include <cstdint>

#include "device/cpu/kernels/int8.h"
#include "device/cpu/kernels/kernel_table.h"

namespace tenon::cpu {

// real = (byte - zero) * scale.
struct ByteRange {
  float scale = 1;
  int32_t zero = 0;
};

// Of a row, for the table: y = (sums - zero * column_sums) * scale * scales + add; y may be where
// the sums are.
struct ScaledSums {
  int64_t n = 0;
  ByteRange range;
  const int32_t* sums = nullptr;
  const int32_t* column_sums = nullptr;
  const float* scales = nullptr;
  const float* add = nullptr;  // or null
  float* y = nullptr;
};

// Weights [k, n] packed: floats as pack_b() has them, or, with scales, bytes as pack_int8().
struct ScaledWeights {
  const void* panels = nullptr;
  const float* scales = nullptr;  // [n], of bytes
  int64_t n = 0;                  // of bytes
};

// The form of `rows` rows of k: their ranges, then the bytes, each row filled up to groups of four.
// What it is of lies `at` a place of bytes() bytes that begins a cache line. With `rests` what
// rounding leaves of a row is rounded, too: it is one of as many rows behind the others.
struct ByteRows {
  int64_t rows = 0;
  int64_t k = 0;
  bool rests = false;

  int64_t count() const { return rests ? 2 * rows : rows; }
  int64_t row_bytes() const;
  int64_t bytes() const;
  ByteRange* ranges(char* at) const;
  uint8_t* row(char* at, int64_t i) const;
  // Rounds the rows [first, last) of x[rows, k].
  void fill(char* at, int64_t first, int64_t last, const float* x, const KernelTable& table) const;
};

struct ByteTables {
  const KernelTable& floats;
  const Int8Table& bytes;
  const int32_t* zeros;  // as many as columns are multiplied at once, and kBeyond
  static constexpr int64_t kBeyond = 32;
};

// out[i] = row i, and its rest, x columns [column, column + n) of the weights + add[i], for rows
// [first, last); column is a multiple of 16.
struct BytesProduct {
  const ByteRows& rows;
  char* at;
  int64_t first, last;
  const ScaledWeights& weights;
  int64_t column, n;
  const float* add;  // of row 0; or null
  int64_t add_ld;
  float* out;  // of row 0
  int64_t ld;
  float* of_rests = nullptr;  // room as at `out`, where there are rests
};
void multiply_bytes(const BytesProduct& product, const ByteTables& tables);

}  // namespace tenon::cpu
