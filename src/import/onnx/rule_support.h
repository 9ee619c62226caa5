// What the tables of one-to-one ops and the rules that compute shapes share.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <optional>

#include "import/onnx/rule.h"
#include "import/with_attr.h"

namespace tenon::onnx {

// Text as a template argument.
template <size_t N>
struct Text {
  constexpr Text(const char (&text)[N]) { std::copy_n(text, N, chars); }
  constexpr std::string_view view() const { return {chars, N - 1}; }
  char chars[N];
};

// The rule of an op that is a core op of the same operands without attributes.
template <Text kCore>
Result<Values> direct(RuleContext& c) {
  return one(c.op(kCore.view(), c.inputs));
}

// The rule of an op that is one of ai.onnx, as it was in this version.
Result<Values> standard_op(RuleContext& c, std::string_view op, int64_t opset);
template <Text kOp, int64_t kOpset>
Result<Values> standard(RuleContext& c) {
  return standard_op(c, kOp.view(), kOpset);
}

// A floating-point attribute with its default; ONNX's name is the core op's.
struct Parameter {
  std::string_view name;
  double fallback;
};
// A core op of the first operand with such attributes.
Result<Values> parametric(RuleContext& c, std::string_view core,
                          std::initializer_list<Parameter> parameters);

// dims[from, to) of x as a vector; negative ends count from the end.
Result<Value*> shape_of(RuleContext& c, Value* x, int64_t from = 0,
                        int64_t to = std::numeric_limits<int64_t>::max());
// The size of x along an axis as a vector of one element.
Result<Value*> size_of(RuleContext& c, Value* x, int64_t axis);
// Vectors joined; one alone stays itself.
Result<Value*> join(RuleContext& c, Values parts, int64_t axis = 0);
// x [...] as the matrix [product of dims before axis, product of the rest].
Result<Value*> as_matrix(RuleContext& c, Value* x, int64_t axis);
// x with the axes inserted where they are in the result, or with these axes of size 1 removed.
Result<Value*> expand_dims(RuleContext& c, Value* x, std::vector<int64_t> axes);
Result<Value*> squeeze(RuleContext& c, Value* x, std::vector<int64_t> axes);
// The integer a 32-bit float's bits make, never 0: a seed that is given makes values that repeat.
Result<int64_t> seed_of(RuleContext& c);
// 0 .. n-1 (n: a vector of one i64) as i64.
Result<Value*> count_up(RuleContext& c, Value* n);

// x [N, C, spatial…] with the channels moved last, and back. Error: fewer than two dimensions.
Result<Value*> channels_last(RuleContext& c, Value* x);
Result<Value*> channels_first(RuleContext& c, Value* x);

// The first result of a core op with the attribute `attr` from a value, which may be one that only
// running the model gives: then through the core op with_attr, whose `hint` says what is known of
// the shape all the same.
Result<Value*> with_attr(RuleContext& c, std::string_view core, Values operands,
                         std::string_view attr, Value* value, std::vector<Builder::Attr> attrs,
                         std::string_view hint);

}  // namespace tenon::onnx
