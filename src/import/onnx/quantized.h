// Between real numbers and their integers as the quantised ops of ONNX and ONNX Runtime have them.
#pragma once

#include "import/onnx/rule.h"

namespace tenon::onnx {

struct Parameters {
  int64_t axis = 1;
  int64_t block = 0;  // 0: none
};

// zero may be null. Scales and zero points are single, per index of an axis, or per block of it.
Result<Value*> dequantized(RuleContext& c, Value* x, Value* scale, Value* zero,
                           const Parameters& p = {});
Result<Value*> quantized(RuleContext& c, Value* x, Value* scale, Value* zero, DType to,
                         const Parameters& p = {});

// Rows of packed integers, the first in the lowest bits: [rows, blocks, bytes], a scale per block
// and a zero point per block, packed too or in the type of the scales.
struct PackedBlocks {
  int64_t rows = 0, columns = 0, bits = 4, size = 32;
  int64_t count() const { return (columns + size - 1) / size; }
  int64_t bytes() const { return (size * bits + 7) / 8; }
  int64_t packed_zeros() const { return (count() * bits + 7) / 8; }
};
// Number i of packed integers.
int packed_level(const uint8_t* bytes, int64_t i, int64_t bits);
// The real numbers [rows, columns] as f32; zeros may be undefined. Errors: tensors that do not fit.
Result<Tensor> unpacked_blocks(const PackedBlocks& b, const Tensor& q, const Tensor& scales,
                               const Tensor& zeros);

// The product (a - za)(b - zb) of bytes as i32; zero points may be null, za has one value or one
// per row, zb one or one per column.
Result<Value*> integer_product(RuleContext& c, Value* a, Value* b, Value* za, Value* zb);

}  // namespace tenon::onnx
