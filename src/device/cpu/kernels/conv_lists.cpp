#include "device/cpu/kernels/conv_lists.h"

#include <algorithm>
#include <numeric>

#include "base/numbers.h"
#include "device/cpu/kernels/slots.h"

namespace tenon::cpu {
namespace {

// Outputs at the borders that are looked at.
constexpr int64_t kMostBorder = 256;
// Fewer rows leave the multipliers waiting for sums.
constexpr int64_t kFewRows = 4;
// Rows multiplied by a tap that take as long as copying a row of the result from a tile.
constexpr int64_t kCopiedRow = 4;

// What multiplying so many rows by a tap takes, in halves of a row.
int64_t cost_of_rows(int64_t rows, int64_t tile_rows) {
  if (rows == 0) return 0;
  const int64_t tiles = rows <= tile_rows ? 1 : ceil_div(rows, tile_rows);
  return 2 * std::max(rows, tiles * kFewRows) + tiles;
}

// Pixels that are multiplied by the same taps.
struct Area {
  Range taps[3];
  int64_t rows = 0;
  int64_t group = 0;  // the area whose tiles it is in
  bool is_uniform = true;
  int64_t cost = 0;  // of multiplying it by itself

  int64_t all_taps() const { return taps[0].size() * taps[1].size() * taps[2].size(); }
  void set_cost(int64_t tile_rows) { cost = all_taps() * cost_of_rows(rows, tile_rows); }
};
Area joined(const Area& a, const Area& b, int64_t tile_rows) {
  Area both = b;
  both.rows += a.rows;
  both.is_uniform = false;
  for (int d = 0; d < 3; ++d) {
    if (a.taps[d].size() == 0) continue;
    Range& taps = both.taps[d];
    taps = taps.size() == 0
               ? a.taps[d]
               : Range{std::min(taps.begin, a.taps[d].begin), std::max(taps.end, a.taps[d].end)};
  }
  both.set_cost(tile_rows);
  return both;
}

// Calls f(pixel, length, area, n, d, h, w) for runs of neighbouring pixels of one area.
template <typename F>
void for_each_run(const ConvParams& p, const PieceListPlan& plan, int64_t begin, int64_t end,
                  F&& f) {
  const auto& [depth, height, width] = plan.sides;
  const auto side_of = [](const WindowSides& sides, int64_t o) {
    int64_t i = 0;
    while (sides.side[i].outputs.end <= o) ++i;
    return i;
  };
  int64_t w = begin % p.out[2], line = begin / p.out[2];
  int64_t h = line % p.out[1], d = line / p.out[1] % p.out[0], n = line / p.out[1] / p.out[0];
  while (begin < end) {
    const int64_t row = (side_of(depth, d) * height.count + side_of(height, h)) * width.count;
    for (int64_t i = side_of(width, w); i < width.count && begin < end; ++i) {
      const int64_t length = std::min(width.side[i].outputs.end - w, end - begin);
      f(begin, length, row + i, n, d, h, w);
      begin += length;
      w += length;
    }
    w = 0;
    if (++h < p.out[1]) continue;
    h = 0;
    if (++d < p.out[0]) continue;
    d = 0;
    ++n;
  }
}

// Areas that have pixels, and tiles of their own or of another.
struct Areas {
  Area area[PieceListPlan::kMostAreas];
  int64_t count = 0;
  bool in_order = true;
};

// All pixels as they come.
void join_all(const PieceListPlan& plan, Areas& areas) {
  Area all = areas.area[0];
  for (int64_t i = 1; i < areas.count; ++i) {
    if (areas.area[i].rows > 0)
      all = all.rows == 0 ? areas.area[i] : joined(areas.area[i], all, plan.tile_rows);
    areas.area[i].rows = areas.area[i].cost = areas.area[i].group = 0;
  }
  areas.area[0] = all;
  areas.area[0].group = 0;
}

// Few pixels go where they cost the least: to tiles of their own or to those of others.
void join_few(const PieceListPlan& plan, Areas& areas) {
  for (int64_t i = 0; i < areas.count; ++i) {
    Area& a = areas.area[i];
    if (a.rows == 0 || a.rows >= plan.tile_rows) continue;
    int64_t best = i, least = a.cost;
    for (int64_t j = 0; j < areas.count; ++j) {
      const Area& b = areas.area[j];
      if (j == i || b.rows == 0) continue;
      const int64_t more = joined(a, b, plan.tile_rows).cost - b.cost;
      if (more < least) best = j, least = more;
    }
    if (best == i) continue;
    areas.area[best] = joined(a, areas.area[best], plan.tile_rows);
    a.rows = a.cost = 0;
    for (int64_t j = 0; j < areas.count; ++j)
      if (areas.area[j].group == i) areas.area[j].group = best;
  }
}

Areas find_areas(const ConvParams& p, const PieceListPlan& plan, int64_t begin, int64_t end) {
  Areas areas;
  areas.count = plan.areas();
  Area* area = areas.area;
  for (int64_t d = 0; d < plan.sides[0].count; ++d)
    for (int64_t h = 0; h < plan.sides[1].count; ++h)
      for (int64_t w = 0; w < plan.sides[2].count; ++w, ++area) {
        const WindowSide* const sides[] = {plan.sides[0].side + d, plan.sides[1].side + h,
                                           plan.sides[2].side + w};
        for (int i = 0; i < 3; ++i) {
          area->taps[i] = sides[i]->taps;
          area->is_uniform &= plan.sides[i].is_exact;
        }
        area->group = area - areas.area;
      }
  for_each_run(p, plan, begin, end,
               [&](int64_t, int64_t length, int64_t at, int64_t, int64_t, int64_t, int64_t) {
                 areas.area[at].rows += length;
               });
  if (areas.count == 1) return areas;
  for (int64_t i = 0; i < areas.count; ++i) areas.area[i].set_cost(plan.tile_rows);
  if (!plan.fits_tiles) {
    join_all(plan, areas);
    return areas;
  }
  Areas by_taps = areas;
  join_few(plan, by_taps);
  join_all(plan, areas);
  int64_t cost = 0;
  for (int64_t i = 0; i < by_taps.count; ++i) cost += by_taps.area[i].cost;
  const int64_t run = p.in_channels / p.groups;
  const int64_t copies = 2 * kCopiedRow * (end - begin);
  if (cost * run + copies >= areas.area[0].cost * run / 16 * 15) return areas;
  by_taps.in_order = false;
  return by_taps;
}

// Where the windows of pixels begin: input positions, and floats from the input's first.
struct Starts {
  int64_t* at;
  int64_t* dims[3];
};
// The arrays of a plan in its memory.
struct ListMemory {
  const float** pieces;
  Starts starts;
  int32_t* c_rows;
  uint8_t* heights;
  int64_t bytes;

