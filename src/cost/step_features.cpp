#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "cost/cpu_cost.h"
#include "cost/product.h"
#include "ops/cast.h"
#include "ops/conv.h"
#include "ops/conv_transpose.h"
#include "ops/matmul.h"
#include "ops/matmul_nbits.h"
#include "ops/recurrent.h"

namespace tenon::cost {
namespace {

double bytes_of(const Value* v) {
  return v == nullptr ? 0 : elements(v) * static_cast<double>(dtype_size(v->dtype()));
}

// Bytes that a step reads and writes, as far as they are more than a core's own caches hold and
// than what comes in while it multiplies.
double beyond_cache(const Node& node, double multiplications = 0) {
  constexpr double kCache = 1 << 20, kWhileOne = 0.3;
  double bytes = 0;
  const auto add = [&](const Value* v) {
    if (v != nullptr && !v->type().is_list) bytes += bytes_of(v);
  };
  for (const Value* v : node.inputs()) add(v);
  for (int i = 0; i < node.output_count(); ++i) add(node.output(i));
  return std::max(0.0, bytes - kCache - kWhileOne * multiplications);
}

// What of a product's weights comes from memory in every run: of a model that is larger than the
// caches all of them, whoever used them last.
double cold_bytes(double weights, double model_bytes) {
  constexpr double kWarm = 2 << 20, kCold = 8 << 20;
  return weights * std::clamp((model_bytes - kWarm) / (kCold - kWarm), 0.0, 1.0);
}

// As far as that takes longer than the multiplications.
double beyond_products(double cold, double multiplications, DType dtype) {
  constexpr double kWhileOne = 0.018;
  return std::max(0.0, cold - kWhileOne * static_cast<double>(dtype_size(dtype)) * multiplications);
}

std::string dtype_kind(DType t) {
  return t == DType::i8 ? "u8" : std::string(dtype_name(t));
}

// Results that an activation is computed of which is no simple arithmetic.
double costly_results(const Node& node) {
  ActivationKind kind = ActivationKind::none;
  if (const auto* conv = node.as<Conv>()) kind = conv->activation;
  if (const auto* conv = node.as<ConvTranspose>()) kind = conv->activation;
  if (const auto* matmul = node.as<Matmul>()) kind = matmul->activation;
  const bool is_simple = kind <= ActivationKind::leaky_relu || kind == ActivationKind::hard_swish ||
                         kind == ActivationKind::hard_sigmoid;
  return is_simple ? 0 : elements(node.output());
}

constexpr double kFewRows = 4;
std::string_view form_of(const Product& p, DType dtype) {
  if (p.groups > 1 && (p.columns != 1 || p.terms != p.taps)) return "grouped";
  if (p.groups > 1 && p.height * p.width == 1) return "average";
  if (p.groups > 1) return p.unit_stride ? "depthwise" : "depthwise_strided";
  if (p.rows <= kFewRows) return "rows";
  if (p.taps == 1) return "pointwise";
  constexpr double kWideEnough = 16;
  if ((dtype == DType::u8 || dtype == DType::i8) && p.taps == 9 && p.unit_stride &&
      p.terms >= kWideEnough * p.taps)
    return "three";
  return takes_winograd(p, dtype) ? "winograd" : "spatial";
}

// Multiplications at every frequency, transforms of both ends, and filters that are larger.
std::array<double, kFeatures> winograd_features(const Node& node, const Product& p,
                                                double model_bytes) {
  constexpr double kLanes = 16;
  const DType dtype = node.input(0)->dtype();
  const Tiling t = tiling_of(p, dtype);
  const double in = t.groups * p.terms / p.taps, out = round_up(p.columns, kLanes);
  const double tiles = t.tiles * t.transform() / Tiling().transform();
  const double products = t.frequencies() * t.tiles * in * out;
  const double filters = t.frequencies() * in * out;
  const double cold = cold_bytes(filters * static_cast<double>(dtype_size(dtype)), model_bytes);
  return {1,
          products,
          tiles * out,
          tiles * in,
          0,
          0,
          filters,
          0,
          0,
          costly_results(node),
          beyond_products(cold, products, dtype),
          bytes_of(node.input(3)),
          cold,
          0,
          0};
}

// Whether rows begin in the same sets of the nearest cache, so that several of them evict one
// another: the lines of an image that a window spans, or the pixels that a convolution of one tap
// picks by its stride; rows of other products are copied where they would.
constexpr double kPage = 4096;
bool rows_collide(const Node& node, bool depthwise, double stride) {
  const Shape& x = node.input(0)->shape();
  if (!x.ranked() || x.rank() < (depthwise ? 4 : 2)) return false;
  double bytes = static_cast<double>(dtype_size(node.input(0)->dtype()));
  for (int i = depthwise ? x.rank() - 2 : x.rank() - 1; i < x.rank(); ++i)
    bytes *= static_cast<double>(x[i].size_or(1));
  if (!depthwise) bytes *= stride;
  return std::fmod(bytes, kPage) == 0;
}

bool results_collide(const Node& node) {
  const Shape& y = node.output()->shape();
  if (!y.ranked() || y.rank() < 2) return false;
  const double bytes = static_cast<double>(dtype_size(node.output()->dtype()));
  return std::fmod(bytes * static_cast<double>(y[y.rank() - 1].size_or(1)), kPage) == 0;
}

// Products of pairs of rows of a depthwise window, as the kernels for bf16 take them.
double products_of_rows(const Product& p) {
  return p.rows * p.groups * p.kernel_width * (std::floor(p.kernel_height / 2) + 1);
}

StepFeatures product_features(const Node& node, const Product& p, double model_bytes) {
  constexpr double kLanes = 16, kTerms = 4;            // of the panels that weights are packed in
  constexpr double kTileRows = 12, kTileColumns = 32;  // that registers hold
  const bool depthwise = p.groups > 1 && p.columns == 1;
  // Numbers of f32 are multiplied by halves of vectors, too.
  const DType dtype = node.input(0)->dtype();
  const double lanes = dtype == DType::f32 && p.rows > kFewRows ? kLanes / 2 : kLanes;
  const double columns = depthwise ? 1 : round_up(p.columns, lanes);
  const double groups = depthwise ? round_up(p.groups, kLanes) : p.groups;
  const double terms = depthwise ? p.terms : round_up(p.terms, kTerms);
  const auto channels = static_cast<int64_t>(depthwise ? p.groups : p.terms / p.taps);
  const bool ragged = channels % static_cast<int64_t>(depthwise ? kLanes : kTerms) != 0;
  const double gathered = p.rows * p.terms * p.groups;
  StepFeatures f;
  const std::string_view form = form_of(p, dtype);
  f.kind = fmt::format("{}.{}", dtype_kind(dtype), form);
  if (form == "winograd") {
    f.values = winograd_features(node, p, model_bytes);
    return f;
  }
  const double products = p.rows * columns * terms * groups * (depthwise ? 1 : p.inside);
  const double cold = cold_bytes(bytes_of(node.input(1)), model_bytes);
  f.values = {1,
              products,
              p.rows * columns * groups,
              gathered,
              ragged ? gathered : 0,
              elements(node.input(0)),
              terms * columns * groups,
              node.output()->dtype() == DType::f32 ? elements(node.output()) : 0,
              beyond_cache(node, products),
              costly_results(node),
              beyond_products(cold, products, dtype),
              bytes_of(node.input(3)),
              cold,
              std::ceil(p.rows / kTileRows) * terms * columns * groups * p.inside,
              p.rows * terms * (round_up(p.columns, kTileColumns) - columns) * groups};
  // Rows are read again for every tap of a window, or every tile of columns.
  const bool by_window = form.starts_with("depthwise");
  if ((by_window || (form == "pointwise" && !p.unit_stride)) &&
      rows_collide(node, by_window, p.stride))
    f.values[15] = by_window ? gathered : p.rows * p.terms * std::ceil(p.columns / kTileColumns);
  // So are rows of results, of which what is added to them is read.
  if (node.input(3) != nullptr && results_collide(node)) f.values[17] = bytes_of(node.input(3));
  if (by_window && dtype == DType::bf16) f.values[16] = products_of_rows(p);
  return f;
}

// Of a layer of bytes whether it multiplies two of them for each number.
bool takes_two_bytes(const Node& node) {
  if (const auto* lstm = node.as<Lstm>()) return lstm->two_bytes;
  if (const auto* gru = node.as<Gru>()) return gru->two_bytes;
  const auto* rnn = node.as<Rnn>();
  return rnn != nullptr && rnn->two_bytes;
}

// All gates at all times: by the inputs in one product, by the state in one for each time, for
// which weights beyond the nearer caches come again.
StepFeatures recurrent_features(const Node& node) {
  const Value *x = node.input(0), *state = node.input(2);
  const int rank = x->shape().ranked() ? x->shape().rank() : 0;
  if (rank == 0 || !state->shape().ranked()) return {};
  const auto size = [](const Dim& d) { return static_cast<double>(d.size_or(1)); };
  const double terms = size(x->shape()[rank - 1]), rows = elements(x) / std::max(terms, 1.0);
  const double gates = size(state->shape()[state->shape().rank() - 1]);
  const double weights = elements(node.input(1)) + elements(state);
  StepFeatures f;
  f.kind = state->dtype() == DType::i8 ? "u8.recurrent" : "f32.recurrent";
  constexpr double kCache = 1 << 20, kTwoBytes = 1.9;
  const double element = static_cast<double>(dtype_size(state->dtype()));
  const double far = std::max(0.0, weights * element - kCache) / element;
  f.values = {1, rows * weights, rows * gates, rows, rows * far, elements(x), weights};
  if (takes_two_bytes(node))
    for (double& v : f.values) v *= kTwoBytes;
  return f;
}

// A factor for each channel of what a convolution of one tap multiplies: it goes into the weights,
// or into the rows where those are fewer, as the kernel decides it itself. None of other nodes.
std::optional<StepFeatures> scale_features(const Node& node) {
  constexpr double kLanes = 16;
  const Value* y = node.output();
  if (!node.is("mul") || y->dtype() != DType::f32 || y->uses().size() != 1) return std::nullopt;
  const Node* user = y->uses().front().user;
  if (user == nullptr || user->as<Conv>() == nullptr || user->input(0) != y) return std::nullopt;
  const Product p = *product_of(*user);
  const double scales = p.batch * p.terms;
  if (p.taps != 1 || p.groups != 1 || !p.unit_stride || elements(y) <= scales ||
      (elements(node.input(0)) != scales && elements(node.input(1)) != scales))
    return std::nullopt;
  const double columns = round_up(p.columns, kLanes);
  StepFeatures f{"f32.scale", {1}};
  if (3 * columns <= 2 * p.height * p.width)
    f.values[1] = scales * columns;
  else
    f.values[2] = elements(y);
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

// What the kernel of a product does to its sums on the way.
bool rounds_product(const Node& node) {
  const auto* cast = node.as<Cast>();
  if (cast == nullptr || cast->to != DType::bf16) return false;
  const Value* x = node.input(0);
  const Node* product = x->producer();
  return product != nullptr && (product->is(Conv::name) || product->is(Matmul::name)) &&
         product->input(0)->dtype() == DType::bf16 && x->uses().size() == 1;
}

}  // namespace

StepFeatures features_of(const Node& node, double model_bytes) {
  if (node.is("const") || node.def().has(kView) || node.output_count() == 0) return {};
  if (rounds_product(node)) return {"f32.cast", {}};
  if (const auto product = product_of(node)) {
    StepFeatures f = product_features(node, *product, model_bytes);
    if (const auto* few_bits = node.as<MatmulNbits>())
      f.kind = fmt::format("i{}.{}", few_bits->bits, form_of(*product, DType::i8));
    return f;
  }
  if (node.is(Lstm::name) || node.is(Gru::name) || node.is(Rnn::name))
    return recurrent_features(node);
  if (auto scale = scale_features(node)) return *std::move(scale);
  const Value* x = node.input(0);
  double read = 0;
  for (const Value* v : node.inputs()) read += v != nullptr && !v->constant() ? elements(v) : 0;
  const auto [work, costly] = work_of(node);
  const double written = elements(node.output());
  StepFeatures f;
  f.kind = fmt::format("{}.{}", x == nullptr ? "f32" : dtype_kind(x->dtype()), node.def().name);
  f.values = {1, read, written, work * written, costly * written, 0, 0, 0, beyond_cache(node)};
  return f;
}

double constant_bytes(const Graph& graph) {
  double bytes = 0;
  for (const auto& node : graph.nodes())
    for (int i = 0; i < node->output_count(); ++i)
      if (node->output(i)->constant() != nullptr) bytes += bytes_of(node->output(i));
  return bytes;
}

}  // namespace tenon::cost
