#include "device/cpu/kernels/int8_rows.h"

#include <immintrin.h>

#include <algorithm>
#include <cstring>
#include <span>

#include "device/cpu/kernels/int8_epilogue.h"
#include "device/cpu/kernels/slots.h"

namespace tenon::cpu {
namespace {

// Parts of a block by the taps that lie inside, and the rows that are worth one of their own.
// Windows of pixels one below the other have fewer bytes in common than those of neighbours.
constexpr int64_t kMostParts = 32;
constexpr int64_t kLeastPartRows = 6;
constexpr int64_t kLeastColumnRows = 12;

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

// `count` pixels of a group's channels.
uint8_t* copied_pixels(const Int8Params& p, uint8_t* to, const uint8_t* from, int64_t count) {
  const int64_t run = group_in(p);
  if (p.groups == 1) return copied(to, from, count * run);
  for (int64_t i = 0; i < count; ++i, from += p.in_channels) to = copied(to, from, run);
  return to;
}

// The rows of x below `rows` rows of an image of the result from `first` on. Gives their end.
uint8_t* copy_strip(const Int8Params& p, const Int8Plan& plan, int64_t group, int64_t image,
                    int64_t first, int64_t rows, uint8_t* strip) {
  const auto fill = static_cast<uint8_t>(p.x_zero);
  const int64_t run = group_in(p), pixels = plan.strip_row_bytes / run;
  const int64_t begin = std::clamp<int64_t>(p.pad_begin[2], 0, pixels);
  const int64_t skipped = std::max<int64_t>(0, -p.pad_begin[2]);
  const int64_t count = std::clamp<int64_t>(p.in[2] - skipped, 0, pixels - begin);
  const int64_t input_rows = strip_input_rows(p, rows);
  const int64_t n = image / p.out[0], plane = window_dim(p, 0).start(image % p.out[0]);
  const auto* const x = static_cast<const uint8_t*>(p.x) + group * run;
  uint8_t* to = strip;
  for (int64_t r = 0; r < p.kernel[0] * input_rows; ++r) {
    const int64_t id = plane + r / input_rows * p.dilation[0];
    const int64_t ih = first * p.stride[1] - p.pad_begin[1] + r % input_rows;
    if (id < 0 || id >= p.in[0] || ih < 0 || ih >= p.in[1]) {
      to = filled(to, fill, plan.strip_row_bytes);
      continue;
    }
    const int64_t row = ((n * p.in[0] + id) * p.in[1] + ih) * p.in[2];
    to = filled(to, fill, begin * run);
    to = copied_pixels(p, to, x + (row + skipped) * p.in_channels, count);
    to = filled(to, fill, (pixels - begin - count) * run);
  }
  if (p.x_signed)
    for (uint8_t* byte = strip; byte < to; ++byte) *byte ^= 0x80;
  return to;
}

// What describes the rows of a block, in memory of block_bytes().
struct BlockMemory {
  int32_t* row_offsets;
  int32_t* y_offsets;
  int32_t* piece_offsets;
  Int8Part* parts;

  BlockMemory(const Int8Plan& plan, char* memory)
      : row_offsets(reinterpret_cast<int32_t*>(memory)),
        y_offsets(row_offsets + plan.row_block),
        piece_offsets(y_offsets + plan.row_block),
        parts(reinterpret_cast<Int8Part*>(memory + offsets_bytes(plan))) {}
  static int64_t offsets_bytes(const Int8Plan& plan) {
    return round_to_lines((2 * plan.row_block + (kMostParts + 1) * plan.pieces) * 4);
  }
};
// A part of the taps h x w of windows in rows of `row_bytes` and planes of `plane_bytes`, without
// rows yet. Taps are left out of windows of one plane only.
void set_part(const Int8Params& p, const Int8Plan& plan, int64_t row_bytes, int64_t plane_bytes,
              Range h, Range w, BlockMemory& memory, Int8Part& part) {
  const int64_t lines = p.kernel[0] * p.kernel[1];
  const int64_t run = group_in(p);
  const int64_t per_row = plan.pieces / lines, row_k = plan.padded_k / lines;
  const int64_t skipped = (p.kernel[2] - w.size()) * run;
  part = {.pieces = p.kernel[0] * h.size() * per_row,
          .groups = (row_k - skipped) / per_row / 4,
          .piece_offsets = memory.piece_offsets,
          .weights_begin = (h.begin * row_k + w.begin * run) * 16,
          .weights_skip = skipped * 16};
  for (int64_t kd = 0; kd < p.kernel[0]; ++kd)
    for (int64_t kh = h.begin; kh < h.end; ++kh)
      for (int64_t i = 0; i < per_row; ++i)
        *memory.piece_offsets++ =
            static_cast<int32_t>(kd * plane_bytes + kh * p.dilation[1] * row_bytes +
                                 (w.begin + i) * p.dilation[2] * run);
}

// Where windows begin in x, all of whose taps lie inside.
void set_windows(const Int8Params& p, const Int8Plan& plan, const Pixel& first, BlockMemory memory,
                 Int8Block& b) {
  const int64_t row_bytes = p.in[2] * p.in_channels, image = p.in[1] * row_bytes;
  Pixel pixel = first;
  for (int64_t i = 0; i < b.m; ++i, pixel.advance(p))
    memory.row_offsets[i] = static_cast<int32_t>((pixel.n - first.n) * image +
                                                 (pixel.h - first.h) * p.stride[1] * row_bytes +
                                                 (pixel.w - first.w) * p.stride[2] * p.in_channels);
  set_part(p, plan, row_bytes, 0, {0, p.kernel[1]}, {0, p.kernel[2]}, memory, *memory.parts);
  memory.parts->rows = b.m;
  b.row_offsets = memory.row_offsets;
  b.parts = memory.parts;
  b.part_count = 1;
}

// The outputs that two sides have in common, by the taps that they are multiplied by.
struct Area {
  const WindowSide* h;
  const WindowSide* w;
  Range h_taps;
  Range w_taps;

