// A 1x1 convolution of channels that were scaled image by image, as squeeze-and-excite does: the
// weights are scaled in the place of the input, where they are fewer.
#pragma once

#include <memory>

#include "device/cpu/conv_chain.h"

namespace tenon::cpu {

// Whether scaling the weights of a 1x1 convolution is thought to take less than scaling its input.
bool scales_weights(const ConvParams& product);

// Operand 0 is the input, operand `scale` a row of scales for each image, f32 both.
std::unique_ptr<Kernel> make_scaled_product(ChainPart product, int scale, int threads);

}  // namespace tenon::cpu
