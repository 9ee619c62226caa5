#include "lower/ascend_tiling.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/numbers.h"

namespace tenon::lower {
namespace {

// What works side by side takes as long as its longest part, and a little of the others.
double blend(std::initializer_list<double> parts) {
  double most = 0, sum = 0;
  for (const double p : parts) most = std::max(most, p), sum += p;
  return most + 0.15 * (sum - most);
}

// Cycles of a tile on each queue, and what follows of them.
struct Estimate {
  const Product& p;
  const AscendShape& s;
  const AscendChip& chip;

  double cube(int64_t m, int64_t n, const AscendTiling& t) const {
    const double start =
        chip.cube_start * static_cast<double>(s.planes * ceil_div(s.k_plane, t.step));
    const double unit = static_cast<double>(ceil_div(m, 16) * ceil_div(n, 16) * s.planes *
                                            ceil_div(s.k_plane, s.c0));
    const double rate = s.size == 4 ? chip.macs_f16 / std::max(chip.macs_f32, 1.0) / 2 : 1;
    return start + unit * rate;
  }
  // Of a queue that moves so many bytes in copies of runs of this length.
  double copies(double bytes, double run, double count, double rate) const {
    return bytes / rate / (run < chip.l2_line ? chip.unaligned_rate : 1) + count * chip.copy_start;
  }
  double cycles(const AscendTiling& t) const {
    const int64_t tm = ceil_div(p.rows, t.m) * p.problems(), tn = ceil_div(p.columns, t.n);
    const auto own_m = static_cast<double>(ceil_div(tm, t.grid_m)),
               own_n = static_cast<double>(ceil_div(tn, t.grid_n));
    const double k = static_cast<double>(s.planes * s.k_plane), size = static_cast<double>(s.size);
    const double m = static_cast<double>(std::min(t.m, p.rows)),
                 n = static_cast<double>(std::min(t.n, p.columns));
    const auto chunks = static_cast<double>(s.planes * ceil_div(s.k_plane, t.chunk));
    const double a = chunks * static_cast<double>(s.a_bytes(p, t.m, t.chunk)), b = k * n * size;
    const bool whole = ceil_div(s.k_plane, t.chunk) == 1;
    const double a_run = p.windows ? (whole ? 1e6 : 32) : static_cast<double>(t.chunk) * size;
    const double b_run = p.b_constant != nullptr ? n * 32
                         : p.b_transposed        ? static_cast<double>(t.chunk) * size
                                                 : n * size;
    const double a_share = t.keep == AscendTiling::Keep::a ? 1 / own_n : 1;
    const double b_share = t.keep == AscendTiling::Keep::b ? 1 / own_m : 1;
    const double out = m * n * size,
                 pieces = std::max(
                     1.0, n / 16 * static_cast<double>(s.ub_tiles) * m * 16 * size / chip.ub);
    double load = a_share * copies(a, a_run, chunks, chip.l2_read) +
                  b_share * copies(b, b_run, chunks, chip.l2_read);
    if (p.bias >= 0) load += copies(n * size, n * size, 1, chip.l2_read);
    if (p.residual >= 0) load += copies(out, n * size, pieces, chip.l2_read);
    const double mte1 = m * size * k / chip.l1_to_l0a + n * size * k / chip.l1_to_l0b;
    const double vector =
        out / chip.vector_bytes * static_cast<double>(s.vector_passes) * chip.slope_binary +
        static_cast<double>(s.vector_passes) * pieces * chip.vector_start;
    const double store = copies(out, n * size, pieces, chip.ub_to_l2);
    const double cubes = cube(t.m, t.n, t);
    const double tile =
        blend({load, mte1, cubes, vector, store}) + (t.c_depth == 1 ? std::max(vector, store) : 0);
    // Before and after the queues work side by side, one tile goes through them in turn.
    const double fill = load / chunks + chip.memory_latency + vector + store;
    // What all cores read and write at least, from memory.
    const auto problems = static_cast<double>(p.problems());
    const double all =
        problems * size *
            (static_cast<double>(p.rows * p.columns) * (p.residual >= 0 ? 2 : 1) +
             static_cast<double>(p.rows) * (p.windows ? static_cast<double>(p.windows->channels)
                                                      : static_cast<double>(p.k))) +
        static_cast<double>(p.columns) * k * size;
    const double memory = all / chip.memory_bandwidth * chip.cube_clock;
    return blend({tile * own_m * own_n, memory}) + fill;
  }
};

struct Search {
  const Product& p;
  const AscendShape& s;
  const AscendChip& chip;
  AscendTiling best;

