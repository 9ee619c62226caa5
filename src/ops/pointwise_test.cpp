// The elementwise ops, reductions, ops along an axis and transforms at their sharp corners.
#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <limits>

#include "ops/binary.h"
#include "ops/registry.h"

namespace tenon {
namespace {

using Attrs = std::vector<std::pair<std::string, AttrValue>>;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

Result<std::vector<Tensor>> run_all(const char* name, const std::vector<Tensor>& in,
                                    const Attrs& attrs = {}, int outputs = 1) {
  const auto op = create_op(name);
  TENON_CHECK(op != nullptr);
  for (const auto& [key, value] : attrs) TRY(set_attr(*op, key, value));
  return evaluate(*op, in, outputs);
}

Tensor run(const char* name, const std::vector<Tensor>& in, const Attrs& attrs = {}) {
  auto result = run_all(name, in, attrs);
  EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().to_string());
  return result.ok() ? (*result)[0] : Tensor();
}

template <typename T>
std::vector<T> values(const Tensor& t) {
  const auto s = t.span<T>();
  return {s.begin(), s.end()};
}

Tensor floats(std::vector<float> v, std::vector<int64_t> dims) {
  return Tensor::vector(v).reshaped(std::move(dims));
}
Tensor ints(const std::vector<int32_t>& v) {
  return Tensor::vector(v);
}

TEST(Unary, Corners) {
  EXPECT_EQ(values<float>(run("round", {Tensor::vector<float>({0.5f, 1.5f, 2.5f, -0.5f})})),
            (std::vector<float>{0, 2, 2, -0.0f}));
  EXPECT_TRUE(std::isnan(run("relu", {Tensor::scalar(kNan)}).real_at(0)));
  EXPECT_EQ(run("sigmoid", {Tensor::scalar(-1000.0f)}).real_at(0), 0);
  EXPECT_EQ(run("softplus", {Tensor::scalar(1000.0f)}).real_at(0), 1000);
  EXPECT_EQ(values<int32_t>(run("abs", {ints({-3, std::numeric_limits<int32_t>::min()})})),
            (std::vector<int32_t>{3, std::numeric_limits<int32_t>::min()}));
  EXPECT_EQ(values<bool>(run("is_finite", {Tensor::vector<float>({1, kInf, kNan})})),
            (std::vector<bool>{true, false, false}));
  EXPECT_FALSE(run_all("exp", {ints({1})}).ok());
  EXPECT_EQ(run("exp", {floats({}, {0, 3})}).elements(), 0);
}

TEST(Unary, HalfIsComputedInFloat) {
  const Tensor y = run("exp", {Tensor::scalar(Half(1.0f))});
  EXPECT_EQ(y.dtype(), DType::f16);
  EXPECT_NEAR(y.real_at(0), 2.71828, 1e-3);
}

TEST(Binary, Broadcasts) {
  const Tensor y = run("add", {floats({1, 2, 3}, {3, 1}), floats({10, 20}, {2})});
  EXPECT_EQ(y.dims(), (std::vector<int64_t>{3, 2}));
  EXPECT_EQ(values<float>(y), (std::vector<float>{11, 21, 12, 22, 13, 23}));
  EXPECT_EQ(run("mul", {floats({}, {0, 1}), floats({1, 2}, {2})}).dims(),
            (std::vector<int64_t>{0, 2}));
  EXPECT_FALSE(run_all("add", {floats({1, 2}, {2}), floats({1, 2, 3}, {3})}).ok());
}

TEST(Binary, IntegerDivision) {
  const Tensor x = ints({7, -7, 7, -7}), y = ints({2, 2, -2, -2});
  EXPECT_EQ(values<int32_t>(run("div", {x, y})), (std::vector<int32_t>{3, -3, -3, 3}));
  EXPECT_EQ(values<int32_t>(run("floor_div", {x, y})), (std::vector<int32_t>{3, -4, -4, 3}));
  EXPECT_EQ(values<int32_t>(run("floor_mod", {x, y})), (std::vector<int32_t>{1, 1, -1, -1}));
  EXPECT_EQ(values<int32_t>(run("trunc_mod", {x, y})), (std::vector<int32_t>{1, -1, 1, -1}));
  const auto failed = run_all("floor_mod", {x, ints({1, 1, 0, 1})});
  ASSERT_FALSE(failed.ok());
  EXPECT_NE(failed.error().message.find("division by zero"), std::string::npos);
  // The one quotient that does not fit wraps.
  constexpr auto kLow = std::numeric_limits<int64_t>::min();
  EXPECT_EQ(run("div", {Tensor::scalar(kLow), Tensor::scalar(int64_t{-1})}).int_at(0), kLow);
}

TEST(Binary, NanAndStrings) {
  const Tensor x = Tensor::vector<float>({kNan, 1}), y = Tensor::vector<float>({1, kNan});
  for (const char* op : {"min", "max"}) {
    const Tensor z = run(op, {x, y});
    EXPECT_TRUE(std::isnan(z.real_at(0)) && std::isnan(z.real_at(1))) << op;
  }
  const Tensor s = Tensor::vector<std::string>({"a", "b"}), t = Tensor::scalar<std::string>("b");
  EXPECT_EQ(values<bool>(run("equal", {s, t})), (std::vector<bool>{false, true}));
  EXPECT_EQ(values<std::string>(run("add", {s, t})), (std::vector<std::string>{"ab", "bb"}));
}

TEST(Binary, ShapeArithmeticKeepsSymbols) {
  const SymInts n{{std::nullopt, Dim::symbol("n")}};
  const Tensor one = Tensor::vector<int64_t>({1});
  const OperandInfo operands[2] = {{{DType::i64, {1}}, nullptr, &n}, {one.type(), &one, nullptr}};
  const auto ints = Mul().infer_ints(InferContext(operands));
  ASSERT_TRUE(ints);
  EXPECT_EQ((*ints)[0].dim, Dim::symbol("n"));
  EXPECT_FALSE((*ints)[0].value);
}

TEST(Cast, SaturatesAndTruncates) {
  const Tensor x = Tensor::vector<float>({-1.9f, 3e9f, kNan, -kInf});
  EXPECT_EQ(values<int32_t>(run("cast", {x}, {{"to", DType::i32}})),
            (std::vector<int32_t>{-1, std::numeric_limits<int32_t>::max(), 0,
                                  std::numeric_limits<int32_t>::min()}));
  EXPECT_EQ(
      run("cast", {Tensor::scalar(std::complex<float>(2, 3))}, {{"to", DType::f64}}).real_at(0), 2);
}

TEST(Select, Broadcasts) {
  const Tensor c = Tensor::vector<bool>({true, false}).reshaped({2, 1});
  const Tensor y = run("select", {c, floats({1, 2}, {2}), Tensor::scalar(0.0f)});
  EXPECT_EQ(values<float>(y), (std::vector<float>{1, 2, 0, 0}));
}

TEST(Reduce, AxesAndEmpty) {
  const Tensor x = floats({1, 2, 3, 4, 5, 6}, {2, 3});
  const auto axes = [](int64_t a) { return Attrs{{"axes", std::vector<int64_t>{a}}}; };
  EXPECT_EQ(values<float>(run("sum", {x}, axes(0))), (std::vector<float>{5, 7, 9}));
  EXPECT_EQ(values<float>(run("mean", {x}, axes(-1))), (std::vector<float>{2, 5}));
  EXPECT_EQ(run("prod", {x}).real_at(0), 720);
  EXPECT_EQ(run("reduce_max", {floats({}, {0})}).real_at(0), -kInf);
  EXPECT_TRUE(std::isnan(run("mean", {floats({}, {0})}).real_at(0)));
  EXPECT_TRUE(std::isnan(run("reduce_max", {floats({kNan, 1}, {2})}).real_at(0)));
  EXPECT_NEAR(run("log_sum_exp", {floats({1000, 1000}, {2})}).real_at(0), 1000.6931, 1e-3);
  EXPECT_FALSE(run_all("sum", {x}, axes(2)).ok());
}

TEST(Axis, Ops) {
  const Tensor x = floats({3, 1, 3, 2}, {4});
  EXPECT_EQ(run("arg_max", {x}).int_at(0), 0);
  EXPECT_EQ(run("arg_max", {x}, {{"select_last_index", true}}).int_at(0), 2);
  EXPECT_EQ(values<float>(run("cumsum", {x}, {{"exclusive", true}, {"reverse", true}})),
            (std::vector<float>{6, 5, 2, 0}));
  auto top = run_all("top_k", {x, Tensor::scalar(int32_t{3})}, {}, 2);
  ASSERT_TRUE(top.ok());
  EXPECT_EQ(values<float>((*top)[0]), (std::vector<float>{3, 3, 2}));
  EXPECT_EQ(values<int32_t>((*top)[1]), (std::vector<int32_t>{0, 2, 3}));
  EXPECT_FALSE(run_all("top_k", {x, Tensor::scalar(int32_t{5})}, {}, 2).ok());
  EXPECT_EQ(values<float>(run("softmax", {floats({1000, 1000}, {1, 2})})),
            (std::vector<float>{0.5f, 0.5f}));
}

TEST(Generate, OneHotAndRange) {
  const Tensor y = run("one_hot", {ints({1, -1, 0}), Tensor::scalar(int32_t{2}),
                                   Tensor::scalar(5.0f), Tensor::scalar(0.0f)});
  EXPECT_EQ(values<float>(y), (std::vector<float>{0, 5, 0, 0, 5, 0}));
  const auto scalar = [](int32_t v) { return Tensor::scalar(v); };
  EXPECT_EQ(values<int32_t>(run("range", {scalar(5), scalar(0), scalar(-2)})),
            (std::vector<int32_t>{5, 3, 1}));
  EXPECT_FALSE(run_all("range", {scalar(0), scalar(1), scalar(0)}).ok());
}

TEST(Fourier, OddSizesAndRoundTrip) {
  std::vector<float> signal(15);
  for (size_t i = 0; i < signal.size(); ++i) signal[i] = static_cast<float>(i * i % 7);
  const Tensor x = Tensor::vector(signal);
  const Tensor f = run("rfft", {x});
  ASSERT_EQ(f.dims(), (std::vector<int64_t>{8}));
  std::complex<double> expected = 0;
  for (size_t i = 0; i < 15; ++i)
    expected += static_cast<double>(signal[i]) * std::polar(1.0, -2 * M_PI * 3 * double(i) / 15);
  EXPECT_NEAR(std::abs(std::complex<double>(f.data<std::complex<float>>()[3]) - expected), 0, 1e-4);
  const Tensor back = run("irfft", {f}, {{"fft_length", int64_t{15}}});
  for (int64_t i = 0; i < 15; ++i) EXPECT_NEAR(back.real_at(i), x.real_at(i), 1e-5);
}

TEST(Random, SeededIsReproducibleAndInRange) {
  const Tensor shape = Tensor::vector<int64_t>({1000});
  const Attrs attrs{{"seed", int64_t{7}}, {"low", 2.0}, {"high", 3.0}};
  const Tensor a = run("random_uniform", {shape}, attrs), b = run("random_uniform", {shape}, attrs);
  EXPECT_TRUE(bitwise_equal(a, b));
  double sum = 0;
  for (int64_t i = 0; i < 1000; ++i) {
    EXPECT_TRUE(a.real_at(i) >= 2 && a.real_at(i) < 3);
    sum += a.real_at(i);
  }
  EXPECT_NEAR(sum / 1000, 2.5, 0.05);
  EXPECT_FALSE(bitwise_equal(run("random_normal", {shape}), run("random_normal", {shape})));
}

TEST(Random, OneMoreThanAUniformDrawIsLessThanTwo) {
  for (const DType dtype : {DType::bf16, DType::f16, DType::f32}) {
    const Tensor draws = run("random_uniform", {Tensor::vector<int64_t>({20000})},
                             {{"seed", int64_t{5}}, {"dtype", dtype}});
    const Tensor one = run("cast", {Tensor::scalar(1.0f)}, {{"to", dtype}});
    const Tensor kept = run("floor", {run("add", {draws, one})});
    for (int64_t i = 0; i < kept.elements(); ++i) ASSERT_EQ(kept.real_at(i), 1) << i;
  }
}

}  // namespace
}  // namespace tenon
