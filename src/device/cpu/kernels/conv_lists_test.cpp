#include "device/cpu/kernels/conv_lists.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "device/cpu/kernels/test_support.h"

namespace tenon::cpu {
namespace {

ConvParams square(int64_t size, int64_t kernel, int64_t stride, int64_t dilation, int64_t batch) {
  ConvParams p;
  p.batch = batch;
  for (const int d : {1, 2}) {
    p.in[d] = size;
    p.kernel[d] = kernel;
    p.stride[d] = stride;
    p.dilation[d] = dilation;
    p.out[d] = ceil_div(size, stride);
    p.pad_begin[d] = (kernel - 1) * dilation / 2;
  }
  p.in_channels = p.x_pixel_stride = 64;
  return p;
}
KernelTable table_of(int rows, bool fits_tiles) {
  KernelTable table;
  table.tile_rows = rows;
  table.fits_tiles = fits_tiles;
  return table;
}

// Lists all pixels, `rows` at a time, checks them and counts the taps that rows are multiplied by.
int64_t check(const ConvParams& shape, int64_t rows, const KernelTable& table) {
  ConvParams p = shape;
  std::vector<float> x(static_cast<size_t>(p.batch * volume(p.in) * p.x_pixel_stride));
  const float zero = 0;
  p.x = x.data();
  const PieceListPlan plan = plan_piece_lists(p, rows, table);
  Scratch memory(plan.bytes(p));
  const int64_t pixels = p.batch * volume(p.out), taps = volume(p.kernel);
  int64_t multiplied = 0;
  for (int64_t begin = 0; begin < pixels; begin += rows) {
    const int64_t count = std::min(rows, pixels - begin);
    const PieceLists lists = list_pieces(p, plan, begin, begin + count, &zero, memory.get());
    EXPECT_EQ(lists.tile_heights != nullptr, table.fits_tiles);
    std::vector<int> seen(static_cast<size_t>(count));
    for (int64_t row = 0, tile = 0; row < count; ++tile) {
      EXPECT_LT(tile, plan.tiles());
      const int64_t height = lists.tile_heights != nullptr
                                 ? lists.tile_heights[tile]
                                 : std::min<int64_t>(plan.tile_rows, count - row);
      EXPECT_GE(height, 1);
      EXPECT_LE(height, plan.tile_rows);
      for (int64_t tap = 0; tap < taps; ++tap) {
        const float* const* const pieces = lists.pieces + (tile * taps + tap) * plan.tile_rows;
        multiplied += pieces[0] != nullptr ? height : 0;
        for (int64_t r = 0; r < height; ++r) {
          const int64_t place = lists.c_rows != nullptr ? lists.c_rows[row + r] : row + r;
          if (place < 0 || place >= count) return -1;
          if (tap == 0) ++seen[static_cast<size_t>(place)];
          int64_t rest = begin + place, tap_rest = tap, at[3];
          bool inside = true;
          for (int d = 2; d >= 0; --d) {
            at[d] =
                window_dim(p, d).start(rest % p.out[d]) + tap_rest % p.kernel[d] * p.dilation[d];
            inside &= at[d] >= 0 && at[d] < p.in[d];
            rest /= p.out[d];
            tap_rest /= p.kernel[d];
          }
          const float* expected =
              p.x +
              (((rest * p.in[0] + at[0]) * p.in[1] + at[1]) * p.in[2] + at[2]) * p.x_pixel_stride;
          if (!inside) expected = pieces[0] == nullptr ? nullptr : &zero;
          if (inside || pieces[0] != nullptr) {
            EXPECT_EQ(pieces[r], expected);
          }
          if (testing::Test::HasFailure()) return -1;
        }
      }
      row += height;
    }
    for (const int times : seen) EXPECT_EQ(times, 1);
  }
  return multiplied;
}

TEST(ConvLists, LeaveOutWhatLiesOutside) {
  const KernelTable table = table_of(12, true);
  // Of 441, 361 are inside: the corners are multiplied as what is beside them.
  EXPECT_EQ(check(square(7, 3, 1, 1, 1), 60, table), 369);
  EXPECT_EQ(check(square(8, 3, 1, 1, 1), 72, table), 492);
  // Eight corners are worth tiles of their own.
  EXPECT_EQ(check(square(7, 3, 1, 1, 8), 396, table), 8 * 361);
  EXPECT_EQ(check(square(14, 3, 1, 1, 1), 204, table), 1608);
  // Nothing is gained by another order.
  EXPECT_EQ(check(square(7, 1, 2, 1, 1), 60, table), 16);
  EXPECT_EQ(check(square(7, 3, 1, 1, 1), 60, table_of(32, false)), 441);
}

TEST(ConvLists, HoldEveryWindow) {
  for (const KernelTable& table : {table_of(12, true), table_of(6, true), table_of(32, false)})
    for (const int64_t size : {1, 2, 5, 7, 13, 30})
      for (const int64_t kernel : {1, 3, 5})
        for (const int64_t stride : {1, 2})
          for (const int64_t dilation : {1, 2, 6})
            for (const int64_t rows : {24, 192}) {
              ConvParams p = square(size, kernel, stride, dilation, 2);
              EXPECT_GE(check(p, rows / table.tile_rows * table.tile_rows + table.tile_rows, table),
                        0)
                  << size << " " << kernel << " " << stride << " " << dilation;
              if (size > 7) continue;
              for (const int64_t pad : {-1, 0, 4}) {
                p.in[0] = 4, p.kernel[0] = 2, p.pad_begin[0] = 1, p.out[0] = 5;
                p.pad_begin[2] = pad;
                EXPECT_GE(check(p, 96, table), 0) << size << " " << kernel << " pad " << pad;
              }
              if (HasFailure()) return;
            }
}

// Long lines with many different borders, which are looked at one by one or not at all.
TEST(ConvLists, LongKernels) {
  for (const int64_t kernel : {25, 700}) {
    ConvParams p = square(1, 1, 1, 1, 1);
    p.in[2] = p.out[2] = 900;
    p.kernel[2] = kernel;
    p.pad_begin[2] = kernel / 2;
    p.in_channels = p.x_pixel_stride = 2;
    EXPECT_GE(check(p, 96, table_of(12, true)), 0);
  }
}

TEST(ConvLists, Sides) {
  const auto sides = [](const WindowDim& w) {
    const WindowSides s = find_window_sides(w);
    std::vector<std::pair<int64_t, int64_t>> all;
    for (int64_t i = 0; i < s.count; ++i)
      all.emplace_back(s.side[i].outputs.end, s.side[i].taps.size());
    return all;
  };
  using Sides = std::vector<std::pair<int64_t, int64_t>>;
  EXPECT_EQ(sides({7, 7, 3, 1, 1, 1}), (Sides{{1, 2}, {6, 3}, {7, 2}}));
  EXPECT_EQ(sides({35, 35, 5, 1, 1, 2}), (Sides{{1, 3}, {2, 4}, {33, 5}, {34, 4}, {35, 3}}));
  EXPECT_EQ(sides({30, 30, 3, 1, 12, 12}), (Sides{{12, 2}, {18, 3}, {30, 2}}));
  EXPECT_EQ(sides({7, 4, 1, 2, 1, 0}), (Sides{{4, 1}}));
  EXPECT_EQ(sides({900, 900, 25, 1, 1, 12}), (Sides{{900, 25}}));
}

}  // namespace
}  // namespace tenon::cpu
