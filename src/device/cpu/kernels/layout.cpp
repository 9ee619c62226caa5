// Data movement dealt to threads.
#include "device/cpu/kernels/layout.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "device/cpu/kernels/transpose8.h"

namespace tenon::cpu {
namespace {

// Bytes worth a task of their own.
constexpr int64_t kTaskBytes = 64 << 10;

// A loop nest whose dims of size 1 are gone and whose neighbours that both sides walk alike are
// one.
struct Nest {
  int rank = 0;
  int64_t shape[kMaxLayoutDims] = {};
  int64_t x[kMaxLayoutDims] = {};  // strides in elements
  int64_t y[kMaxLayoutDims] = {};

  void add(int64_t size, int64_t x_stride, int64_t y_stride) {
    if (size == 1) return;
    if (rank > 0 && x[rank - 1] == x_stride * size && y[rank - 1] == y_stride * size) {
      shape[rank - 1] *= size;
    } else {
      shape[rank++] = size;
    }
    x[rank - 1] = x_stride;
    y[rank - 1] = y_stride;
  }
  // Product of the sizes of the dims below `end`.
  int64_t count(int end) const {
    int64_t n = 1;
    for (int d = 0; d < end; ++d) n *= shape[d];
    return n;
  }
};

// Walks the dims [0, rank) of a nest from the index-th position on.
class Walk {
 public:
  Walk(const Nest& nest, int rank, int64_t index) : nest_(nest), rank_(rank) {
    for (int d = rank; d-- > 0;) {
      at_[d] = index % nest.shape[d];
      index /= nest.shape[d];
      x_ += at_[d] * nest.x[d];
      y_ += at_[d] * nest.y[d];
    }
  }
  int64_t x() const { return x_; }
  int64_t y() const { return y_; }
  void next() {
    for (int d = rank_; d-- > 0;) {
      x_ += nest_.x[d];
      y_ += nest_.y[d];
      if (++at_[d] < nest_.shape[d]) return;
      x_ -= nest_.x[d] * nest_.shape[d];
      y_ -= nest_.y[d] * nest_.shape[d];
      at_[d] = 0;
    }
  }

