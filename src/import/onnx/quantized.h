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

// The product (a - za)(b - zb) of bytes as i32; zero points may be null, za has one value or one
// per row, zb one or one per column.
Result<Value*> integer_product(RuleContext& c, Value* a, Value* b, Value* za, Value* zb);

}  // namespace tenon::onnx
