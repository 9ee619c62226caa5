// Products of 8-bit integers: bytes times bytes into i32, scaled and rounded by the vector unit.
// Units multiply signed bytes; unsigned ones are 128 less, and what the zero points add to every
// sum is in the bias. What lies outside of an image counts as the zero point: where that is not 0
// as the unit sees it, images get a border of it.
#include <fmt/format.h>

#include <algorithm>

#include "lower/elementwise.h"
#include "lower/movement.h"
#include "lower/product.h"
#include "ops/movement.h"
#include "ops/quantized_product.h"

namespace tenon::lower {
namespace {

enum Operand { kX, kWeights, kXZero, kWeightsZero, kScale, kBias, kYScale, kYZero };

// The operands that are numbers.
struct Numbers {
  const Tensor* values[kYZero + 1] = {};

  bool has(Operand i) const { return values[i] != nullptr; }
  double at(Operand i, int64_t channel, double fallback) const {
    const Tensor* t = values[i];
    if (t == nullptr) return fallback;
    return t->real_at(t->elements() == 1 ? 0 : channel);
  }
};

Result<Numbers> numbers_of(const Node& node) {
  Numbers n;
  for (int i = kWeights; i < node.input_count(); ++i) {
    if (node.input(i) == nullptr) continue;
    n.values[i] = node.input(i)->constant();
    if (n.values[i] == nullptr) return unsupported(fmt::format("operand {} is no constant", i));
  }
  const Tensor* zero = n.values[kWeightsZero];
  const double shift = node.input(kWeights)->dtype() == DType::u8 ? 128 : 0;
  for (int64_t i = 0; i < (zero == nullptr ? 1 : zero->elements()); ++i)
    if (n.at(kWeightsZero, i, 0) != shift) return unsupported("its weights have a zero point");
  return n;
}

class Quantized {
 public:
  Quantized(Lowering& lowering, const Node& node, const Numbers& numbers)
      : lowering_(lowering),
        node_(node),
        n_(numbers),
        layer_(layer_of(node)),
        x_(dims_of(node.input(0))),
        w_(dims_of(node.input(1))) {
    zero_ = static_cast<int64_t>(n_.at(kXZero, 0, 0));
    shift_ = node.input(0)->dtype() == DType::u8 ? 128 : 0;
    weight_shift_ = node.input(1)->dtype() == DType::u8 ? 128 : 0;
  }

  Status conv(const QuantizedConv& op) {
    auto padding = lowering_.draft([&] { return conv(op, true); });
    if (padding.ok()) return lowering_.accept(std::move(*padding)), Status();
    if (padding.error().code == Code::internal) return padding.error();
    return conv(op, false);
  }

  // Where the unit `pads`, what is outside of an image is a number of its instruction; else it is
  // there before, as a border of the image, unless it is 0.
  Status conv(const QuantizedConv& op, bool pads) {
    Conv plain;
    plain.strides = op.strides, plain.dilations = op.dilations, plain.groups = op.groups;
    const size_t n = w_.size() - 2;
    plain.pads = effective_pads(op, std::span(w_).first(n), std::span(x_).subspan(1));
    const bool padded = std::ranges::any_of(plain.pads, [](int64_t p) { return p != 0; });
    const bool has_zeros = !padded || zero_ == shift_;
    // Few channels leave most of what it unfolds empty.
    constexpr int64_t kLeastChannels = 16;
    const bool is_possible = std::holds_alternative<AscendChip>(lowering_.machine().chip) &&
                             n <= 2 && x_.back() >= kLeastChannels;
    if (!has_zeros && pads && !is_possible) return unsupported("the unit pads with zeros alone");
    border_.clear();
    if (!has_zeros && !pads) border(plain.pads, n);
    const std::vector<int64_t> x = border_.empty() ? x_ : border_;
    if (!border_.empty()) plain.pads.clear();
    merge_groups(plain.groups);
    auto w = w_;
    w[n] *= merged_;
    plain.groups /= merged_;
    Product p = TRY(conv_product(plain, {x, w, dims_of(node_.output())}));
    set(p, op.activation, op.alpha, op.beta);
    if (!has_zeros && pads) p.outside = static_cast<double>(zero_ - shift_);
    p.a = TRY(prepared());
    Status status = add_product(lowering_, node_, p);
    if (status.ok() || !p.windows || status.error().code != Code::unsupported) return status;
    return add_wide_conv(lowering_, node_, p);
  }

  Status matmul(const QuantizedMatmul& op) {
    const auto y = dims_of(node_.output());
    if (w_.size() != 2 || x_.size() < 2) return unsupported("products of batches");
    Product p;
    p.k = w_[0], p.columns = w_[1];
    p.rows = count_of(x_) / p.k;
    p.a_row = p.k, p.b_row = p.y_row = p.columns;
    set(p, op.activation, op.alpha, op.beta);
    p.a = TRY(prepared());
    return add_product(lowering_, node_, p);
  }

 private:
  void border(const std::vector<int64_t>& pads, size_t n) {
    border_ = x_;
    begins_.assign(x_.size(), 0);
    for (size_t i = 0; i < n; ++i) {
      border_[i + 1] += pads[i] + pads[i + n];
      begins_[i + 1] = pads[i];
    }
  }

  // Few channels to a group leave most of a unit empty: several groups are one, with zeros between.
  void merge_groups(int64_t groups) {
    constexpr int64_t kUnit = 32;  // bytes that go through at once
    const int64_t channels = w_[w_.size() - 2];
    for (int64_t f = 2; groups > 1 && f * channels <= kUnit && f <= groups; ++f)
      if (groups % f == 0) merged_ = f;
    groups_ = groups;
  }

