// What the attention ops of ONNX and ONNX Runtime have in common.
#pragma once

#include "import/onnx/rule.h"

namespace tenon::onnx {

// [B, S, heads * D] as [B, heads, S, D], and back.
Result<Value*> split_heads(const RuleContext& c, Value* x, int64_t heads);
Result<Value*> merge_heads(const RuleContext& c, Value* x);

// Which keys each query sees, before scores become weights.
struct Mask {
  Value* added = nullptr;  // added to the scores
  Value* keeps = nullptr;  // boolean: false means not seen

  // The single mask core attention takes; null where all is seen.
  Result<Value*> combined(const RuleContext& c, DType scores) const;
};

// Narrows the mask by another boolean one.
Status restrict(const RuleContext& c, Mask& mask, Value* keeps);

// Positions 0 … n-1 as i64, in the shape [n, 1] (queries) or [1, n] (keys); n is a scalar.
Result<Value*> positions(const RuleContext& c, Value* n, bool of_queries);

}  // namespace tenon::onnx
