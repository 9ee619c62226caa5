#include "device/cpu/kernels/conv_strip.h"

#include <algorithm>
#include <vector>

#include "base/numbers.h"
#include "device/cpu/kernels/blocks.h"
#include "device/cpu/kernels/conv_pieces.h"
#include "device/cpu/kernels/pack.h"
#include "device/cpu/kernels/pairs.h"
#include "device/cpu/kernels/slots.h"
#include "device/cpu/kernels/windows.h"

namespace tenon::cpu {
namespace {

// With fewer channels a whole row of a window is one piece.
constexpr int64_t kFewChannels = 16;
// Floats of a line in front of a slot.
constexpr int64_t kHeader = 16;

// A task computes `rows` rows of `columns` output pixels.
struct StripPlan {
  int64_t rows = 1;
  int64_t columns = 1;
  int64_t row_blocks = 0;
  int64_t column_blocks = 0;
  int64_t width = 0;   // pixels in a row of the strip
  int64_t height = 0;  // rows in a plane
  int64_t strip_floats = 0;
  int64_t padded = 0;  // pixels of whole tiles
  int64_t taps = 0;
  int64_t sums = 0;
  int64_t slot_floats() const { return kHeader + strip_floats + 2 * padded * (taps + 1) + sums; }
};

// What a thread works with. Pieces are of the same places for all tasks whose rows are as long, and
// listed once for them.
struct StripSlot {
  int64_t& listed;  // columns of the tasks that pieces are listed for
  float* strip;
  int64_t* offsets;
  const float** pieces;
  float* sums;

  StripSlot(const StripPlan& plan, void* scratch, int64_t slot)
      : StripSlot(plan, slot_floats(scratch, slot, plan.slot_floats())) {}

