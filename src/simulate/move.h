// Instructions that move elements without computing.
#pragma once

#include <functional>
#include <span>

#include "simulate/operand.h"

namespace tenon::simulate {

// dst = source, both of one type and equal sizes.
void run_copy(const Operand& dst, const Operand& source);

// Each row of a tile [indices…, row…] beside that of the table [index, row…] which its index, less
// `first`, says; null where the table has none.
void for_each_row(const Operand& tile, const Operand& table, const Operand& indices, int64_t first,
                  const std::function<void(const Operand& of_tile, const Operand* row)>& f);

// dst [indices…, row…] = table [index, row…]; rows outside of the table are zeros.
void run_gather(const Operand& dst, const Operand& table, const Operand& indices);

// table [index - first, row…] (+)= source [indices…, row…], one after the other; rows outside of
// the table are left out.
void run_scatter(const Operand& table, const Operand& source, const Operand& indices, int64_t first,
                 bool accumulate);

// dst [m1, k1, m0, c0] = the windows of source [c1, h, w, c0]; numbers as isa::Opcode::img2col
// names them; `outside` is what is outside of the image.
void run_img2col(const Operand& dst, const Operand& source, std::span<const int64_t> numbers,
                 double outside);

// Where a run of elements of an image lies for img2col: dst and source places in bytes from their
// beginnings; the source is -1 outside of the image.
struct WindowRun {
  int64_t dst, source;
  int64_t bytes;
};

// Calls f(WindowRun) for all that img2col writes.
template <typename F>
void for_each_window_run(const Operand& dst, const Operand& source,
                         std::span<const int64_t> numbers, const F& f) {
  const int64_t kernel_h = numbers[0], kernel_w = numbers[1], stride_h = numbers[2],
                stride_w = numbers[3], dilation_h = numbers[4], dilation_w = numbers[5],
                pad_top = numbers[6], pad_left = numbers[7], out_w = numbers[8],
                first_m = numbers[9], first_k = numbers[10];
  const int64_t c0 = source.size[3], taps = kernel_h * kernel_w, element = dst.element;
  // Runs of whole blocks where both have them, else single elements.
  const bool whole =
      dst.size[3] == c0 && first_k % c0 == 0 && dst.stride[3] == 1 && source.stride[3] == 1;
  const int64_t run = whole ? c0 : 1;
  const int64_t columns = dst.size[1] * dst.size[3];
  for (int64_t m = 0; m < dst.size[0] * dst.size[2]; ++m) {
    const int64_t oy = (first_m + m) / out_w, ox = (first_m + m) % out_w;
    const int64_t row = m / dst.size[2] * dst.stride[0] + m % dst.size[2] * dst.stride[2];
    for (int64_t k = 0; k < columns; k += run) {
      const int64_t column = first_k + k, tap = column / c0 % taps, c1 = column / c0 / taps;
      const int64_t y = oy * stride_h + tap / kernel_w * dilation_h - pad_top;
      const int64_t x = ox * stride_w + tap % kernel_w * dilation_w - pad_left;
      const bool inside =
          c1 < source.size[0] && y >= 0 && y < source.size[1] && x >= 0 && x < source.size[2];
      const int64_t to = row + k / dst.size[3] * dst.stride[1] + k % dst.size[3] * dst.stride[3];
      const int64_t from = c1 * source.stride[0] + y * source.stride[1] + x * source.stride[2] +
                           column % c0 * source.stride[3];
      f(WindowRun{dst.offset + to * element, inside ? source.offset + from * element : -1,
                  run * element});
    }
  }
}

}  // namespace tenon::simulate
