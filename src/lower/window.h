// Pools and depthwise convolutions as windows that a vector unit goes over.
#pragma once

#include <cstdint>

#include "lower/lowering.h"
#include "lower/product.h"

namespace tenon::lower {

enum class WindowKind : uint8_t { max, average, depthwise };

struct Window {
  WindowKind kind = WindowKind::max;
  Windows w;
  int64_t images = 1;
  bool count_pads = true;  // averages: what is outside counts as zeros
  const Tensor* filter = nullptr;
  Product finish;  // bias, residual, activation
  // Of rows that have no room at once, pieces: where they begin, and the pixels of whole rows.
  int64_t first_in = 0, first_out = 0, out_pitch = 0;
};

// One kernel for all of `window`. Errors: unsupported where one row of it has no room on a core.
Status lower_window_kernel(Lowering& lowering, const Node& node, const Window& window);

}  // namespace tenon::lower