 private:
  const Nest& nest_;
  int rank_;
  int64_t at_[kMaxLayoutDims] = {};
  int64_t x_ = 0, y_ = 0;
};

struct Bytes16 {
  uint64_t half[2];
};

// f(T{}) with an element type of this size.
template <typename F>
void with_element(int bytes, F&& f) {
  switch (bytes) {
    case 1:
      return f(uint8_t{});
    case 2:
      return f(uint16_t{});
    case 4:
      return f(uint32_t{});
    case 8:
      return f(uint64_t{});
    default:
      return f(Bytes16{});
  }
}

template <typename T>
void copy_run(const T* x, int64_t x_stride, T* y, int64_t y_stride, int64_t n) {
  if (x_stride == 1 && y_stride == 1) {
    if (n * static_cast<int64_t>(sizeof(T)) >= 128)
      std::memcpy(y, x, static_cast<size_t>(n) * sizeof(T));
    else
      for (int64_t i = 0; i < n; ++i) y[i] = x[i];
  } else if (y_stride == 1 && x_stride == 0) {
    std::fill_n(y, n, *x);
  } else if (y_stride == 1) {
    for (int64_t i = 0; i < n; ++i) y[i] = x[i * x_stride];
  } else {
    for (int64_t i = 0; i < n; ++i) y[i * y_stride] = x[i * x_stride];
  }
}

template <typename T>
void copy_nest(const Nest& nest, const T* x, T* y, ThreadPool& pool) {
  const int last = nest.rank - 1;
  const int64_t n = nest.shape[last];
  const int64_t rows = nest.count(last);
  const int64_t chunk_bytes = n * static_cast<int64_t>(sizeof(T));
  if (rows == 1) {
    // One long run: cut it.
    const int64_t step = std::max<int64_t>(1, kTaskBytes / static_cast<int64_t>(sizeof(T)));
    pool.parallel_for((n + step - 1) / step, [&](int64_t task) {
      const int64_t i = task * step;
      copy_run(x + i * nest.x[last], nest.x[last], y + i * nest.y[last], nest.y[last],
               std::min(step, n - i));
    });
    return;
  }
  const int64_t step = std::max<int64_t>(1, kTaskBytes / std::max<int64_t>(chunk_bytes, 1));
  pool.parallel_for((rows + step - 1) / step, [&](int64_t task) {
    const int64_t end = std::min(rows, (task + 1) * step);
    Walk walk(nest, last, task * step);
    for (int64_t r = task * step; r < end; ++r, walk.next())
      copy_run(x + walk.x(), nest.x[last], y + walk.y(), nest.y[last], n);
  });
}

void copy_nest_bytes(const Nest& nest, int element_bytes, const void* x, void* y,
                     ThreadPool& pool) {
  with_element(element_bytes, [&](auto element) {
    using T = decltype(element);
    if (nest.rank == 0)
      *static_cast<T*>(y) = *static_cast<const T*>(x);
    else
      copy_nest(nest, static_cast<const T*>(x), static_cast<T*>(y), pool);
  });
}

// kRows rows of x side by side, element by element; the compiler makes vectors of it.
template <int kRows, typename T>
void interleave(const T* x, int64_t ldx, T* __restrict y, int64_t n) {
  for (int64_t i = 0; i < n; ++i)
    for (int r = 0; r < kRows; ++r) y[i * kRows + r] = x[r * ldx + i];
}
// The reverse: every kColumns-th element of x in a row of y.
template <int kColumns, typename T>
void part(const T* x, T* __restrict y, int64_t ldy, int64_t n) {
  for (int64_t i = 0; i < n; ++i)
    for (int c = 0; c < kColumns; ++c) y[c * ldy + i] = x[i * kColumns + c];
}

// y[c * ldy + r] = x[r * ldx + c]
template <typename T>
void transpose_matrix(int64_t rows, int64_t cols, const T* x, int64_t ldx, T* y, int64_t ldy) {
  // Images of few channels.
  if (rows == 3 && ldy == 3) return interleave<3>(x, ldx, y, cols);
  if (rows == 2 && ldy == 2) return interleave<2>(x, ldx, y, cols);
  if (cols == 3 && ldx == 3) return part<3>(x, y, ldy, rows);
  if (cols == 2 && ldx == 2) return part<2>(x, y, ldy, rows);
  if constexpr (sizeof(T) == 4) {
    const int64_t rows8 = rows / 8 * 8, cols8 = cols / 8 * 8;
    for (int64_t c = 0; c < cols8; c += 8)
      for (int64_t r = 0; r < rows8; r += 8)
        transpose8<false>(reinterpret_cast<const float*>(x + r * ldx + c), ldx,
                          reinterpret_cast<float*>(y + c * ldy + r), ldy, 1.0f);
    const int64_t rows4 = rows / 4 * 4, cols4 = cols / 4 * 4;
    for (int64_t c = 0; c < cols4; c += 4)
      for (int64_t r = c < cols8 ? rows8 : 0; r < rows4; r += 4)
        transpose4(reinterpret_cast<const float*>(x + r * ldx + c), ldx,
                   reinterpret_cast<float*>(y + c * ldy + r), ldy);
    for (int64_t r = rows4; r < rows; ++r)
      for (int64_t c = 0; c < cols4; ++c) y[c * ldy + r] = x[r * ldx + c];
    for (int64_t c = cols4; c < cols; ++c)
      for (int64_t r = 0; r < rows; ++r) y[c * ldy + r] = x[r * ldx + c];
  } else {
    const int64_t rows8 = sizeof(T) == 2 ? rows / 8 * 8 : 0;
    const int64_t cols8 = sizeof(T) == 2 ? cols / 8 * 8 : 0;
    if constexpr (sizeof(T) == 2)
      for (int64_t c = 0; c < cols8; c += 8)
        for (int64_t r = 0; r < rows8; r += 8)
          transpose8(x + r * ldx + c, ldx, y + c * ldy + r, ldy);
    for (int64_t c = 0; c < cols; ++c)
      for (int64_t r = c < cols8 ? rows8 : 0; r < rows; ++r) y[c * ldy + r] = x[r * ldx + c];
  }
}

// A nest whose innermost dim of y is another than x's: tiles of the plane of the two.
template <typename T>
void transpose_nest(Nest nest, const T* x, T* y, ThreadPool& pool) {
  const int last = nest.rank - 1;
  int across = 0;  // the dim along which x is contiguous
  while (nest.x[across] != 1) ++across;
  const int64_t cols = nest.shape[across], ldy = nest.y[across];
  const int64_t rows = nest.shape[last], ldx = nest.x[last];
  for (int d = across; d + 1 < last; ++d) {
    nest.shape[d] = nest.shape[d + 1];
    nest.x[d] = nest.x[d + 1];
    nest.y[d] = nest.y[d + 1];
  }
  const int outer_rank = nest.rank - 2;
  // A tile's lines of both sides stay in L1.
  constexpr int64_t kTile = 64;
  const int64_t row_tiles = (rows + kTile - 1) / kTile, col_tiles = (cols + kTile - 1) / kTile;
  const int64_t tiles = nest.count(outer_rank) * row_tiles * col_tiles;
  const int64_t tile_bytes =
      std::min(rows, kTile) * std::min(cols, kTile) * static_cast<int64_t>(sizeof(T));
  const int64_t step = std::max<int64_t>(1, kTaskBytes / std::max<int64_t>(tile_bytes, 1));
  pool.parallel_for((tiles + step - 1) / step, [&](int64_t task) {
    const int64_t end = std::min(tiles, (task + 1) * step);
    for (int64_t tile = task * step; tile < end; ++tile) {
      const int64_t r = tile % row_tiles * kTile, c = tile / row_tiles % col_tiles * kTile;
      const Walk walk(nest, outer_rank, tile / row_tiles / col_tiles);
      transpose_matrix(std::min(kTile, rows - r), std::min(kTile, cols - c),
                       x + walk.x() + r * ldx + c, ldx, y + walk.y() + c * ldy + r, ldy);
    }
  });
}

}  // namespace

void transpose(const TransposeParams& p, ThreadPool& pool) {
  int64_t x_strides[kMaxLayoutDims], x_stride = 1, y_stride = 1;
  for (int d = p.rank; d-- > 0;) {
    x_strides[d] = x_stride;
    x_stride *= p.shape[d];
  }
  if (x_stride == 0) return;
  for (int d = 0; d < p.rank; ++d) y_stride *= p.shape[p.perm[d]];
  Nest nest;
  for (int d = 0; d < p.rank; ++d) {
    const int64_t size = p.shape[p.perm[d]];
    y_stride /= size;
    nest.add(size, x_strides[p.perm[d]], y_stride);
  }
  if (nest.rank == 0 || nest.x[nest.rank - 1] == 1)
    return copy_nest_bytes(nest, p.element_bytes, p.x, p.y, pool);
  with_element(p.element_bytes, [&](auto element) {
    using T = decltype(element);
    transpose_nest(nest, static_cast<const T*>(p.x), static_cast<T*>(p.y), pool);
  });
}

void strided_copy(const StridedCopyParams& p, ThreadPool& pool) {
  Nest nest;
  for (int d = 0; d < p.rank; ++d) {
    if (p.shape[d] <= 0) return;
    nest.add(p.shape[d], p.x_strides[d], p.y_strides[d]);
  }
  copy_nest_bytes(nest, p.element_bytes, p.x, p.y, pool);
}

namespace {

struct RowsAt {
  char* data;
  int64_t step;
};

// Rows of kBytes to twice as many: a row is its first and its last kBytes.
template <size_t kBytes>
void copy_short_rows(RowsAt from, RowsAt to, int64_t bytes, int64_t rows) {
  const int64_t second = bytes - static_cast<int64_t>(kBytes);
  for (int64_t r = 0; r < rows; ++r, from.data += from.step, to.data += to.step) {
    std::memcpy(to.data, from.data, kBytes);
    std::memcpy(to.data + second, from.data + second, kBytes);
  }
}

void copy_rows(RowsAt from, RowsAt to, int64_t bytes, int64_t rows) {
  if (bytes >= 4 && bytes <= 8) return copy_short_rows<4>(from, to, bytes, rows);
  if (bytes > 8 && bytes <= 16) return copy_short_rows<8>(from, to, bytes, rows);
  if (bytes > 16 && bytes <= 32) return copy_short_rows<16>(from, to, bytes, rows);
  if (bytes > 32 && bytes <= 64) return copy_short_rows<32>(from, to, bytes, rows);
  if (bytes > 64 && bytes <= 128) return copy_short_rows<64>(from, to, bytes, rows);
  for (int64_t r = 0; r < rows; ++r, from.data += from.step, to.data += to.step)
    std::memcpy(to.data, from.data, static_cast<size_t>(bytes));
}

}  // namespace

void join_rows(const JoinRowsParams& p, ThreadPool& pool) {
  const int64_t whole = p.joined_bytes;
  if (p.rows <= 0 || whole <= 0) return;
  char* const joined = static_cast<char*>(p.joined);
  const int64_t step = std::max<int64_t>(1, kTaskBytes / whole);
  pool.parallel_for((p.rows + step - 1) / step, [&](int64_t task) {
    const int64_t first = task * step, last = std::min(p.rows, first + step);
    int64_t at = 0;
    for (int i = 0; i < p.parts; ++i) {
      const int64_t n = p.part_bytes[i];
      char* const part = static_cast<char*>(p.part[i]) + first * n;
      char* const row = joined + first * whole + at;
      at += n;
      if (p.split)
        copy_rows({row, whole}, {part, n}, n, last - first);
      else
        copy_rows({part, n}, {row, whole}, n, last - first);
    }
  });
}

int64_t gather_rows(const GatherRowsParams& p, ThreadPool& pool) {
  const auto index_at = [&](int64_t i) {
    const int64_t v = p.index32 != nullptr ? p.index32[i] : p.index64[i];
    return v < 0 ? v + p.rows : v;
  };
  for (int64_t i = 0; i < p.indices; ++i) {
    const int64_t v = index_at(i);
    if (v < 0 || v >= p.rows) return i;
  }
  const int64_t total = p.outer * p.indices;
  const int64_t step = std::max<int64_t>(1, kTaskBytes / std::max<int64_t>(p.row_bytes, 16));
  const char* const x = static_cast<const char*>(p.x);
  char* const y = static_cast<char*>(p.y);
  pool.parallel_for((total + step - 1) / step, [&](int64_t task) {
    const int64_t last = std::min(total, (task + 1) * step);
    int64_t o = task * step / p.indices, i = task * step % p.indices;
    for (int64_t at = task * step; at < last; ++at) {
      const char* from = x + (o * p.rows + index_at(i)) * p.row_bytes;
      std::memcpy(y + at * p.row_bytes, from, static_cast<size_t>(p.row_bytes));
      if (++i == p.indices) i = 0, ++o;
    }
  });
  return -1;
}

}  // namespace tenon::cpu
