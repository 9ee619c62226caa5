// `fused` steps of bytes that come to sums: each value of the sub-graph is followed as the operands
// of the result's shape times factors by channel, plus an offset by channel. Factors and offsets
// that hang on other operands, such as gates, are made as the step runs, for each sample.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "device/cpu/byte_sum.h"
#include "device/cpu/candidates.h"
#include "device/cpu/kernels/slots.h"
#include "ops/quantize.h"

namespace tenon::cpu {
namespace {

constexpr int kOffset = ByteSum::kMaxTerms, kRows = kOffset + 1;
// Where factors of all samples would need more floats than this, tiles are as good.
constexpr int64_t kMaxFactors = int64_t{1} << 20;

bool is_byte(DType t) {
  return t == DType::u8 || t == DType::i8;
}

// Which rows a value has: a factor for each term, and the offset.
using Form = std::array<bool, kRows>;
bool has_terms(const Form& form) {
  return std::any_of(form.begin(), form.begin() + kOffset, [](bool has) { return has; });
}

enum class Action : uint8_t { kDequantize, kAdd, kSub, kMul, kDiv };

struct Instruction {
  Action action = Action::kAdd;
  int y = 0, a = 0, b = 0;
  float scale = 1, zero = 0;
};

// A value that is the same along all dimensions but the first and the last.
struct Vector {
  int value = 0;
  size_t operand = 0;  // where there is no constant
  Tensor constant;
};

class Sum {
 public:
  // The text is the reason there is none.
  std::string translate(const StepInfo& s) {
    if (s.outputs.size() != 1 || !is_byte(s.outputs[0].dtype)) return "the result is not of bytes";
    sum_.y_signed = s.outputs[0].dtype == DType::i8;
    dims_ = s.outputs[0].shape.sizes();
    if (dims_.empty() || *s.outputs[0].shape.elements() == 0) return "there is no channel";
    channels_ = dims_.back();
    forms_.resize(s.region->values);
    for (const size_t i : by_use(*s.region))
      if (std::string reason = operand(s, i); !reason.empty()) return reason;
    for (const Region::Constant& c : s.region->constants) {
      if (c.tensor->elements() != 1) return "a constant is no scalar";
      vectors_.push_back({c.value, 0, *c.tensor});
      form(c.value)[kOffset] = true;
    }
    for (const Region::Step& step : s.region->steps)
      if (std::string reason = follow(step); !reason.empty()) return reason;
    if (result_ != s.region->outputs[0] || terms_ == 0) return "the result is no sum of bytes";
    sum_.terms = terms_;
    sum_.blocks = byte_sum_blocks(channels_);
    if (samples_ * factor_floats() > kMaxFactors) return "too many factors";
    return {};
  }

  bool is_constant() const {
    return std::ranges::all_of(vectors_, [](const Vector& v) { return v.constant.defined(); });
  }
  int64_t samples() const { return samples_; }
  // Floats of the factors and offsets of a sample, and while they are made.
  int64_t factor_floats() const { return (terms_ + 1) * sum_.blocks * 64; }
  int64_t row_floats() const { return static_cast<int64_t>(forms_.size()) * kRows * channels_; }

  // Operands need not be there where is_constant().
  void make_factors(std::span<const Tensor* const> operands, int64_t sample, float* rows,
                    float* factors) const {
    for (const Vector& v : vectors_) read(v, operands, sample, row(rows, v.value, kOffset));
    for (int t = 0; t < terms_; ++t) std::fill_n(row(rows, terms_at_[t], t), channels_, 1.0f);
    for (const Instruction& in : code_) evaluate(in, rows);
    const int64_t step = factor_floats() / (terms_ + 1);
    for (int t = 0; t <= terms_; ++t, factors += step) {
      const int r = t == terms_ ? kOffset : t;
      float* const by_channel = row(rows, summed_, r);
      for (int64_t c = 0; c < channels_; ++c)
        by_channel[c] = forms_[static_cast<size_t>(summed_)][static_cast<size_t>(r)]
                            ? by_channel[c] / y_scale_
                            : 0.0f;
      if (r == kOffset)  // what signed bytes are read as is 128 too large
        for (int u = 0; u < terms_; ++u)
          for (int64_t c = 0; sum_.x_signed[u] && c < channels_; ++c)
            by_channel[c] -= 128 * row(rows, summed_, u)[c];
      spread_factors(by_channel, channels_, factors);
    }
  }

  void make_all_factors(std::span<const Tensor* const> operands, float* rows,
                        float* factors) const {
    for (int64_t i = 0; i < samples_; ++i)
      make_factors(operands, i, rows, factors + i * factor_floats());
  }
  std::vector<float> constant_factors() const {
    std::vector<float> rows(static_cast<size_t>(row_floats()));
    std::vector<float> factors(static_cast<size_t>(factor_floats() * samples_));
    make_all_factors({}, rows.data(), factors.data());
    return factors;
  }

