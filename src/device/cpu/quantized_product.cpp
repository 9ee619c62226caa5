// quantized_conv and quantized_matmul on the kernels for 8-bit integers: constant weights packed
// once per model, others per run.
#include "ops/quantized_product.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <mutex>
#include <span>

#include "base/hash.h"
#include "base/numbers.h"
#include "device/cpu/byte_sum.h"
#include "device/cpu/candidates.h"
#include "device/cpu/kernels/int8.h"
#include "device/cpu/kernels/int8_rows.h"
#include "device/cpu/kernels/slots.h"
#include "device/cpu/window.h"

namespace tenon::cpu {
namespace {

enum Operand : size_t { kX, kWeights, kXZero, kWeightsZero, kScale, kBias, kYScale, kYZero };

void set_result(const StepInfo& s, tenon::ActivationKind activation, double alpha, double beta,
                Int8Params& p) {
  p.x_signed = s.inputs[kX].dtype == DType::i8;
  p.weights_signed = s.inputs[kWeights].dtype == DType::i8;
  const DType y = s.outputs[0].dtype;
  p.result = y == DType::i32   ? Int8Result::kI32
             : y == DType::f32 ? Int8Result::kF32
             : y == DType::u8  ? Int8Result::kU8
                               : Int8Result::kI8;
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  p.low = -kInfinity;
  p.high = kInfinity;
  if (activation == tenon::ActivationKind::relu) p.low = 0;
  if (activation == tenon::ActivationKind::clip) {
    p.low = static_cast<float>(alpha);
    p.high = static_cast<float>(beta);
  }
}

Int8Params conv_params(const StepInfo& s) {
  const QuantizedConv& op = *s.op.as<QuantizedConv>();
  const Shape& x = s.inputs[kX].shape;
  const Shape& w = s.inputs[kWeights].shape;
  const Shape& y = s.outputs[0].shape;
  Int8Params p;
  p.batch = y[0].size();
  const int spatial = x.rank() - 2;
  const std::vector<int64_t> sizes = x.sizes(), filter = w.sizes();
  const auto kernel = std::span(filter).first(static_cast<size_t>(spatial));
  set_window(op, s, kernel, effective_pads(op, kernel, std::span(sizes).subspan(1)), p);
  p.groups = op.groups;
  p.in_channels = x[spatial + 1].size();
  p.out_channels = y[spatial + 1].size();
  set_result(s, op.activation, op.alpha, op.beta, p);
  return p;
}

Int8Params matmul_params(const StepInfo& s) {
  const QuantizedMatmul& op = *s.op.as<QuantizedMatmul>();
  const Shape& b = s.inputs[kWeights].shape;
  const Shape& y = s.outputs[0].shape;
  Int8Params p;
  p.in_channels = b[b.rank() - 2].size();
  p.out_channels = b[b.rank() - 1].size();
  p.in[2] = p.out[2] = b.rank() > 2          ? y[y.rank() - 2].size()
                       : p.out_channels == 0 ? 0
                                             : *y.elements() / p.out_channels;
  set_result(s, op.activation, op.alpha, op.beta, p);
  return p;
}

void bind_weights_zero(const Tensor* zero, Int8Params& p) {
  static constexpr uint8_t kZero = 0;
  p.weights_zero = zero != nullptr ? zero->raw() : &kZero;
  p.weights_zeros = zero != nullptr ? zero->elements() : 1;
}

// Reads the parameters that are operands.
void bind(const RunContext& c, Int8Params& p) {
  const auto byte = [&](size_t i) {
    return c.has(i) ? static_cast<int32_t>(c.inputs[i]->int_at(0)) : 0;
  };
  p.x = c.inputs[kX]->raw();
  p.x_zero = byte(kXZero);
  bind_weights_zero(c.has(kWeightsZero) ? c.inputs[kWeightsZero] : nullptr, p);
  p.scale = c.in(kScale);
  p.scales = c.has(kScale) ? c.inputs[kScale]->elements() : 0;
  p.bias = c.in(kBias);
  p.y_scale = c.has(kYScale) ? c.in(kYScale)[0] : 1.0f;
  p.y_zero = byte(kYZero);
  p.y = c.outputs[0]->mutable_raw();
}

// Groups of few channels leave most of a vector empty, so several are multiplied as one, by filters
// that are zero where the channels of another group are.
class GroupedWeights {
 public:
  GroupedWeights(const StepInfo& s, const Int8Params& p) : p_(p) {
    const bool is_constant = s.constants[kWeights] != nullptr &&
                             (!s.has(kWeightsZero) || s.constants[kWeightsZero] != nullptr);
    if (p.groups == 1 || p.is_depthwise() || !is_constant) return;
    for (int64_t m = 2; m <= p.groups; ++m)
      if (p.groups % m == 0 && instructions(m) < instructions(merged_)) merged_ = m;
    zeros_.resize(static_cast<size_t>(p.out_channels));
    for (int64_t o = 0; s.has(kWeightsZero) && o < p.out_channels; ++o) {
      const Tensor& zero = *s.constants[kWeightsZero];
      zeros_[static_cast<size_t>(o)] =
          static_cast<uint8_t>(zero.int_at(zero.elements() == 1 ? 0 : o));
    }
  }
  // How many are one.
  int64_t merged() const { return merged_; }

