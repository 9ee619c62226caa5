// Patterns over graphs, written as algebra:
//
//   m = mean(x); v = mean(squared_difference(x, m)); mul(sub(x, m), rsqrt(add(v, eps)))
//
// Names given by `name = …;` stand for one shared sub-pattern; other names capture any value (the
// same one wherever they occur); a number matches a constant of equal elements; op(…) matches a
// node of that op. add, mul, min and max match with their operands in either order.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"

namespace tenon {

// What a pattern bound its names to.
class Match {
 public:
  // The value of a capture or a named sub-pattern.
  Value* operator[](std::string_view name) const { return values_.find(name)->second; }
  // The node that computes a named sub-pattern.
  Node& node(std::string_view name) const { return *(*this)[name]->producer(); }
  // Every node matched but the root: they die if nobody else reads them.
  const std::vector<Node*>& inner() const { return inner_; }

 private:
  friend class Pattern;
  std::map<std::string_view, Value*> values_;
  std::vector<Node*> inner_;
};

class Pattern {
 public:
  // The text must be well-formed: patterns are part of the program, a mistake in one aborts.
  explicit Pattern(std::string_view text);
  ~Pattern();

  // Matches with output 0 of `node` as the last expression. Fills `match` on success.
  bool match(Node& node, Match& match) const;

 private:
  struct Term;
  struct Parser;
  bool match_term(const Term& term, Value* value, Match& match) const;

  std::string text_;
  std::vector<std::unique_ptr<Term>> terms_;
  const Term* root_ = nullptr;
};

// The element of a constant whose elements are all equal (a scalar mostly), as double.
std::optional<double> splat_value(const Value* value);

}  // namespace tenon
