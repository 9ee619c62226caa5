// Convolutions as products of pixels by filters, without copying windows out of the input: the rows
// of the left side are lists of pointers to the pieces of a window.
#include "device/cpu/kernels/conv.h"

#include <algorithm>
#include <iterator>
#include <vector>

#include "device/cpu/kernels/conv_lists.h"
#include "device/cpu/kernels/conv_pieces.h"
#include "device/cpu/kernels/conv_shift.h"
#include "device/cpu/kernels/conv_strip.h"
#include "device/cpu/kernels/depthwise.h"
#include "device/cpu/kernels/gemm.h"
#include "device/cpu/kernels/gemm_region.h"
#include "device/cpu/kernels/grouped.h"
#include "device/cpu/kernels/pack.h"
#include "device/cpu/kernels/pairs.h"
#include "device/cpu/kernels/slots.h"
#include "device/cpu/kernels/strassen.h"
#include "device/cpu/kernels/windows.h"
#include "device/cpu/kernels/winograd.h"

namespace tenon::cpu {
namespace {

// Floats of input that stay in L2 beside a panel of the filter.
constexpr int64_t kMaxInputFloats = 96 << 10;

int64_t group_in(const ConvParams& p) {
  return p.in_channels / p.groups;
}
int64_t group_out(const ConvParams& p) {
  return p.out_channels / p.groups;
}

int64_t panel_floats(const ConvParams& p) {
  return packed_conv_filter_floats(volume(p.kernel), group_in(p), p.out_channels, p.groups);
}
void pack_panels(const ConvParams& p, const float* filter, float* packed) {
  pack_conv_filter(volume(p.kernel), group_in(p), p.out_channels, p.groups, filter, packed);
}
void pack_panel_pairs(const ConvParams& p, const BFloat16* filter, float* packed) {
  pack_conv_pairs(volume(p.kernel), 2 * group_in(p), p.out_channels, p.groups, filter, packed);
}

// --- 1x1: a plain product.

const char* pointwise_refusal(const ConvParams& p) {
  if (p.groups != 1) return "the channels are grouped";
  for (int d = 0; d < 3; ++d) {
    if (p.kernel[d] != 1) return "the kernel is larger than 1x1";
    if (p.stride[d] != 1 && p.out[d] > 1) return "the stride is not 1";
    if (p.pad_begin[d] != 0 || p.in[d] != p.out[d]) return "the input is padded or cropped";
  }
  return nullptr;
}
GemmParams product_of(const ConvParams& p) {
  GemmParams g;
  g.m = output_pixels(p);
  g.n = p.out_channels;
  g.k = p.in_channels;
  g.a = p.x;
  g.lda = p.x_pixel_stride;
  g.b = p.filter;
  g.c = p.y;
  g.ldc = p.y_pixel_stride;
  g.bias = p.bias;
  g.residual = p.residual;
  g.ld_residual = p.residual_pixel_stride;
  g.activation = p.activation;
  g.narrow_c = p.narrow_y;
  g.narrow_residual = p.narrow_residual;
  return g;
}
int64_t pointwise_scratch_bytes(const ConvParams& p, int threads, const KernelTable& table) {
  return gemm_scratch_bytes(product_of(p), threads, table);
}
void run_pointwise(const ConvParams& p, ThreadPool& pool, void* scratch, const KernelTable& table) {
  gemm(product_of(p), pool, scratch, table);
}

const char* pointwise_strassen_refusal(const ConvParams& p) {
  const char* const reason = pointwise_refusal(p);
  return reason != nullptr ? reason : strassen_refusal(product_of(p));
}
int64_t pointwise_strassen_scratch_bytes(const ConvParams& p, int threads, const KernelTable&) {
  return strassen_scratch_bytes(product_of(p), threads);
}
void run_pointwise_strassen(const ConvParams& p, ThreadPool& pool, void* scratch,
                            const KernelTable& table) {
  strassen_gemm(product_of(p), pool, scratch, table);
}

// --- Windows by pieces, listed where they lie.

// A task computes a block of pixels for a few groups, which share the lists of pieces.
struct IndirectPlan {
  GemmGrid grid;
  int64_t groups = 1;  // of a task
  PieceListPlan lists;
  int64_t list_floats = 0;
  int64_t sums = 0;
  int64_t slot_floats() const { return list_floats + sums; }
};

IndirectPlan plan_indirect(const ConvParams& p, int threads, const KernelTable& table) {
  const int64_t taps = std::max<int64_t>(1, volume(p.kernel));
  const int64_t run = std::max<int64_t>(1, group_in(p));
  IndirectPlan plan;
  const bool by_groups = threads > 1 && p.groups >= 4 * threads;
  plan.groups = by_groups ? ceil_div(p.groups, 2 * threads) : p.groups;
  plan.grid =
      choose_gemm_grid(output_pixels(p), group_out(p), taps * run, by_groups ? 1 : threads, table);
  int64_t fresh = 1;  // input pixels an output pixel needs that its neighbour does not
  for (int d = 0; d < 3; ++d) fresh *= std::min(p.stride[d], p.kernel[d]);
  const int64_t most = std::min(kMaxInputFloats / (plan.groups * run * std::max<int64_t>(1, fresh)),
                                kMaxPieces / taps);
  const int64_t tiles = ceil_div(std::max<int64_t>(1, plan.grid.row_block), table.tile_rows);
  const int64_t max_tiles = std::max<int64_t>(96 / table.tile_rows, most / table.tile_rows);
  const int64_t rows = ceil_div(tiles, ceil_div(tiles, max_tiles)) * table.tile_rows;
  plan.lists = plan_piece_lists(p, rows, table);
  plan.list_floats = plan.lists.bytes(p) / 4;
  plan.sums = piece_sums(p, rows, plan.grid.column_block, taps, run);
  return plan;
}

const char* indirect_refusal(const ConvParams&) {
  return nullptr;
}
int64_t indirect_scratch_bytes(const ConvParams& p, int threads, const KernelTable& table) {
  return round_to_lines(p.in_channels * 4) +
         slots_bytes(plan_indirect(p, threads, table).slot_floats(), threads);
}
void run_indirect(const ConvParams& p, ThreadPool& pool, void* scratch, const KernelTable& table) {
  const int64_t pixels = output_pixels(p), columns = group_out(p), run = group_in(p);
  if (pixels <= 0 || p.out_channels <= 0) return;
  const IndirectPlan plan = plan_indirect(p, pool.threads(), table);
  float* const zero = static_cast<float*>(scratch);
  std::fill_n(zero, p.in_channels, 0.0f);
  char* const slots = static_cast<char*>(scratch) + round_to_lines(p.in_channels * 4);
  const int64_t filter_floats = panel_floats(p) / p.groups;
  const int64_t group_tasks = plan.grid.tasks();
  parallel_with_slots(
      pool, ceil_div(p.groups, plan.groups) * group_tasks, [&](int64_t task, int64_t slot) {
        const int64_t first_group = task / group_tasks * plan.groups, block = task % group_tasks;
        const int64_t end_group = std::min(p.groups, first_group + plan.groups);
        const int64_t column = block % plan.grid.column_blocks * plan.grid.column_block;
        const int64_t begin = block / plan.grid.column_blocks * plan.grid.row_block;
        const int64_t end = std::min(pixels, begin + plan.grid.row_block);
        float* const own = slot_floats(slots, slot, plan.slot_floats());
        PieceProduct product;
        product.taps = volume(p.kernel);
        product.run = run;
        product.n = std::min(plan.grid.column_block, columns - column);
        product.sums = own + plan.slot_floats() - plan.sums;
        for (int64_t pixel = begin; pixel < end; pixel += plan.lists.rows) {
          product.pixel = pixel;
          product.m = std::min(plan.lists.rows, end - pixel);
          product.lists = list_pieces(p, plan.lists, pixel, pixel + product.m, zero, own);
          for (int64_t group = first_group; group < end_group; ++group) {
            product.offset = group * run;
            product.channel = group * columns + column;
            product.filter = p.filter + group * filter_floats + column * product.taps * run;
            multiply_pieces(p, product, table);
          }
        }
      });
}

// --- Narrow groups: several of them as one of block-diagonal filters, which costs no more
// multiplications of vectors than a vector per group. What is not finite in one group spreads to
// those merged with it.

int64_t merged_groups(const ConvParams& p) {
  const int64_t out = std::max<int64_t>(1, group_out(p));
  for (int64_t count = std::min(p.groups, kPanelColumns / out); count > 1; --count)
    if (p.groups % count == 0) return count;
  return 1;
}
ConvParams merged(const ConvParams& p) {
  ConvParams q = p;
  q.groups = p.groups / merged_groups(p);
  return q;
}
const char* merged_refusal(const ConvParams& p) {
  if (p.groups == 1) return "the channels are not grouped";
  return merged_groups(p) == 1 ? "a group fills a vector" : nullptr;
}
int64_t merged_floats(const ConvParams& p) {
  return panel_floats(merged(p));
}
void pack_merged(const ConvParams& p, const float* filter, float* packed) {
  const ConvParams q = merged(p);
  const int64_t in = group_in(p), out = group_out(p), count = merged_groups(p);
  std::vector<float> blocks(static_cast<size_t>(volume(p.kernel) * group_in(q) * p.out_channels));
  float* to = blocks.data();
  for (int64_t tap = 0; tap < volume(p.kernel); ++tap)
    for (int64_t i = 0; i < group_in(q); ++i)
      for (int64_t o = 0; o < p.out_channels; ++o, ++to)
        if (o / out % count == i / in) *to = filter[(tap * in + i % in) * p.out_channels + o];
  pack_panels(q, blocks.data(), packed);
}
int64_t merged_scratch_bytes(const ConvParams& p, int threads, const KernelTable& table) {
  return indirect_scratch_bytes(merged(p), threads, table);
}
void run_merged(const ConvParams& p, ThreadPool& pool, void* scratch, const KernelTable& table) {
  run_indirect(merged(p), pool, scratch, table);
}

// --- Groups by themselves.

int64_t no_scratch_bytes(const ConvParams&, int, const KernelTable&) {
  return 0;
}
// Of sixteen channels the products are as fast where that is two vectors.
void run_wide_groups(const ConvParams& p, ThreadPool& pool, void* scratch,
                     const KernelTable& table) {
  if (table.lanes == kPanelColumns)
    run_grouped(p, pool, scratch, table);
  else
    run_indirect(p, pool, scratch, table);
}

// With what the transforms and sums take.
constexpr double kWinogradShare = 0.45, kStrassenShare = 0.94;
constexpr ConvMethod kMethods[kConvMethods] = {
    {ConvMethodId::kDepthwise, "depthwise", "depthwise", depthwise_refusal, depthwise_filter_floats,
     pack_depthwise, depthwise_scratch_bytes, run_depthwise, ChainRole::kDepthwise, 1,
     pack_depthwise_of_pairs, true},
    {ConvMethodId::kStrassen, "gemm_strassen", "panels", pointwise_strassen_refusal, panel_floats,
     pack_panels, pointwise_strassen_scratch_bytes, run_pointwise_strassen, ChainRole::kPointwise,
     kStrassenShare},
    {ConvMethodId::kPointwise, "gemm", "panels", pointwise_refusal, panel_floats, pack_panels,
     pointwise_scratch_bytes, run_pointwise, ChainRole::kPointwise, 1, pack_panel_pairs, true},
    {ConvMethodId::kWinogradPanels, "winograd_panels", "panels", winograd_panels_refusal,
     panel_floats, pack_panels, winograd_panels_scratch_bytes, run_winograd_panels,
     ChainRole::kNone, kWinogradShare, nullptr, false, true},
    {ConvMethodId::kWinogradF6, "winograd_f6", "winograd_f6", winograd_f6_refusal,
     winograd_f6_filter_floats, pack_winograd_f6, winograd_f6_scratch_bytes, run_winograd_f6,
     ChainRole::kNone, kWinogradShare, nullptr, false, true},
    {ConvMethodId::kWinograd, "winograd", "winograd", winograd_refusal, winograd_filter_floats,
     pack_winograd, winograd_scratch_bytes, run_winograd, ChainRole::kNone, kWinogradShare, nullptr,
     true, true},
    {ConvMethodId::kShift, "gemm_shift", "shifted", shift_refusal, shift_filter_floats, pack_shift,
     shift_scratch_bytes, run_shift, ChainRole::kNone, 1, pack_shift_pairs},
    {ConvMethodId::kStrip, "gemm_strip", "panels", strip_refusal, strip_filter_floats, pack_strip,
     strip_scratch_bytes, run_strip, ChainRole::kNone, 1, pack_strip_pairs, true},
    {ConvMethodId::kGrouped, "grouped", "grouped", grouped_refusal, grouped_filter_floats,
     pack_grouped, no_scratch_bytes, run_grouped},
    {ConvMethodId::kGroupedWide, "grouped_wide", "panels", grouped_wide_refusal, panel_floats,
     pack_panels, indirect_scratch_bytes, run_wide_groups},
    {ConvMethodId::kMerged, "gemm_merged", "merged_panels", merged_refusal, merged_floats,
     pack_merged, merged_scratch_bytes, run_merged},
    {ConvMethodId::kIndirect, "gemm_indirect", "panels", indirect_refusal, panel_floats,
     pack_panels, indirect_scratch_bytes, run_indirect, ChainRole::kNone, 1, pack_panel_pairs,
     true},
};
constexpr bool are_in_order() {
  for (size_t i = 0; i < kConvMethods; ++i)
    if (kMethods[i].id != static_cast<ConvMethodId>(i)) return false;
  return true;
}
static_assert(are_in_order());

}  // namespace

std::span<const ConvMethod, kConvMethods> conv_methods() {
  return kMethods;
}

}  // namespace tenon::cpu
