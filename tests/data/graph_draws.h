// What a random graph is drawn from: a generator of numbers with a seed, and facts of values.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "ir/graph.h"

namespace tenon::data_tests {

class Draws {
 public:
  explicit Draws(uint32_t seed) : state_(seed * 2654435761u + 1) {}

  int pick(size_t n) {
    state_ = state_ * 1664525u + 1013904223u;
    return static_cast<int>((state_ >> 8) % n);
  }
  size_t pick_index(size_t n) { return static_cast<size_t>(pick(n)); }
  template <size_t N>
  std::string_view one_of(const std::string_view (&names)[N]) {
    return names[pick(N)];
  }
  double real() { return pick(1000) / 500.0 - 1; }
  // The newest values most often, so that chains grow.
  Value* any_of(const std::vector<Value*>& values) {
    const size_t back = std::min(values.size(), size_t{1} + pick_index(4));
    return pick(4) == 0 ? values[pick_index(values.size())] : values[values.size() - back];
  }

  // Dimensions of 1 to 4; now and then the first is a symbol (3 when run), or one is empty.
  Shape shape(int rank) {
    Shape s;
    for (int i = 0; i < rank; ++i) s.dims().emplace_back(1 + pick(4));
    if (pick(4) == 0) s.dims()[0] = Dim::symbol(fmt::format("n{}", rank));
    if (pick(40) == 0) s.dims()[pick_index(s.dims().size())] = Dim(0);
    return s;
  }
  static bool is_small(const Value& v) {
    int64_t elements = 1;
    if (!v.shape().ranked() || v.shape().rank() > 6) return false;
    for (const Dim d : v.shape().dims()) elements *= d.size_or(6);
    return elements <= kMaxElements;
  }
  static int rank_of(const Value* v) { return v->shape().rank(); }
  int64_t axis_of(const Value* v) { return pick(static_cast<size_t>(rank_of(v))); }
  // A dimension's size; 0 also where it is not known.
  static int64_t size(const Value* v, int64_t axis) {
    return v->shape()[static_cast<int>(axis)].size_or(0);
  }
  static int64_t last(const Value* v) { return size(v, rank_of(v) - 1); }

  // Whether broadcasting the two cannot fail when run.
  static bool fit(const Value* a, const Value* b) {
    const Shape &x = a->shape(), &y = b->shape();
    for (int i = 1; i <= std::min(x.rank(), y.rank()); ++i) {
      const Dim d = x[x.rank() - i], e = y[y.rank() - i];
      if (!(d.same(e) || d == Dim(1) || e == Dim(1))) return false;
    }
    return true;
  }
  // So many numbers from low to high.
  std::vector<int64_t> numbers(size_t count, int low, int high) {
    std::vector<int64_t> list(count);
    for (int64_t& v : list) v = low + pick(static_cast<size_t>(int64_t{high} - low + 1));
    return list;
  }

 private:
  static constexpr int64_t kMaxElements = 4096;
  uint32_t state_;
};

}  // namespace tenon::data_tests
