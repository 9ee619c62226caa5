// Convolutions in groups of several channels, which products of whole panels would leave partly
// idle: sixteen output channels at a time, of several groups or of one and the next.
#include "device/cpu/kernels/grouped.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "device/cpu/kernels/blocks.h"
#include "device/cpu/kernels/gemm_region.h"
#include "device/cpu/kernels/pack.h"
#include "device/cpu/kernels/slots.h"
#include "device/cpu/kernels/windows.h"

namespace tenon::cpu {
namespace {

constexpr int64_t kColumns = GroupedRow::kColumns;
static_assert(kColumns == kPanelColumns);
// Bytes of input that stay in L2 while all filters pass.
constexpr int64_t kInputBytes = 256 << 10;
// Pixels that are multiplied by three taps together at least.
constexpr int64_t kLeastPixels = 7;
// Multiply-adds worth a task.
constexpr int64_t kTaskWork = 64 << 10;

int64_t group_in(const ConvParams& p) {
  return p.in_channels / p.groups;
}
int64_t group_out(const ConvParams& p) {
  return p.out_channels / p.groups;
}
// Blocks of output channels that are computed together: some groups, or a part of one.
struct Block {
  int64_t channel, channels;
};
int64_t blocks_of_group(const ConvParams& p) {
  return ceil_div(group_out(p), kColumns);
}
int64_t blocks_of(const ConvParams& p) {
  return group_out(p) < kColumns ? ceil_div(p.out_channels, kColumns)
                                 : p.groups * blocks_of_group(p);
}
Block block_at(const ConvParams& p, int64_t i) {
  if (group_out(p) < kColumns) {
    const int64_t channel = i * kColumns;
    return {channel, std::min(kColumns, p.out_channels - channel)};
  }
  const int64_t group = i / blocks_of_group(p), column = i % blocks_of_group(p) * kColumns;
  return {group * group_out(p) + column, std::min(kColumns, group_out(p) - column)};
}
int64_t block_floats(const ConvParams& p) {
  return volume(p.kernel) * group_in(p) * kColumns;
}

// Whether the columns that eight pixels read fall into so few sets of the first cache that they
// displace each other.
bool columns_collide(const ConvParams& p) {
  constexpr int64_t kSetsBytes = 4096, kWays = 8;
  const int64_t stride = std::max<int64_t>(64, p.x_pixel_stride * 4);
  const int64_t lines = kSetsBytes / std::gcd(kSetsBytes, stride) * kWays;
  return 7 * p.stride[2] + 3 >= 2 * lines;
}

// Whether three taps from `tap` on are multiplied together.
bool is_triple(const ConvParams& p, int64_t tap) {
  const WindowDim width = window_dim(p, 2);
  const int64_t first = width.start(0) + tap, last = width.start(width.out - 1) + tap;
  return tap + 3 <= width.kernel && width.out >= kLeastPixels && width.dilation == 1 &&
         width.stride <= 2 && first > -3 && last < width.in && !columns_collide(p);
}

// The taps of a row's windows.
class Taps {
 public:
  explicit Taps(const ConvParams& p) : p_(p) {}

  // Those of planes and lines of a window.
  void list(Range depths, Range heights) {
    if (depths == depths_ && heights == heights_) return;
    depths_ = depths, heights_ = heights;
    triples.clear();
    singles.clear();
    for (int64_t kd = depths.begin; kd < depths.end; ++kd)
      for (int64_t kh = heights.begin; kh < heights.end; ++kh)
        for (int64_t kw = 0, count = 1; kw < p_.kernel[2]; kw += count) {
          count = is_triple(p_, kw) ? 3 : 1;
          (count == 3 ? triples : singles).push_back(taps_at(kd, kh, kw));
        }
  }

  std::vector<GroupedTaps> triples, singles;

 private:
  GroupedTaps taps_at(int64_t kd, int64_t kh, int64_t kw) const {
    const int64_t row =
        (kd - depths_.begin) * p_.dilation[0] * p_.in[1] + (kh - heights_.begin) * p_.dilation[1];
    const int64_t column = kw * p_.dilation[2];
    return {(row * p_.in[2] + column) * p_.x_pixel_stride,
            ((kd * p_.kernel[1] + kh) * p_.kernel[2] + kw) * group_in(p_) * kColumns, column};
  }