  void consider(AscendTiling t) {
    const Estimate estimate{p, s, chip};
    const int64_t cores = static_cast<int64_t>(chip.cube_cores);
    const int64_t tm = ceil_div(p.rows, t.m) * p.problems(), tn = ceil_div(p.columns, t.n);
    for (int64_t gn = 1; gn <= std::min(cores, tn); ++gn) {
      t.grid_n = gn;
      t.grid_m = std::min(cores / gn, tm);
      t.cycles = estimate.cycles(t);
      if (best.cycles == 0 || t.cycles < best.cycles) best = t;
    }
  }

  // Chunks of k that fit in L1 with this tile.
  void chunks(AscendTiling t) {
    const auto l1 = static_cast<int64_t>(chip.l1) - 4096;
    const auto fits = [&](int64_t a, int64_t b) { return a + b <= l1; };
    // Problems with a right operand each cannot keep it for the next.
    const bool one_b = std::ranges::all_of(p.batch, [](const BatchDim& d) { return d.b == 0; });
    for (int64_t units = ceil_div(s.k_plane, s.k_unit);; units = ceil_div(units, 2)) {
      t.chunk = units * s.k_unit;
      t.keep = AscendTiling::Keep::none;
      t.a_depth = t.b_depth = 2;
      const int64_t a = s.a_bytes(p, t.m, t.chunk), b = s.b_bytes(t.n, t.chunk);
      const int64_t whole = ceil_div(s.k_plane, t.chunk) * s.planes;
      if (fits(2 * a, 2 * b)) consider(t);
      if (s.planes == 1) {
        t.keep = AscendTiling::Keep::a, t.a_depth = 1;
        if (fits(whole * a, 2 * b)) consider(t);
        t.keep = AscendTiling::Keep::b, t.a_depth = 2, t.b_depth = 1;
        if (one_b && fits(2 * a, whole * b)) consider(t);
      }
      if (units == 1) break;
    }
  }

  void run() {
    const int64_t half_a = static_cast<int64_t>(chip.l0a) / 2,
                  half_b = static_cast<int64_t>(chip.l0b) / 2,
                  half_c = static_cast<int64_t>(chip.l0c) / 2;
    for (const int64_t m : {16, 32, 48, 64, 80, 96, 112, 128, 192, 256, 320, 384, 512}) {
      if (m >= p.rows + 16 && m > 16) break;
      for (const int64_t n : {16, 32, 48, 64, 96, 128, 160, 192, 256, 384, 512}) {
        if (n >= p.columns + 16 && n > 16) break;
        if (m * n * 4 > 2 * half_c) break;
        // A tile of 16 columns at least is in UB in several copies.
        if (m * 16 * s.size * s.ub_tiles > static_cast<int64_t>(chip.ub) - 4096) break;
        AscendTiling t;
        t.m = m, t.n = n;
        t.c_depth = m * n * 4 > half_c ? 1 : 2;
        t.step = std::min(half_a / (m * s.size), half_b / (n * s.size)) / s.c0 * s.c0;
        t.step = std::min(t.step, ceil_div(s.k_plane, s.c0) * s.c0);
        if (t.step < s.c0) continue;
        chunks(t);
      }
    }
  }
};

}  // namespace

std::string AscendTiling::to_string() const {
  static constexpr std::string_view kKept[] = {"", ", a stays in L1", ", b stays in L1"};
  return fmt::format("tile {}x{}, k {} in L1 and {} in L0, cores {}x{}{}", m, n, chunk, step,
                     grid_m, grid_n, kKept[static_cast<size_t>(keep)]);
}

AscendShape::AscendShape(const Product& p, DType real)
    : c0(32 / static_cast<int64_t>(dtype_size(real))),
      size(static_cast<int64_t>(dtype_size(real))) {
  if (p.windows) {
    const Windows& w = *p.windows;
    k_unit = c0 * w.kernel[1] * w.kernel[2];
    k_plane = ceil_div(w.channels, c0) * k_unit;
    planes = w.kernel[0];
  } else {
    k_unit = c0;
    k_plane = ceil_div(p.k, c0) * c0;
  }
}

int64_t AscendShape::window_rows(const Windows& w, int64_t m) {
  const int64_t rows = std::min(w.out_height, ceil_div(m - 1, w.out_width) + 1);
  return std::min(w.height, (rows - 1) * w.stride[1] + (w.kernel[1] - 1) * w.dilation[1] + 1);
}

int64_t AscendShape::a_bytes(const Product& p, int64_t m, int64_t chunk) const {
  if (!p.windows) return m * chunk * size;
  const Windows& w = *p.windows;
  return chunk / k_unit * window_rows(w, m) * w.width * c0 * size;
}

Result<AscendTiling> tile_ascend(const Product& p, const AscendShape& shape,
                                 const AscendChip& chip) {
  Search search{p, shape, chip, {}};
  search.run();
  if (search.best.cycles == 0)
    return unsupported(fmt::format("no tile of it fits into L1 ({} bytes) and L0", chip.l1));
  return search.best;
}

}  // namespace tenon::lower
