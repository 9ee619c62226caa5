// Rules of com.microsoft for quantised models: what ONNX Runtime's quantiser writes. Each op
// becomes the op on real numbers between dequantisation and quantisation.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "import/onnx/quantized.h"
#include "import/onnx/rule_support.h"
#include "import/onnx/windows.h"

namespace tenon::onnx {
namespace {

constexpr std::string_view kDomain = "com.microsoft";

// Operand i as real numbers; its scale and zero point are the operands after it.
Result<Value*> real(RuleContext& c, int i) {
  if (!c.has(i) || !c.has(i + 1))
    return invalid_model(fmt::format("operand {} or its scale is missing", i));
  return dequantized(c, c.in(i), c.in(i + 1), c.in(i + 2), {.axis = 0});
}

// y as integers by the scale in operand i and the zero point after it.
Result<Values> requantized(RuleContext& c, Value* y, int i) {
  if (!c.has(i)) return invalid_model(fmt::format("operand {}, the scale, is missing", i));
  const DType type = c.has(i + 1) ? c.in(i + 1)->dtype() : c.in(0)->dtype();
  return one(quantized(c, y, c.in(i), c.in(i + 1), type, {.axis = 0}));
}

// y, in steps of the result with the zero point in it, as integers of the type of operand 7.
Result<Values> whole_steps(RuleContext& c, Value* y) {
  const DType type = c.has(7) ? c.in(7)->dtype() : c.in(0)->dtype();
  return one(quantized(c, y, TRY(c.scalar(DType::f32, 1)), nullptr, type));
}

// As ONNX Runtime adds: a whole byte of each operand times its part of the result's scale, b before
// a, on what all zero points come to, which a multiply-add of a's makes.
Result<Values> add(RuleContext& c) {
  for (const int i : {1, 4, 6})
    if (!c.has(i)) return invalid_model(fmt::format("operand {}, a scale, is missing", i));
  Value* of_a = TRY(c.op("div", {c.in(1), c.in(6)}));
  Value* of_b = TRY(c.op("div", {c.in(4), c.in(6)}));
  const auto zero = [&](int i, DType type) {
    return c.has(i) ? c.cast(c.in(i), type) : c.scalar(type, 0);
  };
  Value* b_zero = TRY(c.op("mul", {of_b, TRY(zero(5, DType::f32))}));
  Value* zeros = TRY(c.op("mul", {TRY(c.cast(of_a, DType::f64)), TRY(zero(2, DType::f64))}));
  zeros = TRY(c.op("add", {zeros, TRY(c.cast(b_zero, DType::f64))}));
  Value* rest = TRY(c.op("sub", {TRY(zero(7, DType::f32)), TRY(c.cast(zeros, DType::f32))}));
  Value* y = TRY(c.op("add", {TRY(dequantized(c, c.in(3), of_b, nullptr)), rest}));
  return whole_steps(c, TRY(c.op("add", {TRY(dequantized(c, c.in(0), of_a, nullptr)), y})));
}

// As ONNX Runtime multiplies: a whole product, one factor for all three scales, and one rounding
// of what has the zero point in it already.
Result<Values> multiply(RuleContext& c) {
  for (const int i : {1, 4, 6})
    if (!c.has(i)) return invalid_model(fmt::format("operand {}, a scale, is missing", i));
  Value* one_step = TRY(c.scalar(DType::f32, 1));
  const auto whole = [&](int i) { return dequantized(c, c.in(i), one_step, c.in(i + 2)); };
  Value* factor = TRY(c.op("div", {TRY(c.op("mul", {c.in(1), c.in(4)})), c.in(6)}));
  Value* y = TRY(c.op("mul", {TRY(whole(0)), TRY(whole(3))}));
  y = TRY(c.op("mul", {y, factor}));
  if (c.has(7)) y = TRY(c.op("add", {y, TRY(c.cast(c.in(7), DType::f32))}));
  return whole_steps(c, y);
}

Result<Values> sigmoid(RuleContext& c) {
  return requantized(c, TRY(c.op("sigmoid", {TRY(real(c, 0))})), 3);
}

Result<Values> leaky_relu(RuleContext& c) {
  const double alpha = TRY(c.get_float("alpha", 0.01));
  return requantized(c, TRY(c.op("leaky_relu", {TRY(real(c, 0))}, {{"alpha", alpha}})), 3);
}

// The node's op of ai.onnx on x, by the node's own attributes.
Result<Value*> standard(RuleContext& c, std::string_view op, Value* x) {
  constexpr int64_t kOpset = 19;
  const Rule* rule = find_rule("", op, kOpset);
  if (rule == nullptr) return internal_error(fmt::format("there is no rule for {}", op));
  const Values inputs = std::exchange(c.inputs, Values{x});
  Result<Values> made = rule->function(c);
  c.inputs = inputs;
  return TRY(std::move(made))[0];
}

// The same where the attribute channels_last may say how x lies.
Result<Value*> pooled(RuleContext& c, std::string_view op, Value* x, bool is_last) {
  if (!is_last) return standard(c, op, x);
  return channels_last(c, TRY(standard(c, op, TRY(channels_first(c, x)))));
}

// Before opset 13, which an attribute tells, over all dimensions from the axis on as if they were
// one.
Result<Values> softmax(RuleContext& c) {
  const bool flattens = TRY(c.get_int("opset", 13)) < 13;
  const int rank = TRY(c.rank(0));
  const int axis = TRY(normalize_axis(TRY(c.get_int("axis", flattens ? 1 : -1)), rank));
  Value* x = TRY(real(c, 0));
  Value* rows = flattens && axis < rank - 1 ? TRY(as_matrix(c, x, axis)) : x;
  const int64_t over = flattens ? -1 : axis;
  Value* y = TRY(c.op("softmax", {rows}, {{"axis", over}}));
  if (rows != x) y = TRY(c.op("reshape", {y, TRY(c.shape(x))}, {{"allow_zero", true}}));
  if (!c.has(3)) return invalid_model("operand 3, the scale, is missing");
  // A whole number of steps makes 1, as ONNX Runtime has it.
  Value* steps = TRY(c.op("floor", {TRY(c.op("reciprocal", {c.in(3)}))}));
  c.inputs[3] = TRY(c.op("reciprocal", {steps}));
  return requantized(c, y, 3);
}

template <Text kOp>
Result<Values> pool(RuleContext& c) {
  const bool last = TRY(c.get_bool("channels_last", false));
  return requantized(c, TRY(pooled(c, kOp.view(), TRY(real(c, 0)), last)), 3);
}

Result<Values> nhwc_max_pool(RuleContext& c) {
  return one(pooled(c, "MaxPool", c.in(0), true));
}

Result<Values> reduce_mean(RuleContext& c) {
  Value* y = TRY(
      c.op("mean", {TRY(real(c, 0))},
           {{"axes", TRY(c.get_ints("axes"))}, {"keep_dims", TRY(c.get_bool("keepdims", true))}}));
  return requantized(c, y, 3);
}

Result<Values> concat(RuleContext& c) {
  Values parts;
  for (int i = 2; i < c.input_count(); i += 3) parts.push_back(TRY(real(c, i)));
  if (!c.has(0) || !c.has(1) || parts.empty()) return invalid_model("operands are missing");
  Value* y = TRY(c.op("concat", parts, {{"axis", TRY(c.get_int("axis"))}}));
  return one(quantized(c, y, c.in(0), c.in(1), c.in(1)->dtype()));
}

Result<Values> where(RuleContext& c) {
  return requantized(c, TRY(c.op("select", {c.in(0), TRY(real(c, 1)), TRY(real(c, 4))})), 7);
}

// One value, or one per column of a product.
Result<Values> scaled_product(RuleContext& c, Value* product, Value* scale, Value* bias) {
  Value* y = TRY(c.op("mul", {TRY(c.cast(product, DType::f32)), scale}));
  return one(bias == nullptr ? Result<Value*>(y) : c.op("add", {y, bias}));
}

// a, b, scale a, scale b, zero a, zero b, bias.
Result<Values> integer_to_float(RuleContext& c) {
  Value* product = TRY(integer_product(c, c.in(0), c.in(1), c.in(4), c.in(5)));
  return scaled_product(c, product, TRY(c.op("mul", {c.in(2), c.in(3)})), c.in(6));
}

// a, b, scale b, zero b, bias; a is quantised by its own range.
Result<Values> dynamic_product(RuleContext& c) {
  const Values a = TRY(all(c.builder.node("dynamic_quantize_linear", {c.in(0)})));
  Value* product = TRY(integer_product(c, a[0], c.in(1), a[2], c.in(3)));
  return scaled_product(c, product, TRY(c.op("mul", {a[1], c.in(2)})), c.in(4));
}

Result<Values> q_gemm(RuleContext& c) {
  const bool turns_b = TRY(c.get_bool("transB", false));
  Value* a = TRY(real(c, 0));
  Value* b = TRY(dequantized(c, c.in(3), c.in(4), c.in(5), {.axis = turns_b ? 0 : 1}));
  const double alpha = TRY(c.get_float("alpha", 1));
  Value* y = TRY(c.op("matmul", {a, b},
                      {{"transpose_a", TRY(c.get_bool("transA", false))},
                       {"transpose_b", turns_b},
                       {"alpha", alpha}}));
  if (c.has(6)) {
    Value* scale =
        TRY(c.op("mul", {TRY(c.op("mul", {c.in(1), c.in(4)})), TRY(c.scalar(DType::f32, alpha))}));
    y = TRY(c.op("add", {y, TRY(c.op("mul", {TRY(c.cast(c.in(6), DType::f32)), scale}))}));
  }
  return c.has(7) ? requantized(c, y, 7) : Values{y};
}

// x, packed weights, scales, zero points, group index, bias.
Result<Values> matmul_bits(RuleContext& c) {
  const PackedBlocks b{TRY(c.get_int("N")), TRY(c.get_int("K")), TRY(c.get_int("bits", 4)),
                       TRY(c.get_int("block_size"))};
  constexpr int64_t kMaxSize = int64_t{1} << 31;
  if (b.rows < 1 || b.columns < 1 || b.rows > kMaxSize || b.columns > kMaxSize)
    return invalid_model(fmt::format("weights of {} by {}", b.rows, b.columns));
  if (b.bits != 2 && b.bits != 4 && b.bits != 8)
    return unsupported(fmt::format("weights of {} bits", b.bits));
  if (b.size < 16 || b.size > kMaxSize || b.size * b.bits % 8 != 0)
    return invalid_model(fmt::format("attribute 'block_size' is {}", b.size));
  if (c.has(4)) return unsupported("weights whose blocks are in another order (g_idx)");
  (void)TRY(checked_elements(std::vector<int64_t>{b.rows, b.columns}, sizeof(float)));
  const Tensor zeros = c.has(3) ? TRY(c.constant(3)) : Tensor();
  Value* w =
      c.builder.constant(TRY(unpacked_blocks(b, TRY(c.constant(1)), TRY(c.constant(2)), zeros)));
  Value* y =
      TRY(c.op("matmul", {c.in(0), TRY(c.cast(w, c.in(0)->dtype()))}, {{"transpose_b", true}}));
  return one(c.has(5) ? c.op("add", {y, c.in(5)}) : Result<Value*>(y));
}

// x, weights of four bits that are places in a table, the largest value of each block. The first of
// two weights has the higher bits.
Result<Values> matmul_bnb4(RuleContext& c) {
  constexpr std::array<float, 8> kFp4{0, 0.0052083333F, 2.F / 3, 1, 1.F / 3, 0.5, 1.F / 6, 0.25};
  constexpr std::array<float, 16> kNf4{-1,           -0.69619280F, -0.52507305F, -0.39491749F,
                                       -0.28444138F, -0.18477343F, -0.09105004F, 0,
                                       0.07958030F,  0.16093020F,  0.24611230F,  0.33791524F,
                                       0.44070983F,  0.56261700F,  0.72295684F,  1};
  const int64_t n = TRY(c.get_int("N")), k = TRY(c.get_int("K"));
  const int64_t block = TRY(c.get_int("block_size"));
  const bool is_normal = TRY(c.get_int("quant_type")) == 1;
  if (n < 1 || k < 1 || block < 16)
    return invalid_model("'N', 'K' or 'block_size' is out of range");
  const int64_t count = TRY(checked_elements(std::vector<int64_t>{n, k}, sizeof(float)));
  const Tensor q = TRY(c.constant(1)), largest = TRY(c.constant(2));
  if (q.dtype() != DType::u8 || q.elements() != (count + 1) / 2 ||
      largest.elements() != (count + block - 1) / block || !is_float(largest.dtype()))
    return invalid_model("the packed weights or their largest values do not fit N and K");
  Tensor w = TRY(Tensor::allocate(DType::f32, std::vector<int64_t>{n, k}));
  for (int64_t i = 0; i < count; ++i) {
    const auto place = static_cast<size_t>(q.data<uint8_t>()[i / 2] >> (i % 2 == 0 ? 4 : 0) & 15);
    const float level = is_normal ? kNf4[place] : kFp4[place & 7] * (place < 8 ? 1 : -1);
    w.mutable_data<float>()[i] = level * static_cast<float>(largest.real_at(i / block));
  }
  const bool turned = TRY(c.get_bool("transB", true));
  if (!turned) w = w.reshaped({k, n});
  Value* weights = TRY(c.cast(c.builder.constant(w), c.in(0)->dtype()));
  return one(c.op("matmul", {c.in(0), weights}, {{"transpose_b", turned}}));
}

// Weights of an LSTM as ai.onnx has them, and what they are multiples of.
struct LstmWeights {
  Value* values = nullptr;
  Value* scales = nullptr;  // [directions, 4 H]; null: the values are real numbers
};

// Less their zero point as bytes; undefined where they are no constants or need 9 bits.
Result<Tensor> without_zero(RuleContext& c, int at, int zero_at) {
  if (c.in(at)->constant() == nullptr || (c.has(zero_at) && c.in(zero_at)->constant() == nullptr))
    return Tensor();
  const Tensor& w = *c.in(at)->constant();
  const Tensor* zero = c.has(zero_at) ? c.in(zero_at)->constant() : nullptr;
  Tensor bytes = TRY(Tensor::allocate(DType::i8, w.dims()));
  const std::vector<int64_t> dims = w.dims();
  const int64_t columns = dims[2], of_direction = std::max<int64_t>(1, dims[1] * columns);
  const int64_t zeros = zero == nullptr ? 0 : zero->elements();
  if (zeros > 0 && zeros != dims[0] && zeros != dims[0] * columns)
    return invalid_model("the zero points do not fit the weights");
  for (int64_t i = 0; i < w.elements(); ++i) {
    const int64_t direction = i / of_direction;
    const int64_t z = zeros == dims[0] ? direction : direction * columns + i % columns;
    const int64_t value = w.int_at(i) - (zeros == 0 ? 0 : zero->int_at(z));
    if (value < INT8_MIN || value > INT8_MAX) return Tensor();
    bytes.mutable_data<int8_t>()[i] = static_cast<int8_t>(value);
  }
  return bytes;
}

// [directions, inputs, 4 H] as integers with a scale per direction or per column of it, the scale
// in operand `scale_at` and the zero point behind it; `bytes`: less their zero point, where
// defined.
Result<LstmWeights> lstm_weights(RuleContext& c, int at, int scale_at, const Tensor& bytes) {
  const auto beside = [&](Value* v) -> Result<Value*> {
    if (!v->shape().ranked() || v->shape().rank() < 1 || v->shape().rank() > 2)
      return invalid_model("scales and zero points of weights need 1 or 2 dimensions");
    return expand_dims(
        c, v, v->shape().rank() == 1 ? std::vector<int64_t>{1, 2} : std::vector<int64_t>{1});
  };
  Value* scale = TRY(beside(c.in(scale_at)));
  if (bytes.defined()) {
    Value* scales =
        TRY(c.op("expand", {scale, c.builder.ints({bytes.dims()[0], 1, bytes.dims()[2]})}));
    return LstmWeights{TRY(c.transpose(c.builder.constant(bytes), {0, 2, 1})),
                       TRY(squeeze(c, scales, {1}))};
  }
  Value* y = TRY(c.cast(c.in(at), DType::f32));
  if (c.has(scale_at + 1))
    y = TRY(c.op("sub", {y, TRY(c.cast(TRY(beside(c.in(scale_at + 1))), DType::f32))}));
  return LstmWeights{TRY(c.transpose(TRY(c.op("mul", {y, scale})), {0, 2, 1})), nullptr};
}

// The LSTM of ai.onnx with its weights as integers; their scales and zero points come last. Its
// products are of bytes where the weights are, else of the real numbers that those stand for.
Result<Values> dynamic_lstm(RuleContext& c) {
  constexpr int64_t kOpset = 14;
  const Rule* rule = find_rule("", "LSTM", kOpset);
  if (rule == nullptr || !c.has(8) || !c.has(10))
    return invalid_model("the scales of the weights are missing");
  for (const int i : {1, 2})
    if (TRY(c.rank(i)) != 3) return invalid_model("the weights need 3 dimensions");
  Tensor w_bytes, r_bytes;
  if (c.in(0)->dtype() == DType::f32 && !TRY(c.get_bool("input_forget", false))) {
    w_bytes = TRY(without_zero(c, 1, 9));
    r_bytes = TRY(without_zero(c, 2, 11));
    if (!w_bytes.defined() || !r_bytes.defined()) w_bytes = r_bytes = Tensor();
  }
  const LstmWeights w = TRY(lstm_weights(c, 1, 8, w_bytes));
  const LstmWeights r = TRY(lstm_weights(c, 2, 10, r_bytes));
  c.inputs = {c.in(0), w.values, r.values, c.in(3),  c.in(4),
              c.in(5), c.in(6),  c.in(7),  w.scales, r.scales};
  c.opset = kOpset;
  return rule->function(c);
}

constexpr Rule kRules[] = {
    {"DynamicQuantizeLSTM", {3, 12}, dynamic_lstm, 1, kDomain},
    {"DynamicQuantizeMatMul", {3, 5}, dynamic_product, 1, kDomain},
    {"MatMulIntegerToFloat", {4, 7}, integer_to_float, 1, kDomain},
    {"MatMulBnb4", 3, matmul_bnb4, 1, kDomain},
    {"MatMulNBits", {3, 6}, matmul_bits, 1, kDomain},
    {"NhwcMaxPool", 1, nhwc_max_pool, 1, kDomain},
    {"QGemm", {6, 9}, q_gemm, 1, kDomain},
    {"QLinearAdd", {2, 8}, add, 1, kDomain},
    {"QLinearAveragePool", {2, 5}, pool<"AveragePool">, 1, kDomain},
    {"QLinearConcat", {5, kVariadic}, concat, 1, kDomain},
    {"QLinearGlobalAveragePool", {2, 5}, pool<"GlobalAveragePool">, 1, kDomain},
    {"QLinearLeakyRelu", {2, 5}, leaky_relu, 1, kDomain},
    {"QLinearMul", {2, 8}, multiply, 1, kDomain},
    {"QLinearReduceMean", {2, 5}, reduce_mean, 1, kDomain},
    {"QLinearSigmoid", {2, 5}, sigmoid, 1, kDomain},
    {"QLinearSoftmax", {2, 5}, softmax, 1, kDomain},
    {"QLinearWhere", {8, 9}, where, 1, kDomain},
};

}  // namespace

std::span<const Rule> qlinear_rules() {
  return kRules;
}

}  // namespace tenon::onnx
