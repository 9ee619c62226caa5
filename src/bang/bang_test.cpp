#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "bang/evaluate.h"

namespace tenon::bang {
namespace {

constexpr std::string_view kOp =
    "TENON_OP(\"Op\", input(x, float, [*n]), output(y, float, [*n]), attribute(alpha, 2.0))\n";

// A file of one task that has `body` in it.
std::string with(std::string_view body, std::string_view before = "") {
  return std::string(kOp) + std::string(before) +
         "__nram__ float a[256]; __nram__ float b[256]; __wram__ float w[256];\n__mlu_entry__ void "
         "op(float* y, const float* x, int n, float alpha) {\n" +
         std::string(body) + "\n}\n";
}

std::string error_of(std::string text) {
  const auto kernel = parse_kernel(std::move(text), "k.mlu");
  return kernel.ok() ? "" : kernel.error().where + ": " + kernel.error().message;
}

Result<std::vector<float>> run(std::string text, std::vector<float> x,
                               std::vector<Attribute> attributes = {},
                               EvaluateOptions options = {}) {
  const auto kernel = TRY(parse_kernel(std::move(text), "k.mlu"));
  const Tensor input = Tensor::vector<float>(x);
  const std::vector<TensorType> types{input.type()};
  const Sizes sizes = TRY(apply_shape_rule(*kernel, types, attributes));
  const std::vector<int64_t> dims = sizes.outputs[0].shape.sizes();
  Tensor output = TRY(Tensor::zeros(sizes.outputs[0].dtype, dims));
  TRY(evaluate(*kernel, sizes, {&input, 1}, {&output, 1}, options));
  const auto values = output.span<float>();
  return std::vector<float>(values.begin(), values.end());
}

std::vector<float> result(std::string text, std::vector<float> x,
                          std::vector<Attribute> attributes = {}) {
  auto y = run(std::move(text), std::move(x), std::move(attributes));
  EXPECT_TRUE(y.ok()) << (y.ok() ? "" : y.error().to_string());
  return y.ok() ? *y : std::vector<float>();
}

using Floats = std::vector<float>;

TEST(BangParse, ErrorsShowTheLineAndWhatToDo) {
  EXPECT_EQ(error_of(with("  __bang_ad(a, a, b, 64);")),
            "k.mlu:4:3: there is no function '__bang_ad'; did you mean '__bang_add', "
            "'__bang_add_scalar' or '__bang_abs'?\n"
            "      __bang_ad(a, a, b, 64);\n      ^");
  EXPECT_EQ(error_of(with("  int k = lenght;", "#define LENGTH 4\n")),
            "k.mlu:5:11: 'lenght' is not declared\n      int k = lenght;\n              ^");
  EXPECT_EQ(error_of(with("\tint k = 1 +;")),
            "k.mlu:4:13: expected a value, found ';'\n    \tint k = 1 +;\n    \t           ^");
}

TEST(BangParse, WhatIsWrongIsRefused) {
  const std::pair<std::string, std::string_view> cases[] = {
      {"", "no TENON_OP"},
      {"TENON_OP(\"\")", "expected the op's type"},
      {"TENON_OP(\"Op\", input(x, float, [n]))", "no output"},
      {"TENON_OP(\"Op\", output(y, T, [4]))", "says what T is"},
      {"TENON_OP(\"Op\", input(x, double, [n]), output(y, float, [n]))",
       "an element type is float, half"},
      {"TENON_OP(\"Op\", input(x, float, [n]), output(y, float, [m]))", "'m' is not declared"},
      {"TENON_OP(\"Op\", input(x, float, [n]), output(x, float, [n]))", "there is a 'x' already"},
      {std::string(kOp), "no __mlu_entry__"},
      {std::string(kOp) + "__mlu_entry__ void f(float* y, float* z) {}",
       "parameter 'z' of 'f' is no input"},
      {std::string(kOp) + "__mlu_entry__ void f(half* y) {}",
       "is a half*, the op has it as a float*"},
      {std::string(kOp) + "__mlu_entry__ void f(float* x) {}", "no parameter for the output 'y'"},
      {std::string(kOp) + "__mlu_entry__ void f(float* y, int alpha) {}", "it is to be a float"},
      {std::string(kOp) + "__mlu_entry__ int f(float* y) {}", "the __mlu_entry__ is void"},
      {std::string(kOp) + "void f(float* y) {}", "begins with __mlu_entry__"},
      {with("int n = 4;") + with(""), "a file has one TENON_OP"},
      {with("int k; int k;"), "'k' is declared here already"},
      {with("float c[4];"), "write __nram__ before the type"},
      {with("float* p;"), "a pointer is to point somewhere"},
      {with("a = b;"), "what is on the left cannot be assigned"},
      {with("__nram__ float c[n];"), "the size of an array is a constant"},
      {with("__nram__ float c[0];"), "cannot have 0 elements"},
      {with("__nram__ float c[1 << 30];"), "larger than any memory"},
      {with("__bang_add(a, b, 64);"), "expected an array or a pointer, this is an integer"},
      {with("__bang_add(a, b, b);"), "takes more arguments: 3 are given"},
      {with("__bang_add(a, a, b, 64, 1);"), "takes fewer arguments"},
      {with("__memcpy(a, x, 64, GDRAM2MOON);"), "expected a direction"},
      {with("__memcpy(a, x, 64, GDRAM2NRAM, 4);"), "takes more arguments"},
      {with("__nram__ half h[64]; __bang_add(h, a, b, 64);"),
       "takes a half* here, this is a float*"},
      {with("__nram__ int c[64]; __bang_active_exp(c, c, 64);"), "takes float or half here"},
      {with("__bang_half2float(a, b, 64);"), "takes a half* here"},
      {with("break;"), "outside of a loop"},
      {with("if (alpha) { }"), "a condition is an integer"},
      {with("int k = n % alpha;"), "'%' is for integers"},
      {with("int k = 1 / 0;"), "divides by zero"},
      {with("n + 1;"), "this does nothing"},
      {with("do { } while (n);"), "the language has no 'do'"},
      {with("if (n > 1) {"), "this '{' has no '}'"},
      {with("op(y, x, n, alpha);"), "calls itself"},
      {with("return 1;"), "gives nothing back"},
      {with("int k = 99999999999999999999;"), "is no number that fits"},
      {with("int k = '1';"), "no such character"},
      {with("#if 1\n#endif"), "of directives there are"},
      {with("", "#define F(x) x\n"), "takes no parameters"},
      {with("float f = \"abc\";"), "expected a value"},
      {with("int k = " + std::string(400, '(') + "1"), "nested over 150 deep"},
      {with(std::string(400, '{')), "nested over 150 deep"},
      {with("int k = 1" +
            [] {
              std::string s;
              for (int i = 0; i < 600; ++i) s += " + n";
              return s;
            }() +
            ";"),
       "at most 500 terms"},
  };
  for (const auto& [text, expected] : cases) {
    const std::string error = error_of(text);
    EXPECT_NE(error.find(expected), std::string::npos) << text << "\n" << error;
  }
}

TEST(BangEvaluate, ScalarCodeIsThatOfC) {
  EXPECT_EQ(result(with(R"(
    int i = 0;
    while (true) {
      if (i == n) break;
      if (i % 2 == 1) { y[i] = 0; ++i; continue; }
      y[i] = x[i] * alpha - 1;
      i += 1;
    })"),
                   {1, 2, 3}),
            (Floats{1, 0, 5}));
  EXPECT_EQ(result(with(R"(
    int k = (7 & 5) | 8 ^ 1, m = -7 / 2, r = -7 % 2;
    y[0] = k; y[1] = m; y[2] = r; *(y + 3) = n > 3 && !(n < 2) ? 1 << 4 : ~0;
    float* p = &y[4]; *p = (float)3 / 2; p[1] = (int)2.75f; p[2] = min(3, n) + max(0.5f, alpha);)"),
                   Floats(7)),
            (Floats{13, -3, -1, 16, 1.5, 2, 5}));
  EXPECT_EQ(result(with("for (int i = 0, k = n - 1; i < n; i++, k--) y[i] = twice(x[k]);",
                        "__mlu_func__ float twice(float v) { v *= 2; return v; }\n"),
                   {1, 2, 3}),
            (Floats{6, 4, 2}));
  EXPECT_EQ(result(with("__nram__ float c[2][3]; c[1][2] = 5; c[0][1] = 4; float* p = c[1]; y[0] = "
                        "p[2] + c[0][1];"),
                   {0}),
            (Floats{9}));
}

TEST(BangEvaluate, VectorFunctions) {
  const std::string load = "__memcpy(a, x, n * sizeof(float), GDRAM2NRAM);\n",
                    store = "__memcpy(y, a, n * sizeof(float), NRAM2GDRAM);\n";
  const Floats x{-2, -0.5, 0, 1, 3};
  const auto check = [&](const std::string& code, const std::function<double(double)>& f) {
    const Floats y = result(with(load + code + store), x);
    ASSERT_EQ(y.size(), x.size()) << code;
    for (size_t i = 0; i < x.size(); ++i) {
      const double expected = f(x[i]);
      if (std::isnan(expected))
        EXPECT_TRUE(std::isnan(y[i])) << code;
      else if (std::isinf(expected))
        EXPECT_EQ(y[i], expected) << code;
      else
        EXPECT_NEAR(y[i], expected, 1e-6 * std::fabs(expected) + 1e-7) << code;
    }
  };
  check("__bang_add(a, a, a, n);", [](double v) { return v + v; });
  check("__bang_mul_scalar(b, a, alpha, n); __bang_sub(a, b, a, n);", [](double v) { return v; });
  check("__bang_write_value(b, n, 1); __bang_maximum(a, a, b, n);",
        [](double v) { return std::max(v, 1.0); });
  check("__bang_ge_scalar(a, a, 0, n);", [](double v) { return v >= 0 ? 1 : 0; });
  check("__bang_active_sigmoid(a, a, n);", [](double v) { return 1 / (1 + std::exp(-v)); });
  check("__bang_active_tanh(a, a, n);", [](double v) { return std::tanh(v); });
  check("__bang_active_exphp(a, a, n);", [](double v) { return std::exp(v); });
  check("__bang_active_log(a, a, n);", [](double v) { return std::log(v); });
  check("__bang_active_sqrt(a, a, n);", [](double v) { return std::sqrt(v); });
  check("__bang_active_recip(a, a, n);", [](double v) { return 1 / v; });
  check("__bang_active_abs(a, a, n); __bang_square(a, a, n);", [](double v) { return v * v; });
  check("__nram__ half h[64]; __bang_float2half_rn(h, a, n); __bang_half2float(a, h, n);",
        [](double v) { return v; });
  check("__nram__ int k[64]; __bang_float2int32_tz(k, a, n); __bang_int322float(a, k, n, 0);",
        [](double v) { return std::trunc(v); });
  check("__nram__ int k[64]; __bang_float2int32_dn(k, a, n); __bang_int322float(a, k, n, 0);",
        [](double v) { return std::floor(v); });
  check("__bang_write_value(b, 2, 10); __bang_cycle_add(a, a, b, n, 2);",
        [](double v) { return v + 10; });
}

TEST(BangEvaluate, ReductionsAndProducts) {
  EXPECT_EQ(result(with("__memcpy(a, x, n * 4, GDRAM2NRAM); __bang_transpose(b, a, 2, 3); "
                        "__memcpy(y, b, n * 4, NRAM2GDRAM);"),
                   {1, 2, 3, 4, 5, 6}),
            (Floats{1, 4, 2, 5, 3, 6}));
  // The rows of a matrix of two columns.
  EXPECT_EQ(
      result(
          with("__memcpy(a, x, n * 4, GDRAM2NRAM); __bang_sumpool(b, a, 2, 1, 3, 1, 3, 1, 1); "
               "__bang_maxpool(b + 2, a, 2, 1, 3, 1, 2, 1, 1); __memcpy(y, b, n * 4, NRAM2GDRAM);"),
          {1, 2, 3, 4, 5, 0}),
      (Floats{9, 6, 3, 4, 5, 4}));
  EXPECT_EQ(result(with("__bang_write_value(a, 64, 1.5f); __bang_reduce_sum(b, a, 64); y[0] = b[0] "
                        "+ b[32]; __bang_argmax(b, a, 64); y[1] = b[0];"),
                   {0, 0}),
            (Floats{96, 1.5}));
  // [2, 3] x [2, 3]^T.
  EXPECT_EQ(
      result(with("__memcpy(a, x, 24, GDRAM2NRAM); __memcpy(w, a, 24, NRAM2WRAM); __bang_matmul(b, "
                  "a, w, 2, 3, 2); __memcpy(y, b, 16, NRAM2GDRAM); y[4] = 0; y[5] = 0;"),
             {1, 2, 3, 4, 5, 6}),
      (Floats{14, 32, 32, 77, 0, 0}));
  // Every other element.
  EXPECT_EQ(result(with("__memcpy(a, x, 4, GDRAM2NRAM, 4, 8, 2); __memcpy(y, a, 12, NRAM2GDRAM); "
                        "__memcpy(y + 3, a, 12, NRAM2GDRAM);"),
                   {1, 2, 3, 4, 5, 6}),
            (Floats{1, 3, 5, 1, 3, 5}));
}

TEST(BangEvaluate, AccessesAreChecked) {
  const std::pair<std::string, std::string_view> cases[] = {
      {"__memcpy(a, x, 1028, GDRAM2NRAM);", "reaches bytes 0 to 1028 of 'a', which has 1024"},
      {"__memcpy(a, x, 16, GDRAM2NRAM);", "reaches bytes 0 to 16 of 'x', which has 12"},
      {"__memcpy(a, x, -4, GDRAM2NRAM);", "reaches bytes 0 to -4"},
      {"__memcpy(x, a, 4, NRAM2GDRAM);", "'x' is an input, which is not written to"},
      {"__memcpy(x, y, 4, NRAM2GDRAM);", "NRAM2GDRAM reads from NRAM, but 'y' is in GDRAM"},
      {"__bang_add(a, a, x, 2);", "takes an array in NRAM here, 'x' is in GDRAM"},
      {"__bang_add(a, a + 250, b, 8);", "reaches bytes 1000 to 1032 of 'a'"},
      {"__bang_reduce_sum(a, b, 31);", "whole blocks of 128 bytes"},
      {"__bang_matmul(a, b, b, 1, 1, 1);", "takes an array in WRAM here"},
      {"__bang_sumpool(a, b, 1, 1, 4, 1, 5, 1, 1);", "the window is larger"},
      {"y[n] = 1;", "reaches bytes 12 to 16 of 'y'"},
      {"y[-1] = 1;", "reaches bytes -4 to 0 of 'y'"},
      {"y[0] = w[0];", "elements of WRAM cannot be read"},
      {"y[0] = n / (n - 3);", "divides by zero"},
      {"y[1 << 62] = 0;", "this index is too large"},
      {"while (1) { }", "this loop does not end"},
      {"for (;;) __bang_add(a, a, b, 256);", "this loop does not end"},
  };
  for (const auto& [body, expected] : cases) {
    EvaluateOptions few;
    few.max_steps = 10'000;
    const auto y = run(with(body), {1, 2, 3}, {}, few);
    ASSERT_FALSE(y.ok()) << body;
    EXPECT_NE(y.error().message.find(expected), std::string::npos) << body << "\n"
                                                                   << y.error().message;
    EXPECT_NE(y.error().where.find("k.mlu:4:"), std::string::npos) << y.error().where;
  }
}

constexpr std::string_view kRule =
    R"(TENON_OP("Rule", input(x, T, [*b, r, c]), input(s, T, [c]), input(k, int32_t, [2 * c]), attribute(pad, 1),
  output(y, T, [*b, c, r / 2 + pad]), attribute(scale, float), size(all, b * r * c))
template <typename T> __mlu_entry__ void rule(T* y, const T* x, int all, int b, int pad, float scale) {})";

