#include "device/cpu/kernels/int8_rows.h"

#include <algorithm>
#include <cstring>

#include "device/cpu/kernels/int8_epilogue.h"
#include "device/cpu/kernels/slots.h"

namespace tenon::cpu {
namespace {

// Rows are gathered in blocks of a multiple of the tile's rows or this, about this many bytes.
constexpr int64_t kRowUnit = 12;
constexpr int64_t kGatheredBytes = 256 << 10;
constexpr int64_t kStripPixels = 3072;

int64_t volume(const int64_t (&dims)[3]) {
  return dims[0] * dims[1] * dims[2];
}

bool has_inner_windows(const Int8Params& p) {
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
  const bool whole = volume(p.kernel) * p.in_channels / p.pieces() % 4 == 0;
  if (whole && !p.x_signed && has_inner_windows(p)) return Int8RowSource::kWindows;
  // A single row would be a single task.
  return p.out[1] == 1 ? Int8RowSource::kGathered : Int8RowSource::kStrips;
}

int64_t strip_input_rows(const Int8Params& p, int64_t rows) {
  return (rows - 1) * p.stride[1] + (p.kernel[1] - 1) * p.dilation[1] + 1;
}

// Blocks of rows of the result within an image, whose input is copied.
void plan_strips(const Int8Params& p, Int8Plan& plan) {
  plan.strip_row_bytes =
      ((p.out[2] - 1) * p.stride[2] + (p.kernel[2] - 1) * p.dilation[2] + 1) * p.in_channels;
  int64_t rows = std::max<int64_t>(1, kStripPixels / std::max<int64_t>(p.out[2], 1));
  while (rows > 1 && strip_input_rows(p, rows) * plan.strip_row_bytes > kGatheredBytes) --rows;
  if (plan.most_tasks > 1) rows = std::min(rows, ceil_div(p.batch * p.out[1], plan.most_tasks));
  rows = std::clamp<int64_t>(rows, 1, std::max<int64_t>(p.out[1], 1));
  // The last block is not much smaller than the others.
  plan.strip_rows = ceil_div(p.out[1], ceil_div(p.out[1], rows));
  plan.row_block = plan.strip_rows * p.out[2];
  plan.row_blocks = p.batch * ceil_div(p.out[1], plan.strip_rows);
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
      return strip_input_rows(p, plan.strip_rows) * plan.strip_row_bytes + 4;
    case Int8RowSource::kGathered:
      return plan.row_block * plan.padded_k;
  }
  return 0;
}

// The coordinates of an output pixel, counted through all images.
struct Pixel {
  int64_t n, d, h, w;