  // Whether terms that nearly cancel each other leave enough digits of the sum.
  bool are_precise(const float* factors) const {
    constexpr float kMost = 1 << 16;
    const int64_t step = factor_floats() / (terms_ + 1);
    for (int64_t sample = 0; sample < samples_; ++sample, factors += factor_floats())
      for (int64_t i = 0; i < step; ++i) {
        float most = std::abs(factors[terms_ * step + i]);
        for (int t = 0; t < terms_; ++t) most += 255 * std::abs(factors[t * step + i]);
        if (!(most <= kMost)) return false;
      }
    return true;
  }
  bool are_small(const float* factors) const {
    return factors_are_small(factors, samples_ * factor_floats());
  }

  // Of a sample: all but the terms and the result.
  ByteSum prepared(const float* factors, bool are_small, bool is_uniform) const {
    ByteSum sum = sum_;
    sum.uniform = is_uniform;
    sum.n = 1;
    for (const int64_t d : dims_) sum.n *= d;
    sum.n /= samples_;
    const float least = (sum.y_signed ? -128.0f : 0.0f) - static_cast<float>(sum.zero);
    sum.low = std::max(low_ / y_scale_, least);
    sum.high = std::max(std::min(high_ / y_scale_, least + 255), sum.low);
    sum.saturates = are_small && sum.low == least && sum.high == least + 255;
    for (int t = 0; t < terms_; ++t) sum.factor[t] = factors + t * 64 * sum.blocks;
    sum.offset = factors + terms_ * 64 * sum.blocks;
    return sum;
  }

  bool are_uniform(const float* factors) const {
    const int64_t step = factor_floats() / (terms_ + 1);
    for (int t = 0; t <= terms_; ++t, factors += step)
      if (!std::equal(factors + 1, factors + step, factors)) return false;
    return true;
  }

  void run(const RunContext& c, const float* factors, bool are_small, bool is_uniform) const {
    for (int64_t sample = 0; sample < samples_; ++sample, factors += factor_floats()) {
      ByteSum sum = prepared(factors, are_small, is_uniform);
      const int64_t at = sample * sum.n;
      for (int t = 0; t < terms_; ++t)
        sum.x[t] = static_cast<const uint8_t*>(c.inputs[operands_[t]]->raw()) + at;
      sum.y = static_cast<uint8_t*>(c.outputs[0]->mutable_raw()) + at;
      sum_bytes(sum, c.pool);
    }
  }

  std::span<const size_t> operands() const { return std::span(operands_); }

 private:
  // The operands in the order in which they are read, which is that of adding them.
  static std::vector<size_t> by_use(const Region& region) {
    std::vector<std::pair<size_t, size_t>> uses;
    for (size_t i = 0; i < region.inputs.size(); ++i) {
      const auto reads = [&](const Region::Step& step) {
        return std::ranges::find(step.inputs, region.inputs[i]) != step.inputs.end();
      };
      const auto first = std::ranges::find_if(region.steps, reads);
      uses.emplace_back(static_cast<size_t>(first - region.steps.begin()), i);
    }
    std::ranges::sort(uses);
    std::vector<size_t> order(uses.size());
    std::ranges::transform(uses, order.begin(), [](const auto& use) { return use.second; });
    return order;
  }
  Form& form(int value) { return forms_[static_cast<size_t>(value)]; }
  float* row(float* rows, int value, int r) const {
    return rows + (static_cast<int64_t>(value) * kRows + r) * channels_;
  }

  std::string operand(const StepInfo& s, size_t i) {
    const int value = s.region->inputs[i];
    const TensorType& type = s.inputs[i];
    if (type.is_none() || type.is_list) return "an operand is no tensor";
    const std::vector<int64_t> sizes = type.shape.sizes();
    if (is_byte(type.dtype) && sizes == dims_) {
      if (terms_ == ByteSum::kMaxTerms) return "too many terms";
      form(value)[static_cast<size_t>(terms_)] = true;
      sum_.x_signed[terms_] = type.dtype == DType::i8;
      operands_[terms_] = i;
      terms_at_[terms_++] = value;
      return {};
    }
    if ((!is_byte(type.dtype) && type.dtype != DType::f32) || sizes.size() > dims_.size())
      return "the type of an operand";
    for (size_t d = 0; d < sizes.size(); ++d) {
      const size_t at = dims_.size() - sizes.size() + d;
      if (sizes[d] == 1) continue;
      if (sizes[d] != dims_[at] || (at != 0 && at + 1 != dims_.size()))
        return "an operand differs along other dimensions than the channels";
      if (at == 0 && dims_.size() > 1) samples_ = dims_[0];
    }
    // Its elements would be spread as factors only to be read once.
    if (s.constants[i] == nullptr && dims_.size() > 1 && type.dtype == DType::f32 && sizes == dims_)
      return "an operand is of reals and of the result's size";
    Vector v{value, i, {}};
    if (s.constants[i] != nullptr) {
      s.packs.make_dense(*s.constants[i]);
      v.constant = *s.constants[i];
    }
    vectors_.push_back(std::move(v));
    form(value)[kOffset] = true;
    return {};
  }

