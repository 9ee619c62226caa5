// What whole numbers can be, from what they are made of: chips have 32 bits of them.
#pragma once

#include <optional>
#include <unordered_map>

#include "ir/graph.h"

namespace tenon::lower {

class WholeRanges {
 public:
  struct Range {
    int64_t low, high;
  };

  // Of every element of a value; nothing where that is not known.
  std::optional<Range> of(const Value* value);
  // Whether every element is known to be one of i32.
  bool fits_i32(const Value* value);
  // A value of a region stands for this one outside of it.
  void bind(const Value* inner, const Value* outer) { outer_[inner] = outer; }

 private:
  std::optional<Range> find(const Value* value);
  std::optional<Range> made_by(const Node& node, const Value* value);
  std::optional<Range> of_all(const Node& node, int first, int count);

  std::unordered_map<const Value*, std::optional<Range>> known_;
  std::unordered_map<const Value*, const Value*> outer_;
  int depth_ = 0;
};

}  // namespace tenon::lower
