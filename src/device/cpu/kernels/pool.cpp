// Pooling over windows.
#include "device/cpu/kernels/pool.h"

#include "device/cpu/kernels/blocks.h"
#include "device/cpu/kernels/windows.h"

namespace tenon::cpu {
namespace {

// Values read worth a task.
constexpr int64_t kTaskWork = 64 << 10;
constexpr int64_t kChannelUnit = 16;

// Taps of output o that count in an average's divisor beside those of the pads.
int64_t padded_taps(const PoolParams& p, int d, int64_t o) {
  const WindowDim dim = window_dim(p, d);
  const int64_t end = p.in[d] + p.pad_end[d];  // the begin's pads are never left
  return std::clamp<int64_t>(ceil_div(end - dim.start(o), dim.dilation), 0, dim.kernel);
}

// One row of output pixels, `channels` channels from `channel` on.
void run_row(const PoolParams& p, const KernelTable& table, int64_t index, int64_t channel,
             int64_t channels) {
  const WindowDim depth = window_dim(p, 0), height = window_dim(p, 1), width = window_dim(p, 2);
  const int64_t oh = index % height.out, od = index / height.out % depth.out;
  const int64_t n = index / height.out / depth.out;
  const Range kd = depth.taps(od), kh = height.taps(oh), inside = width.interior();
  const int64_t id = depth.start(od) + kd.begin * depth.dilation;
  const int64_t ih = height.start(oh) + kh.begin * height.dilation;
  const int64_t in_row = ((n * depth.in + id) * height.in + ih) * width.in;
  const int64_t padded = padded_taps(p, 0, od) * padded_taps(p, 1, oh);

  PoolRow row;
  row.average = p.kind == PoolKind::kAverage;
  row.narrow_x = p.narrow_x;
  row.narrow_y = p.narrow_y;
  row.channels = channels;
  row.taps[0] = kd.size();
  row.taps[1] = kh.size();
  row.x_taps[2] = width.dilation * p.channels;
  row.x_taps[1] = height.dilation * width.in * p.channels;
  row.x_taps[0] = depth.dilation * height.in * width.in * p.channels;
  row.x_pixel = width.stride * p.channels;
  row.y_pixel = p.channels;
  const auto run = [&](int64_t begin, int64_t end, Range kw) {
    row.pixels = end - begin;
    row.taps[2] = kw.size();
    const int64_t taps = kd.size() * kh.size() * kw.size();
    const int64_t count = p.count_include_pad ? padded * padded_taps(p, 2, begin) : taps;
    row.scale = count > 0 ? 1.0f / static_cast<float>(count) : 0.0f;
    row.x = p.x;
    if (taps > 0)
      row.x = element(
          p.x, (in_row + width.start(begin) + kw.begin * width.dilation) * p.channels + channel,
          p.narrow_x);
    row.y = element(p.y, (index * width.out + begin) * p.channels + channel, p.narrow_y);
    table.pool_row(row);
  };
  for (int64_t o = 0; o < inside.begin; ++o) run(o, o + 1, width.taps(o));
  if (inside.size() > 0) run(inside.begin, inside.end, {0, width.kernel});
  for (int64_t o = inside.end; o < width.out; ++o) run(o, o + 1, width.taps(o));
}

}  // namespace

void pooling(const PoolParams& p, ThreadPool& pool, const KernelTable& table) {
  const int64_t rows = p.batch * p.out[0] * p.out[1];
  const int64_t work = p.out[2] * p.kernel[0] * p.kernel[1] * p.kernel[2] * p.channels;
  if (rows <= 0 || work <= 0) return;
  // Few rows of many channels are cut by channels.
  const int64_t units = ceil_div(p.channels, kChannelUnit);
  int64_t blocks = 1;
  if (pool.threads() > 1 && rows < 4 * pool.threads())
    blocks = std::clamp<int64_t>(std::min(ceil_div(4 * pool.threads(), rows), work / kTaskWork), 1,
                                 units);
  const int64_t block = ceil_div(units, blocks) * kChannelUnit;
  blocks = ceil_div(p.channels, block);
  const int64_t rows_per_task =
      pool.threads() == 1 ? rows : std::max<int64_t>(1, kTaskWork * blocks / work);
  pool.parallel_for(ceil_div(rows, rows_per_task) * blocks, [&](int64_t task) {
    const int64_t channel = task % blocks * block, first = task / blocks * rows_per_task;
    for (int64_t row = first; row < std::min(rows, first + rows_per_task); ++row)
      run_row(p, table, row, channel, std::min(block, p.channels - channel));
  });
}

}  // namespace tenon::cpu