TEST(BangShapeRule, SizesAreFoundAndChecked) {
  const auto kernel = parse_kernel(std::string(kRule), "k.mlu").value();
  const std::vector<Attribute> scale{{"scale", 0.5}, {"pad", int64_t{3}}};
  const auto apply = [&](const char* x, const char* s, const char* k,
                         std::span<const Attribute> attributes) {
    return apply_shape_rule(*kernel,
                            TensorTypes{parse_tensor_type(x).value(), parse_tensor_type(s).value(),
                                        parse_tensor_type(k).value()},
                            attributes);
  };
  const auto output = [&](const char* x, const char* s, const char* k) {
    const auto sizes = apply(x, s, k, scale);
    return sizes.ok() ? sizes->outputs[0].to_string() : sizes.error().message;
  };
  EXPECT_EQ(output("f32[5,7,8,4]", "f32[4]", "i32[8]"), "f32[5,7,4,7]");
  EXPECT_EQ(output("f16[8,4]", "f16[4]", "i32[8]"), "f16[4,7]");
  EXPECT_EQ(output("f32[?n,8,?c]", "f32[?]", "i32[?]"), "f32[?n,?c,7]");
  EXPECT_EQ(output("f32[?n,8,?]", "f32[4]", "i32[?]"), "f32[?n,4,7]");
  EXPECT_EQ(output("f32[*]", "f32[4]", "i32[8]"), "f32[*]");
  const auto sizes = apply("f32[5,7,8,4]", "f32[4]", "i32[8]", scale).value();
  EXPECT_EQ(sizes.values[static_cast<size_t>(kernel->bindings[2].index)].integer, 5 * 7 * 8 * 4);
  EXPECT_TRUE(is_complete(*kernel, sizes));
  EXPECT_FALSE(is_complete(*kernel, apply("f32[?n,8,4]", "f32[4]", "i32[8]", scale).value()));
  EXPECT_EQ(output("f32[8,4]", "f32[5]", "i32[8]"),
            "custom op 'Rule' has input 's' with c = 5, which is 4 before it");
  EXPECT_EQ(output("f32[8,4]", "f32[4]", "i32[9]"),
            "custom op 'Rule' takes input 'k' with 8 elements in dimension 0, not 9");
  EXPECT_EQ(output("f32[8,4]", "f16[4]", "i32[8]"),
            "custom op 'Rule' takes inputs of T all alike, 's' is float16");
  EXPECT_EQ(output("f64[8,4]", "f64[4]", "i32[8]"),
            "custom op 'Rule' takes input 'x' as float32 or float16, not as float64");
  EXPECT_EQ(output("f32[4]", "f32[4]", "i32[8]"),
            "custom op 'Rule' takes input 'x' with at least 2 dimensions, not [4]");
  EXPECT_EQ(output("f32[8,4]", "f32[4,1]", "i32[8]"),
            "custom op 'Rule' takes input 's' with 1 dimensions, not [4,1]");
  EXPECT_EQ(apply("f32[8,4]", "f32[4]", "i32[8]", {}).error().message,
            "custom op 'Rule' needs the attribute 'scale', which the node has not");
  EXPECT_EQ(apply("f32[8,4]", "f32[4]", "i32[8]",
                  std::vector<Attribute>{{"scale", 0.5}, {"pad", int64_t{-9}}})
                .error()
                .message,
            "custom op 'Rule' has a size of -5");
}

}  // namespace
}  // namespace tenon::bang
