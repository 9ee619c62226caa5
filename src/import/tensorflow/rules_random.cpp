// Rules of random numbers. The stateless ones give TensorFlow's values; the others follow the
// distribution, as two runs of TensorFlow do.
#include <numbers>

#include "import/tensorflow/compose.h"

namespace tenon::tf {
namespace {

// The key and the counter of an op whose model fixes its seed: its first run gives TensorFlow's
// values. Empty where every run is to differ.
Result<std::vector<Value*>> fixed_key(const RuleContext& c) {
  const auto a = static_cast<uint64_t>(TRY(c.node.attrs.get_int("seed", 0)));
  const auto b = static_cast<uint64_t>(TRY(c.node.attrs.get_int("seed2", 0)));
  if (a == 0 && b == 0) return std::vector<Value*>{};
  return std::vector<Value*>{c.builder.constant(Tensor::vector(std::vector<uint64_t>{a})),
                             c.builder.constant(Tensor::vector(std::vector<uint64_t>{0, b}))};
}

// The key and the counter of any op: other ones every time unless the model fixes a seed.
Result<std::vector<Value*>> some_key(RuleContext& c) {
  auto key = TRY(fixed_key(c));
  if (!key.empty()) return key;
  Value* seed = TRY(c.builder.op("random_uniform", {c.builder.ints({2})},
                                 {{"high", 0x1p53}, {"dtype", DType::i64}}));
  Node* node = TRY(c.builder.node("stateless_key", {seed}));
  return std::vector<Value*>{node->output(0), node->output(1)};
}

// RandomUniform, RandomStandardNormal, TruncatedNormal
Values real_numbers(RuleContext& c) {
  const DType dtype = TRY(dtype_attr(c, "dtype", DataType::f32));
  const bool uniform = c.node.op == "RandomUniform", cut = c.node.op == "TruncatedNormal";
  const auto key = TRY(fixed_key(c));
  if (!key.empty())
    return one(c.builder.op("stateless_random", {c.inputs[0], key[0], key[1]},
                            {{"kind", std::string(uniform ? "uniform"
                                                  : cut   ? "truncated_normal"
                                                          : "normal")},
                             {"dtype", dtype}}));
  if (uniform) return one(c.builder.op("random_uniform", {c.inputs[0]}, {{"dtype", dtype}}));
  return one(c.builder.op("random_normal", {c.inputs[0]}, {{"truncated", cut}, {"dtype", dtype}}));
}

Values uniform_int(RuleContext& c) {
  const auto key = TRY(some_key(c));
  return one(c.builder.op("stateless_random",
                          {c.inputs[0], key[0], key[1], c.inputs[1], c.inputs[2]},
                          {{"kind", std::string("integers")}, {"dtype", c.inputs[1]->dtype()}}));
}

Values multinomial(RuleContext& c) {
  std::vector<Value*> in{c.inputs[0], c.inputs[1]};
  std::vector<Value*> key;
  if (c.node.op == "Multinomial") {
    key = TRY(some_key(c));
  } else {
    if (c.inputs.size() < 3) return invalid_model("the seed is missing");
    Node* node = TRY(c.builder.node("stateless_key", {c.inputs[2]}));
    key = {node->output(0), node->output(1)};
  }
  in.insert(in.end(), key.begin(), key.end());
  return one(c.builder.op("stateless_categories", in,
                          {{"dtype", TRY(dtype_attr(c, "output_dtype", DataType::i64))}}));
}

// The rows in another order.
Values shuffle(RuleContext& c) {
  Value* x = c.inputs[0];
  if (TRY(rank_of(x)) == 0) return std::vector<Value*>{x};
  const auto key = TRY(some_key(c));
  Value* count = TRY(c.builder.op("squeeze", {TRY(shape_of(c, x, 0, 1))}));
  Value* order = TRY(c.builder.op("stateless_permutation", {count, key[0], key[1]}));
  return one(c.builder.op("gather", {x, order}));
}

// (x, key, counter, algorithm): the rows in another order.
Values stateless_shuffle(RuleContext& c) {
  Value* x = c.inputs[0];
  if (TRY(rank_of(x)) == 0) return std::vector<Value*>{x};
  Value* count = TRY(c.builder.op("squeeze", {TRY(shape_of(c, x, 0, 1))}));
  Value* order = TRY(c.builder.op("stateless_permutation", {count, c.inputs[1], c.inputs[2]}));
  return one(c.builder.op("gather", {x, order}));
}

// RandomGamma and RandomPoisson of (shape, parameter), StatelessRandomGammaV2 and -Poisson of
// (shape, seed, parameter), StatelessRandomGammaV3 of (shape, key, counter, algorithm, parameter).
Values with_parameter(RuleContext& c) {
  const std::string_view op = c.node.op;
  Value* parameter = c.inputs.back();
  Value* shape = TRY(cast_to(c, c.inputs[0], DType::i64));
  std::vector<Value*> key;
  if (op.starts_with("Random")) {
    key = TRY(some_key(c));
    shape = TRY(join(c, {shape, TRY(shape_of(c, parameter))}));
  } else if (op.ends_with("V3")) {
    if (c.inputs.size() < 5) return invalid_model("the parameter is missing");
    key = {c.inputs[1], c.inputs[2]};
  } else {
    Node* node = TRY(c.builder.node("stateless_key", {c.inputs[1]}));
    key = {node->output(0), node->output(1)};
  }
  const bool gamma = op.find("Gamma") != std::string_view::npos;
  const DType dtype = gamma ? parameter->dtype() : TRY(dtype_attr(c, "dtype", DataType::i64));
  return one(c.builder.op("stateless_sample", {shape, key[0], key[1], parameter},
                          {{"kind", std::string(gamma ? "gamma" : "poisson")}, {"dtype", dtype}}));
}

// (shape, seed, numbers of tries, probabilities), which broadcast.
Values binomial(RuleContext& c) {
  Builder& b = c.builder;
  Node* key = TRY(b.node("stateless_key", {TRY(indices(c, c.inputs[1]))}));
  Value* shape = TRY(cast_to(c, c.inputs[0], DType::i64));
  Value* tries = TRY(cast_to(c, c.inputs[2], DType::f64));
  Value* p = TRY(cast_to(c, c.inputs[3], DType::f64));
  // Both in the shape they broadcast to.
  tries = TRY(b.op("expand", {tries, TRY(shape_of(c, p))}));
  p = TRY(b.op("expand", {p, TRY(shape_of(c, tries))}));
  return one(b.op(
      "stateless_sample", {shape, key->output(0), key->output(1), tries, p},
      {{"kind", std::string("binomial")}, {"dtype", TRY(dtype_attr(c, "dtype", DataType::i64))}}));
}

// (shape, means, deviations, lowest, highest), a row of the result for each: the quantile at an
// even number between the probabilities of both limits.
Values truncated_with_parameters(RuleContext& c) {
  Builder& b = c.builder;
  const DType t = TRY(dtype_attr(c, "dtype", DataType::f32));
  const int rank = static_cast<int>(c.inputs[0]->shape().elements().value_or(0));
  if (rank < 1) return unsupported("the rank of the result must be known");
  std::vector<Value*> in;  // against the result, in f64
  for (size_t i = 1; i < 5; ++i) {
    Value* v = TRY(cast_to(c, c.inputs[i], DType::f64));
    std::vector<int64_t> column(static_cast<size_t>(rank), 1);
    column[0] = -1;
    in.push_back(TRY(b.op("reshape", {v, b.ints(column)})));
  }
  const auto f = [&](double v) { return number(c, v, DType::f64); };
  const auto probability = [&](Value* limit) -> Result<Value*> {
    Value* z = TRY(b.op("div", {TRY(b.op("sub", {limit, in[0]})), in[1]}));
    z = TRY(b.op("erf", {TRY(b.op("mul", {z, TRY(f(std::numbers::sqrt2 / 2))}))}));
    return b.op("mul", {TRY(b.op("add", {z, TRY(f(1))})), TRY(f(0.5))});
  };
  Value* low = TRY(probability(in[2]));
  Value* range = TRY(b.op("sub", {TRY(probability(in[3])), low}));
  const auto key = TRY(some_key(c));
  Value* u = TRY(b.op("stateless_random", {c.inputs[0], key[0], key[1]},
                      {{"kind", std::string("uniform")}, {"dtype", DType::f64}}));
  Value* at = TRY(b.op("add", {low, TRY(b.op("mul", {u, range}))}));
  Value* y = TRY(b.op("add", {in[0], TRY(b.op("mul", {in[1], TRY(b.op("ndtri", {at}))}))}));
  y = TRY(b.op("min", {TRY(b.op("max", {y, in[2]})), in[3]}));
  return one(cast_to(c, y, t));
}

// Bits that nobody can foresee.
Values any_bits(RuleContext& c) {
  Value* seed = TRY(c.builder.op("random_uniform", {c.builder.ints({2})},
                                 {{"high", 0x1p53}, {"dtype", DType::i64}}));
  Node* key = TRY(c.builder.node("stateless_key", {seed}));
  return one(c.builder.op(
      "stateless_random", {TRY(indices(c, c.inputs[0])), key->output(0), key->output(1)},
      {{"kind", std::string("bits")}, {"dtype", TRY(dtype_attr(c, "dtype", DataType::i64))}}));
}

Values key_counter(RuleContext& c) {
  Node* node = TRY(c.builder.node("stateless_key", {TRY(indices(c, c.inputs[0]))}));
  std::vector<Value*> out{node->output(0), node->output(1)};
  // The number of the algorithm: Philox.
  if (c.node.op.ends_with("Alg")) out.push_back(c.builder.constant(Tensor::scalar(int32_t{1})));
  return out;
}

Values algorithm(RuleContext& c) {
  return std::vector<Value*>{c.builder.constant(Tensor::scalar(int32_t{1}))};
}

// StatelessRandom… of (shape, seed, …), and their V2 forms of (shape, key, counter, algorithm, …).
Values stateless(RuleContext& c) {
  std::string_view op = c.node.op;
  const bool v2 = op.ends_with("V2");
  if (v2) op.remove_suffix(2);
  const bool ints = op.ends_with("UniformInt");
  const bool bits = op.ends_with("FullInt");
  const size_t parameters = v2 ? 4 : 2;
  std::vector<Value*> in{c.inputs[0]};
  if (v2) {
    in.insert(in.end(), {c.inputs[1], c.inputs[2]});
  } else {
    Node* key = TRY(c.builder.node("stateless_key", {TRY(indices(c, c.inputs[1]))}));
    in.insert(in.end(), {key->output(0), key->output(1)});
  }
  if (ints) {
    if (c.inputs.size() < parameters + 2) return invalid_model("the range is missing");
    in.insert(in.end(), {c.inputs[parameters], c.inputs[parameters + 1]});
  }
  const DataType usual = bits ? DataType::u64 : DataType::f32;
  const char* kind = bits                              ? "bits"
                     : ints                            ? "integers"
                     : op.ends_with("TruncatedNormal") ? "truncated_normal"
                     : op.ends_with("Normal")          ? "normal"
                                                       : "uniform";
  return one(
      c.builder.op("stateless_random", in,
                   {{"kind", std::string(kind)}, {"dtype", TRY(dtype_attr(c, "dtype", usual))}}));
}

constexpr RuleEntry kRules[] = {
    {"Multinomial", multinomial, 2},
    {"NonDeterministicInts", any_bits},
    {"ParameterizedTruncatedNormal", truncated_with_parameters, 5},
    {"RandomGamma", with_parameter, 2},
    {"RandomPoisson", with_parameter, 2},
    {"RandomPoissonV2", with_parameter, 2},
    {"RandomShuffle", shuffle},
    {"RandomStandardNormal", real_numbers},
    {"RandomUniform", real_numbers},
    {"RandomUniformInt", uniform_int, 3},
    {"StatelessMultinomial", multinomial, 3},
    {"StatelessRandomBinomial", binomial, 4},
    {"StatelessRandomGammaV2", with_parameter, 3},
    {"StatelessRandomGammaV3", with_parameter, 5},
    {"StatelessRandomGetAlg", algorithm, 0},
    {"StatelessRandomGetKeyCounter", key_counter},
    {"StatelessRandomGetKeyCounterAlg", key_counter},
    {"StatelessRandomNormal", stateless, 2},
    {"StatelessRandomNormalV2", stateless, 4},
    {"StatelessRandomPoisson", with_parameter, 3},
    {"StatelessRandomUniform", stateless, 2},
    {"StatelessRandomUniformFullInt", stateless, 2},
    {"StatelessRandomUniformFullIntV2", stateless, 4},
    {"StatelessRandomUniformInt", stateless, 4},
    {"StatelessRandomUniformIntV2", stateless, 6},
    {"StatelessRandomUniformV2", stateless, 4},
    {"StatelessShuffle", stateless_shuffle, 4},
    {"StatelessTruncatedNormal", stateless, 2},
    {"StatelessTruncatedNormalV2", stateless, 4},
    {"TruncatedNormal", real_numbers},
};

}  // namespace

std::span<const RuleEntry> random_rules() {
  return kRules;
}

}  // namespace tenon::tf
