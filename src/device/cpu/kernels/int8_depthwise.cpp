// Depthwise convolutions of bytes. Where the weights are constant, rows of pixels are one long
// vector of channels and taps are places in it; else pixel by pixel. Averages of all of x are sums.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "device/cpu/kernels/int8_epilogue.h"
#include "device/cpu/kernels/windows.h"

namespace tenon::cpu {
namespace {

constexpr int64_t kBlock = 64;  // channels of a block of the filter
constexpr int64_t kMaxFilterBytes = int64_t{1} << 20;
// Of input rows that a task copies, about.
constexpr int64_t kStripBytes = 40 << 10;
// What a result costs beside its products, in taps.
constexpr int64_t kOtherTaps = 16;

int64_t pairs_bytes(const Int8Params& p) {
  return ceil_div(p.out_channels, 16) * 16 * ceil_div(volume(p.kernel), 2) * 4;
}
int64_t pixel_slot_bytes(const Int8Params& p) {
  return round_to_lines((volume(p.kernel) + 1) * static_cast<int64_t>(sizeof(void*)));
}

// A weight without its zero point.
int32_t real_weight(const Int8Params& p, int64_t tap, int64_t channel) {
  const int64_t at = tap * p.out_channels + channel;
  const int32_t w = p.weights_signed ? static_cast<const int8_t*>(p.weights)[at]
                                     : static_cast<const uint8_t*>(p.weights)[at] - 128;
  return w - int8_weights_zero(p, channel);
}
// What is left of it after `times` times as much as a byte holds.
int32_t rest_of_weight(int32_t w, int64_t times) {
  const auto n = static_cast<int32_t>(times);
  return w < 0 ? std::min(w + 128 * n, 0) : std::max(w - 127 * n, 0);
}

// As Int8DepthwisePixel wants the filter, zero points taken off.
void pack_pairs(const Int8Params& p, int16_t* out) {
  const int64_t taps = volume(p.kernel), channels = p.out_channels;
  for (int64_t block = 0; block < channels; block += 16)
    for (int64_t t = 0; t < taps; t += 2)
      for (int half = 0; half < 2; ++half)
        for (int i = 0; i < 8; ++i)
          for (int64_t u = t; u < t + 2; ++u) {
            const int64_t c = block + half * 4 + i % 4 + i / 4 * 8;
            const bool inside = c < channels && u < taps;
            *out++ = static_cast<int16_t>(inside ? real_weight(p, u, c) : 0);
          }
}

void run_pixels(const Int8Params& p, const Int8Vectors& vectors, ThreadPool& pool, char* scratch,
                const Int8Table& table) {
  pack_pairs(p, reinterpret_cast<int16_t*>(scratch));
  const auto* const filter = reinterpret_cast<const int16_t*>(scratch);
  scratch += round_to_lines(pairs_bytes(p));
  std::memset(scratch, static_cast<uint8_t>(p.x_zero), static_cast<size_t>(p.in_channels));
  const auto* const outside = reinterpret_cast<const uint8_t*>(scratch);
  char* const slots = scratch + round_to_lines(p.in_channels);
  const WindowDim depth = window_dim(p, 0), height = window_dim(p, 1), width = window_dim(p, 2);
  const int64_t taps = volume(p.kernel), size = int8_result_bytes(p.result) * p.out_channels;
  parallel_with_slots(pool, p.batch * p.out[0] * p.out[1], [&](int64_t task, int64_t slot) {
    auto** const x = reinterpret_cast<const uint8_t**>(slots + slot * pixel_slot_bytes(p));
    const int64_t oh = task % height.out, od = task / height.out % depth.out;
    const int64_t n = task / height.out / depth.out;
    Int8DepthwisePixel pixel;
    pixel.channels = p.out_channels;
    pixel.pairs = ceil_div(taps, 2);
    pixel.x = x;
    pixel.flip = p.x_signed ? 0x80 : 0;
    pixel.x_zero = static_cast<int16_t>(int8_x_zero(p));
    pixel.filter = filter;
    pixel.epilogue = int8_epilogue(p, vectors, 0);
    x[taps] = outside;  // the partner of an odd last tap, whose weights are 0
    for (int64_t ow = 0; ow < width.out; ++ow) {
      int64_t tap = 0;
      for (int64_t kd = 0; kd < depth.kernel; ++kd)
        for (int64_t kh = 0; kh < height.kernel; ++kh) {
          const int64_t id = depth.start(od) + kd * depth.dilation;
          const int64_t ih = height.start(oh) + kh * height.dilation;
          const bool inside = id >= 0 && id < depth.in && ih >= 0 && ih < height.in;
          const int64_t row = ((n * depth.in + id) * height.in + ih) * width.in;
          for (int64_t kw = 0; kw < width.kernel; ++kw, ++tap) {
            const int64_t iw = width.start(ow) + kw * width.dilation;
            x[tap] = inside && iw >= 0 && iw < width.in
                         ? static_cast<const uint8_t*>(p.x) + (row + iw) * p.in_channels
                         : outside;
          }
        }
      pixel.y = static_cast<char*>(p.y) + (task * width.out + ow) * size;
      table.depthwise_pixel(pixel);
    }
  });
}

// Where element `position` of a block's sums is among its channels: vectors of 16 sums are made by
// interleaving bytes within 16 channels.
int64_t channel_of(int64_t position) {
  return position % 16 / 4 * 16 + position / 16 * 4 + position % 4;
}
int64_t tap_groups(const Int8Params& p) {
  return ceil_div(std::ssize(p.taps), 4);
}
// After so many channels blocks and pixels begin together.
int64_t period_of(const Int8Params& p) {
  return std::lcm(p.out_channels, kBlock);
}

// A task computes `rows` rows of output from a copy of the input below them, in which what lies
// outside is the zero point and pixels that are a stride apart are neighbours.
struct RowPlan {
  int64_t most_tasks = 1;  // that the work is worth
  int64_t rows = 1;
  int64_t blocks = 0;        // of rows
  int64_t strip_rows = 0;    // of a plane
  int64_t phase_pixels = 0;  // of a row, per phase of the stride
  int64_t strip_bytes = 0;
  int64_t slot_bytes = 0;
};

RowPlan plan_rows(const Int8Params& p, int threads, const Int8Table& table) {
  RowPlan plan;
  const int64_t span = (p.kernel[1] - 1) * p.dilation[1] + 1;
  plan.phase_pixels = p.out[2] + (p.kernel[2] - 1) * p.dilation[2] / p.stride[2];
  const int64_t row_bytes = plan.phase_pixels * p.stride[2] * p.in_channels;
  const int64_t fits = kStripBytes / std::max<int64_t>(1, row_bytes * p.kernel[0]);
  plan.rows = fits > span ? (fits - span) / p.stride[1] + 1 : 1;
  const int64_t all_rows = p.batch * p.out[0] * p.out[1];
  const int64_t taps = 4 * tap_groups(p) + kOtherTaps;
  plan.most_tasks = tasks_worth(
      all_rows * p.out[2] * p.out_channels * taps / table.macs_per_instruction, threads);
  if (plan.most_tasks > 1) plan.rows = std::min(plan.rows, ceil_div(all_rows, plan.most_tasks));
  plan.rows = std::clamp<int64_t>(plan.rows, 1, std::max<int64_t>(1, p.out[1]));
  plan.blocks = ceil_div(p.out[1], plan.rows);
  plan.strip_rows = (plan.rows - 1) * p.stride[1] + span;
  // Whole blocks are read.
  plan.strip_bytes = round_to_lines(plan.strip_rows * p.kernel[0] * row_bytes + kBlock);
  plan.slot_bytes =
      plan.strip_bytes + round_to_lines(4 * tap_groups(p) * static_cast<int64_t>(sizeof(void*)));
  return plan;
}

// Copies row `ih` of a plane at `from` (null: outside) as the strip has it.
void copy_row(const Int8Params& p, const RowPlan& plan, const uint8_t* from, uint8_t* to) {
  const int64_t channels = p.in_channels, phases = p.stride[2];
  const auto fill = static_cast<uint8_t>(p.x_zero);
  const int64_t row_bytes = plan.phase_pixels * phases * channels;
  if (from == nullptr) {
    std::memset(to, fill, static_cast<size_t>(row_bytes));
  } else if (phases == 1) {
    const int64_t begin = std::clamp<int64_t>(p.pad_begin[2], 0, plan.phase_pixels);
    const int64_t first = std::max<int64_t>(0, -p.pad_begin[2]);
    const int64_t count = std::clamp<int64_t>(p.in[2] - first, 0, plan.phase_pixels - begin);
    std::memset(to, fill, static_cast<size_t>(begin * channels));
    std::memcpy(to + begin * channels, from + first * channels,
                static_cast<size_t>(count * channels));
    std::memset(to + (begin + count) * channels, fill,
                static_cast<size_t>((plan.phase_pixels - begin - count) * channels));
  } else {
    for (int64_t phase = 0; phase < phases; ++phase)
      for (int64_t i = 0; i < plan.phase_pixels; ++i) {
        const int64_t iw = i * phases + phase - p.pad_begin[2];
        uint8_t* pixel = to + (phase * plan.phase_pixels + i) * channels;
        if (iw >= 0 && iw < p.in[2])
          copy_few(pixel, from + iw * channels, channels);
        else
          std::memset(pixel, fill, static_cast<size_t>(channels));
      }
  }
  if (p.x_signed)
    for (int64_t i = 0; i < row_bytes; ++i) to[i] ^= 0x80;
}

void run_rows(const Int8Params& p, const Int8Vectors& vectors, ThreadPool& pool, char* slots,
              const Int8Table& table) {
  const RowPlan plan = plan_rows(p, pool.threads(), table);
  const int64_t channels = p.in_channels, taps = std::ssize(p.taps);
  const int64_t row_bytes = plan.phase_pixels * p.stride[2] * channels;
  const int64_t y_row = p.out[2] * p.out_channels * int8_result_bytes(p.result);
  const int64_t tasks = p.batch * p.out[0] * plan.blocks;
  deal_with_slots(pool, tasks, plan.most_tasks, [&](int64_t task, int64_t slot) {
    auto* const strip = reinterpret_cast<uint8_t*>(slots + slot * plan.slot_bytes);
    auto** const x = reinterpret_cast<const uint8_t**>(strip + plan.strip_bytes);
    const int64_t oh = task % plan.blocks * plan.rows, plane = task / plan.blocks;
    const int64_t od = plane % p.out[0], n = plane / p.out[0];
    const int64_t rows = std::min(plan.rows, p.out[1] - oh);
    const int64_t used = plan.strip_rows - (plan.rows - rows) * p.stride[1];
    for (int64_t kd = 0; kd < p.kernel[0]; ++kd)
      for (int64_t r = 0; r < used; ++r) {
        const int64_t id = od * p.stride[0] - p.pad_begin[0] + kd * p.dilation[0];
        const int64_t ih = oh * p.stride[1] - p.pad_begin[1] + r;
        const bool inside = id >= 0 && id < p.in[0] && ih >= 0 && ih < p.in[1];
        copy_row(p, plan,
                 inside ? static_cast<const uint8_t*>(p.x) +
                              ((n * p.in[0] + id) * p.in[1] + ih) * p.in[2] * channels
                        : nullptr,
                 strip + (kd * plan.strip_rows + r) * row_bytes);
      }
    Int8DepthwiseRow row;
    row.n = p.out[2] * p.out_channels;
    row.blocks = period_of(p) / kBlock;
    row.groups = tap_groups(p);
    row.taps = taps;
    row.x = x;
    row.filter = p.depthwise;
    row.epilogue = int8_epilogue(p, vectors, 0);
    for (int64_t t = 0; t < 4 * row.groups; ++t) {
      const int64_t tap = p.taps[static_cast<size_t>(t < taps ? t : 0)];  // past the last by 0
      const int64_t kw = tap % p.kernel[2] * p.dilation[2];
      const int64_t kh = tap / p.kernel[2] % p.kernel[1], kd = tap / p.kernel[2] / p.kernel[1];
      x[t] = strip + (kd * plan.strip_rows + kh * p.dilation[1]) * row_bytes +
             (kw % p.stride[2] * plan.phase_pixels + kw / p.stride[2]) * channels;
    }
    for (int64_t r = 0; r < rows; ++r) {
      row.y = static_cast<char*>(p.y) + (plane * p.out[1] + oh + r) * y_row;
      table.depthwise_row(row);
      for (int64_t t = 0; t < 4 * row.groups; ++t) x[t] += p.stride[1] * row_bytes;
    }
  });
}

constexpr int64_t kSumChannels = 256;  // that a task adds up
constexpr int64_t kSumRows = 256;      // whose bytes fit into 16 bits

// Adds up `count` channels of n pixels, `step` bytes apart.
void add_pixels(const uint8_t* x, int64_t n, int64_t step, int64_t count, uint8_t flip,
                int32_t* sums) {
  uint16_t part[kSumChannels] = {};
  for (int64_t i = 0; i < n; ++i)
    for (int64_t c = 0; c < count; ++c)
      part[c] = static_cast<uint16_t>(part[c] + (x[i * step + c] ^ flip));
  for (int64_t c = 0; c < count; ++c) sums[c] += part[c];
}

// What is left of a convolution with ones whose window is all of x.
void run_sums(const Int8Params& p, const Int8Vectors& vectors, ThreadPool& pool) {
  const int64_t channels = p.in_channels, pixels = volume(p.in);
  const int64_t parts = ceil_div(channels, kSumChannels);
  const auto flip = static_cast<uint8_t>(p.x_signed ? 0x80 : 0);
  const auto zeros = static_cast<int32_t>(int8_x_zero(p) * pixels);
  pool.parallel_for(p.batch * parts, [&](int64_t task) {
    const int64_t n = task / parts, first = task % parts * kSumChannels;
    const int64_t count = std::min(kSumChannels, channels - first);
    const auto* x = static_cast<const uint8_t*>(p.x) + n * pixels * channels + first;
    int32_t sums[kSumChannels] = {};
    for (int64_t i = 0; i < pixels; i += kSumRows)
      add_pixels(x + i * channels, std::min(kSumRows, pixels - i), channels, count, flip, sums);
    const Int8Epilogue e = int8_epilogue(p, vectors, first);
    for (int64_t c = 0; c < count; ++c) {
      const int32_t sum = sums[c] - zeros + e.column_add[c];
      const int64_t at = n * channels + first + c;
      if (e.result == Int8Result::kI32) {
        static_cast<int32_t*>(p.y)[at] = sum;
        continue;
      }
      const float real =
          std::clamp(std::fma(static_cast<float>(sum), e.scale[c], e.bias[c]), e.low, e.high);
      if (e.result == Int8Result::kF32)
        static_cast<float*>(p.y)[at] = real;
      else
        static_cast<uint8_t*>(p.y)[at] =
            static_cast<uint8_t>(static_cast<int32_t>(std::nearbyint(real)) + e.zero);
    }
  });
}

}  // namespace

bool sums_int8_plane(const Int8Params& p) {
  for (int d = 0; d < 3; ++d)
    if (p.in[d] != p.kernel[d] || p.out[d] != 1 || p.pad_begin[d] != 0 ||
        (p.dilation[d] != 1 && p.kernel[d] != 1))
      return false;
  for (int64_t t = 0; t < volume(p.kernel); ++t)
    for (int64_t c = 0; c < p.out_channels; ++c)
      if (real_weight(p, t, c) != 1) return false;
  return p.is_depthwise();
}

std::vector<int32_t> int8_depthwise_taps(const Int8Params& p) {
  const int64_t taps = volume(p.kernel);
  std::vector<int32_t> places;
  for (int64_t times = 0;; ++times) {
    const size_t known = places.size();
    for (int64_t t = 0; t < taps; ++t) {
      bool is_left = times == 0;
      for (int64_t c = 0; c < p.out_channels && !is_left; ++c)
        is_left = rest_of_weight(real_weight(p, t, c), times) != 0;
      if (is_left) places.push_back(static_cast<int32_t>(t));
    }
    if (places.size() == known) return places;
  }
}

int64_t int8_depthwise_bytes(const Int8Params& p) {
  const int64_t filter = period_of(p) * tap_groups(p) * 4;
  return p.taps.empty() || filter > kMaxFilterBytes ? 0 : filter + 4 * p.out_channels;
}

void pack_int8_depthwise(const Int8Params& p, void* packed) {
  auto* to = static_cast<int8_t*>(packed);
  const int64_t places = std::ssize(p.taps), channels = p.out_channels;
  std::vector<int64_t> times;  // that the tap of a place was there before it
  for (auto place = p.taps.begin(); place != p.taps.end(); ++place)
    times.push_back(std::count(p.taps.begin(), place, *place));
  for (int64_t block = 0; block < period_of(p); block += kBlock)
    for (int64_t group = 0; group < tap_groups(p); ++group)
      for (int64_t i = 0; i < kBlock; ++i)
        for (int64_t t = 4 * group; t < 4 * group + 4; ++t) {
          const int64_t c = (block + channel_of(i)) % channels;
          const auto at = static_cast<size_t>(t);
          const int32_t w =
              t < places ? rest_of_weight(real_weight(p, p.taps[at], c), times[at]) : 0;
          *to++ = static_cast<int8_t>(std::clamp(w, -128, 127));
        }
  auto* sums = reinterpret_cast<int32_t*>(to);
  for (int64_t c = 0; c < channels; ++c) {
    sums[c] = 0;
    for (int64_t t = 0; t < volume(p.kernel); ++t) sums[c] += real_weight(p, t, c);
  }
}

int64_t int8_depthwise_scratch_bytes(const Int8Params& p, int threads, const Int8Table& table) {
  const int64_t pixels = round_to_lines(pairs_bytes(p)) + round_to_lines(p.in_channels) +
                         threads * pixel_slot_bytes(p);
  if (int8_depthwise_bytes(p) == 0) return pixels;
  return std::max(pixels, threads * plan_rows(p, threads, table).slot_bytes);
}

int64_t int8_spread_bytes(const Int8Params& p) {
  return int8_depthwise_bytes(p) == 0 ? 0 : 12 * period_of(p);
}

Int8Vectors spread_int8_vectors(const Int8Params& p, const Int8Vectors& by_channel, void* memory) {
  const int64_t period = period_of(p), blocks = period / kBlock;
  Int8Vectors v;
  v.small = by_channel.small;
  v.column_add = static_cast<int32_t*>(memory);
  v.scale = reinterpret_cast<float*>(v.column_add + period);
  v.bias = v.scale + period;
  const auto* sums = reinterpret_cast<const int32_t*>(p.depthwise + period * tap_groups(p) * 4);
  const int64_t zero = int8_x_zero(p);
  for (int64_t block = 0; block < blocks; ++block)
    for (int64_t i = 0; i < kBlock; i += 4) {  // four neighbours stay neighbours
      int64_t c = (block * kBlock + channel_of(i)) % p.out_channels;
      for (int64_t at = block * kBlock + i; at < block * kBlock + i + 4; ++at) {
        v.column_add[at] = by_channel.column_add[c] + static_cast<int32_t>(-zero * sums[c]);
        v.scale[at] = by_channel.scale[c];
        v.bias[at] = by_channel.bias[c];
        if (++c == p.out_channels) c = 0;
      }
    }
  return v;
}

void run_int8_depthwise(const Int8Params& p, const Int8Vectors& vectors, ThreadPool& pool,
                        char* scratch, const Int8Table& table) {
  if (p.sums_plane) return run_sums(p, vectors, pool);
  (p.depthwise != nullptr ? run_rows : run_pixels)(p, vectors, pool, scratch, table);
}

}  // namespace tenon::cpu
