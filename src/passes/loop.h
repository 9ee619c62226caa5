// A `while` seen as a loop over a sequence: its counters, what it hands on, how often it runs.
#pragma once

#include "ir/graph.h"
#include "rewrite/pass.h"

namespace tenon {

// Whether `value` is a result of a node of that op.
bool is(const Value* value, std::string_view op);
// Operand i of the node that computes `value`.
const Value* operand(const Value* value, int i);
// Zeros, spread out or viewed however.
bool is_zero(const Value* value);

// `while` with states that are counters, lists, what stays the same, and the recurrent ones.
class Loop {
 public:
  explicit Loop(const Node& node)
      : node_(node), condition_(*node.regions()[0]), body_(*node.regions()[1]) {}

  int size() const { return node_.input_count(); }
  const Value* in(int i) const { return body_.inputs()[static_cast<size_t>(i)].get(); }
  const Value* out(int i) const { return body_.outputs()[static_cast<size_t>(i)]; }
  Value* initial(int i) const { return node_.input(i); }

  // The state a value of the body is the beginning of; -1 for none.
  int state_of(const Value* value) const {
    for (int i = 0; i < size(); ++i)
      if (in(i) == value) return i;
    return -1;
  }
  bool is_invariant(int i) const { return out(i) == in(i); }
  // Counts the iterations from 0.
  bool is_counter(int i) const;

  // Whether the loop ends after exactly `length` iterations: it goes on while counters are below
  // bounds, one of which is the length and none is less. With `lengths`, a value outside, a bound
  // may be the largest of them too: the loop then `ends_early`, but for the first iteration.
  bool runs(Dim length, const Value* lengths, bool& ends_early) const;

 private:
  // What a bound is known to be.
  struct Bound {
    bool is_exact = false;    // the length
    bool is_enough = false;   // the length or more
    bool is_longest = false;  // the largest of the lengths has a part in it
  };
  int condition_state(const Value* value) const;
  static Bound bound(const Value* value, Dim length, const Value* lengths);
  bool below(const Value* value, Dim length, const Value* lengths, Bound& all) const;

  const Node& node_;
  const Graph& condition_;
  const Graph& body_;
};

// A loop over a sequence that is an lstm, gru or rnn becomes one (recurrent.cpp).
Result<bool> recognise_recurrent_layer(Graph& graph, Node& node);
// The items of a loop that depend on a row each are computed for all rows at once (map_loop.cpp).
Result<bool> map_loop(Graph& graph, Node& node);

}  // namespace tenon
