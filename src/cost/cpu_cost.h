// How long the steps of a graph take on a CPU: a linear model of a few features of each step,
// fitted to measurements by bench/precision_speed.py. Says which of two precisions is faster; no
// prediction of a latency to the last per cent.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>

#include "base/cpu_features.h"
#include "ir/graph.h"

namespace tenon::cost {

// What the kernels of a CPU are chosen by, in the order of kCpuLevels.
enum class CpuLevel : uint8_t { avx2, avx_vnni, avx512, avx512_vnni, avx512_bf16, amx };
struct CpuLevelInfo {
  std::string_view name;
  std::string_view doc;
};
inline constexpr std::array<CpuLevelInfo, 6> kCpuLevels{{
    {"avx2", "AVX2"},
    {"avx-vnni", "AVX2 with AVX-VNNI"},
    {"avx512", "AVX-512 without VNNI"},
    {"avx512-vnni", "AVX-512 with VNNI"},
    {"avx512-bf16", "AVX-512 with VNNI and BF16"},
    {"amx", "AVX-512 with VNNI, BF16 and AMX"},
}};
CpuLevel level_of(const CpuFeatures& features);
// Error: invalid_argument listing the levels.
Result<CpuLevel> parse_level(std::string_view name);

// What the time of a step depends on. The kind names the coefficients: of a product its dtype and
// its form, of others the op and the dtype it reads.
constexpr size_t kFeatures = 18;
struct StepFeatures {
  std::string kind;  // empty: takes no time
  std::array<double, kFeatures> values{};
};
// Of a node whose types are known; dimensions that are not count as 1. `model_bytes`: constants of
// the whole model, which decide what of its own a step finds in the caches.
StepFeatures features_of(const Node& node, double model_bytes = 0);
double constant_bytes(const Graph& graph);

// Nanoseconds on one thread.
double predicted_ns(const StepFeatures& features, CpuLevel level);

}  // namespace tenon::cost
