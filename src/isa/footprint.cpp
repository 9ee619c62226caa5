#include "isa/footprint.h"

#include <algorithm>

#include "isa/range.h"

namespace tenon::isa {
namespace {

// Values of the variables of one view that are tried.
constexpr int64_t kMostTrials = 4096;

class Walk {
 public:
  Walk(const Program& program, const Architecture& architecture)
      : program_(program), peaks_(architecture.memories.size()) {
    ranges_.resize(static_cast<size_t>(std::max(program.variables, 1)));
    values_.resize(ranges_.size());
    ranges_[0] = Range::between(0, program.blocks - 1);
  }

  std::vector<int64_t> run() {
    body(program_.body);
    return std::move(peaks_);
  }

 private:
  void body(const std::vector<Statement>& statements) {
    for (const Statement& s : statements) {
      if (const auto* loop = std::get_if<Loop>(&s)) {
        const int64_t most = range_of(loop->count, ranges_).high - 1;
        if (most < 0) continue;
        ranges_[static_cast<size_t>(loop->variable)] = Range::between(0, most);
        body(loop->body);
        continue;
      }
      for (const View& v : std::get<Instruction>(s).views)
        if (v.memory != 0) view(v);
    }
  }

  static void mark(const Expr& e, std::vector<size_t>& used) {
    if (e.is_number()) return;
    if (e.kind() != Expr::Kind::variable) {
      mark(e.left(), used);
      mark(e.right(), used);
    } else if (const auto v = static_cast<size_t>(e.value());
               std::ranges::find(used, v) == used.end()) {
      used.push_back(v);
    }
  }

  // One past the last byte for the values that there are now; 0 where there are no elements.
  int64_t end_of(const View& v) const {
    const auto element = static_cast<int64_t>(dtype_size(v.dtype));
    int64_t end = v.offset.at(values_) + element;
    for (const Axis& axis : v.axes) {
      const int64_t size = axis.size.at(values_);
      if (size <= 0) return 0;
      end += std::max<int64_t>((size - 1) * axis.stride.at(values_), 0) * element;
    }
    return end;
  }

  int64_t bound_of(const View& v) const {
    const auto element = static_cast<int64_t>(dtype_size(v.dtype));
    Range end = range_of(v.offset, ranges_) + Range::of(element);
    for (const Axis& axis : v.axes) {
      const Range size = range_of(axis.size, ranges_);
      if (size.high <= 0) return 0;
      const Range extent =
          (size + Range::of(-1)) * range_of(axis.stride, ranges_) * Range::of(element);
      end = end + Range::of(std::max<int64_t>(extent.high, 0));
    }
    return end.high;
  }

  void view(const View& v) {
    int64_t& peak = peaks_[static_cast<size_t>(v.memory)];
    const int64_t bound = bound_of(v);
    if (bound <= peak) return;
    std::vector<size_t> used;
    mark(v.offset, used);
    for (const Axis& axis : v.axes) {
      mark(axis.size, used);
      mark(axis.stride, used);
    }
    int64_t trials = 0, found = 0;
    const bool all = tried(v, used, 0, bound, trials, found);
    peak = std::max(peak, all || found == bound ? found : bound);
  }

  // Whether all values were tried, or the bound was met: the first and last ones come first.
  bool tried(const View& v, const std::vector<size_t>& used, size_t next, int64_t bound,
             int64_t& trials, int64_t& found) {
    if (next == used.size()) {
      found = std::max(found, end_of(v));
      return ++trials <= kMostTrials;
    }
    const Range& range = ranges_[used[next]];
    int64_t& value = values_[used[next]];
    const auto go = [&](int64_t at) {
      value = at;
      return tried(v, used, next + 1, bound, trials, found);
    };
    if (!go(range.high) || found == bound) return found == bound;
    for (int64_t at = range.low; at < range.high; ++at)
      if (!go(at) || found == bound) return found == bound;
    return true;
  }

  const Program& program_;
  std::vector<int64_t> peaks_;
  std::vector<Range> ranges_;  // of variables
  std::vector<int64_t> values_;
};

}  // namespace

std::vector<int64_t> footprint(const Program& program, const Architecture& architecture) {
  return Walk(program, architecture).run();
}

}  // namespace tenon::isa
