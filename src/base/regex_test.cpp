#include "base/regex.h"

#include <gtest/gtest.h>

namespace tenon {
namespace {

std::string replaced(std::string_view pattern, std::string_view text, std::string_view rewrite,
                     bool all = true) {
  const auto regex = Regex::compile(pattern);
  if (!regex.ok()) return regex.error().message;
  const auto result = regex->replace(text, rewrite, all);
  return result.ok() ? *result : result.error().message;
}

bool matches(std::string_view pattern, std::string_view text) {
  const auto regex = Regex::compile(pattern);
  return regex.ok() && regex->matches(text);
}

TEST(Regex, MatchesWholeTexts) {
  EXPECT_TRUE(matches("a(b|c)*d", "abcbd"));
  EXPECT_FALSE(matches("a(b|c)*d", "abcbde"));
  EXPECT_TRUE(matches("a|ab|abc", "abc"));
  EXPECT_TRUE(matches("x*(?:b|c)", "xxc"));
  EXPECT_TRUE(matches("(?:a*|b)c", "aac"));
  EXPECT_TRUE(matches("\\d{2,3}", "123"));
  EXPECT_FALSE(matches("\\d{2,3}", "1234"));
  EXPECT_TRUE(matches("(?i)hello", "HeLLo"));
  EXPECT_TRUE(matches("(?i)[a-m]Zz", "MzZ"));
  EXPECT_TRUE(matches("[[:alpha:]_]+\\x21", "ab_c!"));
  EXPECT_TRUE(matches("s3://.*", "s3://bucket"));
  EXPECT_FALSE(matches(".", "\n"));
  EXPECT_TRUE(matches(".", "é"));
  EXPECT_TRUE(matches("[à-ü]+", "éè"));
  EXPECT_FALSE(matches("[^é]", "é"));
}

TEST(Regex, ReplacesAsRe2Does) {
  EXPECT_EQ(replaced("[!\"#$%&()\\*\\+,-\\./:;<=>?@\\[\\\\\\]^_`{|}~\\']", "it's (a) test.", ""),
            "its a test");
  EXPECT_EQ(replaced("a*", "baac", "x"), "xbxcx");
  EXPECT_EQ(replaced("a+?", "aaa", "b"), "bbb");
  EXPECT_EQ(replaced("(\\w+) (\\w+)", "one two three", "\\2-\\1"), "two-one three");
  EXPECT_EQ(replaced("o", "foo", "0", false), "f0o");
  EXPECT_EQ(replaced("\\bcat\\b", "cat concat cat", "dog"), "dog concat dog");
  EXPECT_EQ(replaced("^\\s+|\\s+$", "  x y ", ""), "x y");
  EXPECT_EQ(replaced("x", "axb", "\\\\"), "a\\b");
  EXPECT_EQ(replaced("é|b+", "aé\xC3 bbé\x80", "-"), "a-\xC3 --\x80");
  EXPECT_EQ(replaced("[^a-z]", "aéb C", "-"), "a-b--");
  EXPECT_EQ(replaced("(?:x|)y|$", "axyby", "-"), "a-b-");
  EXPECT_EQ(replaced("(?m)^b", "b\nab\nb", "-"), "-\nab\n-");
  EXPECT_NE(replaced("(x)", "x", "\\2").find("not there"), std::string::npos);
}

TEST(Regex, RefusesWhatIsNoPattern) {
  for (const char* bad : {"(", ")", "[a", "*a", "a**", "\\", "a{3,2}", "[z-a]", "\\pL", "(?=a)",
                          "a{1001}", "((a{500}){500}){500}"})
    EXPECT_FALSE(Regex::compile(bad).ok()) << bad;
  EXPECT_FALSE(Regex::compile(std::string(100000, '(')).ok());
}

TEST(Regex, TakesLinearTime) {
  EXPECT_FALSE(matches("(a*)*b", std::string(2000, 'a')));
  EXPECT_FALSE(matches("(x+x+)+y", std::string(2000, 'x')));
}

}  // namespace
}  // namespace tenon
