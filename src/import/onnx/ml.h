// What the models of ai.onnx.ml do with their scores.
#pragma once

#include "import/onnx/rule.h"

namespace tenon::onnx {

// Scores after the attribute post_transform.
Result<Value*> transformed(const RuleContext& c, Value* scores);
// The labels of classes, integers (in the attribute of this name) or strings, and their number.
Result<Value*> labels_of(const RuleContext& c, std::string_view ints, size_t& count);
// The label of the largest score of each row.
Result<Value*> best_label(const RuleContext& c, Value* labels, Value* scores);

// The table of support vector machines.
std::span<const Rule> svm_rules();

}  // namespace tenon::onnx
