// Products with weights of few bits dealt to threads: few rows multiply them as they are, many rows
// widen them into panels of floats first.
#include "device/cpu/kernels/nbits.h"

#include <algorithm>
#include <cstring>

#include "base/cpu_features.h"
#include "base/numbers.h"
#include "device/cpu/kernels/gemm_region.h"
#include "device/cpu/kernels/pack.h"
#include "device/cpu/kernels/slots.h"

namespace tenon::cpu {
namespace avx2 {
void nbits_block(const NbitsBlock& block);
}
namespace avx512 {
void nbits_block(const NbitsBlock& block);
}

namespace {

constexpr int64_t kPanel = kPanelColumns;
constexpr int64_t kScaleBytes = kPanel * static_cast<int64_t>(sizeof(float));
// From so many rows on, widening a panel costs less than it saves.
constexpr int64_t kManyRows = 12;
// Floats of widened panels that stay in L2.
constexpr int64_t kWideFloats = 64 << 10;

int64_t panels_of(const NbitsParams& p) {
  return ceil_div(p.n, kPanel);
}
int64_t group_rows(const NbitsParams& p) {
  return p.k / p.groups;
}
int64_t group_bytes(const NbitsParams& p) {
  return kScaleBytes + group_rows(p) * p.bits / 8 * kPanel;
}
int64_t panel_bytes(const NbitsParams& p) {
  return p.groups * group_bytes(p);
}

struct Plan {
  bool widens = false;
  int64_t panels_per_task = 0;
  int64_t tasks = 0;
  int64_t slot_floats = 0;
};

Plan plan_of(const NbitsParams& p, int threads) {
  Plan plan;
  plan.widens = p.m >= kManyRows;
  const int64_t panels = panels_of(p);
  const int64_t most = plan.widens ? kWideFloats / std::max<int64_t>(1, p.k * kPanel) : 32;
  const int64_t share = threads == 1 ? most : ceil_div(panels, 4 * threads);
  // Whole tiles of the kernels.
  plan.panels_per_task = ceil_div(std::clamp<int64_t>(std::min(share, most), 1, 1024), 4) * 4;
  plan.tasks = ceil_div(panels, plan.panels_per_task);
  const int64_t columns = plan.panels_per_task * kPanel;
  plan.slot_floats = plan.widens ? p.k * columns : kNbitsRows * columns;
  return plan;
}

// The panels as pack_b() would have them of floats.
void widen_panel(const NbitsParams& p, const uint8_t* b, float* out) {
  const int64_t rows = group_rows(p);
  for (int64_t g = 0; g < p.groups; ++g) {
    float scale[kPanel];
    std::memcpy(scale, b, sizeof scale);
    b += kScaleBytes;
    if (p.bits == 8) {
      for (int64_t i = 0; i < rows; ++i, b += kPanel, out += kPanel)
        for (int64_t j = 0; j < kPanel; ++j)
          out[j] = static_cast<float>(static_cast<int8_t>(b[j])) * scale[j];
      continue;
    }
    for (int64_t i = 0; i < rows; i += 2, b += kPanel, out += 2 * kPanel)
      for (int64_t j = 0; j < kPanel; ++j) {
        out[j] = static_cast<float>((b[j] & 15) - 8) * scale[j];
        out[kPanel + j] = static_cast<float>((b[j] >> 4) - 8) * scale[j];
      }
  }
}

void multiply_widened(const NbitsParams& p, int64_t panel, int64_t panels, float* wide,
                      const KernelTable& table) {
  const auto* b = static_cast<const uint8_t*>(p.b);
  for (int64_t i = 0; i < panels; ++i)
    widen_panel(p, b + (panel + i) * panel_bytes(p), wide + i * p.k * kPanel);
  const int64_t column = panel * kPanel;
  GemmRegion region;
  region.m = p.m;
  region.n = std::min(panels * kPanel, p.n - column);
  region.k = p.k;
  region.a = p.a;
  region.lda = p.k;
  region.b = wide;
  region.b_panel_stride = p.k * kPanel;
  region.c = p.c + column;
  region.ldc = region.ld_residual = p.n;
  region.bias = p.bias != nullptr ? p.bias + column : nullptr;
  region.residual = p.residual != nullptr ? p.residual + column : nullptr;
  region.activation = p.activation;
  gemm_region(region, table);
}

void multiply_rows(const NbitsParams& p, int64_t panel, int64_t panels, float* sums,
                   NbitsFunction function, const KernelTable& table) {
  NbitsBlock block;
  block.panels = panels;
  block.panel_bytes = panel_bytes(p);
  block.groups = p.groups;
  block.group_rows = group_rows(p);
  block.bits = p.bits;
  block.lda = p.k;
  block.b = static_cast<const uint8_t*>(p.b) + panel * block.panel_bytes;
  block.sums = sums;
  block.ld = panels * kPanel;
  const int64_t column = panel * kPanel, columns = std::min(block.ld, p.n - column);
  for (int64_t row = 0; row < p.m; row += kNbitsRows) {
    block.m = std::min(kNbitsRows, p.m - row);
    block.a = p.a + row * p.k;
    function(block);
    for (int64_t r = 0; r < block.m; ++r) {
      float* x = sums + r * block.ld;
      float* y = p.c + (row + r) * p.n + column;
      const float* residual =
          p.residual != nullptr ? p.residual + (row + r) * p.n + column : nullptr;
      if (p.bias != nullptr)
        for (int64_t j = 0; j < columns; ++j) x[j] += p.bias[column + j];
      if (residual != nullptr)
        for (int64_t j = 0; j < columns; ++j) x[j] += residual[j];
      if (p.activation.kind == ActivationKind::kNone)
        std::copy_n(x, columns, y);
      else
        table.activate(p.activation, x, y, static_cast<size_t>(columns));
    }
  }
}

}  // namespace

NbitsFunction nbits_function() {
  return cpu_features().avx512 ? avx512::nbits_block : avx2::nbits_block;
}

int64_t packed_nbits_floats(const NbitsParams& p) {
  return panels_of(p) * panel_bytes(p) / static_cast<int64_t>(sizeof(float));
}

void pack_nbits(const NbitsParams& p, const void* b, const float* scale, void* packed) {
  const auto* src = static_cast<const uint8_t*>(b);
  auto* to = static_cast<uint8_t*>(packed);
  const int64_t rows = group_rows(p) * p.bits / 8;  // of bytes
  // Columns past n: zeros, which is 8 where 8 is subtracted.
  const uint8_t zero = p.bits == 8 ? 0 : 0x88;
  for (int64_t j = 0; j < p.n; j += kPanel) {
    const int64_t columns = std::min(kPanel, p.n - j);
    for (int64_t g = 0; g < p.groups; ++g) {
      std::memset(to, 0, static_cast<size_t>(kScaleBytes));
      std::memcpy(to, scale + g * p.n + j, static_cast<size_t>(columns) * sizeof(float));
      to += kScaleBytes;
      for (int64_t i = g * rows; i < (g + 1) * rows; ++i, to += kPanel) {
        std::memset(to, zero, static_cast<size_t>(kPanel));
        std::memcpy(to, src + i * p.n + j, static_cast<size_t>(columns));
      }
    }
  }
}

int64_t nbits_scratch_bytes(const NbitsParams& p, int threads) {
  return slots_bytes(plan_of(p, threads).slot_floats, threads);
}

void nbits_gemm(const NbitsParams& p, ThreadPool& pool, void* scratch, NbitsFunction block,
                const KernelTable& table) {
  if (p.m <= 0 || p.n <= 0) return;
  const Plan plan = plan_of(p, pool.threads());
  parallel_with_slots(pool, plan.tasks, [&](int64_t task, int64_t slot) {
    const int64_t panel = task * plan.panels_per_task;
    const int64_t panels = std::min(plan.panels_per_task, panels_of(p) - panel);
    float* const own = slot_floats(scratch, slot, plan.slot_floats);
    if (plan.widens)
      multiply_widened(p, panel, panels, own, table);
    else
      multiply_rows(p, panel, panels, own, block, table);
  });
}

}  // namespace tenon::cpu
