// Moving elements without computing: transposes, strided copies, gathers. Elements are opaque,
// 1, 2, 4, 8 or 16 bytes. See gemm.h for the rules on pointers; no scratch, no overlap.
#pragma once

#include <cstdint>

#include "base/thread_pool.h"

namespace tenon::cpu {

inline constexpr int kMaxLayoutDims = 8;

// y[i_perm[0], …, i_perm[rank - 1]] = x[i_0, …]: dim d of y is dim perm[d] of x, as in
// numpy.transpose. x and y are dense.
struct TransposeParams {
  int rank = 0;                        // 0 to kMaxLayoutDims
  int64_t shape[kMaxLayoutDims] = {};  // of x
  int perm[kMaxLayoutDims] = {};
  int element_bytes = 4;
  const void* x = nullptr;
  void* y = nullptr;
};
void transpose(const TransposeParams& p, ThreadPool& pool);

// For every index of `shape`: y[sum index * y_stride] = x[sum index * x_stride]. Strides count
// elements and may be negative (reverse) or, for x, 0 (broadcast). Serves slice, pad's body,
// tile, expand, reverse.
struct StridedCopyParams {
  int rank = 0;
  int64_t shape[kMaxLayoutDims] = {};
  int64_t x_strides[kMaxLayoutDims] = {};
  int64_t y_strides[kMaxLayoutDims] = {};
  int element_bytes = 4;
  const void* x = nullptr;
  void* y = nullptr;
};
void strided_copy(const StridedCopyParams& p, ThreadPool& pool);

// Concat and split: row r of `joined` (joined_bytes apart) begins with the rows r of the parts,
// which are dense, one after the other; `split` says that the parts are written.
struct JoinRowsParams {
  int64_t rows = 0;
  int parts = 0;
  const int64_t* part_bytes = nullptr;  // of a row of each part
  void* const* part = nullptr;
  void* joined = nullptr;
  int64_t joined_bytes = 0;
  bool split = false;
};
void join_rows(const JoinRowsParams& p, ThreadPool& pool);

// y[o, i, :] = x[o, index[i], :] for x[outer, rows, row_bytes], dense. A negative index counts from
// the end. Returns the position of the first index outside [-rows, rows), leaving y unspecified,
// or -1 when all are good.
struct GatherRowsParams {
  int64_t outer = 1;
  int64_t rows = 0;
  int64_t row_bytes = 0;
  int64_t indices = 0;
  const int32_t* index32 = nullptr;  // one of the two
  const int64_t* index64 = nullptr;
  const void* x = nullptr;
  void* y = nullptr;
};
int64_t gather_rows(const GatherRowsParams& p, ThreadPool& pool);

}  // namespace tenon::cpu
