// Rules of signal processing (windows, Fourier transforms, mel scale) and of random values.
#include <fmt/format.h>

#include "import/onnx/rule_support.h"

namespace tenon::onnx {
namespace {

// constant + sum of amplitudes[k] * cos(2 pi (k + 1) n / N), n from 0 to the size; N is the size
// of a periodic window, one less of a symmetric one.
Result<Values> cosine_window(RuleContext& c, double constant, std::vector<double> amplitudes) {
  const DType dtype = TRY(c.get_dtype("output_datatype", DType::f32));
  Value* size = TRY(c.cast(c.in(0), DType::i64));
  Value* n = TRY(c.cast(TRY(count_up(c, size)), DType::f64));
  Value* period = TRY(c.cast(size, DType::f64));
  if (!TRY(c.get_bool("periodic", true)))
    period = TRY(c.op("sub", {period, TRY(c.scalar(DType::f64, 1))}));
  Value* turns = TRY(c.op("div", {n, period}));
  Value* y = TRY(c.scalar(DType::f64, constant));
  for (size_t k = 0; k < amplitudes.size(); ++k) {
    constexpr double kTurn = 6.283185307179586;
    Value* factor = TRY(c.scalar(DType::f64, kTurn * static_cast<double>(k + 1)));
    Value* wave = TRY(c.op("cos", {TRY(c.op("mul", {turns, factor}))}));
    Value* scaled = TRY(c.op("mul", {wave, TRY(c.scalar(DType::f64, amplitudes[k]))}));
    y = TRY(c.op("add", {scaled, y}));
  }
  return one(c.cast(y, dtype));
}

Result<Values> hann_window(RuleContext& c) {
  return cosine_window(c, 0.5, {-0.5});
}
Result<Values> hamming_window(RuleContext& c) {
  return cosine_window(c, 25.0 / 46, {-21.0 / 46});
}
Result<Values> blackman_window(RuleContext& c) {
  return cosine_window(c, 0.42, {-0.5, 0.08});
}

// The axis became an operand, and by default the last but one, in opset 20.
Result<Values> dft(RuleContext& c) {
  Values operands{c.in(0)};
  if (c.has(1)) operands.push_back(c.in(1));
  const bool inverse = TRY(c.get_bool("inverse", false));
  const bool onesided = TRY(c.get_bool("onesided", false));
  if (c.opset >= 20 && c.has(2))
    return one(with_attr(c, "dft", operands, "axis", c.in(2),
                         {{"inverse", inverse}, {"onesided", onesided}}, "rank"));
  const int64_t axis = c.opset >= 20 ? -2 : TRY(c.get_int("axis", 1));
  return one(c.op("dft", operands, {{"axis", axis}, {"inverse", inverse}, {"onesided", onesided}}));
}

// Frames gathered from the signal [batch, length, 1 or 2], each transformed. ONNX Runtime takes
// [batch, length] as well.
Result<Values> stft(RuleContext& c) {
  Value* signal = c.in(0);
  if (signal->shape().ranked() && signal->shape().rank() == 2)
    signal = TRY(expand_dims(c, signal, {2}));
  const auto scalar = [&](Value* v) -> Result<Value*> {
    return c.reshape(TRY(c.cast(v, DType::i64)), {});
  };
  Value* step = TRY(scalar(c.in(1)));
  Value* size = TRY(scalar(TRY(size_of(c, signal, 1))));
  Value* frame = size;
  if (c.has(3))
    frame = TRY(scalar(c.in(3)));
  else if (c.has(2))
    frame = TRY(scalar(TRY(size_of(c, c.in(2), 0))));
  Value* count = TRY(c.op("div", {TRY(c.op("sub", {size, frame})), step}));
  count = TRY(c.op("add", {count, TRY(c.scalar(DType::i64, 1))}));
  Value* starts = TRY(c.op("mul", {TRY(count_up(c, count)), step}));
  Value* places = TRY(c.op("add", {TRY(expand_dims(c, starts, {1})), TRY(count_up(c, frame))}));
  Value* frames = TRY(c.op("gather", {signal, places}, {{"axis", int64_t{1}}}));
  if (c.has(2)) {
    Value* window = TRY(c.cast(TRY(expand_dims(c, c.in(2), {1})), signal->dtype()));
    frames = TRY(c.op("mul", {frames, window}));
  }
  return one(c.op("dft", {frames},
                  {{"axis", int64_t{2}}, {"onesided", TRY(c.get_bool("onesided", true))}}));
}

Result<Values> mel_weights(RuleContext& c) {
  return one(
      c.op("mel_weights", c.inputs, {{"dtype", TRY(c.get_dtype("output_datatype", DType::f32))}}));
}

// The shape is an attribute, or that of the first operand for the ops …Like.
Result<Value*> random_shape(RuleContext& c) {
  if (c.has(0)) return shape_of(c, c.in(0));
  return c.builder.ints(TRY(c.get_ints("shape")));
}

Result<DType> random_dtype(RuleContext& c) {
  const DType like = c.has(0) && is_float(c.in(0)->dtype()) ? c.in(0)->dtype() : DType::f32;
  return c.get_dtype("dtype", like);
}

Result<Values> random_normal(RuleContext& c) {
  return one(c.op("random_normal", {TRY(random_shape(c))},
                  {{"mean", TRY(c.get_float("mean", 0))},
                   {"stddev", TRY(c.get_float("scale", 1))},
                   {"seed", TRY(seed_of(c))},
                   {"dtype", TRY(random_dtype(c))}}));
}

Result<Values> random_uniform(RuleContext& c) {
  return one(c.op("random_uniform", {TRY(random_shape(c))},
                  {{"low", TRY(c.get_float("low", 0))},
                   {"high", TRY(c.get_float("high", 1))},
                   {"seed", TRY(seed_of(c))},
                   {"dtype", TRY(random_dtype(c))}}));
}

// One with the probability that the element gives.
Result<Values> bernoulli(RuleContext& c) {
  Value* p = c.in(0);
  Value* drawn = TRY(c.op("random_uniform", {TRY(shape_of(c, p))},
                          {{"seed", TRY(seed_of(c))}, {"dtype", p->dtype()}}));
  return one(c.cast(TRY(c.op("less", {drawn, p})), TRY(c.get_dtype("dtype", p->dtype()))));
}

// Classes drawn from rows of unnormalised logarithms of probabilities: the largest after adding
// noise -log(-log(u)) to each (the Gumbel distribution).
Result<Values> multinomial(RuleContext& c) {
  const int64_t samples = TRY(c.get_int("sample_size", 1));
  if (samples < 1) return invalid_model(fmt::format("sample_size is {}", samples));
  Value* scores = TRY(expand_dims(c, TRY(c.cast(c.in(0), DType::f32)), {1}));
  Value* shape = TRY(
      join(c, {TRY(size_of(c, scores, 0)), c.builder.ints({samples}), TRY(size_of(c, scores, 2))}));
  Value* noise =
      TRY(c.op("random_uniform", {shape}, {{"seed", TRY(seed_of(c))}, {"dtype", DType::f32}}));
  for (int i = 0; i < 2; ++i) noise = TRY(c.op("neg", {TRY(c.op("log", {noise}))}));
  Value* drawn = TRY(c.op("arg_max", {TRY(c.op("add", {scores, noise}))},
                          {{"axis", int64_t{2}}, {"dtype", DType::i64}}));
  return one(c.cast(drawn, TRY(c.get_dtype("dtype", DType::i32))));
}

constexpr Rule kRules[] = {
    {"Bernoulli", 1, bernoulli},
    {"BlackmanWindow", 1, blackman_window},
    {"DFT", {1, 3}, dft},
    {"HammingWindow", 1, hamming_window},
    {"HannWindow", 1, hann_window},
    {"MelWeightMatrix", 5, mel_weights},
    {"Multinomial", 1, multinomial},
    {"RandomNormal", 0, random_normal},
    {"RandomNormalLike", 1, random_normal},
    {"RandomUniform", 0, random_uniform},
    {"RandomUniformLike", 1, random_uniform},
    {"STFT", {2, 4}, stft},
};

}  // namespace

std::span<const Rule> signal_rules() {
  return kRules;
}

}  // namespace tenon::onnx
