// One step of a recurrent layer, read off the algebra of a loop's body.
#pragma once

#include <string>
#include <vector>

#include "passes/loop.h"

namespace tenon {

// The weights of one operand: a value of the body, or one of the two parts of its rows.
struct Weights {
  const Value* value = nullptr;
  int part = -1;
  std::vector<int64_t> rows;  // of the two parts
};

// x w + h r + the biases, in values of the body.
struct Affine {
  Weights w, r;
  std::vector<const Value*> biases;

  bool is_complete() const { return w.value != nullptr && r.value != nullptr; }
};

// One of equal parts of an affine function's columns, with a constant added.
struct Gate {
  const Value* whole = nullptr;
  int index = -1;
  double offset = 0;
};

// Reads values of a loop's body as functions of the step's input `x` and of a state.
class Step {
 public:
  Step(const Loop& loop, const Value* x) : loop_(loop), x_(x) {}

  // Whether no iteration changes the value.
  bool is_fixed(const Value* value) const;
  // Whether `value` is an affine function of x and the state, which may have been changed before.
  bool affine(const Value* value, const Value* state, Affine& a) const;

  // Whether `value` is one of so many parts. `g` may name the whole it must be a part of.
  static bool gate(const Value* value, size_t parts, Gate& g);
  // Whether `value` is f(inner), f an activation without parameters: `kind` where that is given.
  static bool activated(const Value* value, std::string& kind, const Value*& inner);
  // f(gate), or a part of f(the whole).
  static bool activated_gate(const Value* value, size_t parts, std::string& kind, Gate& g);

 private:
  bool joined(const Node& concat, const Value* matrix, const Value* state, Affine& a) const;
  static int part_of(const Node& node, int output, size_t parts);

  const Loop& loop_;
  const Value* x_;
};

}  // namespace tenon
