// Convolutions and products whose dimensions stand in any order, as XLA and TensorFlow's uniformly
// quantised ops have them: which is which is said by a message in an attribute.
#pragma once

#include <string_view>
#include <vector>

#include "import/tensorflow/compose.h"

namespace tenon::tf {

struct ConvDimensions {
  int64_t input_batch = 0, input_feature = 0;
  int64_t kernel_input = 0, kernel_output = 0;
  int64_t output_batch = 0, output_feature = 0;
  std::vector<int64_t> input_spatial, kernel_spatial, output_spatial;
};

// The messages xla.ConvolutionDimensionNumbers and
// UniformQuantizedConvolutionDimensionNumbersAttr; the latter may be empty: channels first.
Result<ConvDimensions> xla_conv_dimensions(std::string_view message);
Result<ConvDimensions> uniform_conv_dimensions(std::string_view message, int rank);

struct DotDimensions {
  std::vector<int64_t> left_contracting, right_contracting, left_batch, right_batch;
};
// The message xla.DotDimensionNumbers.
Result<DotDimensions> xla_dot_dimensions(std::string_view message);

struct GatherDimensions {
  std::vector<int64_t> offset_dims, collapsed, start_index_map;
  int64_t index_vector = 0;
};
// The message xla.GatherDimensionNumbers.
Result<GatherDimensions> xla_gather_dimensions(std::string_view message);

struct ConvOptions {
  std::vector<int64_t> strides, dilations;
  std::vector<int64_t> pads;  // begins, then ends
  bool same = false;          // pads by the size of the input, and no others
  int64_t groups = 1;
};

// The convolution in the order of dimensions asked for; of two tensors of bytes the exact i32 sums
// of (x - x_zero)(w - w_zero), else in the type of x. Zero points may be null.
Result<Value*> convolve(RuleContext& c, Value* x, Value* w, Value* x_zero, Value* w_zero,
                        const ConvDimensions& d, const ConvOptions& options);

// A product of two tensors: batch dimensions, the rest of the left ones, the rest of the right
// ones; of bytes exact in i32.
Result<Value*> contract(RuleContext& c, Value* x, Value* y, const DotDimensions& d);

}  // namespace tenon::tf
