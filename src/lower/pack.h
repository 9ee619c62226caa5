// Constants as chips want them.
#pragma once

#include "tensor/tensor.h"

namespace tenon::lower {

constexpr float kMostHalf = 65504;  // the largest number of f16
// What is finite and beyond f16 becomes this and no more: masks of -1e9 leave room for the scores
// that are added to them.
constexpr float kBeyondHalf = 61440;
constexpr float kMostBFloat16 = 0x1.fep127F;  // of bf16, less than that of f32
// A real for a chip whose reals are `to`: what is finite stays so, as masks of -1e9 are to.
float for_chip(float x, DType to);

// The values in another type: reals to f16, f32; integers to i32.
Result<Tensor> converted(const Tensor& x, DType to);

// A matrix [K, N] as fractals [k1, n1, n0, k0]: FRACTAL_Z of a filter [kh, kw, C, M], whose rows k
// are in the order (c1, kh, kw, c0), or of a matrix (kh = kw = 1) and its transpose.
struct FractalShape {
  int64_t kernel_h = 1, kernel_w = 1, channels = 1, columns = 1;
  bool transposed = false;  // the matrix is stored [N, K]
  int64_t k0 = 16, n0 = 16;
  int64_t first = 0;       // element of w where it begins
  int64_t row_stride = 0;  // of w's rows of columns; 0: they are dense

  int64_t k1() const { return (channels + k0 - 1) / k0 * kernel_h * kernel_w; }
  int64_t n1() const { return (columns + n0 - 1) / n0; }
  int64_t elements() const { return k1() * n1() * n0 * k0; }
};
Result<Tensor> pack_fractals(const Tensor& w, const FractalShape& shape, DType to);

// A filter [kh, kw, C, M] or matrix [C, M] as rows [M][kh][kw][C], or of a matrix stored [M, C].
Result<Tensor> pack_rows(const Tensor& w, const FractalShape& shape, DType to);

// A depthwise filter [spatial…, 1, C] as that of groups of `size` channels, [spatial…, size, C]:
// zeros but on the diagonal of every group.
Result<Tensor> put_on_diagonal(const Tensor& w, int64_t size);

// What `pack` makes of every group and plane of a filter's depth, one after the other.
Result<Tensor> pack_parts(const Tensor& w, const FractalShape& shape, int64_t groups,
                          int64_t planes, DType to,
                          Result<Tensor> (*pack)(const Tensor&, const FractalShape&, DType));

}  // namespace tenon::lower