  // Tells filters of equal bytes apart that are merged in different ways.
  std::string name() const {
    if (merged_ == 1) return {};
    return fmt::format("/{} merged, zeros {:016x}", merged_,
                       hash64(std::as_bytes(std::span(zeros_))));
  }

  // The filter with groups merged; empty where none are.
  std::vector<uint8_t> dense(const uint8_t* from) const {
    if (merged_ == 1) return {};
    const int64_t in = p_.in_channels / p_.groups, columns = p_.out_channels / p_.groups;
    std::vector<uint8_t> dense;
    dense.reserve(zeros_.size() * static_cast<size_t>(taps() * in * merged_));
    for (int64_t tap = 0; tap < taps(); ++tap)
      for (int64_t row = 0; row < in * merged_; ++row)
        for (int64_t o = 0; o < p_.out_channels; ++o) {
          const bool is_own = o / columns % merged_ == row / in;
          dense.push_back(is_own ? from[(tap * in + row % in) * p_.out_channels + o]
                                 : zeros_[static_cast<size_t>(o)]);
        }
    return dense;
  }

 private:
  int64_t taps() const { return p_.kernel[0] * p_.kernel[1] * p_.kernel[2]; }
  // For a pixel, about.
  int64_t instructions(int64_t merged) const {
    constexpr int64_t kCopyAndFinish = 50;  // of a window of a group
    constexpr int64_t kVector = 16, kTerms = 4;
    const int64_t groups = p_.groups / merged, k = taps() * p_.in_channels / groups;
    const int64_t columns = p_.out_channels / groups;
    return groups *
           (ceil_div(columns, kVector) * ceil_div(k, kTerms) + (groups == 1 ? 0 : kCopyAndFinish));
  }

  Int8Params p_;
  int64_t merged_ = 1;
  std::vector<uint8_t> zeros_;  // by column
};

class ProductKernel final : public Kernel {
 public:
  ProductKernel(const StepInfo& s, const Int8Params& p) : p_(p) {
    const GroupedWeights grouped(s, p);
    p_.groups /= grouped.merged();
    p_.outside_is_zero =
        !p_.x_signed &&
        (!s.has(kXZero) || (s.constants[kXZero] != nullptr && s.constants[kXZero]->int_at(0) == 0));
    const Shape& y = s.outputs[0].shape;
    const Shape& w = s.inputs[kWeights].shape;
    if (s.op.as<QuantizedMatmul>() != nullptr && w.rank() > 2) {
      batches_ = 1;
      for (int i = 0; i < y.rank() - 2; ++i) batches_ *= y[i].size();
    }
    if (p_.is_depthwise()) pack_depthwise(s);
    scratch_ = int8_scratch_bytes(p_, s.threads);
    if (p_.is_depthwise()) {
      make_ready(s);
      return;
    }
    form_ = p_.weight_form();
    threads_ = s.threads;
    plan_ = plan_int8(p_, threads_, int8_kernels());
    if (s.constants[kWeights] == nullptr || batches_ > 0) {
      packed_bytes_ = round_to_lines(packed_int8_bytes(form_));
      return;
    }
    const std::string layout =
        form_.groups == 1 && form_.is_signed && form_.pieces == 1 && grouped.merged() == 1
            ? PanelLayout{.k = form_.k, .n = form_.columns, .unit = 4}.name()
            : fmt::format("int8/{}/{}{}", p_.groups, form_.pieces, grouped.name());
    const auto* const weights = static_cast<const uint8_t*>(s.constants[kWeights]->raw());
    packed_ = s.pack(kWeights, layout, (packed_int8_bytes(form_) + 3) / 4,
                     [form = form_, grouped, weights](float* out) {
                       const std::vector<uint8_t> dense = grouped.dense(weights);
                       pack_int8(form, dense.empty() ? weights : dense.data(), out);
                     });
    make_ready(s);
  }
  int64_t scratch_bytes() const override { return packed_bytes_ + scratch_; }

