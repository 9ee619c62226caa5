#include <algorithm>

#include "base/numbers.h"
#include "lower/winograd_cube.h"

namespace tenon::lower {

int64_t CubeProblem::all_m(const CubeTiling& t) const {
  return p.batch[0].size * ceil_div(tile_rows(), t.rows) * (tile_columns() / t.columns);
}

WinogradTiles CubeProblem::input(const CubeTiling& t) const {
  return {m, t.rows, t.columns, t.rows, t.blocks, c0(), t.blocks, c0(), ub, real};
}

WinogradTiles CubeProblem::output(const CubeTiling& t, int64_t piece) const {
  return {m, t.rows, t.columns, t.rows, piece, kN0, piece, kN0, ub, real};
}

int64_t CubeProblem::v_bytes(const CubeTiling& t) const {
  return positions() * c1() * t.padded() * c0() * size();
}

int64_t CubeProblem::sums_bytes(const CubeTiling& t) const {
  return positions() * t.padded() * t.outputs * 4;
}

int64_t CubeProblem::ub_bytes(const CubeTiling& t, int64_t piece) const {
  const WinogradTiles in = input(t), out = output(t, piece);
  return size() *
         (2 * in.in_elements() + 2 * in.positions_elements() + out.positions_elements() +
          std::max(in.work_elements(true), out.work_elements(false)) +
          std::max(input_transform(m).temporaries * in.temporary_elements(true),
                   output_transform(m).temporaries * out.temporary_elements(false)) +
          out.out_elements() * (2 + temporaries + (p.residual >= 0 ? 2 : 0)) + 2 * t.outputs);
}

int64_t CubeProblem::piece_of(const CubeTiling& t) const {
  const int64_t room = static_cast<int64_t>(chip.ub) - 8192;
  for (int64_t piece = t.outputs / kN0; piece >= 1; --piece)
    if (ub_bytes(t, piece) <= room) return piece;
  return 0;
}

double CubeProblem::cycles(const CubeTiling& t) const {
  const auto number = [](int64_t n) { return static_cast<double>(n); };
  const WinogradTiles in = input(t);
  const auto own_m = number(ceil_div(all_m(t), t.grid_m)),
             own_n = number(ceil_div(ceil_div(p.columns, t.outputs), t.grid_n));
  const double times_in = t.kept ? own_m * own_n : own_m, times_out = own_m * own_n;
  const auto chunks = number(ceil_div(c1(), t.blocks));
  const double lanes = chip.vector_bytes / number(size()) / chip.slope_binary;
  const auto in_steps = number(std::ssize(input_transform(m).steps)),
             out_steps = number(std::ssize(output_transform(m).steps));
  const int64_t reach = winograd_reach(m);
  const double transform =
      chunks *
      ((in_steps * number(in.work_elements(true) / reach + reach * t.tiles() * t.blocks * c0()) +
        number(in.in_elements()) / 2) /
           lanes +
       (2 * in_steps + 1) * chip.vector_start);
  const double results = number(t.tiles() * t.outputs);
  const double pieces = number(ceil_div(t.outputs / kN0, std::max<int64_t>(piece_of(t), 1)));
  const double back = results * (out_steps * number(reach + m) + number(passes * m * m)) / lanes +
                      results * number(positions() * size()) / chip.l0c_to_ub +
                      pieces * (2 * out_steps + number(passes) + 1) * chip.vector_start;
  const double vector = times_in * transform + times_out * back;
  const int64_t steps = ceil_div(c1() * c0(), t.step);
  const double cube = times_out * number(positions()) *
                      (chip.cube_start * number(steps) +
                       number(t.padded() / kN0 * (t.outputs / kN0) * c1()) *
                           (size() == 4 ? chip.macs_f16 / std::max(chip.macs_f32, 1.0) / 2 : 1));
  const double mte1 = times_out * number(positions() * c1() * c0() * size()) *
                      (number(t.padded()) / chip.l1_to_l0a + number(t.outputs) / chip.l1_to_l0b);
  const double x = chunks * number(in.in_elements() * size()),
               filter = number(positions() * filter_bytes(t)), y = results * number(m * m * size());
  const double x_rate =
      chip.l2_read * (t.blocks < c1() && t.blocks * 32 < chip.l2_line ? chip.unaligned_rate : 1);
  const double load =
      times_in * (x / x_rate + chunks * chip.copy_start) +
      (t.kept ? own_n : times_out) *
          (filter / chip.l2_read + (t.kept ? 1 : number(positions())) * chip.copy_start) +
      (p.residual >= 0 ? times_out * y / chip.l2_read : 0);
  const double store = times_out * (y / chip.ub_to_l2 + pieces * chip.copy_start) +
                       times_in * number(v_bytes(t)) / chip.ub_to_l1;
  const double memory = (number(p.batch[0].size) *
                             number(p.windows->height * p.windows->width * p.windows->channels +
                                    p.windows->out_height * p.windows->out_width * p.columns) *
                             number(size()) +
                         number(positions() * p.windows->channels * p.columns * size())) /
                        chip.memory_bandwidth * chip.cube_clock;
  double most = 0, sum = 0;
  for (const double part : {vector, cube, mte1, load, store, memory})
    most = std::max(most, part), sum += part;
  // With one place, what fills it and what reads it take turns.
  const double waits = (t.c_depth == 1 ? std::min(cube, times_out * back) : 0) +
                       (t.v_depth == 1 && !t.kept ? std::min(cube, times_in * transform) : 0);
  return most + 0.15 * (sum - most) + waits + transform + back + chip.memory_latency;
}

// With a place for one tile or two, in L1 and L0C, as is best of those that fit.
void CubeProblem::consider(CubeTiling t, CubeTiling& best) const {
  const auto l1 = static_cast<int64_t>(chip.l1) - 4096;
  if (piece_of(t) == 0) return;
  if (sums_bytes(t) > static_cast<int64_t>(chip.l0c)) return;
  t.c_depth = 2 * sums_bytes(t) <= static_cast<int64_t>(chip.l0c) ? 2 : 1;
  t.step = std::min(static_cast<int64_t>(chip.l0a) / 2 / (t.padded() * size()),
                    static_cast<int64_t>(chip.l0b) / 2 / (t.outputs * size())) /
           c0() * c0();
  t.step = std::min(t.step, c1() * c0());
  if (t.step < c0()) return;
  for (const bool kept : {false, true})
    for (const int64_t depth : {2, 1}) {
      t.kept = kept, t.v_depth = depth;
      if (depth * v_bytes(t) + filter_bytes(t) * (kept ? positions() : 2) > l1) continue;
      const auto cores = static_cast<int64_t>(chip.cube_cores);
      for (int64_t gn = 1; gn <= std::min(cores, ceil_div(p.columns, t.outputs)); ++gn) {
        t.grid_n = gn, t.grid_m = std::min(cores / gn, all_m(t));
        t.cycles = cycles(t);
        if (best.cycles == 0 || t.cycles < best.cycles) best = t;
      }
      break;
    }
}

Result<CubeTiling> CubeProblem::tile() const {
  CubeTiling best;
  for (int64_t rows = tile_rows();; rows = ceil_div(rows, 2)) {
    for (int64_t columns = tile_columns(); columns >= 1; --columns) {
      if (tile_columns() % columns != 0) continue;
      CubeTiling t;
      t.rows = rows, t.columns = columns;
      for (t.blocks = c1();; t.blocks = ceil_div(t.blocks, 2)) {
        for (t.outputs = 16; t.outputs < p.columns + 16 && t.outputs <= 256; t.outputs *= 2)
          consider(t, best);
        if (t.blocks == 1) break;
      }
    }
    if (rows == 1) break;
  }
  if (best.cycles == 0) return unsupported("no tile of it fits into UB, L1 and L0");
  return best;
}

}  // namespace tenon::lower
