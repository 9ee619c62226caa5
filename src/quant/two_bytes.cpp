#include "quant/two_bytes.h"

#include <algorithm>
#include <cmath>

#include "ops/matmul.h"
#include "ops/quantized_product.h"
#include "quant/quantize.h"

namespace tenon::quant {
namespace {

// Values beyond those seen are not clipped: there is room.
constexpr double kMargin = 2;
constexpr int32_t kZero = 128;
constexpr int kMost = 127;
constexpr float kSteps = 256;  // of the second byte in one of the first
constexpr int64_t kMostRows = 32;

}  // namespace

bool is_dense(const Node& product) {
  if (product.as<Matmul>() == nullptr || !product.input(0)->shape().ranked()) return false;
  const Shape& x = product.input(0)->shape();
  int64_t rows = 1;
  for (int i = 0; i + 1 < x.rank(); ++i) {
    if (!x[i].known() && i > 0) return false;
    rows *= x[i].size_or(1);
  }
  return rows <= kMostRows;
}

QuantParams first_byte_params(const TensorStatistics& input) {
  const double most = std::max(std::abs(input.min), std::abs(input.max));
  return {static_cast<float>(most > 0 ? kMargin * most / kMost : 1), kZero};
}

TensorChoice two_byte_choice(const std::string& name, const TensorStatistics& input) {
  const QuantParams first = first_byte_params(input);
  const double step = first.scale;
  TensorChoice choice{name, {-kZero * step, kMost * step, Method::min_max}, first};
  choice.bits = 16;
  const double power = input.count > 0 ? input.sum_squares / static_cast<double>(input.count) : 0;
  const double last = step / static_cast<double>(kSteps);
  if (power > 0) choice.sqnr_db = 10 * std::log10(power / (last * last / 12));
  return choice;
}

Result<Value*> multiply_two_bytes(Graph& graph, Node& node, const TensorStatistics& input,
                                  const QuantizedWeights& weights, Value* bias) {
  const QuantParams params = first_byte_params(input);
  Builder b(graph, &node);
  Value* x = node.input(0);
  Value* w =
      TRY(b.op("dequantize_linear", {b.constant(weights.integers), b.constant(weights.scales)},
               {{"axis", weights.axis}}));
  Matmul product;
  product.transpose_b = node.as<Matmul>()->transpose_b;
  Value* first = TRY(through_bytes(b, x, params, DType::u8));
  Value* left = TRY(b.op("sub", {x, first}));
  Value* second = TRY(through_bytes(b, left, {params.scale / kSteps, kZero}, DType::u8));
  // Neither is the layer's result: what adds them is.
  if (node.origins.size() > 1) b.set_origins({node.origins.front()});
  Value* high = TRY(b.op(product, {first, w}));
  Value* low = TRY(b.op(product, {second, w, bias}));
  b.set_origins(node.origins);
  return activated(b, node, TRY(b.op("add", {high, low})));
}

const Node* other_byte_of(const Node& product) {
  if (!product.is(QuantizedMatmul::name)) return nullptr;
  for (const Use& use : product.output()->uses())
    for (const Value* v : use.user == nullptr ? std::vector<Value*>() : use.user->inputs()) {
      const Node* other = v == nullptr ? nullptr : v->producer();
      if (other != nullptr && other != &product && other->is(QuantizedMatmul::name) &&
          other->input(1) == product.input(1))
        return other;
    }
  return nullptr;
}

}  // namespace tenon::quant
