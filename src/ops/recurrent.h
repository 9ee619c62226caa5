// Whole recurrent layers: LSTM, GRU and the plain cell, over [T, B, I] sequences.
#pragma once

#include "ops/activation.h"
#include "ops/op.h"

namespace tenon {

enum class Direction : uint8_t { forward, reverse, bidirectional };
inline constexpr std::array<std::string_view, 3> kDirectionNames{"forward", "reverse",
                                                                 "bidirectional"};
constexpr std::span<const std::string_view> enum_names(Direction) {
  return kDirectionNames;
}

// For all of them: x [T, B, I]; D directions (2 when bidirectional); seq_lens [B] of i32 or i64, or
// a boolean mask [T, B] in its place. A step t >= seq_lens[b], or where the mask is false, leaves
// the state and gives zeros, or the state as it is with `hold`; reverse begins at the last step, or
// the last that seq_lens allows.
// Weights w and r are numbers, or i8 with scales behind the other operands, w_scale and r_scale [D,
// columns], and x of f32. Then products are of integers: of bytes that each row of what is
// multiplied (x of a step and sequence, h of a sequence) is rounded to as dynamic_quantize_linear
// does, by the row's own range. With `two_bytes` what that leaves of the row is rounded in the same
// way and multiplied as well.
// Parameters of the activations are in `alphas` and `betas`, one per activation; missing ones are
// the usual defaults. clip > 0 limits what enters the activations to [-clip, clip].

// Operands x, w, r [, b] [, seq_lens] [, h0] [, c0] [, p] [, w_scale, r_scale]; results y, h, c.
// Gate columns i, f, g, o:
//   z = x w + h r + b;  c' = f(z_f + p_f c) c + f(z_i + p_i c) g(z_g);  h' = f(z_o + p_o c') h(c')
struct Lstm {
  Direction direction = Direction::forward;
  ActivationKind f = ActivationKind::sigmoid;
  ActivationKind g = ActivationKind::tanh;
  ActivationKind h = ActivationKind::tanh;
  std::vector<double> alphas;
  std::vector<double> betas;
  double clip = 0;
  bool hold = false;
  bool two_bytes = false;

