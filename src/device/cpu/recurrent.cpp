// lstm, gru and rnn layers with constant weights, packed once per model.
#include "ops/recurrent.h"

#include <fmt/format.h>

#include "device/cpu/candidates.h"
#include "device/cpu/kernels/pack.h"
#include "device/cpu/kernels/recurrent.h"
#include "tensor/packed_weight.h"

namespace tenon::cpu {
namespace {

// Where a layer has its operands; -1: it has no such operand.
struct Operands {
  int b = 3, bias_r = -1, lengths = -1, h0 = -1, c0 = -1, peephole = -1;
};

struct LayerInfo {
  CellKind cell = CellKind::kLstm;
  Direction direction = Direction::forward;
  Operands at;
  double clip = 0;
  bool linear_before_reset = false;
  bool hold = false;
  bool two_bytes = false;
  std::vector<tenon::ActivationKind> activations;
  std::vector<double> alphas, betas;
};

LayerInfo info_of(const Op& op) {
  if (const auto* x = op.as<Lstm>())
    return {CellKind::kLstm, x->direction, {3, -1, 4, 5, 6, 7}, x->clip,   false,
            x->hold,         x->two_bytes, {x->f, x->g, x->h},  x->alphas, x->betas};
  if (const auto* x = op.as<Gru>())
    return {CellKind::kGru, x->direction, {3, 4, 5, 6, -1, -1}, x->clip,   x->linear_before_reset,
            x->hold,        x->two_bytes, {x->f, x->g},         x->alphas, x->betas};
  const auto* x = op.as<Rnn>();
  return {CellKind::kPlain, x->direction, {3, -1, 4, 5, -1, -1}, x->clip,   false,
          x->hold,          x->two_bytes, {x->activation},       x->alphas, x->betas};
}

// The i-th activation with its parameters, as the ops define their defaults.
Activation activation_of(const LayerInfo& info, size_t i) {
  const tenon::ActivationKind kind = info.activations[i];
  double alpha = 0, beta = 0;
  if (kind == tenon::ActivationKind::hard_sigmoid) alpha = 0.2, beta = 0.5;
  if (kind == tenon::ActivationKind::leaky_relu) alpha = 0.01;
  if (kind == tenon::ActivationKind::elu) alpha = 1;
  if (i < info.alphas.size()) alpha = info.alphas[i];
  if (i < info.betas.size()) beta = info.betas[i];
  return to_kernel(kind, alpha, beta);
}

std::string refuses(const StepInfo& s) {
  const LayerInfo info = info_of(s.op);
  for (const tenon::ActivationKind kind : info.activations)
    if (!is_fusable(kind)) return "an activation without a kernel";
  for (size_t i = 0; i < s.inputs.size(); ++i) {
    const DType t = s.inputs[i].dtype;
    if (static_cast<int>(i) == info.at.lengths) {
      if (s.has(i) && t != DType::i32 && t != DType::i64 && t != DType::boolean)
        return "only i32 and i64 lengths, or a mask";
    } else if (s.has(i) && t != DType::f32 && i != 1 && i != 2) {
      return "only f32";
    }
  }
  if (s.constants[1] == nullptr || s.constants[2] == nullptr) return "the weights are not constant";
  for (const size_t i : {size_t{1}, size_t{2}})
    if (const DType t = s.inputs[i].dtype; t != DType::f32 && t != DType::i8 && dtype_size(t) != 2)
      return "only f32";
  return {};
}

class RecurrentKernel final : public Kernel {
 public:
  explicit RecurrentKernel(const StepInfo& s) : info_(info_of(s.op)) {
    p_.cell = info_.cell;
    p_.steps = s.in_dim(0, 0);
    p_.batch = s.in_dim(0, 1);
    p_.inputs = s.in_dim(0, 2);
    p_.hidden = s.in_dim(2, 1);
    p_.directions = info_.direction == Direction::bidirectional ? 2 : 1;
    p_.y_step_stride = p_.directions * p_.batch * p_.hidden;
    p_.linear_before_reset = info_.linear_before_reset;
    p_.hold = info_.hold;
    p_.clip = static_cast<float>(info_.clip);
    (p_.cell == CellKind::kPlain ? p_.g : p_.f) = activation_of(info_, 0);
    if (info_.activations.size() > 1) p_.g = activation_of(info_, 1);
    if (info_.activations.size() > 2) p_.output = activation_of(info_, 2);
    columns_ = s.in_dim(2, 2);
    p_.in_bytes = s.inputs[1].dtype == DType::i8;
    p_.two_bytes = p_.in_bytes && info_.two_bytes;
    scales_ = static_cast<size_t>(recurrent_scales(s.op));
    const int64_t n = p_.hidden;
    for (int d = 0; d < p_.directions; ++d) {
      RecurrentDirection& direction = p_.direction[d];
      direction.reverse = d == 1 || info_.direction == Direction::reverse;
      direction.w = pack(s, 1, d, p_.inputs, 0, columns_);
      if (p_.cell == CellKind::kGru && !p_.linear_before_reset) {
        direction.r = pack(s, 2, d, n, 0, 2 * n);
        direction.r_h = pack(s, 2, d, n, 2 * n, n);
      } else {
        direction.r = pack(s, 2, d, n, 0, columns_);
      }
    }
    scratch_ = recurrent_scratch_bytes(p_, s.threads);
  }
  int64_t scratch_bytes() const override { return scratch_; }
  Status run(const RunContext& c) const override {
    RecurrentParams p = p_;
    p.x = c.in(0);
    const auto length = static_cast<size_t>(info_.at.lengths);
    if (c.has(length)) {
      const Tensor& t = *c.inputs[length];
      if (t.dtype() == DType::boolean)
        p.mask = t.data<bool>();
      else if (t.dtype() == DType::i32)
        p.lengths32 = t.data<int32_t>();
      else
        p.lengths64 = t.data<int64_t>();
    }
    const int64_t state = p.batch * p.hidden;
    for (int d = 0; d < p.directions; ++d) {
      RecurrentDirection& direction = p.direction[d];
      direction.bias = operand(c, info_.at.b, d * columns_);
      direction.bias_r = operand(c, info_.at.bias_r, d * columns_);
      direction.peephole = operand(c, info_.at.peephole, d * 3 * p.hidden);
      direction.h0 = operand(c, info_.at.h0, d * state);
      direction.c0 = operand(c, info_.at.c0, d * state);
      direction.y = result(c, 0, d * state);
      direction.h_last = result(c, 1, d * state);
      direction.c_last = result(c, 2, d * state);
      if (!p.in_bytes) continue;
      direction.w.scales = c.in(scales_) + d * columns_;
      direction.r.scales = c.in(scales_ + 1) + d * columns_;
      direction.r_h.scales = direction.r.scales + 2 * p.hidden;
    }
    recurrent(p, c.pool, c.scratch);
    return {};
  }

