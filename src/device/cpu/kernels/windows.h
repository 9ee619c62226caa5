// Which taps of a window lie inside its input: shared by convolution and pooling.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/numbers.h"

namespace tenon::cpu {

// The elements of three dims.
inline int64_t volume(const int64_t (&dims)[3]) {
  return dims[0] * dims[1] * dims[2];
}

struct Range {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
  bool operator==(const Range&) const = default;
};

// One dim of a window: output o reads inputs o * stride - pad + tap * dilation.
struct WindowDim {
  int64_t in = 1;
  int64_t out = 1;
  int64_t kernel = 1;
  int64_t stride = 1;
  int64_t dilation = 1;
  int64_t pad = 0;

  int64_t start(int64_t o) const { return o * stride - pad; }

  // The taps of output o that are inside; an empty range begins at 0.
  Range taps(int64_t o) const {
    const int64_t first = start(o);
    const int64_t begin = first >= 0 ? 0 : ceil_div(-first, dilation);
    // Mostly without a division.
    const int64_t end = first + (kernel - 1) * dilation < in ? kernel
                        : first >= in                        ? 0
                                                             : ceil_div(in - first, dilation);
    return begin < end ? Range{begin, end} : Range{};
  }

  // The outputs all of whose taps are inside.
  Range interior() const {
    const int64_t begin = pad <= 0 ? 0 : ceil_div(pad, stride);
    const int64_t room = in - 1 - (kernel - 1) * dilation + pad;
    const int64_t end = room < 0 ? 0 : std::min(out, room / stride + 1);
    return begin < end ? Range{begin, end} : Range{};
  }
};

// Neighbouring outputs of a dim that have the same taps inside.
struct WindowSide {
  Range outputs;
  Range taps;
};
// Those of some outputs, in their order; one of all taps where there would be more than `most`.
// Gives how many there are.
inline int64_t find_sides(const WindowDim& window, Range outputs, int64_t most, WindowSide* sides) {
  const Range inner = window.interior();
  int64_t count = 0;
  for (int64_t o = outputs.begin; o < outputs.end;) {
    const bool is_inner = o >= inner.begin && o < inner.end;
    const Range some{o, is_inner ? std::min(inner.end, outputs.end) : o + 1}, taps = window.taps(o);
    if (count > 0 && sides[count - 1].taps == taps) {
      sides[count - 1].outputs.end = some.end;
    } else if (count < most) {
      sides[count++] = {some, taps};
    } else {
      sides[0] = {outputs, {0, window.kernel}};
      return 1;
    }
    o = some.end;
  }
  return count;
}

// Dim d of anything with the members of ConvParams and PoolParams.
template <typename Params>
WindowDim window_dim(const Params& p, int d) {
  return {p.in[d], p.out[d], p.kernel[d], p.stride[d], p.dilation[d], p.pad_begin[d]};
}

}  // namespace tenon::cpu
