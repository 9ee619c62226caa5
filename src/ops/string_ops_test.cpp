// The string ops at their corners; what TensorFlow gives is in the model fixtures.
#include <gtest/gtest.h>

#include "ops/parse_example.h"
#include "ops/text.h"
#include "ops/text_number.h"
#include "ops/text_split.h"

namespace tenon {
namespace {

using Strings = std::vector<std::string>;
using Ints = std::vector<int64_t>;

Tensor strings(const Strings& values) {
  return Tensor::vector(values);
}

template <typename T>
Result<std::vector<Tensor>> run(const T& op, std::vector<Tensor> inputs, int outputs = 1) {
  return evaluate(*make_op(op), inputs, outputs);
}
template <typename T>
Strings texts(const T& op, std::vector<Tensor> inputs) {
  const Result<std::vector<Tensor>> result = run(op, std::move(inputs));
  if (!result.ok()) return {result.error().message};
  const auto span = (*result)[0].span<std::string>();
  return {span.begin(), span.end()};
}

TEST(TextOps, CaseOfBytesAndCharacters) {
  EXPECT_EQ(texts(TextCase{}, {strings({"ÀBc"})}), Strings{"Àbc"});
  EXPECT_EQ(texts(TextCase{false, true}, {strings({"ÀBcЖ"})}), Strings{"àbcж"});
  EXPECT_EQ(texts(TextCase{true, true}, {strings({"éß\xff"})}), Strings{"ÉSS\xEF\xBF\xBD"});
}

TEST(TextOps, SlicesCountFromBothEnds) {
  const auto at = [](int64_t from, int64_t n) {
    return texts(TextSlice{}, {strings({"abcd"}), Tensor::scalar(from), Tensor::scalar(n)});
  };
  EXPECT_EQ(at(1, 2), Strings{"bc"});
  EXPECT_EQ(at(-2, 9), Strings{"cd"});
  EXPECT_EQ(at(4, 1), Strings{""});
  EXPECT_NE(at(5, 1)[0].find("outside"), std::string::npos);
  EXPECT_EQ(texts(TextSlice{true},
                  {strings({"aéb"}), Tensor::scalar(int64_t{1}), Tensor::scalar(int64_t{1})}),
            Strings{"é"});
}

TEST(TextOps, SplitKeepsWhatPythonKeeps) {
  const auto parts = [](const TextSplit& op, const char* text, const char* separator) {
    const auto out = run(op, {strings({text}), Tensor::scalar(std::string(separator))}, 3);
    const auto span = (*out)[1].span<std::string>();
    return Strings(span.begin(), span.end());
  };
  EXPECT_EQ(parts({}, " a  b ", ""), (Strings{"a", "b"}));
  EXPECT_EQ(parts({}, "a,,b,", ","), (Strings{"a", "", "b", ""}));
  EXPECT_EQ(parts({}, "", ","), (Strings{""}));
  EXPECT_EQ(parts({}, "", ""), Strings{});
  EXPECT_EQ(parts({1}, "a b c", ""), (Strings{"a", "b c"}));
  EXPECT_EQ(parts({-1, true, true}, "a,;b", ",;"), (Strings{"a", "b"}));
  EXPECT_EQ(parts({-1, true, false}, "ab", ""), (Strings{"a", "b"}));
}

TEST(TextOps, RaggedRowsAreCutAndFilled) {
  const RaggedToDense op{{"first_dim_size", "value_rowids"}};
  const auto dense = [&](const Ints& shape, const Ints& rows) {
    return run(op, {Tensor::vector(shape), Tensor::vector(Ints{1, 2, 3}),
                    Tensor::scalar(int64_t{-1}), Tensor::scalar(int64_t{3}), Tensor::vector(rows)});
  };
  auto y = dense({-1, -1}, {0, 2, 2});
  ASSERT_TRUE(y.ok());
  EXPECT_EQ((*y)[0].dims(), (Ints{3, 2}));
  EXPECT_EQ((*y)[0].to_ints(), (Ints{1, -1, -1, -1, 2, 3}));
  y = dense({2, 1}, {0, 1, 1});
  ASSERT_TRUE(y.ok());
  EXPECT_EQ((*y)[0].to_ints(), (Ints{1, 2}));
  EXPECT_FALSE(dense({-1, -1}, {0, 3, 3}).ok());
  EXPECT_FALSE(dense({-1, -1}, {1, 0, 0}).ok());
  EXPECT_FALSE(dense({-1, -1}, {0, 0}).ok());
}

TEST(TextOps, NumbersAreReadWhole) {
  const auto read = [](const char* text) { return run(NumberFromText{}, {strings({text})}); };
  EXPECT_EQ((*read(" 1.5e2 "))[0].data<float>()[0], 150);
  EXPECT_EQ((*read("-inf"))[0].data<float>()[0], -std::numeric_limits<float>::infinity());
  for (const char* bad : {"", "1x", "1 2", "--1", "+-1"}) EXPECT_FALSE(read(bad).ok()) << bad;
}

TEST(TextOps, DamagedExamplesAreErrors) {
  const ParseExample op{{}, {}, {"x"}, {"f32[2]"}};
  const auto parse = [&](const std::string& record) {
    return run(op, {strings({record}), Tensor::vector(std::vector<float>{7, 8})});
  };
  // Example { features { feature { key "x" value { float_list { 1.0 2.0 } } } } }
  const std::string record(
      "\x0a\x13\x0a\x11\x0a\x01x\x12\x0c\x12\x0a\x0a\x08\0\0\x80\x3f\0\0\0\x40", 21);
  auto y = parse(record);
  ASSERT_TRUE(y.ok()) << y.error().message;
  EXPECT_EQ((*y)[0].dims(), (Ints{1, 2}));
  EXPECT_EQ((*y)[0].data<float>()[1], 2);
  y = parse("");
  ASSERT_TRUE(y.ok());
  EXPECT_EQ((*y)[0].data<float>()[0], 7);
  for (size_t n = 1; n < record.size(); ++n) EXPECT_FALSE(parse(record.substr(0, n)).ok()) << n;
}

}  // namespace
}  // namespace tenon