  int64_t pixels() const { return h->outputs.size() * w->outputs.size(); }
};
// Those of rows [first, end) of the result; small ones are multiplied as their neighbours are.
int64_t find_areas(const Int8Params& p, const Int8Plan& plan, int64_t images, Range rows,
                   WindowSide (&sides)[2][kMostParts], Area* areas) {
  const Range all_h{0, p.kernel[1]}, all_w{0, p.kernel[2]};
  const int64_t h_count = find_sides(window_dim(p, 1), rows, plan.trims ? kMostParts : 0, sides[0]);
  // Where a row of the window is one piece of whole groups.
  const bool trims_w = plan.trims && group_in(p) % 4 == 0 && plan.pieces == p.kernel[1];
  // NOLINTNEXTLINE(clang-analyzer-core.DivideZero): there are rows, so there is a side
  const int64_t w_most = trims_w ? kMostParts / h_count : 0;
  const int64_t w_count = find_sides(window_dim(p, 2), {0, p.out[2]}, w_most, sides[1]);
  for (int64_t h = 0; h < h_count; ++h) {
    Area* const row = areas + h * w_count;
    int64_t joined = 0;
    for (int64_t w = 0; w < w_count; ++w) {
      row[w] = {sides[0] + h, sides[1] + w, sides[0][h].taps, sides[1][w].taps};
      const int64_t taps = row[w].w_taps.size();
      if (images * row[w].pixels() < kLeastColumnRows || 4 * (p.kernel[2] - taps) < taps)
        row[w].w_taps = all_w;
      if (row[w].w_taps == all_w) joined += images * row[w].pixels();
    }
    for (int64_t w = 0; w < w_count; ++w)
      if (row[w].w_taps == all_w && joined < kLeastPartRows) row[w].h_taps = all_h;
  }
  return h_count * w_count;
}

// first, first + step and so on. Gives their end.
int32_t* in_steps(int32_t* to, int64_t count, int64_t first, int64_t step) {
  const auto begin = static_cast<int32_t>(first), by = static_cast<int32_t>(step);
  for (int32_t i = 0; i < count; ++i) to[i] = begin + i * by;
  return to + count;
}

// Where windows begin in copies of the rows below `rows` of the result, by the taps inside.
void set_strips(const Int8Params& p, const Int8Plan& plan, int64_t images, Range rows,
                BlockMemory memory, Int8Block& b) {
  WindowSide sides[2][kMostParts];
  Area areas[kMostParts];
  const int64_t count = find_areas(p, plan, images, rows, sides, areas);
  const int64_t plane_bytes = strip_input_rows(p, rows.size()) * plan.strip_row_bytes;
  const int64_t image_bytes = p.kernel[0] * plane_bytes;
  b.row_offsets = memory.row_offsets;
  b.y_offsets = memory.y_offsets;
  b.parts = memory.parts;
  bool done[kMostParts] = {};
  for (int64_t first = 0; first < count; ++first) {
    if (done[first]) continue;
    const Area& like = areas[first];
    Int8Part& part = memory.parts[b.part_count++];
    set_part(p, plan, plan.strip_row_bytes, plane_bytes, like.h_taps, like.w_taps, memory, part);
    for (int64_t a = first; a < count; ++a) {
      const Area& area = areas[a];
      if (done[a] || area.h_taps != like.h_taps || area.w_taps != like.w_taps) continue;
      done[a] = true;
      part.rows += images * area.pixels();
      const int64_t w = area.w->outputs.begin, width = area.w->outputs.size();
      for (int64_t n = 0; n < images; ++n)
        for (int64_t h = area.h->outputs.begin; h < area.h->outputs.end; ++h) {
          const int64_t line = h - rows.begin;
          memory.row_offsets = in_steps(
              memory.row_offsets, width,
              n * image_bytes + line * p.stride[1] * plan.strip_row_bytes + w * b.lda, b.lda);
          memory.y_offsets =
              in_steps(memory.y_offsets, width,
                       ((n * rows.size() + line) * p.out[2] + w) * b.y_row_bytes, b.y_row_bytes);
        }
    }
  }
  // All of them one behind the other.
  if (count == 1) b.y_offsets = nullptr;
}

}  // namespace

int64_t int8_block_bytes(const Int8Plan& plan) {
  return BlockMemory::offsets_bytes(plan) +
         round_to_lines(kMostParts * static_cast<int64_t>(sizeof(Int8Part)));
}

namespace {
// Pieces are as long in every row: what is left of whole vectors takes the same few branches.
uint32_t sum_up(const uint8_t* from, int64_t n) {
  const __m128i none = _mm_setzero_si128();
  __m128i sums = none;
  for (; n >= 16; from += 16, n -= 16)
    sums = _mm_add_epi32(
        sums, _mm_sad_epu8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)), none));
  uint64_t few = 0;
  if ((n & 8) != 0) {
    sums = _mm_add_epi32(
        sums, _mm_sad_epu8(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)), none));
    from += 8;
  }
  if ((n & 4) != 0) std::memcpy(&few, from, 4), from += 4;
  if ((n & 2) != 0) few = few << 16 | static_cast<uint64_t>(from[1]) << 8 | from[0], from += 2;
  if ((n & 1) != 0) few = few << 8 | *from;
  sums = _mm_add_epi32(sums, _mm_sad_epu8(_mm_cvtsi64_si128(static_cast<int64_t>(few)), none));
  return static_cast<uint32_t>(
      _mm_cvtsi128_si32(_mm_add_epi32(sums, _mm_unpackhi_epi64(sums, sums))));
}
}  // namespace