  static const OpDef def;
  static constexpr std::string_view name = "lstm";
  static constexpr std::string_view doc =
      "LSTM layer: x [T,B,I], w [D,I,4H], r [D,H,4H], optional b [D,4H] (both biases summed), "
      "seq_lens [B] or a boolean mask [T,B], h0 and c0 [D,B,H], peepholes p [D,3H] (i, o, f); "
      "gates in the order input, "
      "forget, cell, output. w and r may be i8 with scales w_scale and r_scale [D,4H]: x and h are "
      "then rounded to bytes, row by row. Gives y [T,D,B,H] and the last h and c [D,B,H].";
  static constexpr Arity inputs{3, 10};
  static constexpr Arity outputs{3};
  static constexpr auto fields() {
    return std::tuple{Field{1, "direction", &Lstm::direction, "which way the sequence is read"},
                      Field{2, "f", &Lstm::f, "activation of the gates"},
                      Field{3, "g", &Lstm::g, "activation of the cell input"},
                      Field{4, "h", &Lstm::h, "activation of the cell output"},
                      Field{5, "alphas", &Lstm::alphas, "first parameters of f, g, h"},
                      Field{6, "betas", &Lstm::betas, "second parameters of f, g, h"},
                      Field{7, "clip", &Lstm::clip, "limit of activation inputs; 0 for none"},
                      Field{8, "hold", &Lstm::hold, "steps left out give the state, not zeros"},
                      Field{9, "two_bytes", &Lstm::two_bytes,
                            "with weights of bytes, what rounding leaves is multiplied, too"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
  int64_t flops(std::span<const TensorType> in, std::span<const TensorType> out) const;
};

// Operands x, w, r [, b] [, rb] [, seq_lens] [, h0] [, w_scale, r_scale]; results y, h. Gate
// columns z, r, h:
//   h' = (1 - z) n + z h with n = g(x w_h + b_h + r (h r_h + rb_h)) if linear_before_reset, else
//   n = g(x w_h + b_h + (r h) r_h + rb_h)
struct Gru {
  Direction direction = Direction::forward;
  bool linear_before_reset = false;
  ActivationKind f = ActivationKind::sigmoid;
  ActivationKind g = ActivationKind::tanh;
  std::vector<double> alphas;
  std::vector<double> betas;
  double clip = 0;
  bool hold = false;
  bool two_bytes = false;

  static const OpDef def;
  static constexpr std::string_view name = "gru";
  static constexpr std::string_view doc =
      "GRU layer: x [T,B,I], w [D,I,3H], r [D,H,3H], optional input bias b [D,3H], recurrent bias "
      "rb [D,3H], seq_lens [B] or a boolean mask [T,B], h0 [D,B,H]; gates in the order update, "
      "reset, candidate. w and r may be i8 with scales w_scale and r_scale [D,3H]: x and h are "
      "then rounded to bytes, row by row. Gives y [T,D,B,H] and the last h [D,B,H].";
  static constexpr Arity inputs{3, 9};
  static constexpr Arity outputs{2};
  static constexpr auto fields() {
    return std::tuple{Field{1, "direction", &Gru::direction, "which way the sequence is read"},
                      Field{2, "linear_before_reset", &Gru::linear_before_reset,
                            "the reset gate acts after the recurrent product"},
                      Field{3, "f", &Gru::f, "activation of the gates"},
                      Field{4, "g", &Gru::g, "activation of the candidate"},
                      Field{5, "alphas", &Gru::alphas, "first parameters of f, g"},
                      Field{6, "betas", &Gru::betas, "second parameters of f, g"},
                      Field{7, "clip", &Gru::clip, "limit of activation inputs; 0 for none"},
                      Field{8, "hold", &Gru::hold, "steps left out give the state, not zeros"},
                      Field{9, "two_bytes", &Gru::two_bytes,
                            "with weights of bytes, what rounding leaves is multiplied, too"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
  int64_t flops(std::span<const TensorType> in, std::span<const TensorType> out) const;
};

// Operands x, w, r [, b] [, seq_lens] [, h0] [, w_scale, r_scale]; results y, h:
//   h' = activation(x w + h r + b)
struct Rnn {
  Direction direction = Direction::forward;
  ActivationKind activation = ActivationKind::tanh;
  std::vector<double> alphas;
  std::vector<double> betas;
  double clip = 0;
  bool hold = false;
  bool two_bytes = false;

  static const OpDef def;
  static constexpr std::string_view name = "rnn";
  static constexpr std::string_view doc =
      "Plain recurrent layer: x [T,B,I], w [D,I,H], r [D,H,H], optional b [D,H] (both biases "
      "summed), seq_lens [B] or a boolean mask [T,B], h0 [D,B,H]. w and r may be i8 with scales "
      "w_scale and r_scale [D,H]: x and h are then rounded to bytes, row by row. Gives y [T,D,B,H] "
      "and the last h [D,B,H].";
  static constexpr Arity inputs{3, 8};
  static constexpr Arity outputs{2};
  static constexpr auto fields() {
    return std::tuple{Field{1, "direction", &Rnn::direction, "which way the sequence is read"},
                      Field{2, "activation", &Rnn::activation, "of the new state"},
                      Field{3, "alphas", &Rnn::alphas, "first parameter of the activation"},
                      Field{4, "betas", &Rnn::betas, "second parameter of the activation"},
                      Field{5, "clip", &Rnn::clip, "limit of activation inputs; 0 for none"},
                      Field{6, "hold", &Rnn::hold, "steps left out give the state, not zeros"},
                      Field{7, "two_bytes", &Rnn::two_bytes,
                            "with weights of bytes, what rounding leaves is multiplied, too"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
  int64_t flops(std::span<const TensorType> in, std::span<const TensorType> out) const;
};

// Where a recurrent op has w_scale, which r_scale follows; -1: it is no recurrent op.
int recurrent_scales(const Op& op);

}  // namespace tenon
