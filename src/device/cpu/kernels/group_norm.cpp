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

}  // namespace

int64_t group_norm_scratch_bytes(const GroupNormParams& p, int threads) {
  return slots_bytes(3 * channels_per_task(p), threads);
}

void group_norm(const GroupNormParams& p, ThreadPool& pool, void* scratch) {
  if (p.batch <= 0 || p.pixels <= 0 || p.channels <= 0 || p.groups <= 0) return;
  const int64_t step = channels_per_task(p), width = p.channels / p.groups;
  const int64_t parts = (p.channels + step - 1) / step;
  parallel_with_slots(pool, p.batch * parts, [&](int64_t task, int64_t slot) {
    const int64_t first = task % parts * step, n = std::min(step, p.channels - first);
    const int64_t offset = task / parts * p.pixels * p.channels + first;
    const float* x = p.x + offset;
    float* const mean = slot_floats(scratch, slot, 3 * step);
    float* const square = mean + step;
    float* const block = square + step;
    const double count = static_cast<double>(p.pixels * width);
    std::fill_n(mean, 2 * step, 0.0f);
    add_columns(x, p.pixels, p.channels, n, block, mean, [](float v, int64_t) { return v; });
    mean_of_groups(mean, n, width, count);
    add_columns(x, p.pixels, p.channels, n, block, square, [&](float v, int64_t c) {
      const float d = v - mean[c];
      return d * d;
    });
    mean_of_groups(square, n, width, count);
    for (int64_t c = 0; c < n; ++c)
      square[c] = p.scale[first + c] / std::sqrt(square[c] + p.epsilon);
    const float* bias = p.bias + first;
    for (int64_t r = 0; r < p.pixels; ++r) {
      const float* row = x + r * p.channels;
      float* out = p.y + offset + r * p.channels;
      for (int64_t c = 0; c < n; ++c) out[c] = (row[c] - mean[c]) * square[c] + bias[c];
    }
  });
}

}  // namespace tenon::cpu
