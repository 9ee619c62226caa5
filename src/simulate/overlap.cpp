#include "simulate/overlap.h"

#include <algorithm>
#include <vector>

namespace tenon::simulate {
namespace {

// The bytes of an operand, ascending.
void sorted_runs(const Operand& o, std::vector<ByteRange>& runs) {
  runs.clear();
  for_each_run(o, [&](int64_t begin, int64_t length) { runs.push_back({begin, begin + length}); });
  const auto before = [](const ByteRange& a, const ByteRange& b) { return a.begin < b.begin; };
  if (!std::ranges::is_sorted(runs, before)) std::ranges::sort(runs, before);
}

// Whether every axis steps over all that the smaller ones reach.
bool is_nested(const Operand& o) {
  std::array<std::pair<int64_t, int64_t>, Operand::kMaxAxes> axes;  // stride and size
  size_t count = 0;
  for (size_t i = 0; i < static_cast<size_t>(o.rank); ++i)
    if (o.size[i] > 1) axes[count++] = {std::abs(o.stride[i]), o.size[i]};
  std::sort(axes.begin(), axes.begin() + static_cast<std::ptrdiff_t>(count));
  int64_t reach = 1;
  for (size_t i = 0; i < count; ++i) {
    if (axes[i].first < reach) return false;
    reach += (axes[i].second - 1) * axes[i].first;
  }
  return true;
}

}  // namespace

ByteRange hull(const Operand& o) {
  ByteRange all{o.offset, o.offset + o.element};
  for (size_t i = 0; i < static_cast<size_t>(o.rank); ++i) {
    if (o.size[i] <= 0) return {};
    const int64_t extent = (o.size[i] - 1) * o.stride[i] * o.element;
    (extent < 0 ? all.begin : all.end) += extent;
  }
  return all;
}

bool is_same_place(const Operand& a, const Operand& b) {
  if (a.memory != b.memory || a.buffer != b.buffer || a.offset != b.offset ||
      a.element != b.element || a.rank != b.rank)
    return false;
  for (size_t i = 0; i < static_cast<size_t>(a.rank); ++i)
    if (a.size[i] != b.size[i] || a.stride[i] != b.stride[i]) return false;
  return true;
}

std::optional<ByteRange> common_bytes(const Operand& a, const Operand& b) {
  if (a.memory != b.memory || a.buffer != b.buffer) return std::nullopt;
  const ByteRange of_a = hull(a), of_b = hull(b);
  if (of_a.begin >= of_b.end || of_b.begin >= of_a.end) return std::nullopt;
  thread_local std::vector<ByteRange> first, second;
  sorted_runs(a, first);
  sorted_runs(b, second);
  for (size_t i = 0, k = 0; i < first.size() && k < second.size();) {
    const ByteRange both{std::max(first[i].begin, second[k].begin),
                         std::min(first[i].end, second[k].end)};
    if (both.begin < both.end) return both;
    first[i].end <= second[k].end ? ++i : ++k;
  }
  return std::nullopt;
}

std::optional<ByteRange> repeated_bytes(const Operand& o) {
  if (is_nested(o)) return std::nullopt;
  for (size_t i = 0; i < static_cast<size_t>(o.rank); ++i)
    if (o.size[i] > 1 && o.stride[i] == 0) return hull(o);
  thread_local std::vector<ByteRange> runs;
  sorted_runs(o, runs);
  for (size_t i = 1; i < runs.size(); ++i)
    if (runs[i].begin < runs[i - 1].end)
      return ByteRange{runs[i].begin, std::min(runs[i - 1].end, runs[i].end)};
  return std::nullopt;
}

}  // namespace tenon::simulate
