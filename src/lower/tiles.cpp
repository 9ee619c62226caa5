#include "lower/tiles.h"

#include <algorithm>

namespace tenon::lower {

int64_t Space::elements() const {
  int64_t n = 1;
  for (const int64_t d : dims) n *= d;
  return n;
}

void Space::simplify() {
  const auto drop = [&](size_t i) {
    dims.erase(dims.begin() + static_cast<int64_t>(i));
    for (auto& s : strides) s.erase(s.begin() + static_cast<int64_t>(i));
  };
  for (size_t i = dims.size(); i-- > 0;)
    if (dims[i] == 1 && dims.size() > 1) drop(i);
  for (size_t i = dims.size(); i-- > 1;) {
    const bool joins =
        std::ranges::all_of(strides, [&](const auto& s) { return s[i - 1] == s[i] * dims[i]; });
    if (!joins) continue;
    dims[i] *= dims[i - 1];
    drop(i - 1);
  }
}

std::vector<int64_t> broadcast_strides(const std::vector<int64_t>& dims,
                                       const std::vector<int64_t>& result) {
  std::vector<int64_t> strides(result.size(), 0);
  int64_t stride = 1;
  for (size_t i = dims.size(); i-- > 0;) {
    if (dims[i] != 1) strides[result.size() - dims.size() + i] = stride;
    stride *= dims[i];
  }
  return strides;
}

int64_t Tiles::elements(const Space& space) const {
  int64_t n = part;
  for (size_t i = axis + 1; i < space.dims.size(); ++i) n *= space.dims[i];
  return n;
}

Tiles cut(const Space& space, int64_t most, int64_t cores) {
  constexpr int64_t kLeast = 2048;  // elements that are worth a tile of their own
  const int64_t share = (space.elements() + cores - 1) / std::max<int64_t>(cores, 1);
  most = std::min(most, std::max(share, kLeast));
  Tiles t;
  int64_t inner = 1;
  t.axis = space.dims.size() - 1;
  while (t.axis > 0 && inner * space.dims[t.axis] <= most) inner *= space.dims[t.axis--];
  t.part = std::clamp<int64_t>(most / inner, 1, space.dims[t.axis]);
  t.parts = (space.dims[t.axis] + t.part - 1) / t.part;
  t.part = (space.dims[t.axis] + t.parts - 1) / t.parts;
  // Whole blocks of the vector unit, where a tile is a part of the innermost dimension.
  if (t.axis + 1 == space.dims.size() && t.part % 16 != 0 && (t.part / 16 + 1) * 16 <= most)
    t.part = (t.part / 16 + 1) * 16;
  t.parts = (space.dims[t.axis] + t.part - 1) / t.part;
  t.count = t.parts;
  for (size_t i = 0; i < t.axis; ++i) t.count *= space.dims[i];
  return t;
}

TileView::TileView(const Space& space, const Tiles& tiles, const Expr& number)
    : space_(space), tiles_(tiles), index_(tiles.axis), first_(number % tiles.parts * tiles.part) {
  Expr rest = number / tiles.parts;
  for (size_t i = tiles.axis; i-- > 0;) {
    index_[i] = i == 0 ? rest : rest % space.dims[i];
    rest = rest / space.dims[i];
  }
}

Expr TileView::size(size_t axis) const {
  if (axis != tiles_.axis || space_.dims[axis] % tiles_.part == 0)
    return axis == tiles_.axis ? tiles_.part : space_.dims[axis];
  return min(tiles_.part, Expr(space_.dims[axis]) - first_);
}

Expr TileView::offset(const std::vector<int64_t>& strides) const {
  Expr offset = first_ * strides[tiles_.axis];
  for (size_t i = 0; i < index_.size(); ++i) offset = offset + index_[i] * strides[i];
  return offset;
}

std::vector<Axis> TileView::global(const std::vector<int64_t>& strides, bool used_only) const {
  std::vector<Axis> axes;
  for (size_t i = tiles_.axis; i < strides.size(); ++i)
    if (!used_only || strides[i] != 0) axes.push_back({size(i), strides[i]});
  return axes;
}

std::vector<Axis> TileView::local(const std::vector<int64_t>& strides, bool used_only) const {
  std::vector<Axis> axes;
  int64_t stride = 1;
  for (size_t i = strides.size(); i-- > tiles_.axis;) {
    if (strides[i] == 0) {
      if (!used_only) axes.insert(axes.begin(), {size(i), 0});
      continue;
    }
    axes.insert(axes.begin(), {size(i), stride});
    stride *= i == tiles_.axis ? tiles_.part : space_.dims[i];
  }
  return axes;
}

int64_t TileView::stored(const std::vector<int64_t>& strides) const {
  int64_t n = 1;
  for (size_t i = tiles_.axis; i < strides.size(); ++i)
    if (strides[i] != 0) n *= i == tiles_.axis ? tiles_.part : space_.dims[i];
  return n;
}

bool TileView::is_fixed(const std::vector<int64_t>& strides) const {
  return std::ranges::all_of(strides.begin(),
                             strides.begin() + static_cast<int64_t>(tiles_.axis) + 1,
                             [](int64_t s) { return s == 0; });
}

}  // namespace tenon::lower