  // Adds what else a sum takes while the bytes of the result are in the cache.
  std::unique_ptr<Kernel> join(const Kernel& next, size_t operands) const override {
    const bool gives_bytes = p_.result == Int8Result::kU8 || p_.result == Int8Result::kI8;
    if (sum_ || !gives_bytes || p_.groups != 1 || batches_ > 0 || p_.out_channels % 64 != 0)
      return nullptr;
    auto sum = constant_byte_sum(next);
    if (!sum) return nullptr;
    const auto terms = std::span(sum->operands).first(static_cast<size_t>(sum->sum.terms));
    if (std::ranges::find(terms, size_t{0}) == terms.end()) return nullptr;
    auto joined = std::make_unique<ProductKernel>(*this);
    joined->sum_ = std::move(sum);
    joined->operands_ = operands;
    return joined;
  }

  Status run(const RunContext& c) const override {
    if (c.outputs[0]->elements() == 0) return {};
    Int8Params p = p_;
    bind({sum_ ? c.inputs.first(operands_) : c.inputs, c.outputs, c.pool, c.scratch}, p);
    ByteSum sum;
    if (sum_) {
      sum = sum_->sum;
      sum.y = static_cast<uint8_t*>(p.y);
      for (int t = 0; t < sum.terms; ++t) {
        const size_t i = sum_->operands[t];
        sum.x[t] = i == 0 ? sum.y : static_cast<const uint8_t*>(c.inputs[operands_ + i]->raw());
      }
      p.sum = &sum;
    } else if (!p.is_depthwise() && c.pool.threads() == threads_) {
      p.plan = &plan_;
    }
    const auto* const x = static_cast<const char*>(p.x);
    const auto* const weights = static_cast<const char*>(c.inputs[kWeights]->raw());
    auto* const y = static_cast<char*>(p.y);
    auto* const scratch = static_cast<char*>(c.scratch);
    const int64_t x_step = p.in[2] * p.in_channels, y_step = p.out[2] * p.out_channels;
    const int64_t y_bytes = static_cast<int64_t>(dtype_size(c.outputs[0]->dtype()));
    const int64_t batches = batches_ == 0 ? 1 : batches_;
    p.weights = packed_.get();
    if (p.is_depthwise()) {
      p.weights = weights;
      p.depthwise = reinterpret_cast<const int8_t*>(packed_.get());
    }
    if (ready_ != nullptr) {
      std::call_once(ready_->made,
                     [&] { ready_->vectors = int8_vectors(p, ready_->memory.get()); });
      p.vectors = &ready_->vectors;
    }
    for (int64_t i = 0; i < batches; ++i) {
      if (packed_bytes_ > 0) {
        pack_int8(form_, weights + i * form_.k * form_.columns, scratch);
        p.weights = scratch;
      }
      if (batches_ > 0) {
        p.x = x + i * x_step;
        p.y = y + i * y_step * y_bytes;
      }
      int8_product(p, c.pool, scratch + packed_bytes_);
    }
    return {};
  }

 private:
  struct Ready {
    std::shared_ptr<std::byte> memory;
    std::once_flag made;
    Int8Vectors vectors;
  };