 private:
  // Columns [first, first + n) of matrix d of [directions, k, columns], which is operand i.
  ScaledWeights pack(const StepInfo& s, size_t i, int d, int64_t k, int64_t first, int64_t n) {
    const Tensor t = *s.constants[i];
    const bool whole = n == columns_;
    PanelLayout layout{.batch = whole ? p_.directions : 1, .k = k, .n = n};
    if (p_.in_bytes) layout.unit = 4;
    const auto floats = static_cast<int64_t>(layout.packed_bytes() / sizeof(float));
    const std::string name =
        whole ? layout.name() : fmt::format("{} of columns {} of {}", layout.name(), first, d);
    const int64_t begin = whole ? 0 : d * k * columns_ + first;
    packs_.push_back(
        s.pack(i, name, floats, [=](float* out) { pack_columns(layout, t, begin, out); }));
    return {packs_.back().get() + (whole ? d * floats / layout.batch : 0), nullptr, n};
  }
  // The matrices of a layout, from element `begin` of t, whose rows may be longer.
  static void pack_columns(const PanelLayout& layout, const Tensor& t, int64_t begin, float* out) {
    const int64_t ld = t.dim(2);
    if (t.dtype() != DType::i8) {
      const WideWeights wide(t);
      for (int64_t b = 0; b < layout.batch; ++b)
        pack_b(layout.k, layout.n, wide.data() + begin + b * layout.k * ld, ld, false,
               out + b * packed_b_floats(layout.k, layout.n));
    } else if (layout.n == ld) {
      layout.pack(t.raw(), out);
    } else {
      std::vector<int8_t> columns(layout.dense_bytes());
      for (int64_t i = 0; i < layout.k; ++i)
        std::copy_n(t.data<int8_t>() + begin + i * ld, layout.n, columns.data() + i * layout.n);
      layout.pack(columns.data(), out);
    }
  }
  static const float* operand(const RunContext& c, int i, int64_t offset) {
    return i >= 0 && c.has(static_cast<size_t>(i)) ? c.in(static_cast<size_t>(i)) + offset
                                                   : nullptr;
  }
  static float* result(const RunContext& c, size_t i, int64_t offset) {
    return i < c.outputs.size() && c.outputs[i]->defined() ? c.out(i) + offset : nullptr;
  }

  LayerInfo info_;
  RecurrentParams p_;
  int64_t columns_ = 0;
  size_t scales_ = 0;
  std::vector<PackStore::Packed> packs_;
  int64_t scratch_ = 0;
};

std::unique_ptr<Kernel> make(const StepInfo& s) {
  return std::make_unique<RecurrentKernel>(s);
}

std::string bytes_refuses(const StepInfo& s) {
  return s.inputs[1].dtype == DType::i8 ? refuses(s) : "the weights are not bytes";
}

constexpr KernelCandidate kCandidates[] = {
    {Lstm::name, "recurrent_bytes", bytes_refuses, make},
    {Gru::name, "recurrent_bytes", bytes_refuses, make},
    {Rnn::name, "recurrent_bytes", bytes_refuses, make},
    {Lstm::name, "recurrent", refuses, make},
    {Gru::name, "recurrent", refuses, make},
    {Rnn::name, "recurrent", refuses, make},
};

}  // namespace

std::span<const KernelCandidate> recurrent_candidates() {
  return kCandidates;
}

}  // namespace tenon::cpu
