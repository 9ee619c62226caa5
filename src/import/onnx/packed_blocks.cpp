// Weights of a few bits, packed in blocks.
#include <fmt/format.h>

#include <cmath>

#include "import/onnx/quantized.h"

namespace tenon::onnx {

int packed_level(const uint8_t* bytes, int64_t i, int64_t bits) {
  return bytes[i * bits / 8] >> (i * bits % 8) & ((1 << bits) - 1);
}

Result<Tensor> unpacked_blocks(const PackedBlocks& b, const Tensor& q, const Tensor& scales,
                               const Tensor& zeros) {
  const int64_t blocks = b.rows * b.count();
  const bool packs_zeros = zeros.defined() && zeros.dtype() == DType::u8;
  if (q.dtype() != DType::u8 || q.elements() != blocks * b.bytes())
    return invalid_model(fmt::format("the packed weights are {}, but {} bytes are expected",
                                     q.type().to_string(), blocks * b.bytes()));
  if (!is_float(scales.dtype()) || scales.elements() != blocks)
    return invalid_model(
        fmt::format("{} scales are expected, not {}", blocks, scales.type().to_string()));
  if (zeros.defined() && zeros.elements() != (packs_zeros ? b.rows * b.packed_zeros() : blocks))
    return invalid_model("the zero points do not fit the weights");
  Tensor w = TRY(Tensor::allocate(DType::f32, std::vector<int64_t>{b.rows, b.columns}));
  auto* out = w.mutable_data<float>();
  for (int64_t n = 0; n < b.rows; ++n)
    for (int64_t k = 0; k < b.columns; ++k) {
      const int64_t block = n * b.count() + k / b.size;
      double zero = std::ldexp(1.0, static_cast<int>(b.bits) - 1);
      if (packs_zeros)
        zero = packed_level(zeros.data<uint8_t>() + n * b.packed_zeros(), k / b.size, b.bits);
      else if (zeros.defined())
        zero = zeros.real_at(block);
      const int level = packed_level(q.data<uint8_t>() + block * b.bytes(), k % b.size, b.bits);
      *out++ = static_cast<float>((level - zero) * scales.real_at(block));
    }
  return w;
}

}  // namespace tenon::onnx
