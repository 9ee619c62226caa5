// Loops of the vector functions over memory of the CPU, with the chip's arithmetic: reals in f32,
// rounded to the element type; integers exactly, saturated.
#pragma once

#include <cstddef>
#include <cstdint>

#include "bang/builtins.h"
#include "tensor/dtype.h"

namespace tenon::bang {

// dst[i] = a[i] op b[i % b_count]. Elements are f32, f16 or i32.
void run_binary(Vector op, DType dtype, std::byte* dst, const std::byte* a, const std::byte* b,
                int64_t count, int64_t b_count);
void run_scalar(Vector op, DType dtype, std::byte* dst, const std::byte* a, double number,
                int64_t count);
void run_unary(Vector op, DType dtype, std::byte* dst, const std::byte* a, int64_t count);
// `rounding`: rn to nearest even, tz towards zero, dn down, up up, rm to nearest, halves away from
// zero.
void run_convert(std::string_view rounding, std::byte* dst, DType to, const std::byte* a,
                 DType from, int64_t count);
void run_fill(DType dtype, std::byte* dst, double number, int64_t count);
// dst = the sum (add), largest (max) or smallest (min) of `count` elements that are `step` apart.
void run_reduce(Vector op, DType dtype, std::byte* dst, const std::byte* a, int64_t count,
                int64_t step);

struct Window {
  int64_t channels, height, width, kernel_h, kernel_w, stride_h, stride_w, out_channels;
  int64_t out_h() const { return (height - kernel_h) / stride_h + 1; }
  int64_t out_w() const { return (width - kernel_w) / stride_w + 1; }
};
// dst [out_h, out_w, channels] of a [height, width, channels].
void run_pool(Vector op, DType dtype, std::byte* dst, const std::byte* a, const Window& window);
// dst [out_h, out_w, out_channels], filter [out_channels, kernel_h, kernel_w, channels]; sums in
// f32.
void run_conv(DType dtype, std::byte* dst, const std::byte* a, const std::byte* filter,
              const Window& window);

double load_real(const std::byte* from, DType dtype);
int64_t load_integer(const std::byte* from, DType dtype);
void store_real(double value, std::byte* to, DType dtype);
void store_integer(int64_t value, std::byte* to, DType dtype);

}  // namespace tenon::bang
