// Products of bytes dealt to threads: weights packed, windows gathered, zero points made up for.
#include "device/cpu/kernels/int8.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/numbers.h"
#include "device/cpu/kernels/int8_epilogue.h"
#include "device/cpu/kernels/slots.h"
#include "device/cpu/kernels/windows.h"

namespace tenon::cpu {
namespace {

constexpr int64_t kPanel = 16;
constexpr int64_t kColumnUnit = kInt8ColumnUnit;
// Rows are gathered in blocks of a multiple of the tile's rows or this, about this many bytes.
constexpr int64_t kRowUnit = 12;
constexpr int64_t kGatheredBytes = 96 << 10;
constexpr int64_t kStripPixels = 768;
constexpr float kSmallResult = 1 << 30;

int64_t volume(const int64_t (&dims)[3]) {
  return dims[0] * dims[1] * dims[2];
}
// Groups of four terms, of which every piece has its own.
int64_t k_groups(const Int8Weights& w) {
  return w.pieces * ceil_div(w.k / w.pieces, 4);
}
int64_t columns_of(const Int8Params& p) {
  return p.out_channels / p.groups;
}
int64_t panel_bytes(const Int8Weights& w) {
  return round_up(w.columns, kPanel) * k_groups(w) * 4;
}
int64_t group_bytes(const Int8Weights& w) {
  return panel_bytes(w) + round_up(w.columns, kPanel) * 4;
}

// Where the rows of a product are.
enum class Source : uint8_t {
  kInPlace,  // one behind the other in x
  kWindows,  // in x, as windows all of which lie inside
  kStrips,   // the same in a copy of some rows of x with what lies outside
  kGathered  // copied one by one
};

struct Plan {
  int64_t k = 0, padded_k = 0, columns = 0, pixels = 0;
  Source source = Source::kGathered;
  int64_t pieces = 1, piece_k = 0;  // of a row
  int64_t row_block = 0, row_blocks = 0, column_block = 0, column_blocks = 0;
  int64_t strip_rows = 0;  // of the result, that make a block
  int64_t strip_row_bytes = 0;
  int64_t padded_columns = 0;  // of all groups
  int64_t slot_bytes = 0;
};

bool has_inner_windows(const Int8Params& p) {
  for (const int d : {1, 2}) {
    const WindowDim w = window_dim(p, d);
    if (w.interior().size() != w.out) return false;
  }
  return true;
}

Source source_of(const Int8Params& p, const Int8Table& table) {
  if (p.groups == 1 && !p.x_signed && volume(p.kernel) == 1 && p.in_channels % 4 == 0 &&
      volume(p.stride) == 1 && volume(p.in) == volume(p.out) && p.pad_begin[0] == 0 &&
      p.pad_begin[1] == 0 && p.pad_begin[2] == 0)
    return Source::kInPlace;
  if (table.rows_in_place || p.pieces() == 0) return Source::kGathered;
  const bool whole = volume(p.kernel) * p.in_channels / p.pieces() % 4 == 0;
  if (whole && !p.x_signed && has_inner_windows(p)) return Source::kWindows;
  // A single row would be a single task.
  return p.out[1] == 1 ? Source::kGathered : Source::kStrips;
}

int64_t strip_input_rows(const Int8Params& p, int64_t rows) {
  return (rows - 1) * p.stride[1] + (p.kernel[1] - 1) * p.dilation[1] + 1;
}

// Blocks of rows of the result within an image, whose input is copied.
void plan_strips(const Int8Params& p, int threads, Plan& plan) {
  plan.strip_row_bytes =
      ((p.out[2] - 1) * p.stride[2] + (p.kernel[2] - 1) * p.dilation[2] + 1) * p.in_channels;
  int64_t rows = std::max<int64_t>(1, kStripPixels / std::max<int64_t>(p.out[2], 1));
  while (rows > 1 && strip_input_rows(p, rows) * plan.strip_row_bytes > kGatheredBytes) --rows;
  if (threads > 1) rows = std::min(rows, ceil_div(p.batch * p.out[1], 4 * threads));
  rows = std::clamp<int64_t>(rows, 1, std::max<int64_t>(p.out[1], 1));
  // The last block is not much smaller than the others.
  plan.strip_rows = ceil_div(p.out[1], ceil_div(p.out[1], rows));
  plan.row_block = plan.strip_rows * p.out[2];
  plan.row_blocks = p.batch * ceil_div(p.out[1], plan.strip_rows);
}

void plan_row_blocks(int threads, const Int8Table& table, Plan& plan) {
  const int64_t unit = std::max<int64_t>(kRowUnit, table.tile_rows);
  const int64_t units = std::max<int64_t>(1, ceil_div(plan.pixels, unit));
  int64_t most =
      std::clamp<int64_t>(kGatheredBytes / std::max<int64_t>(plan.padded_k, 1) / unit, 2, 64);
  if (threads > 1) most = std::clamp<int64_t>(ceil_div(units, 4 * threads), 1, most);
  plan.row_block = ceil_div(units, ceil_div(units, most)) * unit;
  plan.row_blocks = ceil_div(plan.pixels, plan.row_block);
}

int64_t rows_bytes(const Int8Params& p, const Plan& plan) {
  switch (plan.source) {
    case Source::kInPlace:
      return 0;
    case Source::kWindows:
      return 0;
    // Whole groups of four are read.
    case Source::kStrips:
      return strip_input_rows(p, plan.strip_rows) * plan.strip_row_bytes + 4;
    case Source::kGathered:
      return plan.row_block * plan.padded_k;
  }
  return 0;
}

Plan plan_of(const Int8Params& p, int threads, const Int8Table& table) {
  Plan plan;
  plan.columns = columns_of(p);
  plan.pixels = p.batch * volume(p.out);
  if (p.is_depthwise()) {
    plan.padded_columns = round_up(p.out_channels, kColumnUnit);
    return plan;
  }
  const Int8Weights form = p.weight_form();
  plan.k = form.k;
  plan.padded_k = k_groups(form) * 4;
  plan.source = source_of(p, table);
  if (plan.source != Source::kInPlace && p.pieces() > 0) plan.pieces = p.pieces();
  plan.piece_k = plan.k / plan.pieces;
  if (plan.source == Source::kStrips)
    plan_strips(p, threads, plan);
  else
    plan_row_blocks(threads, table, plan);
  const int64_t column_units = std::max<int64_t>(1, ceil_div(plan.columns, kColumnUnit));
  int64_t column_blocks = 1;
  const int64_t wanted = threads == 1 ? 1 : 4 * threads;
  if (plan.row_blocks > 0 && plan.row_blocks * p.groups < wanted)
    column_blocks = std::min(column_units, ceil_div(wanted, plan.row_blocks * p.groups));
  plan.column_block = ceil_div(column_units, column_blocks) * kColumnUnit;
  plan.column_blocks = ceil_div(plan.columns, plan.column_block);
  plan.padded_columns = round_up(plan.columns, kColumnUnit) * p.groups;
  plan.slot_bytes = round_to_lines(plan.row_block * 4) +
                    round_to_lines((plan.row_block + plan.pieces) * 4) +
                    round_to_lines(rows_bytes(p, plan));
  return plan;
}

// y[i] = x[i] / by; `single`: x is one value for all.
void divide(const float* x, bool single, float by, int64_t n, float* y) {
  if (single)
    std::fill_n(y, n, x[0] / by);
  else
    for (int64_t i = 0; i < n; ++i) y[i] = x[i] / by;
}

Int8Vectors prepare(const Int8Params& p, const Plan& plan, const Int8Weights& form, void* scratch) {
  Int8Vectors v{};
  const int64_t n = plan.padded_columns;
  v.column_add = static_cast<int32_t*>(scratch);
  v.weights_zero = v.column_add + n;
  v.scale = reinterpret_cast<float*>(v.weights_zero + n);
  v.bias = v.scale + n;
  std::memset(scratch, 0, static_cast<size_t>(16 * n));
  const int64_t x_zero = int8_x_zero(p);
  const bool depthwise = p.is_depthwise();
  const int64_t groups = depthwise ? 1 : p.groups;
  const int64_t columns = depthwise ? p.out_channels : plan.columns;
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t at = g * (n / groups), channel = g * columns;
    if (!depthwise) {
      const auto* sums = reinterpret_cast<const int32_t*>(
          static_cast<const char*>(p.weights) + g * group_bytes(form) + panel_bytes(form));
      const bool single = p.weights_zero == nullptr || p.weights_zeros == 1;
      for (int64_t j = 0; j < columns; j = single ? columns : j + 1) {
        const int64_t zero = int8_weights_zero(p, channel + j), end = single ? columns : j + 1;
        v.any_zero |= zero != 0;
        std::fill(v.weights_zero + at + j, v.weights_zero + at + end, static_cast<int32_t>(zero));
        // Wraps, as the sums themselves do.
        const auto first = static_cast<uint32_t>(plan.k * x_zero * zero);
        const auto factor = static_cast<uint32_t>(x_zero);
        for (int64_t i = j; i < end; ++i)
          v.column_add[at + i] =
              static_cast<int32_t>(first - factor * static_cast<uint32_t>(sums[i]));
      }
    }
    if (p.scale == nullptr) continue;
    divide(p.scales == 1 ? p.scale : p.scale + channel, p.scales == 1, p.y_scale, columns,
           v.scale + at);
    if (p.bias != nullptr) divide(p.bias + channel, false, p.y_scale, columns, v.bias + at);
  }
  const int64_t terms = volume(p.kernel) * (p.in_channels / p.groups);
  const float most = static_cast<float>(std::min(terms * 255 * 255, int64_t{1} << 31));
  bool large = false;
  for (int64_t i = 0; i < n; ++i)
    large |= !(std::abs(v.scale[i]) * most + std::abs(v.bias[i]) < kSmallResult);
  v.small = !large;
  return v;
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
void gather(const Int8Params& p, const Plan& plan, int64_t group, const Pixel& pixel, uint8_t fill,
            uint8_t* row) {
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
void copy_strip(const Int8Params& p, const Plan& plan, int64_t n, int64_t first, int64_t rows,
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
void set_offsets(const Int8Params& p, const Plan& plan, int64_t row_bytes, const Pixel& first,
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

// What the rows of a product add up to.
void sum_rows(const Plan& plan, const Int8Block& b, int32_t* sums) {
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

// Sets the rows of a block of the product, pixels [pixel, pixel + b.m), from `own` memory on.
void set_rows(const Int8Params& p, const Plan& plan, int64_t group, int64_t pixel, char* own,
              Int8Block& b) {
  auto* const offsets = reinterpret_cast<int32_t*>(own);
  auto* const rows =
      reinterpret_cast<uint8_t*>(own + round_to_lines((plan.row_block + plan.pieces) * 4));
  const auto* const x = static_cast<const uint8_t*>(p.x);
  b.lda = plan.padded_k;
  Pixel first(p, pixel);
  switch (plan.source) {
    case Source::kInPlace:
      b.a = x + pixel * plan.k;
      return;
    case Source::kWindows:
      b.a = x + ((first.n * p.in[1] + window_dim(p, 1).start(first.h)) * p.in[2] +
                 window_dim(p, 2).start(first.w)) *
                    p.in_channels;
      return set_offsets(p, plan, p.in[2] * p.in_channels, first, b, offsets);
    case Source::kStrips:
      copy_strip(p, plan, first.n, first.h, b.m / p.out[2], rows);
      b.a = rows;
      return set_offsets(p, plan, plan.strip_row_bytes, first, b, offsets);
    case Source::kGathered:
      for (int64_t i = 0; i < b.m; ++i, first.advance(p))
        gather(p, plan, group, first, static_cast<uint8_t>(p.x_zero), rows + i * plan.padded_k);
      b.a = rows;
  }
}

// The first pixel of a block of rows, and how many it has.
Range row_range(const Int8Params& p, const Plan& plan, int64_t block) {
  if (plan.source != Source::kStrips) {
    const int64_t begin = block * plan.row_block;
    return {begin, std::min(begin + plan.row_block, plan.pixels)};
  }
  const int64_t per_image = plan.row_blocks / p.batch, image = p.out[1] * p.out[2];
  const int64_t begin = block % per_image * plan.row_block;
  return {block / per_image * image + begin,
          block / per_image * image + std::min(begin + plan.row_block, image)};
}

void run_gemm(const Int8Params& p, const Plan& plan, const Int8Vectors& vectors, ThreadPool& pool,
              char* slots, const Int8Table& table) {
  const Int8Weights form = p.weight_form();
  const int64_t blocks = plan.row_blocks * plan.column_blocks;
  const int64_t size = int8_result_bytes(p.result);
  parallel_with_slots(pool, p.groups * blocks, [&](int64_t task, int64_t slot) {
    const int64_t group = task / blocks, block = task % blocks;
    const int64_t column = block % plan.column_blocks * plan.column_block;
    const Range pixels = row_range(p, plan, block / plan.column_blocks);
    char* const own = slots + slot * plan.slot_bytes;
    Int8Block b;
    b.m = pixels.size();
    b.n = std::min(plan.column_block, plan.columns - column);
    b.groups = plan.padded_k / 4;
    set_rows(p, plan, group, pixels.begin, own + round_to_lines(plan.row_block * 4), b);
    if (vectors.any_zero) {
      auto* sums = reinterpret_cast<int32_t*>(own);
      sum_rows(plan, b, sums);
      b.row_sums = sums;
    }
    b.b = static_cast<const int8_t*>(p.weights) + group * group_bytes(form) +
          column / kPanel * (plan.padded_k / 4) * 64;
    b.epilogue = int8_epilogue(p, vectors, group * (plan.padded_columns / p.groups) + column);
    b.y_row_bytes = p.out_channels * size;
    b.y = static_cast<char*>(p.y) + pixels.begin * b.y_row_bytes +
          (group * plan.columns + column) * size;
    table.gemm_block(b);
  });
}

}  // namespace

int32_t int8_weights_zero(const Int8Params& p, int64_t channel) {
  if (p.weights_zero == nullptr) return p.weights_signed ? 0 : -128;
  const int64_t i = p.weights_zeros == 1 ? 0 : channel;
  return p.weights_signed ? static_cast<const int8_t*>(p.weights_zero)[i]
                          : static_cast<const uint8_t*>(p.weights_zero)[i] - 128;
}

Int8Epilogue int8_epilogue(const Int8Params& p, const Int8Vectors& v, int64_t column) {
  Int8Epilogue e{v.column_add + column,
                 v.any_zero ? v.weights_zero + column : nullptr,
                 v.scale + column,
                 v.bias + column,
                 p.low,
                 p.high,
                 p.y_zero,
                 p.result};
  if (p.result == Int8Result::kU8 || p.result == Int8Result::kI8) {
    const float least = p.result == Int8Result::kU8 ? 0.0f : -128.0f;
    const auto zero = static_cast<float>(p.y_zero);
    e.low = std::max(p.low / p.y_scale, least - zero);
    e.high = std::max(std::min(p.high / p.y_scale, least + 255.0f - zero), e.low);
    e.saturates = v.small && std::nearbyint(e.low) <= least - zero &&
                  std::nearbyint(e.high) >= least + 255.0f - zero;
  }
  return e;
}

Int8Weights Int8Params::weight_form() const {
  Int8Weights w{volume(kernel) * (in_channels / groups), columns_of(*this), groups, weights_signed};
  if (pieces() > 0 && w.k / pieces() % 4 != 0) w.pieces = pieces();
  return w;
}

int64_t Int8Params::pieces() const {
  if (groups != 1 || volume(kernel) * in_channels == 0 || in[0] != 1 || out[0] != 1 ||
      kernel[0] != 1 || pad_begin[0] != 0)
    return 0;
  if (dilation[2] == 1) return kernel[1];
  return in_channels % 4 == 0 ? kernel[1] * kernel[2] : 0;
}

int64_t packed_int8_bytes(const Int8Weights& w) {
  return w.groups * group_bytes(w);
}

void pack_int8(const Int8Weights& w, const void* weights, void* packed) {
  const auto* const src = static_cast<const uint8_t*>(weights);
  const uint8_t flip = w.is_signed ? 0 : 0x80;
  std::memset(packed, 0, static_cast<size_t>(packed_int8_bytes(w)));
  for (int64_t g = 0; g < w.groups; ++g) {
    auto* const to = static_cast<int8_t*>(packed) + g * group_bytes(w);
    auto* const sums = reinterpret_cast<int32_t*>(to + panel_bytes(w));
    const int64_t piece = std::max<int64_t>(w.k / w.pieces, 1);
    for (int64_t term = 0; term < w.k; ++term) {
      const int64_t k = term / piece * round_up(piece, 4) + term % piece;
      const uint8_t* row = src + term * w.groups * w.columns + g * w.columns;
      for (int64_t j = 0; j < w.columns; ++j) {
        const auto v = static_cast<int8_t>(row[j] ^ flip);
        to[j / kPanel * k_groups(w) * 64 + k / 4 * 64 + j % kPanel * 4 + k % 4] = v;
        sums[j] += v;
      }
    }
  }
}

int64_t int8_scratch_bytes(const Int8Params& p, int threads, const Int8Table& table) {
  const Plan plan = plan_of(p, threads, table);
  const int64_t bytes = round_to_lines(16 * plan.padded_columns) + threads * plan.slot_bytes;
  return p.is_depthwise() ? bytes + int8_depthwise_scratch_bytes(p, threads) : bytes;
}

void int8_product(const Int8Params& p, ThreadPool& pool, void* scratch, const Int8Table& table) {
  const Plan plan = plan_of(p, pool.threads(), table);
  if (plan.pixels <= 0 || p.out_channels <= 0) return;
  const Int8Vectors vectors = prepare(p, plan, p.weight_form(), scratch);
  char* const rest = static_cast<char*>(scratch) + round_to_lines(16 * plan.padded_columns);
  if (p.is_depthwise())
    run_int8_depthwise(p, vectors, pool, rest, table);
  else
    run_gemm(p, plan, vectors, pool, rest, table);
}

}  // namespace tenon::cpu
