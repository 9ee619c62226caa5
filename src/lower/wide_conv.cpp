// Convolutions whose rows or kernels are too large for a core's memories at once: rows of the
// image become planes, which kernels go through one by one, and rows are cut into pieces.
#include <algorithm>

#include "lower/product.h"

namespace tenon::lower {
namespace {

// One dimension of the windows becomes that of the planes: the rows.
Result<Product> by_rows(const Product& p) {
  Product q = p;
  Windows& w = *q.windows;
  if (w.kernel[0] != 1 || w.out_depth != 1 || w.depth != 1)
    return unsupported("volumes whose rows do not fit on a core");
  w.pitch = w.row_pixels();
  w.depth = w.height, w.out_depth = w.out_height;
  w.height = w.out_height = 1;
  for (auto* a : {&w.kernel, &w.stride, &w.dilation}) (*a)[0] = (*a)[1], (*a)[1] = 1;
  w.pad[0] = w.pad[1], w.pad[1] = 0;
  for (int64_t d = 0; d < w.out_depth; ++d) {
    bool reached = false;
    for (int64_t k = 0; k < w.kernel[0]; ++k) {
      const int64_t at = d * w.stride[0] + k * w.dilation[0] - w.pad[0];
      reached |= at >= 0 && at < w.depth;
    }
    if (!reached) return unsupported("a row of its result is made of pads alone");
  }
  q.rows = w.out_width;
  const auto images = q.batch.begin() + 1;  // what follows are groups
  if (w.out_depth > 1)
    q.batch.insert(images,
                   {w.out_depth, 0, 0, w.out_width * p.y_row, w.out_width * p.residual_row});
  return q;
}

// Output pixels [first, first + count) of every row, of `pieces` pieces of so many.
Result<Product> piece(const Product& rows, int64_t first, int64_t count, int64_t pieces) {
  Product q = rows;
  Windows& w = *q.windows;
  const int64_t begin = first * w.stride[2] - w.pad[2];
  const int64_t reach = (count - 1) * w.stride[2] + (w.kernel[2] - 1) * w.dilation[2] + 1;
  const int64_t from = std::max<int64_t>(begin, 0), to = std::min(begin + reach, w.width);
  if (to <= from) return unsupported("a part of its result is made of pads alone");
  w.pad[2] = from - begin;
  w.width = to - from;
  w.out_width = q.rows = count;
  q.first.a += from * q.a_row, q.first.y += first * q.y_row;
  q.first.residual += first * q.residual_row;
  if (pieces > 1)
    q.batch.insert(q.batch.begin() + 1, {pieces, count * w.stride[2] * q.a_row, 0, count * q.y_row,
                                         count * q.residual_row});
  return q;
}

Status in_pieces(Lowering& lowering, const Node& node, const Product& rows, int64_t size) {
  const Windows& w = *rows.windows;
  const int64_t reach = (size - 1) * w.stride[2] + (w.kernel[2] - 1) * w.dilation[2] + 1;
  const auto inside = [&](int64_t i) {
    const int64_t begin = i * size * w.stride[2] - w.pad[2];
    return (i + 1) * size <= w.out_width && begin >= 0 && begin + reach <= w.width;
  };
  const int64_t all = (w.out_width + size - 1) / size;
  int64_t first = 0;
  while (first < all && !inside(first)) ++first;
  int64_t last = first;
  while (last < all && inside(last)) ++last;
  // The largest come first: where they find room, so do the others.
  if (last > first)
    TRY(add_product(lowering, node, TRY(piece(rows, first * size, size, last - first))));
  for (int64_t i = 0; i < all; ++i)
    if (i < first || i >= last)
      TRY(add_product(lowering, node,
                      TRY(piece(rows, i * size, std::min(size, w.out_width - i * size), 1))));
  return {};
}

}  // namespace

Status add_wide_conv(Lowering& lowering, const Node& node, const Product& p) {
  constexpr int64_t kLeast = 16;  // pixels: rows of a fractal
  if (p.outside != 0) return unsupported("rows of an image end in zeros");
  const Product rows = TRY(by_rows(p));
  for (int64_t size = rows.windows->out_width;; size = (size + 1) / 2) {
    Status status = in_pieces(lowering, node, rows, size);
    if (status.ok() || size <= kLeast) return status;
  }
}

}  // namespace tenon::lower
