#include <algorithm>

#include "device/cpu/kernels/int8_epilogue.h"
#include "device/cpu/kernels/int8_rows.h"
#include "device/cpu/kernels/slots.h"

namespace tenon::cpu {
namespace {

// Rows are gathered in blocks of a multiple of the tile's rows or this, about this many bytes.
constexpr int64_t kRowUnit = 12;
constexpr int64_t kGatheredBytes = 256 << 10;
constexpr int64_t kStripPixels = 3072;

bool has_inner_windows(const Int8Params& p) {
  if (p.in[0] != 1 || p.out[0] != 1 || p.kernel[0] != 1) return false;
  for (const int d : {1, 2}) {
    const WindowDim w = window_dim(p, d);
    if (w.interior().size() != w.out) return false;
  }
  return true;
}

Int8RowSource source_of(const Int8Params& p, const Int8Table& table) {
  if (p.groups == 1 && !p.x_signed && volume(p.kernel) == 1 && p.in_channels % 4 == 0 &&
      volume(p.stride) == 1 && volume(p.in) == volume(p.out) && p.pad_begin[0] == 0 &&
      p.pad_begin[1] == 0 && p.pad_begin[2] == 0)
    return Int8RowSource::kInPlace;
  if (table.rows_in_place || p.pieces() == 0) return Int8RowSource::kGathered;
  const bool whole = volume(p.kernel) * group_in(p) / p.pieces() % 4 == 0;
  if (whole && p.groups == 1 && !p.x_signed && has_inner_windows(p)) return Int8RowSource::kWindows;
  // A single row would be a single task.
  return p.out[1] == 1 ? Int8RowSource::kGathered : Int8RowSource::kStrips;
}

// One plane below the other, as many as a window has.
int64_t strip_bytes(const Int8Params& p, const Int8Plan& plan, int64_t rows) {
  return p.kernel[0] * strip_input_rows(p, rows) * plan.strip_row_bytes;
}

// Planes of the result.
int64_t images_of(const Int8Params& p) {
  return p.batch * p.out[0];
}

// Blocks of rows of the result within an image, or of images, whose input is copied.
void plan_strips(const Int8Params& p, Int8Plan& plan) {
  plan.strip_row_bytes =
      ((p.out[2] - 1) * p.stride[2] + (p.kernel[2] - 1) * p.dilation[2] + 1) * group_in(p);
  int64_t rows = std::max<int64_t>(1, kStripPixels / std::max<int64_t>(p.out[2], 1));
  while (rows > 1 && strip_bytes(p, plan, rows) > kGatheredBytes) --rows;
  if (plan.most_tasks > 1)
    rows = std::min(rows, ceil_div(images_of(p) * p.out[1], plan.most_tasks));
  rows = std::clamp<int64_t>(rows, 1, std::max<int64_t>(p.out[1], 1));
  // The last block is not much smaller than the others.
  plan.strip_rows = ceil_div(p.out[1], ceil_div(p.out[1], rows));
  plan.row_block = plan.strip_rows * p.out[2];
  plan.row_blocks = images_of(p) * ceil_div(p.out[1], plan.strip_rows);
  plan.trims = p.outside_is_zero && p.kernel[0] == 1;
  if (plan.strip_rows < p.out[1]) return;
  int64_t images =
      std::min(kStripPixels / std::max<int64_t>(plan.row_block, 1),
               kGatheredBytes / std::max<int64_t>(strip_bytes(p, plan, plan.strip_rows), 1));
  if (plan.most_tasks > 1) images = std::min(images, ceil_div(images_of(p), plan.most_tasks));
  images = std::clamp<int64_t>(images, 1, std::max<int64_t>(images_of(p), 1));
  plan.strip_images = ceil_div(images_of(p), ceil_div(images_of(p), images));
  plan.row_block *= plan.strip_images;
  plan.row_blocks = ceil_div(images_of(p), plan.strip_images);
}

void plan_row_blocks(const Int8Table& table, Int8Plan& plan) {
  const int64_t unit = std::max<int64_t>(kRowUnit, table.tile_rows);
  const int64_t units = std::max<int64_t>(1, ceil_div(plan.pixels, unit));
  int64_t most =
      std::clamp<int64_t>(kGatheredBytes / std::max<int64_t>(plan.padded_k, 1) / unit, 2, 64);
  if (plan.most_tasks > 1) most = std::clamp<int64_t>(ceil_div(units, plan.most_tasks), 1, most);
  plan.row_block = ceil_div(units, ceil_div(units, most)) * unit;
  plan.row_blocks = ceil_div(plan.pixels, plan.row_block);
}

int64_t rows_bytes(const Int8Params& p, const Int8Plan& plan) {
  switch (plan.source) {
    case Int8RowSource::kInPlace:
      return 0;
    case Int8RowSource::kWindows:
      return 0;
    // Whole groups of four are read.
    case Int8RowSource::kStrips:
      return plan.strip_images * strip_bytes(p, plan, plan.strip_rows) + 4;
    case Int8RowSource::kGathered:
      return plan.row_block * plan.padded_k;
  }
  return 0;
}

}  // namespace

Int8Plan plan_int8(const Int8Params& p, int threads, const Int8Table& table) {
  Int8Plan plan;
  plan.columns = p.out_channels / p.groups;
  plan.pixels = p.batch * volume(p.out);
  const Int8Weights form = p.weight_form();
  plan.k = form.k;
  plan.padded_k = int8_groups(form) * 4;
  plan.source = source_of(p, table);
  if (plan.source != Int8RowSource::kInPlace && p.pieces() > 0) plan.pieces = p.pieces();
  plan.piece_k = plan.k / plan.pieces;
  // Fresh weights take as long to come as another row to multiply.
  const int64_t columns = round_up(plan.columns, kInt8ColumnUnit) * p.groups;
  const int64_t instructions =
      columns * plan.padded_k * (plan.pixels + 1) / table.macs_per_instruction;
  plan.most_tasks = tasks_worth(instructions, threads);
  if (plan.source == Int8RowSource::kStrips)
    plan_strips(p, plan);
  else
    plan_row_blocks(table, plan);
  const int64_t unit = p.sum != nullptr ? 64 : kInt8ColumnUnit;
  const int64_t column_units = std::max<int64_t>(1, ceil_div(plan.columns, unit));
  int64_t column_blocks = 1;
  if (plan.row_blocks > 0 && plan.row_blocks * p.groups < plan.most_tasks)
    column_blocks = std::min(column_units, ceil_div(plan.most_tasks, plan.row_blocks * p.groups));
  plan.column_block = ceil_div(column_units, column_blocks) * unit;
  plan.column_blocks = ceil_div(plan.columns, plan.column_block);
  plan.slot_bytes = round_to_lines(plan.row_block * 4) + int8_block_bytes(plan) +
                    round_to_lines(rows_bytes(p, plan));
  return plan;
}

Range int8_row_range(const Int8Params& p, const Int8Plan& plan, int64_t block) {
  if (plan.source != Int8RowSource::kStrips) {
    const int64_t begin = block * plan.row_block;
    return {begin, std::min(begin + plan.row_block, plan.pixels)};
  }
  const int64_t image = p.out[1] * p.out[2];
  if (plan.strip_rows == p.out[1])
    return {block * plan.row_block, std::min((block + 1) * plan.row_block, plan.pixels)};
  const int64_t per_image = plan.row_blocks / images_of(p);
  const int64_t begin = block % per_image * plan.row_block;
  return {block / per_image * image + begin,
          block / per_image * image + std::min(begin + plan.row_block, image)};
}

}  // namespace tenon::cpu
