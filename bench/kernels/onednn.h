// The same kernels by oneDNN (https://github.com/uxlfoundation/oneDNN, Debian's libdnnl-dev), the
// opponent in these measurements: every layout it may choose (`any`) is its choice, weights are
// reordered beforehand, and of direct and automatic (Winograd) convolution the faster is taken.
// Empty functions where the build found no oneDNN.
#pragma once

#include <cstdint>
#include <functional>

#include "device/cpu/kernels/conv.h"
#include "device/cpu/kernels/recurrent.h"

namespace tenon::bench {

using Runnable = std::function<void()>;

// Each makes the primitive with memory of its own, for as many threads as given.
Runnable onednn_conv(const cpu::ConvParams& p, int threads);  // with bias, and ReLU where p has it
Runnable onednn_gemm(int64_t m, int64_t n, int64_t k, int threads);  // inner product, with bias
Runnable onednn_softmax(int64_t rows, int64_t columns, int threads);
Runnable onednn_layer_norm(int64_t rows, int64_t columns, int threads);
Runnable onednn_recurrent(const cpu::RecurrentParams& p, int threads);  // one direction
Runnable onednn_transpose(int64_t rows, int64_t columns, int threads);  // of floats

}  // namespace tenon::bench
