// A sub-graph run again and again: what Loop, Scan and SequenceMap have in common.
#pragma once

#include <vector>

#include "import/onnx/graph_importer.h"

namespace tenon::onnx {

// What the body sees of one step: values inside the loop.
struct Step {
  Value* index = nullptr;      // counts from 0, i64
  Value* condition = nullptr;  // null where the loop has none
  Values state;
  Values constants;
};

struct Loop {
  const GraphProto* body = nullptr;
  Values state;                  // initial loop variables; the body gives their next values
  Values constants;              // read by every step
  Value* trips = nullptr;        // scalar i64; null: no limit
  Value* condition = nullptr;    // scalar bool, before the first step; null: none
  bool gives_condition = false;  // the body's first output is the next condition, needed or not
  int collected = 0;             // so many of the body's last outputs are collected into lists
  // The body's inputs, from a step.
  std::function<Result<Values>(const RuleContext& inside, const Step& step)> inputs;
};

struct LoopResults {
  Values state;
  Values lists;
  TensorTypes items;  // of the lists
};

// Errors: a body that does not fit, naming what; unsupported where nodes of it have no mapping.
Result<LoopResults> build_loop(RuleContext& c, const Loop& loop);

// Elements of one-element tensors as scalars.
Result<Value*> as_scalar(const RuleContext& c, Value* x);

}  // namespace tenon::onnx