 private:
  StripSlot(const StripPlan& plan, float* floats)
      : listed(*reinterpret_cast<int64_t*>(floats)),
        strip(floats + kHeader),
        offsets(reinterpret_cast<int64_t*>(strip + plan.strip_floats)),
        pieces(reinterpret_cast<const float**>(offsets + plan.padded)),
        sums(floats + plan.slot_floats() - plan.sums) {}
};

// Floats, or pairs, of a row of a window.
int64_t run_of(const ConvParams& p) {
  const int64_t elements = p.kernel[2] * p.in_channels;
  return p.narrow_x ? ceil_div(elements, 2) : elements;
}

StripPlan plan_strip(const ConvParams& p, int threads, const KernelTable& table) {
  constexpr int64_t kPixels = 768;
  StripPlan plan;
  const int64_t out_h = std::max<int64_t>(1, p.out[1]), out_w = std::max<int64_t>(1, p.out[2]);
  plan.taps = p.kernel[0] * p.kernel[1];
  int64_t pixels = std::max<int64_t>(table.tile_rows, std::min(kPixels, kMaxPieces / plan.taps));
  const int64_t share = ceil_div(output_pixels(p), 4 * threads);
  if (threads > 1) pixels = std::max<int64_t>(table.tile_rows, std::min(pixels, share));
  plan.columns = ceil_div(out_w, ceil_div(out_w, pixels));
  plan.rows = std::clamp<int64_t>(pixels / plan.columns, 1, out_h);
  plan.rows = ceil_div(out_h, ceil_div(out_h, plan.rows));
  plan.row_blocks = ceil_div(p.out[1], plan.rows);
  plan.column_blocks = ceil_div(p.out[2], plan.columns);
  plan.width = (plan.columns - 1) * p.stride[2] + p.kernel[2];
  plan.height = (plan.rows - 1) * p.stride[1] + (p.kernel[1] - 1) * p.dilation[1] + 1;
  // One more of bf16: the half of the last pair that counts for nothing.
  const int64_t elements = p.kernel[0] * plan.height * plan.width * p.in_channels;
  plan.strip_floats = round_up(p.narrow_x ? elements / 2 + 1 : elements, kHeader);
  plan.padded = round_up(plan.rows * plan.columns, table.tile_rows);
  plan.sums = piece_sums(p, plan.padded, p.out_channels, plan.taps, run_of(p));
  return plan;
}

// Copies the strip below output row `oh`, column `ow` of plane `od` of image n, zeros outside. T is
// of x.
template <typename T>
void fill_strip(const ConvParams& p, const StripPlan& plan, int64_t n, int64_t od, int64_t oh,
                int64_t ow, float* floats) {
  const auto* const all = reinterpret_cast<const T*>(p.x);
  auto* strip = reinterpret_cast<T*>(floats);
  const WindowDim depth = window_dim(p, 0), height = window_dim(p, 1), width = window_dim(p, 2);
  const int64_t c = p.in_channels, first = width.start(ow);
  const int64_t begin = std::clamp<int64_t>(-first, 0, plan.width);
  const int64_t end = std::clamp<int64_t>(width.in - first, begin, plan.width);
  for (int64_t kd = 0; kd < depth.kernel; ++kd)
    for (int64_t r = 0; r < plan.height; ++r, strip += plan.width * c) {
      const int64_t id = depth.start(od) + kd * depth.dilation, ih = height.start(oh) + r;
      if (id < 0 || id >= depth.in || ih < 0 || ih >= height.in) {
        std::fill_n(strip, plan.width * c, T());
        continue;
      }
      const T* x = all + ((((n * depth.in + id) * height.in + ih) * width.in) + first + begin) *
                             p.x_pixel_stride;
      std::fill_n(strip, begin * c, T());
      if (p.x_pixel_stride == c)
        std::copy_n(x, (end - begin) * c, strip + begin * c);
      else
        for (int64_t i = begin; i < end; ++i, x += p.x_pixel_stride)
          std::copy_n(x, c, strip + i * c);
      std::fill_n(strip + end * c, (plan.width - end) * c, T());
    }
  if constexpr (sizeof(T) < sizeof(float)) *strip = T();
}

// Lists the pieces of all rows of tasks of `columns` columns.
void list_strip(const ConvParams& p, const StripPlan& plan, int64_t columns, int64_t tile_rows,
                const StripSlot& slot) {
  int64_t* offset = slot.offsets;
  for (int64_t r = 0; r < plan.rows; ++r)
    for (int64_t i = 0; i < columns; ++i)
      *offset++ = (r * p.stride[1] * plan.width + i * p.stride[2]) * p.in_channels;
  std::fill(offset, slot.offsets + plan.padded, 0);
  const float** pieces = slot.pieces;
  for (int64_t pixel = 0; pixel < plan.rows * columns; pixel += tile_rows)
    for (int64_t tap = 0; tap < plan.taps; ++tap, pieces += tile_rows) {
      const int64_t row = tap / p.kernel[1] * plan.height + tap % p.kernel[1] * p.dilation[1];
      const float* const first = element(slot.strip, row * plan.width * p.in_channels, p.narrow_x);
      for (int64_t r = 0; r < tile_rows; ++r)
        pieces[r] = element(first, slot.offsets[pixel + r], p.narrow_x);
    }
  slot.listed = columns;
}

}  // namespace

int64_t strip_filter_floats(const ConvParams& p) {
  return packed_b_floats(p.kernel[0] * p.kernel[1] * run_of(p), p.out_channels);
}
void pack_strip(const ConvParams& p, const float* filter, float* packed) {
  pack_conv_filter(volume(p.kernel), p.in_channels, p.out_channels, 1, filter, packed);
}
void pack_strip_pairs(const ConvParams& p, const BFloat16* filter, float* packed) {
  if (!p.narrow_x)
    return pack_conv_pairs(volume(p.kernel), 2 * p.in_channels, p.out_channels, 1, filter, packed);
  // Each row of a window by itself: the half of its last pair is multiplied by zero.
  const int64_t row = p.kernel[2] * p.in_channels * p.out_channels;
  const int64_t padded = 2 * run_of(p) * p.out_channels, rows = p.kernel[0] * p.kernel[1];
  std::vector<BFloat16> filled(static_cast<size_t>(rows * padded));
  for (int64_t r = 0; r < rows; ++r) std::copy_n(filter + r * row, row, filled.data() + r * padded);
  pack_pairs(rows * 2 * run_of(p), p.out_channels, filled.data(), p.out_channels, false, packed);
}

const char* strip_refusal(const ConvParams& p) {
  if (p.groups != 1) return "the channels are grouped";
  if (p.in_channels >= kFewChannels) return "enough channels to read windows in place";
  if (p.kernel[2] <= 1 || volume(p.kernel) == 0) return "the kernel's rows are single pixels";
  if (p.dilation[2] != 1) return "the kernel's rows are dilated";
  return nullptr;
}

int64_t strip_scratch_bytes(const ConvParams& p, int threads, const KernelTable& table) {
  return slots_bytes(plan_strip(p, threads, table).slot_floats(), threads);
}
void run_strip(const ConvParams& p, ThreadPool& pool, void* scratch, const KernelTable& table) {
  if (output_pixels(p) <= 0 || p.out_channels <= 0) return;
  const StripPlan plan = plan_strip(p, pool.threads(), table);
  const int64_t tasks = p.batch * p.out[0] * plan.row_blocks * plan.column_blocks;
  for (int64_t slot = 0; slot < pool.threads(); ++slot) StripSlot(plan, scratch, slot).listed = 0;
  parallel_with_slots(pool, tasks, [&](int64_t task, int64_t index) {
    const int64_t ow = task % plan.column_blocks * plan.columns;
    const int64_t oh = task / plan.column_blocks % plan.row_blocks * plan.rows;
    const int64_t plane = task / plan.column_blocks / plan.row_blocks;
    const int64_t columns = std::min(plan.columns, p.out[2] - ow);
    const StripSlot slot(plan, scratch, index);
    if (slot.listed != columns) list_strip(p, plan, columns, table.tile_rows, slot);
    (p.narrow_x ? fill_strip<BFloat16> : fill_strip<float>)(p, plan, plane / p.out[0],
                                                            plane % p.out[0], oh, ow, slot.strip);
    PieceProduct product;
    product.taps = plan.taps;
    product.run = run_of(p);
    product.n = p.out_channels;
    product.filter = p.filter;
    product.lists.pieces = slot.pieces;
    product.sums = slot.sums;
    product.m = std::min(plan.rows, p.out[1] - oh) * columns;
    product.pixel = (plane * p.out[1] + oh) * p.out[2] + ow;
    multiply_pieces(p, product, table);
  });
}

}  // namespace tenon::cpu
