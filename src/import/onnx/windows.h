// Sliding windows as convolutions and pools of ONNX describe them, the move between its
// channels-first tensors and the channels-last ones of the core ops, and products several rules
// build on.
#pragma once

#include <string>
#include <vector>

#include "import/onnx/rule.h"

namespace tenon::onnx {

// [N, C, spatial…] to [N, spatial…, C] and back; `rank` is the tensor's.
Result<Value*> to_channels_last(const RuleContext& c, Value* x, int rank);
Result<Value*> to_channels_first(const RuleContext& c, Value* x, int rank);

// Per spatial dimension; pads are begins, then ends.
struct Windows {
  std::vector<int64_t> kernel, strides, dilations, pads;
  bool ceil_mode = false;
  std::string auto_pad =
      "none";  // of the core ops, where pads hang on sizes not known; no pads then

  size_t size() const { return kernel.size(); }
  // What a window spans along dimension i.
  int64_t span(size_t i) const { return (kernel[i] - 1) * dilations[i] + 1; }
};

// The window attributes of the node, whose input 0 is channels first; `kernel` where the attribute
// kernel_shape is not there (empty: it must be). auto_pad is turned into pads where it can be.
// Errors: invalid_model for lists of the wrong length or sizes out of range.
Result<Windows> windows_of(const RuleContext& c, const std::vector<int64_t>& kernel = {});

// A convolution by the window attributes of the node, whose input 0 is the tensor or its original;
// x and w as ONNX has them, bias may be null.
Result<Value*> convolution(const RuleContext& c, Value* x, Value* w, Value* bias);
// The same by another op that takes the attributes of conv, with operands after the filter.
Result<Value*> convolution(const RuleContext& c, std::string_view op, Value* x, Value* w,
                           std::initializer_list<Value*> more);
// NumPy's matrix product: vectors are rows on the left and columns on the right.
Result<Value*> matrix_product(const RuleContext& c, Value* a, Value* b);

// One of the window lists of the node, checked; `fallback` fills a missing one.
Result<std::vector<int64_t>> window_list(const RuleContext& c, std::string_view name, size_t size,
                                         int64_t fallback, int64_t least);

}  // namespace tenon::onnx
