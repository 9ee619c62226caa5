// A `while` that runs a layer over a sequence: what it reads, which steps a mask leaves out, which
// of its results a layer gives.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "passes/recurrent_step.h"

namespace tenon {

class RecurrentLoop {
 public:
  RecurrentLoop(Graph& graph, Node& node);

  // Finds the sequence and the mask. False where the loop does not read one to its end.
  bool find_input();

  const Loop& states() const { return loop_; }
  const Step& step() const { return *step_; }
  Builder& builder() { return builder_; }
  // x, [T, B, I]; the mask as layers take it, [T, B] or the lengths [B], null for none.
  Value* sequence() const { return sequence_; }
  Result<Value*> mask();
  // What a state becomes at a step that the mask does not leave out; null where the mask is not
  // heeded.
  const Value* updated(int i) const;

  // Weights, biases and states as layers take them. Column blocks in the order given, an empty one
  // keeps them; the offsets are added to the blocks. A bias may be null.
  Result<Value*> weights(const Weights& w, const std::vector<int64_t>& order);
  Result<Value*> bias(const Affine& a, const std::vector<int64_t>& order,
                      const std::vector<double>& offsets = {});
  Result<Value*> initial(int state);

  // Whether the results of a layer can take the place of the loop's, with h and the cell (-1 for
  // none) among the states; `hold` is the layer's attribute then.
  bool takes_results(int h, int cell, bool& hold) const;
  // Puts the layer in the place of the loop.
  Result<bool> finish(const Node& layer, int h, int cell);
  // Takes the layer out of the loop: the rest of it reads the layer's results as a sequence. False
  // where the rest needs more than that.
  Result<bool> peel(const Node& layer, int h, int cell);

 private:
  struct Condition;
  struct Choice {
    const Value* taken = nullptr;
    const Value* left_out = nullptr;
  };
  // What a step that the mask leaves out puts in place of h.
  enum class Gap : uint8_t { unknown, none, zeros, state };

  static Condition condition(const Value* value);
  const Value* lengths_of(Condition& c) const;
  void find_lengths();
  bool has_mask() const { return mask_ != nullptr || lengths_ != nullptr; }
  Choice choice(const Value* value) const;
  Value* outside(const Value* value);
  Result<Value*> leading(Value* value);
  Result<Value*> reordered(Value* value, const std::vector<int64_t>& order);
  bool is_read(int i) const;
  Gap gap_of(const Value* value, int h) const;
  int list_kind(int i, int h) const;
  bool rest_heeds_mask(int h, int cell) const;

  Graph& graph_;
  Node& node_;
  Loop loop_;
  Builder builder_;
  std::optional<Step> step_;
  const Value* x_ = nullptr;
  const Value* mask_ = nullptr;
  const Value* lengths_ = nullptr;  // in the body
  Value* sequence_ = nullptr;       // [T, B, I]
  Value* masks_ = nullptr;          // [T, B, 1]
  int counter_ = -1;
  bool ends_early_ = false;  // once every sequence has ended
};

}  // namespace tenon
