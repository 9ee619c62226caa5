// Pictures as the inputs of a model.
#pragma once

#include <string>
#include <vector>

#include "image/image.h"
#include "tensor/tensor.h"

namespace tenon {

struct Preprocess {
  // Resized to height x width, or with width 0 so that the shorter side is `height`; 0: to the
  // model's size.
  int64_t height = 0, width = 0;
  int64_t crop_height = 0, crop_width = 0;  // from the centre; 0: no crop
  double scale = 1;                         // (pixel * scale - mean) / std
  std::vector<double> mean, deviation;      // one, or one per channel
  bool bgr = false;
  enum class Layout : uint8_t { automatic, nhwc, nchw } layout = Layout::automatic;

  std::string to_string() const;
};

// "resize=256,crop=224,scale=1/255,mean=0.485;0.456;0.406,std=0.229;0.224;0.225,layout=nchw,
// channels=bgr", each part optional; "resize=224x320" is height by width. Error: invalid_argument
// naming the part.
Result<Preprocess> parse_preprocess(const std::string& text);

// A picture file as one input of this type, which has a batch dimension of 1 or an open one.
Result<Tensor> picture_input(std::string_view file, const TensorType& type, const Preprocess& how);

}  // namespace tenon
