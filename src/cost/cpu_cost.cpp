#include "cost/cpu_cost.h"

#include <fmt/format.h>

#include <algorithm>

namespace tenon::cost {
namespace {

struct Coefficients {
  std::string_view level;
  std::string_view kind;
  std::array<double, kFeatures> values;
};
// Written by bench/precision_speed.py.
constexpr Coefficients kCoefficients[] = {
#include "cost/coefficients.inc"
};

const Coefficients* find(std::string_view level, std::string_view kind) {
  const auto* it = std::ranges::find_if(
      kCoefficients, [&](const Coefficients& c) { return c.level == level && c.kind == kind; });
  return it == std::end(kCoefficients) ? nullptr : it;
}

// The level by which a kind of step was measured: some differ in what others of them have, too.
std::string_view measured_as(CpuLevel level, std::string_view kind) {
  if (level == CpuLevel::avx512_vnni && kind.starts_with("bf16."))
    level = CpuLevel::avx512;
  else if (level == CpuLevel::avx512_vnni || level == CpuLevel::amx)
    level = CpuLevel::avx512_bf16;
  return kCpuLevels[static_cast<size_t>(level)].name;
}

// What comes nearest where nothing of this kind was measured.
const Coefficients* nearest(CpuLevel cpu, const std::string& kind) {
  const std::string_view level = measured_as(cpu, kind);
  if (const Coefficients* c = find(level, kind)) return c;
  const size_t dot = kind.find('.');
  const std::string dtype = kind.substr(0, dot), form = kind.substr(dot + 1);
  for (const std::string_view other :
       {form == "winograd" || form == "three" || form == "grouped" ? "spatial" : "other"})
    if (const Coefficients* c = find(level, fmt::format("{}.{}", dtype, other))) return c;
  return find(level, "f32.other");
}

double ns_of(const StepFeatures& features, CpuLevel level) {
  // No machine with AMX was measured: its products do four times the work per instruction, and the
  // rest is the same.
  constexpr double kTilesGain = 4;
  const bool tiles = level == CpuLevel::amx &&
                     (features.kind.starts_with("u8.") || features.kind.starts_with("bf16."));
  const Coefficients* c = nearest(level, features.kind);
  double ns = 0;
  for (size_t i = 0; c != nullptr && i < kFeatures; ++i)
    ns += c->values[i] * features.values[i] * (tiles && i == 1 ? 1 / kTilesGain : 1);
  return ns;
}

}  // namespace

CpuLevel level_of(const CpuFeatures& f) {
  if (f.avx512_vnni && f.amx_int8) return CpuLevel::amx;
  if (f.avx512_vnni) return f.avx512_bf16 ? CpuLevel::avx512_bf16 : CpuLevel::avx512_vnni;
  if (f.avx_vnni) return CpuLevel::avx_vnni;
  return f.avx512 ? CpuLevel::avx512 : CpuLevel::avx2;
}

Result<CpuLevel> parse_level(std::string_view name) {
  std::string names;
  for (size_t i = 0; i < kCpuLevels.size(); ++i) {
    if (kCpuLevels[i].name == name) return static_cast<CpuLevel>(i);
    names += (i == 0 ? "" : ", ") + std::string(kCpuLevels[i].name);
  }
  return invalid_argument(fmt::format("there is no CPU '{}'; there are: {}", name, names));
}

double predicted_ns(const StepFeatures& features, CpuLevel level) {
  if (features.kind.empty()) return 0;
  const double ns = ns_of(features, level);
  constexpr std::string_view kPairs = "bf16.";
  const bool has_pairs = level == CpuLevel::avx512_bf16 || level == CpuLevel::amx;
  if (!has_pairs || !features.kind.starts_with(kPairs)) return ns;
  // The kernels of pairs are those of floats with half the instructions: where few layers of a
  // form were measured, what is predicted of the more there are of floats is the limit.
  StepFeatures floats = features;
  floats.kind = "f32." + features.kind.substr(kPairs.size());
  return std::min(ns, ns_of(floats, level));
}

}  // namespace tenon::cost