  ListMemory(const ConvParams& p, const PieceListPlan& plan, char* memory) {
    char* to = memory;
    const auto take = [&to](int64_t size) {
      char* const from = to;
      to += round_to_lines(size);
      return from;
    };
    pieces =
        reinterpret_cast<const float**>(take(plan.tiles() * plan.tile_rows * volume(p.kernel) * 8));
    starts.at = reinterpret_cast<int64_t*>(take(8 * plan.rows));
    for (int64_t*& dim : starts.dims) dim = reinterpret_cast<int64_t*>(take(8 * plan.rows));
    c_rows = reinterpret_cast<int32_t*>(take(4 * plan.rows));
    heights = reinterpret_cast<uint8_t*>(take(plan.tiles()));
    bytes = to - memory;
  }
};

// Sets the starts of all pixels, the areas one after the other, and where those of each end.
void set_starts(const ConvParams& p, const PieceListPlan& plan, const Areas& areas, int64_t begin,
                int64_t end, int64_t (&place)[PieceListPlan::kMostAreas],
                const ListMemory& memory) {
  const WindowDim depth = window_dim(p, 0), height = window_dim(p, 1), width = window_dim(p, 2);
  const Starts& s = memory.starts;
  for_each_run(
      p, plan, begin, end,
      [&](int64_t pixel, int64_t length, int64_t area, int64_t n, int64_t d, int64_t h, int64_t w) {
        const int64_t first = place[areas.area[area].group];
        place[areas.area[area].group] += length;
        const int64_t id = depth.start(d), ih = height.start(h), iw = width.start(w);
        const int64_t line = ((n * depth.in + id) * height.in + ih) * width.in;
        const auto row = static_cast<int32_t>(pixel - begin);
        std::fill_n(s.dims[0] + first, length, id);
        std::fill_n(s.dims[1] + first, length, ih);
        for (int64_t i = 0; i < length; ++i) s.dims[2][first + i] = iw + i * width.stride;
        for (int64_t i = 0; i < length; ++i)
          s.at[first + i] = (line + iw + i * width.stride) * p.x_pixel_stride;
        std::iota(memory.c_rows + first, memory.c_rows + first + length, row);
      });
}

// Whether no tap of pixels [first, first + rows) lies outside.
bool are_inside(const ConvParams& p, const Starts& s, int64_t first, int64_t rows) {
  bool inside = true;
  for (int d = 0; d < 3; ++d) {
    const int64_t last = p.in[d] - 1 - (p.kernel[d] - 1) * p.dilation[d];
    for (int64_t r = first; r < first + rows; ++r)
      inside &= (s.dims[d][r] >= 0) & (s.dims[d][r] <= last);
  }
  return inside;
}

// The pieces of a tile of `rows` pixels; taps that are outside for all of them are marked, and then
// not multiplied. All have the same ones where `uniform`.
const float** list_tile(const ConvParams& p, const Starts& s, int64_t first, int64_t rows,
                        int64_t tile_rows, bool uniform, const float* zero, const float** pieces) {
  const bool inside = are_inside(p, s, first, uniform ? 1 : rows);
  const int64_t* const at = s.at + first;
  const int64_t* const starts[3] = {s.dims[0] + first, s.dims[1] + first, s.dims[2] + first};
  const float* const x = p.x;
  const auto is_in = [](int64_t i, int64_t size) {
    return static_cast<uint64_t>(i) < static_cast<uint64_t>(size);
  };
  for (int64_t kd = 0; kd < p.kernel[0]; ++kd)
    for (int64_t kh = 0; kh < p.kernel[1]; ++kh)
      for (int64_t kw = 0; kw < p.kernel[2]; ++kw, pieces += tile_rows) {
        const int64_t id = kd * p.dilation[0], ih = kh * p.dilation[1], iw = kw * p.dilation[2];
        const float* const from = x + ((id * p.in[1] + ih) * p.in[2] + iw) * p.x_pixel_stride;
        const auto holds = [&](int64_t r) {
          return is_in(starts[0][r] + id, p.in[0]) & is_in(starts[1][r] + ih, p.in[1]) &
                 is_in(starts[2][r] + iw, p.in[2]);
        };
        if (inside || (uniform && holds(0))) {
          for (int64_t r = 0; r < rows; ++r) pieces[r] = from + at[r];
          continue;
        }
        bool any = false;
        for (int64_t r = 0; r < rows && !uniform; ++r) {
          const bool here = holds(r);
          pieces[r] = here ? from + at[r] : zero;
          any |= here;
        }
        if (!any) pieces[0] = nullptr;
      }
  return pieces;
}

}  // namespace

WindowSides find_window_sides(const WindowDim& window) {
  const int64_t inner = window.interior().size();
  const bool is_looked_at = window.out - inner <= kMostBorder;
  WindowSides sides;
  sides.count =
      find_sides(window, {0, window.out}, is_looked_at ? WindowSides::kMost : 0, sides.side);
  sides.is_exact =
      inner == window.out || sides.count > 1 || sides.side[0].taps != Range{0, window.kernel};
  return sides;
}

int64_t PieceListPlan::tiles() const {
  return ceil_div(rows, tile_rows) + (areas() > 1 ? areas() : 0);
}
int64_t PieceListPlan::bytes(const ConvParams& p) const {
  return ListMemory(p, *this, nullptr).bytes;
}

PieceListPlan plan_piece_lists(const ConvParams& p, int64_t rows, const KernelTable& table) {
  PieceListPlan plan;
  plan.rows = rows;
  plan.tile_rows = table.tile_rows;
  plan.fits_tiles = table.fits_tiles;
  for (int d = 0; d < 3; ++d) plan.sides[d] = find_window_sides(window_dim(p, d));
  for (int d = 0; d < 3 && plan.areas() > PieceListPlan::kMostAreas; ++d) {
    plan.sides[d].side[0] = {{0, p.out[d]}, {0, p.kernel[d]}};
    plan.sides[d].count = 1;
    plan.sides[d].is_exact = false;
  }
  return plan;
}

PieceLists list_pieces(const ConvParams& p, const PieceListPlan& plan, int64_t begin, int64_t end,
                       const float* zero, void* memory) {
  const ListMemory lists(p, plan, static_cast<char*>(memory));
  const Areas areas = find_areas(p, plan, begin, end);
  // Those with the most taps first: their tiles fetch what is multiplied next.
  int64_t order[PieceListPlan::kMostAreas], place[PieceListPlan::kMostAreas];
  std::iota(order, order + areas.count, 0);
  std::sort(order, order + areas.count, [&](int64_t a, int64_t b) {
    const int64_t a_taps = areas.area[a].all_taps(), b_taps = areas.area[b].all_taps();
    return a_taps != b_taps ? a_taps > b_taps : a < b;
  });
  int64_t row = 0;
  for (int64_t i = 0; i < areas.count; ++i) {
    place[order[i]] = row;
    row += areas.area[order[i]].rows;
  }
  set_starts(p, plan, areas, begin, end, place, lists);
  const float** pieces = lists.pieces;
  uint8_t* height = lists.heights;
  row = 0;
  for (int64_t i = 0; i < areas.count; ++i) {
    const Area& area = areas.area[order[i]];
    const int64_t tiles = ceil_div(area.rows, plan.tile_rows), group_end = row + area.rows;
    const int64_t rest = area.rows - (tiles - 1) * plan.tile_rows;
    const bool are_even = plan.fits_tiles && rest < kFewRows;
    for (int64_t tile = 0; tile < tiles; ++tile) {
      // Whole ones and a rest, or even ones where that would be small.
      const int64_t left = group_end - row;
      const int64_t rows = are_even ? ceil_div(left, tiles - tile) : std::min(left, plan.tile_rows);
      *height++ = static_cast<uint8_t>(rows);
      pieces = list_tile(p, lists.starts, row, rows, plan.tile_rows, area.is_uniform, zero, pieces);
      row += rows;
    }
  }
  return {lists.pieces, plan.fits_tiles ? lists.heights : nullptr,
          areas.in_order ? nullptr : lists.c_rows};
}

}  // namespace tenon::cpu