  // Weights as signed bytes, [taps, channels of a merged group, columns].
  std::shared_ptr<const Tensor> weights() const {
    const Tensor& w = *n_.values[kWeights];
    const int64_t columns = w_.back(), channels = w_[w_.size() - 2],
                  taps = count_of(w_) / (columns * channels), per = columns / groups_;
    std::vector<int8_t> all(static_cast<size_t>(taps * channels * merged_ * columns), 0);
    for (int64_t t = 0; t < taps; ++t)
      for (int64_t c = 0; c < channels; ++c)
        for (int64_t m = 0; m < columns; ++m) {
          const int64_t row = m / per % merged_ * channels + c;
          all[static_cast<size_t>((t * channels * merged_ + row) * columns + m)] =
              static_cast<int8_t>(w.int_at((t * channels + c) * columns + m) - weight_shift_);
        }
    return std::make_shared<const Tensor>(Tensor::vector(all));
  }

  // What every sum of a column is too large by, as zero points are not taken off.
  std::vector<double> corrections() const {
    const Tensor& w = *n_.values[kWeights];
    const int64_t columns = w_.back();
    std::vector<double> sums(static_cast<size_t>(columns), 0);
    for (int64_t i = 0; i < w.elements(); ++i)
      sums[static_cast<size_t>(i % columns)] += static_cast<double>(w.int_at(i) - weight_shift_);
    for (double& s : sums) s *= static_cast<double>(shift_ - zero_);
    return sums;
  }

  int column_constant(const char* what, std::vector<double> values, DType dtype) {
    const auto n = static_cast<int64_t>(values.size());
    return lowering_.constant(layer_ + what, dtype, n,
                              [values = std::move(values), dtype]() -> Result<Tensor> {
                                if (dtype == DType::i32) {
                                  std::vector<int32_t> whole(values.begin(), values.end());
                                  return Tensor::vector(whole);
                                }
                                std::vector<float> reals(values.begin(), values.end());
                                return Tensor::vector(reals);
                              });
  }

  // Everything of a product but rows, columns and the left operand.
  void set(Product& p, ActivationKind activation, double alpha, double beta) {
    p.layer = layer_;
    p.operands = DType::i8;
    p.b_constant = lowering_.keep(weights());
    p.y = lowering_.tensor_of(node_.output());
    auto bias = corrections();
    const auto columns = w_.back();
    if (!n_.has(kScale)) {
      p.bias = column_constant(".bias", std::move(bias), DType::i32);
      return;
    }
    // Divided by the scale of the result at once where the activation does not interfere.
    const bool first = activation <= ActivationKind::clip;
    p.function = lowering_.real();
    p.result = lowering_.tensor(p.y).dtype;
    if (!first) p.result_scale = 1 / n_.at(kYScale, 0, 1);
    const double y_scale = first ? n_.at(kYScale, 0, 1) : 1;
    std::vector<double> scale(static_cast<size_t>(columns));
    for (int64_t m = 0; m < columns; ++m) {
      auto& s = scale[static_cast<size_t>(m)];
      auto& b = bias[static_cast<size_t>(m)];
      s = n_.at(kScale, m, 1) / y_scale;
      b = b * s + n_.at(kBias, m, 0) / y_scale;
    }
    p.bias = column_constant(".bias", std::move(bias), DType::f32);
    p.column_scale = column_constant(".scale", std::move(scale), DType::f32);
    p.activation = activation;
    p.alpha = alpha / y_scale, p.beta = beta / y_scale;
    if (n_.has(kYScale)) p.zero = static_cast<int64_t>(n_.at(kYZero, 0, 0));
  }

  // The left operand as the unit takes it.
  Result<int> prepared() {
    int x = lowering_.tensor_of(node_.input(0));
    if (shift_ != 0) {
      Elementwise work;
      work.dims = x_, work.strides = row_major_strides(x_);
      work.operands = {{"x", x, work.strides, 0}};
      x = lowering_.scratch(layer_ + ".signed", DType::i8, count_of(x_));
      work.results = {x};
      work.wide = true;
      work.compute = [shift = shift_](
                         VectorCode& code,
                         std::span<const Register> in) -> Result<std::vector<Register>> {
        const Register whole = code.tile(in[0], DType::i32);
        return std::vector{
            code.binary(Opcode::add, whole, {{}, -static_cast<double>(shift), nullptr})};
      };
      TRY(lower_elementwise(lowering_, node_, work));
    }
    if (border_.empty()) return x;
    const int to = lowering_.scratch(layer_ + ".border", DType::i8, count_of(border_));
    Piece p{x, to, x_, row_major_strides(x_), row_major_strides(border_), 0, 0};
    for (size_t i = 0; i < begins_.size(); ++i) p.to_offset += begins_[i] * p.to_strides[i];
    TRY(move_pieces(lowering_, node_, layer_ + ".border", {p},
                    static_cast<double>(zero_ - shift_)));
    return to;
  }

  Lowering& lowering_;
  const Node& node_;
  const Numbers& n_;
  std::string layer_;
  std::vector<int64_t> x_, w_, border_, begins_;
  int64_t zero_ = 0, shift_ = 0, weight_shift_ = 0, merged_ = 1, groups_ = 1;
};

}  // namespace

Status lower_quantized(Lowering& lowering, const Node& node) {
  const Numbers numbers = TRY(numbers_of(node));
  Quantized q(lowering, node, numbers);
  if (const auto* op = node.as<QuantizedConv>()) return q.conv(*op);
  return q.matmul(*node.as<QuantizedMatmul>());
}

}  // namespace tenon::lower
