#include "ir/text.h"

#include <gtest/gtest.h>

#include <chrono>

namespace tenon {
namespace {

constexpr std::string_view kExample =
    R"(graph @main stage=canonical signature="serving_default" (%x "in put": f32[?n,3], %"a b": i64[?"x,y"]) {
  %w = const dense<[[1, 2.5, -0, inf], [nan, 1e-45, 3, 0x7fc00001], [0, 0, 0, 1e+20]]> : f32[3,4] from "dense/kernel"
  %0 = const splat(0.5) : f16[4]
  %words = const dense<["a\"b", "\x00\n", "ü"]> : str[3]
  %flags = const dense<[true, false]> : bool[2]
  %z = const dense<(1, -2)> : c64[]
  %empty = const dense<[[], []]> : u8[2,0]
  %none = const list<f32[2] dense<[1, 2]>, none> : list<f32[2]>
  %y = matmul(%x, %w) {activation="relu"} : f32[?n,4] from "dense/MatMul", "dense/\x09Relu"
  %k = const dense<2> : i64[]
  %i, %j = top_k(%y, %k) : f32[?n,2], i32[?n,2]
  return (%y "scores", %i)
}
)";

std::string message(std::string_view text) {
  const auto parsed = parse_graphs(text, "t.tn");
  return parsed.ok() ? "parsed" : parsed.error().where + " " + parsed.error().message;
}

TEST(Text, PrintsWhatItParses) {
  const std::string text(kExample);
  auto parsed = parse_graphs(text);
  ASSERT_TRUE(parsed.ok()) << parsed.error().to_string();
  EXPECT_EQ(print_graphs(*parsed), text);
  EXPECT_EQ((*parsed)[0].key, "serving_default");
  EXPECT_EQ((*parsed)[0].input_names, (std::vector<std::string>{"in put", "a b"}));
  EXPECT_EQ((*parsed)[0].output_names, (std::vector<std::string>{"scores", "i"}));
}

TEST(Text, KeepsSubGraphs) {
  const std::string text = R"(graph @main (%n: i64[], %x: f32[2]) {
  %0, %1 = while(%n, %x) with {
    graph @cond (%n: i64[], %x: f32[2]) {
      %zero = const dense<0> : i64[]
      %more = greater(%n, %zero) : bool[]
      return (%more)
    }
    graph @body (%n: i64[], %x: f32[2]) {
      %one = const dense<1> : i64[]
      %next = sub(%n, %one) : i64[]
      %y = add(%x, %x) : f32[2]
      return (%next, %y)
    }
  } : i64[], f32[2] from "loop"
  return (%1)
}
)";
  auto parsed = parse_graphs(text);
  ASSERT_TRUE(parsed.ok()) << parsed.error().to_string();
  EXPECT_EQ(print_graphs(*parsed), text);
}

TEST(Text, FullFormCarriesLargeConstants) {
  auto graph = parse_graph(
      "graph @g () { %w = const random(seed=3) : f32[7,11] %b = const random(seed=1) : bool[100] "
      "return (%w, %b) }");
  ASSERT_TRUE(graph.ok()) << graph.error().to_string();
  const std::string full = print_graph(**graph, TextForm::kFull);
  auto again = parse_graph(full);
  ASSERT_TRUE(again.ok()) << again.error().to_string();
  EXPECT_EQ(print_graph(**again, TextForm::kFull), full);
  EXPECT_TRUE(
      bitwise_equal(*(*again)->outputs()[0]->constant(), *(*graph)->outputs()[0]->constant()));
  EXPECT_NE(message(print_graph(**graph)).find("--full"), std::string::npos);
  std::string damaged = full;
  damaged[full.find('"') + 3] ^= 1;
  EXPECT_NE(message(damaged).find("damaged"), std::string::npos);
}

TEST(Text, ErrorsSayWhere) {
  EXPECT_EQ(message("graph @g () {\n  %y = nope()\n"), "t.tn:2:8 there is no op 'nope'");
  EXPECT_EQ(message("graph @g () {\n  %y = relu(%x)"), "t.tn:2:13 %x is not defined here");
  EXPECT_EQ(message("graph @g (%x: f33[2])"),
            "t.tn:1:15 expected a type such as f32[?n,3], found \"f33[2])\"");
  EXPECT_NE(message("graph @g (%x: f32[2]) { %y = relu(%x) : f32[3] return (%y) }")
                .find("the result is f32[2], not f32[3]"),
            std::string::npos);
  EXPECT_NE(message("graph @g (%x: f32[2]) { %y = softmax(%x) {axes=1} return (%y) }")
                .find("it has: axis"),
            std::string::npos);
  EXPECT_NE(
      message("graph @g () { %y = const dense<[1, 2]> : i8[3] return (%y) }").find("expected ','"),
      std::string::npos);
  EXPECT_NE(message("graph @g () { %y = const splat(1) : f32[100000,100000] return (%y) }")
                .find("512 MiB"),
            std::string::npos);
}

// Bytes changed, cut and repeated at random: an error or a graph, never a crash.
TEST(Text, DamageIsAnErrorNeverACrash) {
  std::string source(kExample);
  source += "data #0123456789abcdef \"AAAA\"\n";
  uint32_t state = 7;
  const auto random = [&](size_t n) {
    state = state * 1664525u + 1013904223u;
    return (state >> 8) % n;
  };
  const auto begin = std::chrono::steady_clock::now();
  constexpr std::string_view kBytes = "%()[]{}<>\"\\,:=?#@-0123456789efnlist \n";
  for (int i = 0; i < 20000 && std::chrono::steady_clock::now() - begin < std::chrono::seconds(5);
       ++i) {
    std::string text = source;
    for (size_t k = random(4) + 1; k > 0; --k) {
      const size_t at = random(text.size());
      switch (random(4)) {
        case 0:
          text[at] = static_cast<char>(random(256));
          break;
        case 1:
          text[at] = kBytes[random(kBytes.size())];
          break;
        case 2:
          text.erase(at, random(20));
          break;
        default:
          text.insert(at, text.substr(random(text.size()), random(30)));
      }
    }
    auto parsed = parse_graphs(text);
    if (!parsed.ok()) continue;
    const std::string printed = print_graphs(*parsed, TextForm::kFull);
    auto again = parse_graphs(printed);
    ASSERT_TRUE(again.ok()) << again.error().to_string() << "\n" << printed;
    ASSERT_EQ(print_graphs(*again, TextForm::kFull), printed);
  }
  std::string deep;
  for (int i = 0; i < 100000; ++i) deep += "graph @g () { if() with { ";
  EXPECT_NE(message(deep).find("too deeply"), std::string::npos);
}

}  // namespace
}  // namespace tenon
