#include "isa/extent.h"

#include <algorithm>
#include <functional>
#include <vector>

namespace tenon::isa {
namespace {

// Values of the variables of one view that are tried.
constexpr int64_t kMostTrials = 4096;

void mark(const Expr& e, std::vector<size_t>& used) {
  if (e.is_number()) return;
  if (e.kind() != Expr::Kind::variable) {
    mark(e.left(), used);
    mark(e.right(), used);
  } else if (const auto v = static_cast<size_t>(e.value());
             std::ranges::find(used, v) == used.end()) {
    used.push_back(v);
  }
}

// The least value of something over the values of some variables, where it is known that none is
// less than `bound`.
class Least {
 public:
  using Value = std::function<int64_t(std::span<const int64_t> variables)>;
  Least(std::span<const Range> ranges, const std::vector<size_t>& used, Value value)
      : ranges_(ranges), used_(used), values_(ranges.size()), value_(std::move(value)) {}

  int64_t find(int64_t bound, bool high_first) {
    bound_ = bound;
    high_first_ = high_first;
    const bool all = tried(0);
    return all || found_ == bound ? found_ : bound;
  }

 private:
  // Whether all values were tried, or the bound was met: the likeliest ones come first.
  bool tried(size_t next) {
    if (next == used_.size()) {
      found_ = std::min(found_, value_(values_));
      return ++trials_ <= kMostTrials;
    }
    const Range& range = ranges_[used_[next]];
    int64_t& value = values_[used_[next]];
    for (int64_t i = 0; i <= range.high - range.low; ++i) {
      value = high_first_ ? range.high - i : range.low + i;
      if (!tried(next + 1) || found_ == bound_) return found_ == bound_;
    }
    return true;
  }

  std::span<const Range> ranges_;
  const std::vector<size_t>& used_;
  std::vector<int64_t> values_;
  Value value_;
  int64_t bound_ = 0, found_ = INT64_MAX, trials_ = 0;
  bool high_first_ = false;
};

int64_t element_of(const View& v) {
  return static_cast<int64_t>(dtype_size(v.dtype));
}

// One past the last byte; 0 where there are no elements.
int64_t end_of(const View& v, std::span<const int64_t> variables) {
  int64_t end = v.offset.at(variables) + element_of(v);
  for (const Axis& axis : v.axes) {
    const int64_t size = axis.size.at(variables);
    if (size <= 0) return 0;
    end += std::max<int64_t>((size - 1) * axis.stride.at(variables), 0) * element_of(v);
  }
  return end;
}

}  // namespace

Extent bound_of(const View& view, std::span<const Range> variables) {
  const Range offset = range_of(view.offset, variables);
  Range end = offset + Range::of(element_of(view));
  for (const Axis& axis : view.axes) {
    const Range size = range_of(axis.size, variables);
    if (size.high <= 0) return {};
    const Range extent =
        (size + Range::of(-1)) * range_of(axis.stride, variables) * Range::of(element_of(view));
    end = end + Range::of(std::max<int64_t>(extent.high, 0));
  }
  return {offset.low, end.high};
}

Extent extent_of(const View& view, std::span<const Range> variables) {
  const Extent bound = bound_of(view, variables);
  if (bound.begin == bound.end) return bound;
  std::vector<size_t> used;
  mark(view.offset, used);
  const int64_t begin = Least(variables, used, [&](auto values) {
                          return view.offset.at(values);
                        }).find(bound.begin, false);
  for (const Axis& axis : view.axes) {
    mark(axis.size, used);
    mark(axis.stride, used);
  }
  const int64_t end = -Least(variables, used, [&](auto values) {
                         return -end_of(view, values);
                       }).find(-bound.end, true);
  return end == 0 ? Extent{} : Extent{begin, end};
}

}  // namespace tenon::isa