  const ConvParams& p_;
  Range depths_{-1, -1}, heights_;
};

// Rows of all images for some blocks of output channels.
void run_rows(const ConvParams& p, Range rows, Range blocks, const KernelTable& table) {
  const WindowDim depth = window_dim(p, 0), height = window_dim(p, 1), width = window_dim(p, 2);
  const int64_t in_row = width.in * p.x_pixel_stride;
  GroupedRow row;
  row.pixels = width.out;
  row.start = width.start(0);
  row.stride = width.stride;
  row.in = width.in;
  row.group_in = group_in(p);
  row.group_out = group_out(p);
  row.x_column = p.x_pixel_stride;
  row.y_pixel = p.y_pixel_stride;
  row.add_pixel = p.residual_pixel_stride;
  for (int64_t i = 0; i < kColumns; ++i)
    row.first_inputs[i] = static_cast<int32_t>(i / row.group_out * row.group_in);
  set_activation(row, p.activation);
  Taps taps(p);
  for (int64_t i = blocks.begin; i < blocks.end; ++i) {
    const Block block = block_at(p, i);
    row.channels = static_cast<int>(block.channels);
    row.filter = p.filter + i * block_floats(p);
    row.bias = p.bias == nullptr ? nullptr : p.bias + block.channel;
    const float* const x = p.x + block.channel / row.group_out * row.group_in;
    int64_t oh = rows.begin % height.out, plane = rows.begin / height.out;
    int64_t od = plane % depth.out, n = plane / depth.out;
    for (int64_t r = rows.begin; r < rows.end; ++r) {
      const Range kd = depth.taps(od), kh = height.taps(oh);
      taps.list(kd, kh);
      row.triples = taps.triples.data();
      row.triple_count = static_cast<int64_t>(taps.triples.size());
      row.singles = taps.singles.data();
      row.single_count = static_cast<int64_t>(taps.singles.size());
      const int64_t id = depth.start(od) + kd.begin * depth.dilation;
      const int64_t ih = height.start(oh) + kh.begin * height.dilation;
      row.x = x + ((n * depth.in + id) * height.in + ih) * in_row + row.start * p.x_pixel_stride;
      const int64_t pixel = r * width.out;
      row.y = p.y + pixel * p.y_pixel_stride + block.channel;
      if (p.residual != nullptr)
        row.add = p.residual + pixel * p.residual_pixel_stride + block.channel;
      table.grouped_row(row);
      if (++oh < height.out) continue;
      oh = 0;
      if (++od == depth.out) od = 0, ++n;
    }
  }
}

bool is_empty(const ConvParams& p) {
  return p.batch * volume(p.out) <= 0 || p.out_channels <= 0;
}

}  // namespace

const char* grouped_refusal(const ConvParams& p) {
  if (p.groups == 1) return "the channels are not grouped";
  if (p.in_channels <= 0 || p.out_channels <= 0) return "there are no channels";
  if (group_out(p) == 1) return "a group has one output channel";
  if (group_out(p) >= kColumns) return "a group fills a vector";
  if (kColumns % group_out(p) != 0) return "groups fill no vectors";
  return group_in(p) > group_out(p) ? "groups have more input than output channels" : nullptr;
}

const char* grouped_wide_refusal(const ConvParams& p) {
  if (p.groups == 1) return "the channels are not grouped";
  if (p.in_channels <= 0 || p.out_channels <= 0) return "there are no channels";
  if (group_out(p) < kColumns) return "a group fills no vector";
  // A tile of products is of two vectors, and strides leave little to share between pixels.
  if (p.stride[2] != 1 && group_out(p) % (2 * kColumns) == 0) return "a group fills whole tiles";
  return is_triple(p, 0) || columns_collide(p) ? nullptr : "taps do not come in threes";
}

int64_t grouped_filter_floats(const ConvParams& p) {
  return blocks_of(p) * block_floats(p);
}

void pack_grouped(const ConvParams& p, const float* filter, float* packed) {
  const int64_t rows = volume(p.kernel) * group_in(p);
  for (int64_t b = 0; b < blocks_of(p); ++b) {
    const auto [channel, channels] = block_at(p, b);
    for (int64_t i = 0; i < rows; ++i, packed += kColumns) {
      std::copy_n(filter + i * p.out_channels + channel, channels, packed);
      std::fill(packed + channels, packed + kColumns, 0.0f);
    }
  }
}

void run_grouped(const ConvParams& p, ThreadPool& pool, void*, const KernelTable& table) {
  if (is_empty(p)) return;
  const int64_t rows = p.batch * p.out[0] * p.out[1], blocks = blocks_of(p);
  const int64_t row_bytes =
      std::max<int64_t>(1, p.stride[1] * p.kernel[0] * p.in[2] * p.in_channels * 4);
  int64_t row_tasks = ceil_div(rows, std::clamp<int64_t>(kInputBytes / row_bytes, 1, rows));
  int64_t block_tasks = 1;
  if (const int64_t threads = pool.threads(); threads > 1) {
    // As many tasks for each thread, so that they end together.
    const int64_t work = rows * p.out[2] * blocks * std::max<int64_t>(1, block_floats(p));
    const int64_t most = std::clamp<int64_t>(work / kTaskWork, 1, 8 * threads);
    if (blocks >= most)
      block_tasks = most;
    else
      row_tasks = std::min(rows, round_up(std::max(row_tasks, most), threads));
  }
  pool.parallel_for(row_tasks * block_tasks, [&](int64_t task) {
    const int64_t r = task / block_tasks, b = task % block_tasks;
    run_rows(p, {rows * r / row_tasks, rows * (r + 1) / row_tasks},
             {blocks * b / block_tasks, blocks * (b + 1) / block_tasks}, table);
  });
}

}  // namespace tenon::cpu