  Pixel(const Int8Params& p, int64_t i)
      : n(i / volume(p.out)),
        d(i / p.out[2] / p.out[1] % p.out[0]),
        h(i / p.out[2] % p.out[1]),
        w(i % p.out[2]) {}
  void advance(const Int8Params& p) {
    if (++w < p.out[2]) return;
    w = 0;
    if (++h < p.out[1]) return;
    h = 0;
    if (++d < p.out[0]) return;
    d = 0;
    ++n;
  }
};

uint8_t* filled(uint8_t* to, uint8_t fill, int64_t count) {
  if (count > 0) std::memset(to, fill, static_cast<size_t>(count));
  return to + count;
}
uint8_t* copied(uint8_t* to, const uint8_t* from, int64_t count) {
  copy_few(to, from, count);
  return to + count;
}

// Copies the window of an output pixel as a row of the product.
void gather(const Int8Params& p, const Int8Plan& plan, int64_t group, const Pixel& pixel,
            uint8_t fill, uint8_t* row) {
  const WindowDim depth = window_dim(p, 0), height = window_dim(p, 1), width = window_dim(p, 2);
  const int64_t run = p.in_channels / p.groups;
  const auto* x = static_cast<const uint8_t*>(p.x) + group * run;
  const int64_t first = width.start(pixel.w);
  const bool interior = first >= 0 && first + (width.kernel - 1) * width.dilation < width.in;
  const Range taps = interior ? Range{0, width.kernel} : width.taps(pixel.w);
  const bool dense = width.dilation == 1 && p.groups == 1;
  uint8_t* to = row;
  const int64_t piece_rest = plan.pieces == 1 ? 0 : plan.padded_k / plan.pieces - plan.piece_k;
  for (int64_t kd = 0; kd < depth.kernel; ++kd)
    for (int64_t kh = 0; kh < height.kernel; ++kh) {
      const int64_t id = depth.start(pixel.d) + kd * depth.dilation;
      const int64_t ih = height.start(pixel.h) + kh * height.dilation;
      if (id < 0 || id >= depth.in || ih < 0 || ih >= height.in) {
        to = filled(filled(to, fill, width.kernel * run), 0, piece_rest);
        continue;
      }
      const uint8_t* from =
          x + ((pixel.n * depth.in + id) * height.in + ih) * width.in * p.in_channels;
      to = filled(to, fill, taps.begin * run);
      if (dense)
        to = copied(to, from + (first + taps.begin) * run, taps.size() * run);
      else
        for (int64_t kw = taps.begin; kw < taps.end; ++kw)
          to = copied(to, from + (first + kw * width.dilation) * p.in_channels, run);
      to = filled(filled(to, fill, (width.kernel - taps.end) * run), 0, piece_rest);
    }
  filled(to, 0, row + plan.padded_k - to);
  if (p.x_signed)
    for (int64_t i = 0; i < plan.padded_k; ++i) row[i] ^= 0x80;
}

// The rows of x below `rows` rows of the result of image n from `first` on.
void copy_strip(const Int8Params& p, const Int8Plan& plan, int64_t n, int64_t first, int64_t rows,
                uint8_t* strip) {
  const auto fill = static_cast<uint8_t>(p.x_zero);
  const int64_t in_row = p.in[2] * p.in_channels, row_bytes = plan.strip_row_bytes;
  const int64_t begin = std::clamp<int64_t>(p.pad_begin[2] * p.in_channels, 0, row_bytes);
  const int64_t skipped = std::max<int64_t>(0, -p.pad_begin[2] * p.in_channels);
  const int64_t count = std::clamp<int64_t>(in_row - skipped, 0, row_bytes - begin);
  const int64_t input_rows = strip_input_rows(p, rows);
  uint8_t* to = strip;
  for (int64_t r = 0; r < input_rows; ++r) {
    const int64_t ih = first * p.stride[1] - p.pad_begin[1] + r;
    if (ih < 0 || ih >= p.in[1]) {
      to = filled(to, fill, row_bytes);
      continue;
    }
    to = filled(to, fill, begin);
    to =
        copied(to, static_cast<const uint8_t*>(p.x) + (n * p.in[1] + ih) * in_row + skipped, count);
    to = filled(to, fill, row_bytes - begin - count);
  }
  if (p.x_signed)
    for (uint8_t* byte = strip; byte < to; ++byte) *byte ^= 0x80;
  filled(to, 0, 4);
}

// Where windows begin in rows of `row_bytes`, and their pieces within them.
void set_offsets(const Int8Params& p, const Int8Plan& plan, int64_t row_bytes, const Pixel& first,
                 Int8Block& b, int32_t* offsets) {
  const int64_t image = p.in[1] * p.in[2] * p.in_channels;
  b.row_offsets = offsets;
  Pixel pixel = first;
  for (int64_t i = 0; i < b.m; ++i, pixel.advance(p))
    *offsets++ = static_cast<int32_t>((pixel.n - first.n) * image +
                                      (pixel.h - first.h) * p.stride[1] * row_bytes +
                                      (pixel.w - first.w) * p.stride[2] * p.in_channels);
  b.pieces = plan.pieces;
  b.piece_offsets = offsets;
  const int64_t per_row = plan.pieces / p.kernel[1];
  for (int64_t i = 0; i < plan.pieces; ++i)
    *offsets++ = static_cast<int32_t>(i / per_row * p.dilation[1] * row_bytes +
                                      i % per_row * p.dilation[2] * p.in_channels);
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
  plan.slot_bytes = round_to_lines(plan.row_block * 4) +
                    round_to_lines((plan.row_block + plan.pieces) * 4) +
                    round_to_lines(rows_bytes(p, plan));
  return plan;
}

void sum_int8_rows(const Int8Plan& plan, const Int8Block& b, int32_t* sums) {
  for (int64_t i = 0; i < b.m; ++i) {
    const uint8_t* row = b.a + (b.row_offsets != nullptr ? b.row_offsets[i] : i * b.lda);
    uint32_t sum = 0;
    for (int64_t piece = 0; piece < plan.pieces; ++piece) {
      const uint8_t* from =
          row + (b.piece_offsets != nullptr ? b.piece_offsets[piece]
                                            : piece * (plan.padded_k / plan.pieces));
      for (int64_t k = 0; k < plan.piece_k; ++k) sum += from[k];
    }
    sums[i] = static_cast<int32_t>(sum);
  }
}

void set_int8_rows(const Int8Params& p, const Int8Plan& plan, int64_t group, int64_t pixel,
                   char* own, Int8Block& b) {
  auto* const offsets = reinterpret_cast<int32_t*>(own);
  auto* const rows =
      reinterpret_cast<uint8_t*>(own + round_to_lines((plan.row_block + plan.pieces) * 4));
  const auto* const x = static_cast<const uint8_t*>(p.x);
  b.lda = plan.padded_k;
  Pixel first(p, pixel);
  switch (plan.source) {
    case Int8RowSource::kInPlace:
      b.a = x + pixel * plan.k;
      return;
    case Int8RowSource::kWindows:
      b.a = x + ((first.n * p.in[1] + window_dim(p, 1).start(first.h)) * p.in[2] +
                 window_dim(p, 2).start(first.w)) *
                    p.in_channels;
      return set_offsets(p, plan, p.in[2] * p.in_channels, first, b, offsets);
    case Int8RowSource::kStrips:
      copy_strip(p, plan, first.n, first.h, b.m / p.out[2], rows);
      b.a = rows;
      return set_offsets(p, plan, plan.strip_row_bytes, first, b, offsets);
    case Int8RowSource::kGathered:
      for (int64_t i = 0; i < b.m; ++i, first.advance(p))
        gather(p, plan, group, first, static_cast<uint8_t>(p.x_zero), rows + i * plan.padded_k);
      b.a = rows;
  }
}

Range int8_row_range(const Int8Params& p, const Int8Plan& plan, int64_t block) {
  if (plan.source != Int8RowSource::kStrips) {
    const int64_t begin = block * plan.row_block;
    return {begin, std::min(begin + plan.row_block, plan.pixels)};
  }
  const int64_t per_image = plan.row_blocks / p.batch, image = p.out[1] * p.out[2];
  const int64_t begin = block % per_image * plan.row_block;
  return {block / per_image * image + begin,
          block / per_image * image + std::min(begin + plan.row_block, image)};
}

}  // namespace tenon::cpu
