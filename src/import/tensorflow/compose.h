// Short-hands for rules that put an op together from several core ops.
#pragma once

#include <string>
#include <vector>

#include "import/tensorflow/rule.h"
#include "import/with_attr.h"

namespace tenon::tf {

// The scalar constant v of a real or boolean type.
Result<Value*> number(RuleContext& c, double v, DType dtype);
// x in another element type; x itself when it is of that type.
Result<Value*> cast_to(RuleContext& c, Value* x, DType dtype);
// x as one of the two types of indices that core ops take.
Result<Value*> indices(RuleContext& c, Value* x);
// x seen as a vector.
Result<Value*> flatten(RuleContext& c, Value* x);
// A tensor of `shape` (a vector of integers) full of v.
Result<Value*> filled(RuleContext& c, double v, DType dtype, Value* shape);
// The shape of x, or its dimensions [start, end), as i64.
Result<Value*> shape_of(RuleContext& c, Value* x, int64_t start = 0, int64_t end = 1 << 20);
// One element of the vector x, as a vector of one.
Result<Value*> element(RuleContext& c, Value* x, int64_t i);
// The first dimension, last dimensions … of x: vectors joined.
Result<Value*> join(RuleContext& c, const std::vector<Value*>& parts, int64_t axis = 0);

// The core reduction of x over the axes that a vector holds, keep_dims being the node's attribute;
// over none x stays. All axes of an x of unknown rank are known by their spelling.
Result<Value*> reduced(RuleContext& c, const char* core, Value* x, Value* axes);

// A vector along `axis` (-1: a scalar) made broadcastable against x; scalars stay.
Result<Value*> along_axis(RuleContext& c, Value* v, const Value* x, int64_t axis);

// [rank, 2] paddings as the core wants them: all begins, then all ends.
Result<Value*> pads_from_pairs(RuleContext& c, Value* pairs);

// The rank of x. Error: unsupported when it is not known.
Result<int> rank_of(const Value* x);
// Whether the node's data_format puts the channels behind the batch.
Result<bool> channels_first(const RuleContext& c, std::string_view attr = "data_format");
// Transposes between channels behind the batch and channels last; x itself unless `first`.
Result<Value*> channels_to_last(RuleContext& c, Value* x, bool first);
Result<Value*> channels_to_first(RuleContext& c, Value* x, bool first);
// The element type an attribute names.
Result<DType> dtype_attr(const RuleContext& c, std::string_view name, DataType fallback);
// The real elements of a constant operand. Error: unsupported when it is none.
Result<std::vector<double>> reals(const RuleContext& c, int i);

}  // namespace tenon::tf
