#include "cost/cpu_cost.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "ops/conv.h"
#include "ops/matmul.h"
#include "ops/quantized_product.h"

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

double elements(const Value* v) {
  if (v == nullptr || !v->shape().ranked()) return 0;
  double n = 1;
  for (const Dim& d : v->shape().dims()) n *= static_cast<double>(d.size_or(1));
  return n;
}

double round_up(double v, double step) {
  return std::ceil(v / step) * step;
}

std::string dtype_kind(DType t) {
  return t == DType::i8 ? "u8" : std::string(dtype_name(t));
}

// A product as so many of [rows, terms] by [terms, columns].
struct Product {
  double rows = 0, columns = 0, terms = 0;
  double groups = 1, taps = 1;
  bool unit_stride = true;
};

template <typename T>
Product conv_product(const Node& node, const T& conv) {
  Product p;
  const Shape& w = node.input(1)->shape();
  const int rank = w.ranked() ? w.rank() : 0;
  if (rank < 3) return p;
  for (int i = 0; i + 2 < rank; ++i) p.taps *= static_cast<double>(w[i].size_or(1));
  p.groups = static_cast<double>(std::max<int64_t>(conv.groups, 1));
  p.terms = p.taps * static_cast<double>(w[rank - 2].size_or(1));
  p.columns = static_cast<double>(w[rank - 1].size_or(1)) / p.groups;
  p.rows = elements(node.output()) / std::max(p.columns * p.groups, 1.0);
  p.unit_stride = std::ranges::all_of(conv.strides, [](int64_t s) { return s == 1; });
  return p;
}

Product matmul_product(const Node& node, bool transposed) {
  Product p;
  const Shape& w = node.input(1)->shape();
  const int rank = w.ranked() ? w.rank() : 0;
  if (rank < 2) return p;
  p.columns = static_cast<double>(w[transposed ? rank - 2 : rank - 1].size_or(1));
  p.terms = static_cast<double>(w[transposed ? rank - 1 : rank - 2].size_or(1));
  p.rows = elements(node.output()) / std::max(p.columns, 1.0);
  return p;
}

std::string_view form_of(const Product& p) {
  constexpr double kFewRows = 4, kWideEnough = 16;
  if (p.groups > 1 && (p.columns != 1 || p.terms != p.taps)) return "grouped";
  if (p.groups > 1) return p.unit_stride ? "depthwise" : "depthwise_strided";
  if (p.rows <= kFewRows) return "rows";
  if (p.taps == 1) return "pointwise";
  return p.taps == 9 && p.unit_stride && p.terms >= kWideEnough * p.taps ? "three" : "spatial";
}

StepFeatures product_features(const Node& node, const Product& p) {
  constexpr double kLanes = 16, kTerms = 4;  // of the panels that weights are packed in
  const bool depthwise = p.groups > 1 && p.columns == 1;
  const double columns = depthwise ? 1 : round_up(p.columns, kLanes);
  const double groups = depthwise ? round_up(p.groups, kLanes) : p.groups;
  const double terms = depthwise ? p.terms : round_up(p.terms, kTerms);
  const auto channels = static_cast<int64_t>(depthwise ? p.groups : p.terms / p.taps);
  const bool ragged = channels % static_cast<int64_t>(depthwise ? kLanes : kTerms) != 0;
  const double gathered = p.rows * p.terms * p.groups;
  StepFeatures f;
  f.kind = fmt::format("{}.{}", dtype_kind(node.input(0)->dtype()), form_of(p));
  f.values = {1,
              p.rows * columns * terms * groups,
              p.rows * columns * groups,
              gathered,
              ragged ? gathered : 0,
              elements(node.input(0)),
              terms * columns * groups,
              node.output()->dtype() == DType::f32 ? elements(node.output()) : 0};
  return f;
}

bool is_costly(const Node& node) {
  constexpr std::string_view kCostly[] = {"sigmoid", "tanh", "exp",  "gelu",     "erf", "silu",
                                          "log",     "sqrt", "mish", "softplus", "pow", "elu"};
  return std::ranges::find(kCostly, node.def().name) != std::end(kCostly);
}

// Nodes of the regions, and how many of them are no simple arithmetic.
std::pair<double, double> work_of(const Node& node) {
  double all = 0, costly = 0;
  for (const auto& region : node.regions())
    for (const auto& inner : region->nodes()) {
      if (inner->is("const")) continue;
      ++all;
      costly += is_costly(*inner);
    }
  return node.regions().empty() ? std::pair(1.0, is_costly(node) ? 1.0 : 0.0)
                                : std::pair(all, costly);
}

const Coefficients* find(std::string_view level, std::string_view kind) {
  const auto* it = std::ranges::find_if(
      kCoefficients, [&](const Coefficients& c) { return c.level == level && c.kind == kind; });
  return it == std::end(kCoefficients) ? nullptr : it;
}

// What comes nearest where nothing of this kind was measured.
const Coefficients* nearest(std::string_view level, const std::string& kind) {
  if (const Coefficients* c = find(level, kind)) return c;
  const size_t dot = kind.find('.');
  const std::string dtype = kind.substr(0, dot), form = kind.substr(dot + 1);
  for (const std::string_view other : {form == "three" || form == "grouped" ? "spatial" : "other"})
    if (const Coefficients* c = find(level, fmt::format("{}.{}", dtype, other))) return c;
  return find(level, "f32.other");
}

}  // namespace

CpuLevel level_of(const CpuFeatures& f) {
  if (f.avx512_vnni) return f.amx_int8 ? CpuLevel::amx : CpuLevel::avx512_vnni;
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

StepFeatures features_of(const Node& node) {
  if (node.is("const") || node.def().has(kView) || node.output_count() == 0) return {};
  if (const auto* conv = node.as<Conv>()) return product_features(node, conv_product(node, *conv));
  if (const auto* conv = node.as<QuantizedConv>())
    return product_features(node, conv_product(node, *conv));
  if (const auto* matmul = node.as<Matmul>())
    return product_features(node, matmul_product(node, matmul->transpose_b));
  if (node.as<QuantizedMatmul>() != nullptr)
    return product_features(node, matmul_product(node, false));
  const Value* x = node.input(0);
  double read = 0;
  for (const Value* v : node.inputs()) read += v != nullptr && !v->constant() ? elements(v) : 0;
  const auto [work, costly] = work_of(node);
  const double written = elements(node.output());
  StepFeatures f;
  f.kind = fmt::format("{}.{}", x == nullptr ? "f32" : dtype_kind(x->dtype()), node.def().name);
  f.values = {1, read, written, work * written, costly * written, 0, 0, 0};
  return f;
}

double predicted_ns(const StepFeatures& features, CpuLevel level) {
  if (features.kind.empty()) return 0;
  // No machine with AMX was measured: its products do four times the work of VNNI per instruction,
  // and the rest is the same.
  constexpr double kTilesGain = 4;
  const bool tiles = level == CpuLevel::amx;
  const auto name = kCpuLevels[static_cast<size_t>(tiles ? CpuLevel::avx512_vnni : level)].name;
  const Coefficients* c = nearest(name, features.kind);
  double ns = 0;
  for (size_t i = 0; c != nullptr && i < kFeatures; ++i)
    ns += c->values[i] * features.values[i] *
          (tiles && i == 1 && features.kind.starts_with("u8.") ? 1 / kTilesGain : 1);
  return ns;
}

}  // namespace tenon::cost