  // The epilogue's vectors are made once where they are constant.
  void make_ready(const StepInfo& s) {
    for (size_t i = kXZero; i < s.inputs.size(); ++i)
      if (s.has(i) && s.constants[i] == nullptr) return;
    ready_ = std::make_shared<Ready>();
    ready_->memory = allocate_aligned(static_cast<size_t>(int8_vectors_bytes(p_)));
  }

  // Prepared where the filter and its zero points are constant.
  void pack_depthwise(const StepInfo& s) {
    const Tensor* weights = s.constants[kWeights];
    const Tensor* zero = s.has(kWeightsZero) ? s.constants[kWeightsZero] : nullptr;
    if (weights == nullptr || (zero == nullptr && s.has(kWeightsZero))) return;
    s.packs.make_dense(*weights);
    Int8Params p = p_;
    p.weights = weights->raw();
    bind_weights_zero(zero, p);
    p_.sums_plane = sums_int8_plane(p);
    if (p_.sums_plane) return;
    taps_ = std::make_shared<const std::vector<int32_t>>(int8_depthwise_taps(p));
    p_.taps = p.taps = *taps_;
    const int64_t bytes = int8_depthwise_bytes(p);
    if (bytes == 0) return;
    std::string layout = "int8_depthwise";
    for (int64_t i = 0; i < p.weights_zeros; ++i)
      layout += fmt::format("/{}", static_cast<const uint8_t*>(p.weights_zero)[i]);
    packed_ = s.packs.get(*weights, layout, (bytes + 3) / 4,
                          [p, taps = taps_, zeros = zero != nullptr ? *zero : Tensor()](
                              float* out) { pack_int8_depthwise(p, out); });
  }

  Int8Params p_;
  Int8Weights form_;
  int threads_ = 0;
  Int8Plan plan_;  // without a sum
  PackStore::Packed packed_;
  std::shared_ptr<const std::vector<int32_t>> taps_;  // of depthwise
  std::shared_ptr<Ready> ready_;
  std::optional<ConstantByteSum> sum_;
  size_t operands_ = 0;  // of the product, where there is a sum
  int64_t packed_bytes_ = 0;
  int64_t scratch_ = 0;
  int64_t batches_ = 0;  // of weights that are batched (even if by 1); 0: they are not
};

// Others are made for chips.
bool is_simple(tenon::ActivationKind kind) {
  return kind <= tenon::ActivationKind::clip;
}

std::string conv_refuses(const StepInfo& s) {
  if (!is_simple(s.op.as<QuantizedConv>()->activation)) return "its activation";
  return s.outputs[0].shape.rank() - 2 > kMaxSpatial ? "more than three spatial dimensions" : "";
}
std::string depthwise_refuses(const StepInfo& s) {
  if (std::string reason = conv_refuses(s); !reason.empty()) return reason;
  return conv_params(s).is_depthwise() ? "" : "not one filter per channel";
}
std::unique_ptr<Kernel> make_conv(const StepInfo& s) {
  return std::make_unique<ProductKernel>(s, conv_params(s));
}

std::string matmul_refuses(const StepInfo& s) {
  const Shape& a = s.inputs[kX].shape;
  const Shape& b = s.inputs[kWeights].shape;
  if (!is_simple(s.op.as<QuantizedMatmul>()->activation)) return "its activation";
  if (b.rank() == 2) return {};
  if (a.rank() != b.rank()) return "the batch is broadcast";
  for (int i = 0; i < b.rank() - 2; ++i)
    if (a[i] != b[i]) return "the batch is broadcast";
  return {};
}
std::unique_ptr<Kernel> make_matmul(const StepInfo& s) {
  return std::make_unique<ProductKernel>(s, matmul_params(s));
}

constexpr KernelCandidate kCandidates[] = {
    {QuantizedConv::name, "int8_depthwise", depthwise_refuses, make_conv},
    {QuantizedConv::name, "int8_gemm", conv_refuses, make_conv},
    {QuantizedMatmul::name, "int8_gemm", matmul_refuses, make_matmul},
};

}  // namespace

std::span<const KernelCandidate> quantized_product_candidates() {
  return kCandidates;
}

}  // namespace tenon::cpu
