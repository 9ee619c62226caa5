// Ops on strings: normalisation, splitting, regular expressions, n-grams.
#include "ops/nn_test_util.h"
#include "ops/regex_match.h"
#include "ops/string_normalize.h"
#include "ops/string_split.h"
#include "ops/tf_idf.h"

namespace tenon {
namespace {

using Strings = std::vector<std::string>;

Strings strings_of(const Tensor& t) {
  const auto s = t.span<std::string>();
  return {s.begin(), s.end()};
}

TEST(StringNormalize, RemovesStopWordsAndChangesCase) {
  const Tensor x = Tensor::vector<std::string>({"monday", "Tuesday", "Ärger", "жук"});
  EXPECT_EQ(strings_of(run(StringNormalize{.stopwords = {"MONDAY"}}, {x})[0]),
            (Strings{"Tuesday", "Ärger", "жук"}));
  EXPECT_EQ(strings_of(run(StringNormalize{.case_change = CaseChange::upper,
                                           .case_sensitive = true,
                                           .stopwords = {"MONDAY", "Tuesday"}},
                           {x})[0]),
            (Strings{"MONDAY", "ÄRGER", "ЖУК"}));
  EXPECT_EQ(strings_of(run(StringNormalize{.case_change = CaseChange::lower}, {x})[0]),
            (Strings{"monday", "tuesday", "ärger", "жук"}));
  const Tensor row = Tensor::vector<std::string>({"a"}).reshaped({1, 1});
  EXPECT_EQ(run(StringNormalize{.stopwords = {"a"}}, {row})[0].dims(),
            (std::vector<int64_t>{1, 1}));
}

TEST(StringSplit, ByDelimiterAndByWhiteSpace) {
  const Tensor x = Tensor::vector<std::string>({"a,b,,c", "d"});
  auto y = run(StringSplit{.delimiter = ","}, {x}, 2);
  EXPECT_EQ(strings_of(y[0]), (Strings{"a", "b", "", "c", "d", "", "", ""}));
  expect_values(y[1], {2}, {4, 1});
  y = run(StringSplit{.max_splits = 1, .delimiter = ","}, {x}, 2);
  EXPECT_EQ(strings_of(y[0]), (Strings{"a", "b,,c", "d", ""}));
  y = run(StringSplit{}, {Tensor::vector<std::string>({"  one  two ", ""})}, 2);
  EXPECT_EQ(strings_of(y[0]), (Strings{"one", "two", "", ""}));
  expect_values(y[1], {2}, {2, 0});
  y = run(StringSplit{.max_splits = 1}, {Tensor::vector<std::string>({" a  b c "})}, 2);
  EXPECT_EQ(strings_of(y[0]), (Strings{"a", "b c "}));
}

bool matches(const std::string& pattern, const std::string& text) {
  return run(RegexMatch{pattern}, {Tensor::scalar(text)})[0].int_at(0) != 0;
}

TEST(RegexMatch, MatchesWholeStrings) {
  EXPECT_TRUE(matches("a*b+c?", "aabbc"));
  EXPECT_FALSE(matches("a*b+c?", "aabbcx"));
  EXPECT_TRUE(matches("www\\.[\\w.-]+\\.\\w{2,3}", "www.some-site.com"));
  EXPECT_FALSE(matches("www\\.[\\w.-]+\\.\\w{2,3}", "www.site.c"));
  EXPECT_TRUE(matches("(ab|cd|(ef)*)x{2}", "efefxx"));
  EXPECT_TRUE(matches("(ab|cd|(ef)*)x{2}", "cdxx"));
  EXPECT_FALSE(matches("(ab|cd|(ef)*)x{2}", "abx"));
  EXPECT_TRUE(matches("^(?:x|)[^a-c\\d]$", "é"));
  EXPECT_FALSE(matches("[^a-c\\d]", "7"));
  EXPECT_TRUE(matches("(?i)[h-i]ELLO", "HellO"));
  EXPECT_TRUE(matches("[[:upper:]]+[]a]\\x41\\x{e9}", "XY]Aé"));
  EXPECT_TRUE(matches("\\b\\w+\\b \\Bx?", "ab "));
  EXPECT_FALSE(matches("a\\bb", "ab"));
  EXPECT_TRUE(matches("", ""));
  EXPECT_FALSE(matches(".", "\n"));
  EXPECT_TRUE(matches("a{0}b{1,}?", "bbb"));
  EXPECT_TRUE(matches("(a*)*", "aaaa"));
}

TEST(RegexMatch, StaysLinear) {
  EXPECT_FALSE(matches("(a*)*(a*)*(a|aa)+b", std::string(2000, 'a')));
}

TEST(RegexMatch, RefusesMalformedPatterns) {
  for (const char* pattern : {"(", ")", "[a", "*", "a{2,1}", "\\", "(?=a)", "[b-a]", "\\p",
                              "((a{1000}){1000}){1000}", "\\xg", "a{2000}"})
    EXPECT_FALSE(infer_text(RegexMatch{pattern}, {"str[1]"}).ok()) << pattern;
  EXPECT_FALSE(infer_text(RegexMatch{std::string(100000, '(')}, {"str[1]"}).ok());
}

TEST(TfIdf, CountsWithSkips) {
  TfIdf op{.min_length = 1,
           .max_length = 2,
           .max_skip = 1,
           .counts = {0, 2},
           .indexes = {0, 1, 2, 3},
           .pool_ints = {2, 3, 5, 4, 2, 6}};
  const Tensor x = make<int64_t>({6}, {2, 5, 4, 2, 3, 6});
  // 1-grams 2 and 3; 2-grams (5,4) and (2,6) with up to one element between.
  expect_values(run(op, {x})[0], {4}, {2, 1, 1, 1});
  op.weights = {2, 2, 3, 3};
  op.mode = TfIdfMode::idf;
  expect_values(run(op, {x.reshaped({2, 3})})[0], {2, 4}, {2, 0, 3, 0, 2, 2, 0, 3});
  op.mode = TfIdfMode::tfidf;
  expect_values(run(op, {x})[0], {4}, {4, 2, 3, 3});
  op.max_length = int64_t{1} << 62;
  EXPECT_TRUE(evaluate(*make_op(op), std::vector{x}).ok());
  op.counts = {0, 9};
  EXPECT_FALSE(infer_text(op, {"i64[6]"}).ok());
}

}  // namespace
}  // namespace tenon
