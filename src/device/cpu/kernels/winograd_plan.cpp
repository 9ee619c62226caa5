#include "device/cpu/kernels/winograd_plan.h"

#include <numeric>

#include "device/cpu/kernels/pack.h"
#include "device/cpu/kernels/windows.h"

namespace tenon::cpu {
namespace {

constexpr int64_t kColumns = kWinogradColumns;
// Floats of a block's transformed inputs and products; most of a small L2.
constexpr int64_t kBlockFloats = 160 << 10;
// Rows of a block that take as long to multiply as filters to read.
constexpr int64_t kFewRows = 18;
// Planes of outputs whose inputs are transformed once for all taps in depth.
constexpr int64_t kPlanes = 8;
// Where runs transform the filter: tiles that share what was transformed, and channels of a part,
// whose values take most of a small L2.
constexpr int64_t kTilesAtOnce = 96;
constexpr int64_t kChannelsAtOnce = 64;
// Transformed filters from this size on are not kept: reading them takes longer, too.
constexpr int64_t kLargeFilterBytes = int64_t{16} << 20;

WinogradAxis axis_of(const ConvParams& p, int d, int64_t outputs) {
  return {p.in[d], p.out[d], p.dilation[d], p.pad_begin[d], outputs};
}

void set_tiles(const ConvParams& p, WinogradForm form, WinogradPlan& plan) {
  plan.kernel = winograd_taps(p, form == WinogradForm::kLarge);
  const WinogradTaps& taps = plan.kernel;
  plan.run = taps.groups() * p.in_channels;
  plan.columns = axis_of(p, plan.is_line() ? taps.line : 2, taps.outputs());
  if (!plan.is_line()) plan.rows = axis_of(p, 1, taps.outputs());
  for (int d = taps.line + 1; plan.is_line() && d < 3; ++d) plan.inner *= p.out[d];
  plan.tiles = plan.rows.tiles() * plan.columns.tiles() * plan.inner;
  if (plan.taps() > 1) return;
  plan.tiles *= p.batch;
  for (int d = 0; d < (plan.is_line() ? taps.line : 1); ++d) plan.tiles *= p.out[d];
}

// Cuts the tiles of a plane into blocks of about `most`: all take the same number of steps on so
// many threads, each as many rows as it has, one a tile of rows for its stores, and some for the
// filters, which every block reads.
void set_blocks(int64_t planes_in_all, int64_t most, int64_t threads, int64_t tile_rows,
                WinogradPlan& plan) {
  constexpr int64_t kFilterRows = 4;
  const auto cost_of = [&](int64_t tiles) {
    const int64_t rows = tiles * plan.planes;
    return rows + ceil_div(rows, tile_rows) + kFilterRows;
  };
  // The lists of planes are made for whole tiles of rows.
  const int64_t unit = tile_rows / std::gcd(plan.planes, tile_rows);
  const int64_t limit = round_up(most, unit);
  int64_t best = 0;
  for (int64_t count = ceil_div(plan.tiles, limit); count <= ceil_div(plan.tiles, most) + threads;
       ++count) {
    const int64_t even = ceil_div(plan.tiles, count);
    for (const int64_t block : {even, round_up(even, unit)}) {
      if (plan.taps() > 1 && block != plan.tiles && block % unit != 0) continue;
      const int64_t blocks = planes_in_all * ceil_div(plan.tiles, block);
      const int64_t rounds = ceil_div(blocks, threads);
      const bool one_left = blocks == (rounds - 1) * threads + 1;
      const int64_t rest = plan.tiles - (ceil_div(plan.tiles, block) - 1) * block;
      const int64_t cost = (rounds - 1) * cost_of(block) + cost_of(one_left ? rest : block);
      if (best == 0 || cost < best) best = cost, plan.block = block;
    }
  }
  plan.tile_blocks = ceil_div(plan.tiles, plan.block);
  plan.blocks = planes_in_all * plan.tile_blocks;
}

}  // namespace

WinogradPlan plan_winograd(const ConvParams& p, int threads, int64_t tile_rows, WinogradForm form) {
  const bool panels = form == WinogradForm::kPanels;
  WinogradPlan plan;
  set_tiles(p, form, plan);
  int64_t images = 1;
  if (plan.taps() > 1) {
    plan.planes = ceil_div(p.out[0], std::max<int64_t>(1, ceil_div(p.out[0], kPlanes)));
    plan.in_planes =
        std::min(p.in[0], (plan.planes - 1) * p.stride[0] + (p.kernel[0] - 1) * p.dilation[0] + 1);
    images = p.batch;
  }
  const int64_t planes = std::max<int64_t>(1, plan.planes);
  const int64_t in_planes = plan.taps() > 1 ? plan.in_planes : 1;
  plan.column_blocks = ceil_div(p.out_channels, kColumns);
  const int64_t fitting =
      kBlockFloats / (plan.frequencies() * (plan.run * in_planes / planes + kColumns));
  const int64_t most = panels ? kTilesAtOnce : std::clamp<int64_t>(fitting, 24, 96) / planes;
  plan.plane_blocks = plan.taps() > 1 ? ceil_div(p.out[0], planes) : 1;
  // Threads take blocks of their own, unless filters would be read for so few rows that reading
  // them takes the time. Then all transform the inputs, which takes less than handing them over.
  plan.by_columns =
      threads > 1 && plan.column_blocks >= 2 * threads &&
      (panels || images * plan.tiles * (plan.taps() > 1 ? p.out[0] : 1) < kFewRows * threads);
  if (plan.tiles > 0)
    set_blocks(images * plan.plane_blocks, std::max<int64_t>(1, most),
               plan.by_columns ? 1 : threads, tile_rows, plan);
  // With taps in depth a row of zeros stands behind the others.
  plan.v_frequency =
      (plan.block * in_planes + (plan.taps() > 1 ? 1 : 0)) * plan.run + WinogradPlan::kLineFloats;
  plan.m_frequency = plan.block * planes * kColumns + WinogradPlan::kLineFloats;
  if (plan.taps() > 1) plan.pieces = plan.taps() * round_up(plan.block * planes, tile_rows);
  if (panels) plan.b_channels = std::min(kChannelsAtOnce, p.in_channels);
  return plan;
}

namespace {

struct Cycles {
  double direct = 0, here = 0;
};

// Two vectors of sixteen are multiplied in a cycle, while filters come from memory; and what the
// transforms take. `unit` channels of the filter are one of the input.
Cycles cycles_of(const ConvParams& p, int64_t unit, WinogradForm form) {
  constexpr double kBytesPerCycle = 7, kTransform = 180, kTransformOfLine = 45;
  constexpr double kLargeTransform = 330;
  const WinogradPlan plan = plan_winograd(p, 1, 12, form);
  const double in = static_cast<double>(p.in_channels) / 16;
  const double out = static_cast<double>(ceil_div(p.out_channels, kPanelColumns));
  const double planes = plan.taps() == 1 ? 1 : static_cast<double>(p.batch * p.out[0]);
  const double in_planes = plan.taps() == 1
                               ? 1
                               : planes * static_cast<double>(plan.in_planes) /
                                     static_cast<double>(std::max<int64_t>(1, plan.planes));
  const double tiles = static_cast<double>(plan.tiles);
  const double pixels = static_cast<double>(p.batch * p.out[0] * p.out[1] * p.out[2]);
  const double read = 16 * 16 * 4 / kBytesPerCycle;
  const double taps = static_cast<double>(p.kernel[0] * p.kernel[1] * p.kernel[2]);
  const double groups = static_cast<double>(plan.kernel.groups());
  const double products = static_cast<double>(plan.frequencies() * plan.taps()) * groups * in * out;
  const double transform = plan.is_line()                 ? kTransformOfLine
                           : form == WinogradForm::kLarge ? kLargeTransform
                                                          : kTransform;
  return {
      taps * in * out * std::max(8 * pixels, read),
      products * std::max(8 * tiles * planes, read) +
          transform * tiles * (static_cast<double>(unit) * groups * in * in_planes + out * planes)};
}

// Whatever the number of pixels.
const char* kernel_refusal(const ConvParams& p, int64_t unit) {
  if (p.groups != 1) return "the channels are grouped";
  const int line = winograd_taps(p).line;
  if (line < 0 && (p.kernel[0] < 1 || p.kernel[1] < 2 || p.kernel[2] < 2))
    return "the kernel has no two dims that are next to each other";
  for (int d = 0; d < 3; ++d) {
    if (line < 0 && d == 0 && p.kernel[0] > 1) continue;  // taps in depth may be any
    if (p.stride[d] != 1) return "strided";
    if (p.kernel[d] == 1 && (p.pad_begin[d] != 0 || p.in[d] != p.out[d]))
      return "the input is padded or cropped";
  }
  if (unit * p.in_channels < 2 * kPanelColumns || p.out_channels < kPanelColumns)
    return "few channels: the transforms would cost more than they save";
  return nullptr;
}

const char* pixels_refusal(const Cycles& cycles, bool is_line) {
  return cycles.here < (is_line ? 0.85 : 0.75) * cycles.direct
             ? nullptr
             : "too few pixels to pay for larger filters";
}

const char* refusal(const ConvParams& p, int64_t unit) {
  if (const char* const reason = kernel_refusal(p, unit)) return reason;
  return pixels_refusal(cycles_of(p, unit, WinogradForm::kKept), winograd_taps(p).line >= 0);
}

bool is_three_by_three(const ConvParams& p) {
  const WinogradTaps taps = winograd_taps(p);
  return taps.line < 0 && taps.depth == 1 && taps.height == 3 && taps.width == 3;
}

int64_t tiles_of(const ConvParams& p, WinogradForm form) {
  WinogradPlan plan;
  set_tiles(p, form, plan);
  return plan.tiles;
}

}  // namespace

const char* winograd_refusal(const ConvParams& p) {
  return refusal(p, 1);
}

const char* winograd_f6_refusal(const ConvParams& p) {
  // Filters of 64 values for 9 are made at load, and read for each block of tiles: small ones only,
  // and for several blocks.
  constexpr int64_t kMostFilterBytes = int64_t{9} << 20, kFewestTiles = 64;
  constexpr double kGain = 0.95;
  if (!is_three_by_three(p)) return "the kernel is not 3x3";
  if (const char* const reason = kernel_refusal(p, 1)) return reason;
  if (winograd_f6_filter_floats(p) * static_cast<int64_t>(sizeof(float)) > kMostFilterBytes)
    return "the transformed filter is large";
  if (tiles_of(p, WinogradForm::kLarge) < kFewestTiles) return "there are few tiles of six outputs";
  const Cycles small = cycles_of(p, 1, WinogradForm::kKept);
  if (const char* const reason = pixels_refusal(small, false)) return reason;
  return cycles_of(p, 1, WinogradForm::kLarge).here < kGain * small.here
             ? nullptr
             : "tiles of six outputs fit the map less well";
}

const char* winograd_pairs_refusal(const ConvParams& p) {
  if (p.in_channels % (kPanelColumns / 2) != 0) return "the channels are no whole vectors";
  return refusal(p, 2);
}

const char* winograd_panels_refusal(const ConvParams& p) {
  if (const char* const reason = refusal(p, 1)) return reason;
  if (!is_three_by_three(p)) return "the kernel is not 3x3";
  if (p.out_channels % kPanelColumns != 0) return "the channels are no whole vectors";
  if (winograd_filter_floats(p) * static_cast<int64_t>(sizeof(float)) < kLargeFilterBytes)
    return "the transformed filter is small enough to be kept";
  return tiles_of(p, WinogradForm::kPanels) <= kTilesAtOnce
             ? nullptr
             : "many pixels: the filter is better transformed once";
}

}  // namespace tenon::cpu