  const Tensor* scalar(int value) const {
    for (const Vector& v : vectors_)
      if (v.value == value && v.constant.defined() && v.constant.elements() == 1)
        return &v.constant;
    return nullptr;
  }

  std::string follow(const Region::Step& step) {
    if (step.outputs.size() != 1 || result_ >= 0) return "more follows its result";
    const std::string_view name = step.op->def().name;
    const Activation activation = activation_of(*step.op);
    const int y = step.outputs[0], a = step.inputs[0];
    if (a < 0 || (bounded_ >= 0 && (a != bounded_ || name != QuantizeLinear::name)))
      return "more follows its activation";
    if (name == "relu" || activation.kind == ActivationKind::kClip) {
      low_ = name == "relu" ? 0 : activation.alpha;
      if (name != "relu") high_ = activation.beta;
      bounded_ = y;
      summed_ = a;
      return {};
    }
    if (name == QuantizeLinear::name || name == DequantizeLinear::name) {
      const Tensor* scale = step.inputs.size() < 2 ? nullptr : scalar(step.inputs[1]);
      const bool has_zero = step.inputs.size() > 2 && step.inputs[2] >= 0;
      const Tensor* zero = has_zero ? scalar(step.inputs[2]) : nullptr;
      if (scale == nullptr || (has_zero && zero == nullptr)) return "a scale is no constant";
      return quantisation(name == QuantizeLinear::name, y, a, static_cast<float>(scale->real_at(0)),
                          has_zero ? *zero : Tensor::scalar(uint8_t{0}));
    }
    constexpr std::pair<std::string_view, Action> kActions[] = {
        {"add", Action::kAdd}, {"sub", Action::kSub}, {"mul", Action::kMul}, {"div", Action::kDiv}};
    const auto* action =
        std::ranges::find(kActions, name, &std::pair<std::string_view, Action>::first);
    if (action == std::end(kActions)) return std::string(name) + " is no part of a sum";
    return combine({action->second, y, a, step.inputs[1]});
  }

  std::string quantisation(bool quantise, int y, int a, float scale, const Tensor& zero) {
    if (!quantise) {
      form(y) = form(a);
      form(y)[kOffset] = true;
      code_.push_back({Action::kDequantize, y, a, 0, scale, static_cast<float>(zero.int_at(0))});
      return {};
    }
    if (!(scale > 0)) return "the scale is not positive";
    if (bounded_ < 0) summed_ = a;
    result_ = y;
    y_scale_ = scale;
    sum_.zero = static_cast<int32_t>(zero.int_at(0));
    return {};
  }

  std::string combine(Instruction in) {
    if (in.b < 0) return "an operand is absent";
    const bool scales = in.action == Action::kMul || in.action == Action::kDiv;
    if (in.action == Action::kMul && has_terms(form(in.b))) std::swap(in.a, in.b);
    if (scales && has_terms(form(in.b))) return "a product of operands";
    form(in.y) = form(in.a);
    for (size_t r = 0; !scales && r < kRows; ++r) form(in.y)[r] |= form(in.b)[r];
    code_.push_back(in);
    return {};
  }

  void read(const Vector& v, std::span<const Tensor* const> operands, int64_t sample,
            float* to) const {
    const Tensor& t = v.constant.defined() ? v.constant : *operands[v.operand];
    const int64_t n = t.elements();
    const bool by_sample =
        samples_ > 1 && n > 1 && t.rank() == static_cast<int>(dims_.size()) && t.dim(0) == samples_;
    const int64_t length = by_sample ? n / samples_ : n, first = by_sample ? sample * length : 0;
    for (int64_t c = 0; c < channels_; ++c) {
      const int64_t at = first + (length == 1 ? 0 : c);
      to[c] = t.dtype() == DType::f32  ? t.data<float>()[at]
              : t.dtype() == DType::u8 ? static_cast<float>(t.data<uint8_t>()[at])
              : t.dtype() == DType::i8 ? static_cast<float>(t.data<int8_t>()[at])
                                       : static_cast<float>(t.real_at(at));
    }
  }

