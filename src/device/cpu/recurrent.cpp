// lstm, gru and rnn layers with constant weights, packed once per model.
#include "ops/recurrent.h"

#include <fmt/format.h>

#include "device/cpu/candidates.h"
#include "device/cpu/kernels/pack.h"
#include "device/cpu/kernels/recurrent.h"

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
  std::vector<tenon::ActivationKind> activations;
  std::vector<double> alphas, betas;
};

LayerInfo info_of(const Op& op) {
  if (const auto* x = op.as<Lstm>())
    return {CellKind::kLstm, x->direction,       {3, -1, 4, 5, 6, 7}, x->clip, false,
            x->hold,         {x->f, x->g, x->h}, x->alphas,           x->betas};
  if (const auto* x = op.as<Gru>())
    return {CellKind::kGru,
            x->direction,
            {3, 4, 5, 6, -1, -1},
            x->clip,
            x->linear_before_reset,
            x->hold,
            {x->f, x->g},
            x->alphas,
            x->betas};
  const auto* x = op.as<Rnn>();
  return {CellKind::kPlain, x->direction, {3, -1, 4, 5, -1, -1},
          x->clip,          false,        x->hold,
          {x->activation},  x->alphas,    x->betas};
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
    if (s.inputs[i].dtype != DType::f32 && dtype_size(s.inputs[i].dtype) != 2) return "only f32";
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
    }
    recurrent(p, c.pool, c.scratch);
    return {};
  }

 private:
  // Columns [first, first + n) of matrix d of [directions, k, columns], which is operand i.
  const float* pack(const StepInfo& s, size_t i, int d, int64_t k, int64_t first, int64_t n) {
    const int64_t ld = columns_;
    const int64_t begin = d * k * ld + first;
    const Tensor t = *s.constants[i];
    if (n == columns_) {
      const PanelLayout layout{.batch = p_.directions, .k = k, .n = n};
      const int64_t floats = packed_b_floats(k, n);
      packs_.push_back(s.pack(i, layout.name(), layout.batch * floats, [=](float* out) {
        const WideWeights wide(t);
        for (int64_t b = 0; b < layout.batch; ++b)
          pack_b(k, n, wide.data() + b * k * n, n, false, out + b * floats);
      }));
      return packs_.back().get() + d * floats;
    }
    packs_.push_back(s.packs.get(
        t, fmt::format("panels of columns {}+{} of {}", first, n, d), packed_b_floats(k, n),
        [=](float* out) { pack_b(k, n, WideWeights(t).data() + begin, ld, false, out); }));
    return packs_.back().get();
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
  std::vector<PackStore::Packed> packs_;
  int64_t scratch_ = 0;
};

std::unique_ptr<Kernel> make(const StepInfo& s) {
  return std::make_unique<RecurrentKernel>(s);
}

constexpr KernelCandidate kCandidates[] = {
    {Lstm::name, "recurrent", refuses, make},
    {Gru::name, "recurrent", refuses, make},
    {Rnn::name, "recurrent", refuses, make},
};

}  // namespace

std::span<const KernelCandidate> recurrent_candidates() {
  return kCandidates;
}

}  // namespace tenon::cpu
