#include "device/cpu/kernels/layout.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "device/cpu/kernels/test_support.h"

namespace tenon::cpu {
namespace {

// Bytes with guards around them.
struct Buffer {
  static constexpr size_t kGuard = 64;
  std::vector<uint8_t> storage;

  explicit Buffer(int64_t bytes, bool random = false)
      : storage(static_cast<size_t>(bytes) + 2 * kGuard, 0xa5) {
    if (random)
      for (int64_t i = 0; i < bytes; ++i) data()[i] = static_cast<uint8_t>(test_random()());
  }
  uint8_t* data() { return storage.data() + kGuard; }
  bool guards_intact() const {
    const auto is_guard = [](uint8_t b) { return b == 0xa5; };
    return std::all_of(storage.begin(), storage.begin() + kGuard, is_guard) &&
           std::all_of(storage.end() - kGuard, storage.end(), is_guard);
  }
};

int64_t random_between(int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, high)(test_random());
}

TEST(TransposeKernel, RandomShapes) {
  for (int round = 0; round < 1500; ++round) {
    TransposeParams p;
    p.rank = static_cast<int>(random_between(0, 5));
    p.element_bytes = 1 << random_between(0, 4);
    int64_t elements = 1;
    for (int d = 0; d < p.rank; ++d) {
      p.shape[d] = random_between(round % 50 == 0 ? 0 : 1, p.rank > 3 ? 9 : 40);
      elements *= p.shape[d];
    }
    std::iota(p.perm, p.perm + p.rank, 0);
    std::shuffle(p.perm, p.perm + p.rank, test_random());
    Buffer x(elements * p.element_bytes, true), y(elements * p.element_bytes);
    p.x = x.data();
    p.y = y.data();
    ThreadPool pool(round % 3 + 1);
    transpose(p, pool);
    EXPECT_TRUE(y.guards_intact());
    int64_t strides[kMaxLayoutDims], stride = 1;
    for (int d = p.rank; d-- > 0;) strides[d] = stride, stride *= p.shape[d];
    for (int64_t i = 0; i < elements; ++i) {
      int64_t rest = i, from = 0;
      for (int d = p.rank; d-- > 0;) {
        const int64_t size = p.shape[p.perm[d]];
        from += rest % size * strides[p.perm[d]];
        rest /= size;
      }
      ASSERT_EQ(std::memcmp(y.data() + i * p.element_bytes, x.data() + from * p.element_bytes,
                            static_cast<size_t>(p.element_bytes)),
                0)
          << "round " << round << " element " << i;
    }
  }
}

TEST(TransposeKernel, LargePlanes) {
  for (const int bytes : {1, 2, 4, 8})
    for (const int threads : {1, 2}) {
      TransposeParams p;
      p.rank = 3;
      p.element_bytes = bytes;
      const int64_t n = 3, rows = 131, cols = 259;
      p.shape[0] = n, p.shape[1] = rows, p.shape[2] = cols;
      p.perm[0] = 0, p.perm[1] = 2, p.perm[2] = 1;
      Buffer x(n * rows * cols * bytes, true), y(n * rows * cols * bytes);
      p.x = x.data();
      p.y = y.data();
      ThreadPool pool(threads);
      transpose(p, pool);
      EXPECT_TRUE(y.guards_intact());
      for (int64_t b = 0; b < n; ++b)
        for (int64_t r = 0; r < rows; ++r)
          for (int64_t c = 0; c < cols; ++c)
            ASSERT_EQ(std::memcmp(y.data() + ((b * cols + c) * rows + r) * bytes,
                                  x.data() + ((b * rows + r) * cols + c) * bytes,
                                  static_cast<size_t>(bytes)),
                      0);
    }
}

TEST(StridedCopy, RandomStrides) {
  for (int round = 0; round < 1500; ++round) {
    StridedCopyParams p;
    p.rank = static_cast<int>(random_between(0, 4));
    p.element_bytes = 1 << random_between(0, 4);
    int64_t count = 1, x_low = 0, x_high = 0, y_elements = 1;
    for (int d = p.rank; d-- > 0;) {
      p.shape[d] = random_between(round % 50 == 0 ? 0 : 1, p.rank > 2 ? 8 : 70);
      p.y_strides[d] = y_elements;
      y_elements *= p.shape[d] + random_between(0, 2);
      count *= p.shape[d];
      p.x_strides[d] = random_between(0, 3) == 0 ? 0 : random_between(-3, 40);
      if (random_between(0, 2) == 0) p.x_strides[d] = 1;
      const int64_t reach = p.x_strides[d] * std::max<int64_t>(p.shape[d] - 1, 0);
      (reach < 0 ? x_low : x_high) += reach;
    }
    Buffer x((x_high - x_low + 1) * p.element_bytes, true), y(y_elements * p.element_bytes);
    Buffer expected = y;
    p.x = x.data() - x_low * p.element_bytes;
    p.y = y.data();
    ThreadPool pool(round % 3 + 1);
    strided_copy(p, pool);
    for (int64_t i = 0; i < count; ++i) {
      int64_t rest = i, from = 0, to = 0;
      for (int d = p.rank; d-- > 0;) {
        from += rest % p.shape[d] * p.x_strides[d];
        to += rest % p.shape[d] * p.y_strides[d];
        rest /= p.shape[d];
      }
      std::memcpy(expected.data() + to * p.element_bytes,
                  static_cast<const uint8_t*>(p.x) + from * p.element_bytes,
                  static_cast<size_t>(p.element_bytes));
    }
    ASSERT_EQ(y.storage, expected.storage) << "round " << round;
  }
}

TEST(StridedCopy, FillsAndLongRuns) {
  for (const int64_t stride : {0, 1, -1, 2}) {
    const int64_t n = 100003;
    std::vector<uint32_t> x(static_cast<size_t>(2 * n)), y(static_cast<size_t>(n));
    std::iota(x.begin(), x.end(), 5u);
    StridedCopyParams p;
    p.rank = 1;
    p.shape[0] = n;
    p.x_strides[0] = stride;
    p.y_strides[0] = 1;
    p.x = x.data() + (stride < 0 ? n - 1 : 0);
    p.y = y.data();
    ThreadPool pool(2);
    strided_copy(p, pool);
    for (int64_t i = 0; i < n; ++i)
      ASSERT_EQ(y[static_cast<size_t>(i)], static_cast<const uint32_t*>(p.x)[i * stride]);
  }
}

TEST(JoinRows, JoinsAndSplits) {
  for (int round = 0; round < 200; ++round) {
    const int64_t rows = random_between(0, round % 10 == 0 ? 3000 : 9);
    std::vector<int64_t> bytes;
    std::vector<Buffer> parts;
    std::vector<void*> pointers;
    JoinRowsParams p;
    for (int64_t i = random_between(1, 6); i > 0; --i) bytes.push_back(random_between(0, 70));
    for (const int64_t n : bytes) parts.emplace_back(rows * n, true), p.joined_bytes += n;
    for (Buffer& b : parts) pointers.push_back(b.data());
    Buffer joined(rows * p.joined_bytes);
    p.rows = rows;
    p.parts = static_cast<int>(bytes.size());
    p.part_bytes = bytes.data();
    p.part = pointers.data();
    p.joined = joined.data();
    ThreadPool pool(round % 2 + 1);
    join_rows(p, pool);
    EXPECT_TRUE(joined.guards_intact());
    int64_t at = 0;
    for (size_t i = 0; i < parts.size(); at += bytes[i++])
      for (int64_t r = 0; r < rows; ++r)
        ASSERT_EQ(std::memcmp(joined.data() + r * p.joined_bytes + at,
                              parts[i].data() + r * bytes[i], static_cast<size_t>(bytes[i])),
                  0);
    const std::vector<Buffer> before = parts;
    for (Buffer& b : parts) std::fill(b.storage.begin(), b.storage.end(), uint8_t{0xa5});
    p.split = true;
    join_rows(p, pool);
    for (size_t i = 0; i < parts.size(); ++i) EXPECT_EQ(parts[i].storage, before[i].storage);
  }
}

TEST(GatherRows, PicksAndRefuses) {
  for (int round = 0; round < 300; ++round) {
    GatherRowsParams p;
    p.outer = random_between(0, 3);
    p.rows = random_between(1, 50);
    p.row_bytes = random_between(0, 40);
    p.indices = random_between(0, 60);
    std::vector<int32_t> index32;
    std::vector<int64_t> index64;
    for (int64_t i = 0; i < p.indices; ++i) {
      index64.push_back(random_between(-p.rows, p.rows - 1));
      index32.push_back(static_cast<int32_t>(index64.back()));
    }
    (round % 2 == 0 ? p.index32 = index32.data() : nullptr);
    if (round % 2 != 0) p.index64 = index64.data();
    Buffer x(p.outer * p.rows * p.row_bytes, true), y(p.outer * p.indices * p.row_bytes);
    p.x = x.data();
    p.y = y.data();
    ThreadPool pool(2);
    ASSERT_EQ(gather_rows(p, pool), -1);
    EXPECT_TRUE(y.guards_intact());
    for (int64_t o = 0; o < p.outer; ++o)
      for (int64_t i = 0; i < p.indices; ++i) {
        const int64_t v = index64[static_cast<size_t>(i)];
        const int64_t row = v < 0 ? v + p.rows : v;
        ASSERT_EQ(std::memcmp(y.data() + (o * p.indices + i) * p.row_bytes,
                              x.data() + (o * p.rows + row) * p.row_bytes,
                              static_cast<size_t>(p.row_bytes)),
                  0);
      }
    if (p.indices == 0) continue;
    const auto bad = static_cast<size_t>(random_between(0, p.indices - 1));
    index32[bad] = static_cast<int32_t>(p.rows);
    index64[bad] = -p.rows - 1;
    EXPECT_EQ(gather_rows(p, pool), static_cast<int64_t>(bad));
  }
}

}  // namespace
}  // namespace tenon::cpu
