// A row of results at a time: the rows of x below it are added first, then neighbours of the sums.
#include "device/cpu/kernels/byte_averages.h"

#include <algorithm>

#include "device/cpu/kernels/int8_epilogue.h"
#include "device/cpu/kernels/windows.h"

namespace tenon::cpu {
namespace {

constexpr int64_t kMostTaps = 256;
constexpr int64_t kBeyond = 64;  // of the sums, that vectors reach

int64_t row_pointers_bytes(const PoolParams& p) {
  return round_to_lines(p.kernel[0] * p.kernel[1] * static_cast<int64_t>(sizeof(void*)));
}
int64_t slot_bytes(const PoolParams& p) {
  return row_pointers_bytes(p) + round_to_lines(2 * (p.in[2] * p.channels + kBeyond));
}

void average_row(const ByteAverages& p, int64_t index, char* slot, const Int8Table& table) {
  const PoolParams& pool = p.pool;
  const WindowDim depth = window_dim(pool, 0), height = window_dim(pool, 1),
                  width = window_dim(pool, 2);
  const int64_t oh = index % height.out, od = index / height.out % depth.out;
  const int64_t n = index / height.out / depth.out;
  const Range kd = depth.taps(od), kh = height.taps(oh), inside = width.interior();
  auto** const rows = reinterpret_cast<const uint8_t**>(slot);
  ByteColumns columns{rows, 0, width.in * pool.channels};
  columns.flip = p.x_signed ? 0x80 : 0;
  columns.sums = reinterpret_cast<uint16_t*>(slot + row_pointers_bytes(pool));
  for (int64_t d = kd.begin; d < kd.end; ++d)
    for (int64_t h = kh.begin; h < kh.end; ++h) {
      const int64_t id = depth.start(od) + d * depth.dilation;
      const int64_t ih = height.start(oh) + h * height.dilation;
      rows[columns.rows++] = p.x + ((n * depth.in + id) * height.in + ih) * columns.n;
    }
  table.add_byte_rows(columns);

  ByteMeans means;
  means.step = width.dilation * pool.channels;
  means.zero = p.y_zero;
  means.result = p.result;
  const int64_t size = int8_result_bytes(p.result);
  const float zero = static_cast<float>(p.x_zero + (p.x_signed ? 128 : 0));
  const float scale = p.result == Int8Result::kF32 ? p.x_scale : p.x_scale / p.y_scale;
  // Results [begin, end) of the row, whose windows have the taps kw.
  const auto run = [&](int64_t begin, int64_t end, Range kw) {
    const int64_t taps = columns.rows * kw.size();
    means.taps = kw.size();
    means.factor = taps > 0 ? scale / static_cast<float>(taps) : 0.0f;
    means.offset = taps > 0 ? -zero * scale : 0.0f;
    means.n = (end - begin) * pool.channels;
    means.sums = columns.sums;
    if (taps > 0) means.sums += (width.start(begin) + kw.begin * width.dilation) * pool.channels;
    means.y = static_cast<char*>(p.y) + (index * width.out + begin) * pool.channels * size;
    table.average_sums(means);
  };
  for (int64_t o = 0; o < width.out; ++o)
    if (o != inside.begin || inside.size() == 0 || width.stride != 1) {
      run(o, o + 1, width.taps(o));
    } else {
      run(inside.begin, inside.end, {0, width.kernel});
      o = inside.end - 1;
    }
}

}  // namespace

bool can_average_bytes(const PoolParams& pool) {
  return pool.kernel[0] * pool.kernel[1] * pool.kernel[2] <= kMostTaps;
}

int64_t byte_averages_scratch_bytes(const ByteAverages& p, int threads) {
  return threads * slot_bytes(p.pool);
}

void average_bytes(const ByteAverages& p, ThreadPool& pool, void* scratch, const Int8Table& table) {
  const PoolParams& window = p.pool;
  const int64_t rows = window.batch * window.out[0] * window.out[1];
  // In bytes, of which a step takes some cycles.
  constexpr int64_t kBytesPerCycle = 8;
  const int64_t taps = window.kernel[0] * window.kernel[1] + window.kernel[2];
  const int64_t work = window.in[2] * window.channels * taps / kBytesPerCycle;
  const int64_t tasks = std::clamp<int64_t>(rows, 0, tasks_worth(rows * work, pool.threads()));
  deal_with_slots(pool, tasks, tasks, [&](int64_t task, int64_t slot) {
    char* const own = static_cast<char*>(scratch) + slot * slot_bytes(window);
    for (int64_t row = rows * task / tasks; row < rows * (task + 1) / tasks; ++row)
      average_row(p, row, own, table);
  });
}

}  // namespace tenon::cpu