void sum_int8_rows(const Int8Plan& plan, const Int8Block& b, int32_t* sums) {
  if (b.parts == nullptr) {
    for (int64_t i = 0; i < b.m; ++i) {
      uint32_t sum = 0;
      for (int64_t piece = 0; piece < plan.pieces; ++piece)
        sum += sum_up(b.a + i * b.lda + piece * (plan.padded_k / plan.pieces), plan.piece_k);
      sums[i] = static_cast<int32_t>(sum);
    }
    return;
  }
  int64_t row = 0;
  for (const Int8Part& part : std::span(b.parts, static_cast<size_t>(b.part_count)))
    for (int64_t i = 0; i < part.rows; ++i, ++row) {
      uint32_t sum = 0;
      for (const int32_t at : std::span(part.piece_offsets, static_cast<size_t>(part.pieces)))
        sum += sum_up(b.a + b.row_offsets[row] + at, std::min(4 * part.groups, plan.piece_k));
      sums[row] = static_cast<int32_t>(sum);
    }
}

void set_int8_rows(const Int8Params& p, const Int8Plan& plan, int64_t group, int64_t pixel,
                   char* own, Int8Block& b) {
  auto* const rows = reinterpret_cast<uint8_t*>(own + int8_block_bytes(plan));
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
      b.lda = p.stride[2] * p.in_channels;
      return set_windows(p, plan, first, {plan, own}, b);
    case Int8RowSource::kStrips: {
      const int64_t lines = b.m / p.out[2];
      const int64_t images = ceil_div(lines, p.out[1]), count = lines / images;
      uint8_t* to = rows;
      for (int64_t n = 0; n < images; ++n)
        to = copy_strip(p, plan, group, first.n * p.out[0] + first.d + n, first.h, count, to);
      filled(to, 0, 4);
      b.a = rows;
      b.lda = p.stride[2] * group_in(p);
      return set_strips(p, plan, images, {first.h, first.h + count}, {plan, own}, b);
    }
    case Int8RowSource::kGathered:
      for (int64_t i = 0; i < b.m; ++i, first.advance(p))
        gather(p, plan, group, first, static_cast<uint8_t>(p.x_zero), rows + i * plan.padded_k);
      b.a = rows;
  }
}

}  // namespace tenon::cpu
