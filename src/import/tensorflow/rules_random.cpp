// Rules of random numbers. The stateless ones give TensorFlow's values; the others follow the
// distribution, as two runs of TensorFlow do.
#include "import/tensorflow/compose.h"

namespace tenon::tf {
namespace {

// 0, which means other values each time, unless the model fixes a seed.
Result<int64_t> seed_of(const RuleContext& c) {
  const int64_t a = TRY(c.node.attrs.get_int("seed", 0)), b = TRY(c.node.attrs.get_int("seed2", 0));
  if (a == 0 && b == 0) return int64_t{0};
  return static_cast<int64_t>(
      (static_cast<uint64_t>(a) * 0x9E3779B97F4A7C15 ^ static_cast<uint64_t>(b)) >> 1 | 1);
}

Values uniform(RuleContext& c) {
  return one(c.builder.op(
      "random_uniform", {c.inputs[0]},
      {{"seed", TRY(seed_of(c))}, {"dtype", TRY(dtype_attr(c, "dtype", DataType::f32))}}));
}

Values uniform_int(RuleContext& c) {
  return one(c.builder.op("random_uniform", {c.inputs[0]},
                          {{"low", TRY(real_scalar(c, 1))},
                           {"high", TRY(real_scalar(c, 2))},
                           {"seed", TRY(seed_of(c))},
                           {"dtype", c.inputs[1]->dtype()}}));
}

Values normal(RuleContext& c) {
  return one(c.builder.op("random_normal", {c.inputs[0]},
                          {{"seed", TRY(seed_of(c))},
                           {"truncated", c.node.op == "TruncatedNormal"},
                           {"dtype", TRY(dtype_attr(c, "dtype", DataType::f32))}}));
}

// Samples of the classes of each row of logits: the largest of logits + Gumbel noise.
Values multinomial(RuleContext& c) {
  Builder& b = c.builder;
  Value* logits = c.inputs[0];
  if (TRY(rank_of(logits)) != 2) return invalid_model("logits must have two dimensions");
  Value* samples = TRY(b.op("reshape", {TRY(cast_to(c, c.inputs[1], DType::i64)), b.ints({1})}));
  Value* shape =
      TRY(join(c, {TRY(shape_of(c, logits, 0, 1)), samples, TRY(shape_of(c, logits, 1, 2))}));
  const DType t = logits->dtype();
  Value* u = TRY(
      b.op("random_uniform", {shape}, {{"low", 1e-7}, {"seed", TRY(seed_of(c))}, {"dtype", t}}));
  Value* noise = TRY(b.op("log", {TRY(b.op("neg", {TRY(b.op("log", {u}))}))}));
  Value* rows = TRY(b.op("expand_dims", {logits}, {{"axes", std::vector<int64_t>{1}}}));
  return one(
      b.op("arg_max", {TRY(b.op("sub", {rows, noise}))},
           {{"axis", int64_t{2}}, {"dtype", TRY(dtype_attr(c, "output_dtype", DataType::i64))}}));
}

// The rows in the order of random keys.
Values shuffle(RuleContext& c) {
  Builder& b = c.builder;
  Value* x = c.inputs[0];
  if (TRY(rank_of(x)) == 0) return std::vector<Value*>{x};
  Value* count = TRY(shape_of(c, x, 0, 1));
  Value* keys = TRY(b.op("random_uniform", {count}, {{"seed", TRY(seed_of(c))}}));
  Node* order = TRY(b.node("top_k", {keys, count}));
  return one(b.op("gather", {x, order->output(1)}));
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
  const char* kind = bits                     ? "bits"
                     : ints                   ? "integers"
                     : op.ends_with("Normal") ? "normal"
                                              : "uniform";
  return one(
      c.builder.op("stateless_random", in,
                   {{"kind", std::string(kind)}, {"dtype", TRY(dtype_attr(c, "dtype", usual))}}));
}

constexpr RuleEntry kRules[] = {
    {"Multinomial", multinomial, 2},
    {"RandomShuffle", shuffle},
    {"RandomStandardNormal", normal},
    {"RandomUniform", uniform},
    {"RandomUniformInt", uniform_int, 3},
    {"StatelessRandomGetAlg", algorithm, 0},
    {"StatelessRandomGetKeyCounter", key_counter},
    {"StatelessRandomGetKeyCounterAlg", key_counter},
    {"StatelessRandomNormal", stateless, 2},
    {"StatelessRandomNormalV2", stateless, 4},
    {"StatelessRandomUniform", stateless, 2},
    {"StatelessRandomUniformFullInt", stateless, 2},
    {"StatelessRandomUniformFullIntV2", stateless, 4},
    {"StatelessRandomUniformInt", stateless, 4},
    {"StatelessRandomUniformIntV2", stateless, 6},
    {"StatelessRandomUniformV2", stateless, 4},
    {"TruncatedNormal", normal},
};

}  // namespace

std::span<const RuleEntry> random_rules() {
  return kRules;
}

}  // namespace tenon::tf
