#include "device/cpu/kernels/group_norm.h"

#include <algorithm>
#include <cmath>

#include "device/cpu/kernels/slots.h"

namespace tenon::cpu {
namespace {

// Channels a task takes: whole groups, at least a few vectors wide where there are that many.
int64_t channels_per_task(const GroupNormParams& p) {
  const int64_t width = p.groups > 0 ? p.channels / p.groups : 0;
  if (width <= 0) return 1;
  const int64_t groups = std::max<int64_t>(1, 64 / width);
  return std::min(p.channels, groups * width);
}

// Pixels taken as one row, where a task has all channels and these alone would not fill vectors.
int64_t pixels_per_row(const GroupNormParams& p) {
  const int64_t n = channels_per_task(p);
  return n == p.channels && n < 32 ? 64 / n : 1;
}

// Sums of blocks of rows are added up: the error stays that of short sums.
constexpr int64_t kRows = 64;

// sum[c] += the sum over rows of f(row[c], c), for c < n.
template <typename F>
void add_columns(const float* x, int64_t rows, int64_t stride, int64_t n, float* block, float* sum,
                 F f) {
  for (int64_t first = 0; first < rows; first += kRows) {
    std::fill_n(block, n, 0.0f);
    for (int64_t r = first; r < std::min(rows, first + kRows); ++r) {
      const float* row = x + r * stride;
      for (int64_t c = 0; c < n; ++c) block[c] += f(row[c], c);
    }
    for (int64_t c = 0; c < n; ++c) sum[c] += block[c];
  }
}

// Replaces the sums of the channels of each group by their mean over `count` elements.
void mean_of_groups(float* sums, int64_t n, int64_t width, double count) {
  for (int64_t g = 0; g < n; g += width) {
    double sum = 0;
    for (int64_t c = g; c < g + width; ++c) sum += sums[c];
    std::fill_n(sums + g, width, static_cast<float>(sum / count));
  }
}

// Repeats the first n of `size` values.
void repeat(float* values, int64_t n, int64_t size) {
  for (int64_t c = n; c < size; ++c) values[c] = values[c - n];
}

}  // namespace

int64_t group_norm_scratch_bytes(const GroupNormParams& p, int threads) {
  return slots_bytes(3 * channels_per_task(p) * pixels_per_row(p), threads);
}

void group_norm(const GroupNormParams& p, ThreadPool& pool, void* scratch) {
  if (p.batch <= 0 || p.pixels <= 0 || p.channels <= 0 || p.groups <= 0) return;
  const int64_t step = channels_per_task(p), width = p.channels / p.groups;
  const int64_t parts = (p.channels + step - 1) / step, together = pixels_per_row(p);
  const int64_t rows = p.pixels / together, rest = p.pixels % together;
  parallel_with_slots(pool, p.batch * parts, [&](int64_t task, int64_t slot) {
    const int64_t first = task % parts * step, n = std::min(step, p.channels - first);
    const int64_t columns = n * together, stride = p.channels * together;
    const int64_t offset = task / parts * p.pixels * p.channels + first;
    const float* const x = p.x + offset;
    float* const y = p.y + offset;
    float* const mean = slot_floats(scratch, slot, 3 * step * together);
    float* const square = mean + step * together;
    float* const block = square + step * together;
    // The means over each group of f(element, column), for all columns.
    const auto average = [&](float* sums, auto f) {
      std::fill_n(sums, columns, 0.0f);
      add_columns(x, rows, stride, columns, block, sums, f);
      add_columns(x + rows * stride, rest, p.channels, n, block, sums, f);
      for (int64_t c = n; c < columns; ++c) sums[c % n] += sums[c];
      mean_of_groups(sums, n, width, static_cast<double>(p.pixels * width));
      repeat(sums, n, columns);
    };
    average(mean, [](float v, int64_t) { return v; });
    average(square, [&](float v, int64_t c) {
      const float d = v - mean[c];
      return d * d;
    });
    for (int64_t c = 0; c < columns; ++c)
      square[c] = p.scale[first + c % n] / std::sqrt(square[c] + p.epsilon);
    float* const bias = block;
    std::copy_n(p.bias + first, n, bias);
    repeat(bias, n, columns);
    const auto put = [&](int64_t at, int64_t size) {
      for (int64_t c = 0; c < size; ++c) y[at + c] = (x[at + c] - mean[c]) * square[c] + bias[c];
    };
    for (int64_t r = 0; r < rows; ++r) put(r * stride, columns);
    for (int64_t r = 0; r < rest; ++r) put(rows * stride + r * p.channels, n);
  });
}

}  // namespace tenon::cpu