  void evaluate(const Instruction& in, float* rows) const {
    const Form& of_a = forms_[static_cast<size_t>(in.a)];
    const Form& of_b = forms_[static_cast<size_t>(in.b)];
    const float* const by = row(rows, in.b, kOffset);
    for (int r = 0; r < kRows; ++r) {
      const bool has_a = of_a[static_cast<size_t>(r)], has_b = of_b[static_cast<size_t>(r)];
      if (!forms_[static_cast<size_t>(in.y)][static_cast<size_t>(r)]) continue;
      const float* const a = row(rows, in.a, r);
      const float* const b = row(rows, in.b, r);
      const float zero = r == kOffset ? in.zero : 0.0f;
      float* const y = row(rows, in.y, r);
      for (int64_t c = 0; c < channels_; ++c) {
        const float from_a = has_a ? a[c] : 0.0f, from_b = has_b ? b[c] : 0.0f;
        switch (in.action) {
          case Action::kDequantize:
            y[c] = (from_a - zero) * in.scale;
            break;
          case Action::kAdd:
            y[c] = from_a + from_b;
            break;
          case Action::kSub:
            y[c] = from_a - from_b;
            break;
          case Action::kMul:
            y[c] = from_a * by[c];
            break;
          case Action::kDiv:
            y[c] = from_a / by[c];
            break;
        }
      }
    }
  }

  std::vector<int64_t> dims_;
  std::vector<Form> forms_;  // of the sub-graph's values
  std::vector<Vector> vectors_;
  std::vector<Instruction> code_;
  ByteSum sum_;
  size_t operands_[ByteSum::kMaxTerms] = {};
  int terms_at_[ByteSum::kMaxTerms] = {};  // the operands' values
  int terms_ = 0;
  int summed_ = -1, bounded_ = -1, result_ = -1;  // values: before and behind the activation
  int64_t samples_ = 1, channels_ = 0;
  float low_ = -std::numeric_limits<float>::infinity();
  float high_ = std::numeric_limits<float>::infinity();
  float y_scale_ = 1;
};

class ByteSumKernel final : public Kernel {
 public:
  explicit ByteSumKernel(const StepInfo& s) {
    (void)sum_.translate(s);
    if (!sum_.is_constant()) return;
    const auto factors = std::make_shared<std::vector<float>>(sum_.constant_factors());
    are_small_ = sum_.are_small(factors->data());
    is_uniform_ = sum_.samples() == 1 && sum_.are_uniform(factors->data());
    factors_ = factors;
  }
  std::optional<ConstantByteSum> constant() const {
    if (factors_ == nullptr || sum_.samples() != 1) return std::nullopt;
    ConstantByteSum constant{
        sum_.prepared(factors_->data(), are_small_, is_uniform_), {}, factors_};
    std::ranges::copy(sum_.operands(), constant.operands);
    return constant;
  }
  int64_t scratch_bytes() const override {
    if (sum_.is_constant()) return 0;
    return 4 * (sum_.samples() * sum_.factor_floats() + sum_.row_floats());
  }
  Status run(const RunContext& c) const override {
    if (sum_.is_constant()) {
      sum_.run(c, factors_->data(), are_small_, is_uniform_);
      return {};
    }
    auto* const factors = static_cast<float*>(c.scratch);
    sum_.make_all_factors(c.inputs, factors + sum_.samples() * sum_.factor_floats(), factors);
    sum_.run(c, factors, sum_.are_small(factors), false);
    return {};
  }

 private:
  Sum sum_;
  std::shared_ptr<const std::vector<float>> factors_;  // where they are constant
  bool are_small_ = false, is_uniform_ = false;
};

std::string refuses(const StepInfo& s) {
  if (s.region == nullptr) return "there is no sub-graph";
  Sum sum;
  if (std::string reason = sum.translate(s); !reason.empty()) return reason;
  return sum.is_constant() && !sum.are_precise(sum.constant_factors().data())
             ? "its terms are far larger than their sum"
             : "";
}

constexpr KernelCandidate kCandidates[] = {
    {"fused", "byte_sum", refuses,
     [](const StepInfo& s) -> std::unique_ptr<Kernel> {
       return std::make_unique<ByteSumKernel>(s);
     }},
};

}  // namespace

std::optional<ConstantByteSum> constant_byte_sum(const Kernel& kernel) {
  const auto* sum = dynamic_cast<const ByteSumKernel*>(&kernel);
  return sum == nullptr ? std::nullopt : sum->constant();
}

std::span<const KernelCandidate> byte_sum_candidates() {
  return kCandidates;
}

}  // namespace tenon::cpu
