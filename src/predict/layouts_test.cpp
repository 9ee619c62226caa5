#include "predict/layouts.h"

#include <gtest/gtest.h>

#include "ir/text.h"

namespace tenon {
namespace {

LayoutCopies copies_of(std::string_view text, bool product_rows = false) {
  const auto graph = parse_graph(text, "layouts").value();
  DeviceLayouts layouts(product_rows, DType::f16);
  LayoutCopies all;
  for (const auto& node : graph->nodes())
    if (!node->is("const") && !node->def().has(kView)) all.add(layouts.enter(*node));
  return all;
}

// In and out of maps once, however many convolutions there are between: images take four channels.
TEST(DeviceLayouts, ConvolutionsHandMapsToEachOther) {
  const LayoutCopies copies = copies_of(R"(graph @main (%x: f32[1,8,8,3]) {
  %v = const random(seed=1) : f32[1,1,3,32]
  %w = const random(seed=2) : f32[1,1,32,32]
  %a = conv(%x, %v)
  %b = relu(%a)
  %c = conv(%b, %w)
  %d = add(%c, %b)
  return (%d)
}
)");
  EXPECT_EQ(copies.kernels, 2);
  EXPECT_EQ(copies.bytes, 64 * 2 * (3 + 4) + 64 * 2 * (32 + 32));
}

// From channels behind the batch to channels last and back is what a copy to maps and back does.
TEST(DeviceLayouts, TranspositionsOfChannelsAreTheCopies) {
  const LayoutCopies copies = copies_of(R"(graph @main (%x: f32[2,3,8,8]) {
  %w = const random(seed=1) : f32[1,1,3,32]
  %a = transpose(%x) {perm=[0, 2, 3, 1]}
  %b = conv(%a, %w)
  %y = transpose(%b) {perm=[0, 3, 1, 2]}
  return (%y)
}
)");
  EXPECT_EQ(copies.kernels, 0);
}

// Frames of a film are samples, too.
TEST(DeviceLayouts, SamplesOfSeveralDimensionsKeepTheirPlace) {
  const auto of = [](const std::string& perm) {
    return copies_of(R"(graph @main (%x: f32[8,4,4,32]) {
  %w = const random(seed=1) : f32[1,1,32,32]
  %s = const dense<[2, 4, 4, 4, 32]> : i64[5]
  %a = conv(%x, %w)
  %b = reshape(%a, %s)
  %y = transpose(%b) {perm=)" +
                     perm + R"(}
  return (%y)
}
)")
        .kernels;
  };
  EXPECT_EQ(of("[0, 1, 4, 2, 3]"), 1) << "of the graph's input alone";
  EXPECT_EQ(of("[0, 2, 1, 3, 4]"), 2);
}

// Samples that are counted in other dimensions are the same maps; pixels that are not, not.
TEST(DeviceLayouts, ViewsThatLeaveImagesWholeKeepMaps) {
  const auto of = [](const std::string& shape) {
    return copies_of(R"(graph @main (%x: f32[8,4,4,32]) {
  %w = const random(seed=1) : f32[1,1,32,32]
  %a = conv(%x, %w)
  %s = const dense<)" +
                     shape + R"(> : i64[5]
  %t = const dense<[8, 4, 4, 32]> : i64[4]
  %b = reshape(%a, %s)
  %c = relu(%b)
  %d = reshape(%c, %t)
  %y = conv(%d, %w)
  return (%y)
}
)")
        .kernels;
  };
  EXPECT_EQ(of("[2, 4, 4, 4, 32]"), 2) << "of the graph's input and result";
  EXPECT_EQ(of("[8, 2, 2, 4, 32]"), 4);
}

// What convolutions write takes no kernel to join; what else there is does, but of one sample.
TEST(DeviceLayouts, ConvolutionsWriteWhereTheyAreJoined) {
  const auto joins = [](const std::string& batch, const std::string& second) {
    const auto graph = parse_graph("graph @main (%x: f32[" + batch + R"(,8,8,32]) {
  %w = const random(seed=1) : f32[1,1,32,32]
  %a = conv(%x, %w)
  %b = conv(%x, %w)
  %c = )" + second + R"(
  %y = concat(%a, %c) {axis=3}
  return (%y)
}
)",
                                   "joined")
                           .value();
    DeviceLayouts layouts(false, DType::f16);
    bool found = false;
    for (const auto& node : graph->nodes()) {
      if (node->is("const")) continue;
      layouts.enter(*node);
      if (node->is("concat")) found = layouts.joins_in_place(*node);
    }
    return found;
  };
  EXPECT_TRUE(joins("4", "conv(%b, %w)"));
  EXPECT_FALSE(joins("4", "sigmoid(%b)"));
  EXPECT_TRUE(joins("1", "sigmoid(%b)"));
}

constexpr std::string_view kMixed = R"(graph @main (%x: f32[1,4,8,32]) {
  %k = const random(seed=1) : f32[1,1,32,32]
  %w = const random(seed=2) : f32[32,32]
  %a = conv(%x, %k)
  %n = layer_norm(%a)
  %m = matmul(%n, %w)
  %y = conv(%m, %k)
  return (%y)
}
)";

// Into maps, out of them for the rows of the norm, into fractals, out of them and into maps again,
// and out at the end.
TEST(DeviceLayouts, RowsBetweenConvolutionsAreCopied) {
  EXPECT_EQ(copies_of(kMixed).kernels, 6);
  EXPECT_EQ(copies_of(kMixed, true).kernels, 4);  // products take rows
}

// Rows that fill fractals stay there through softmax; 49 of them do not.
TEST(DeviceLayouts, RowsThatFillFractalsStayThere) {
  const auto of = [](int rows) {
    return copies_of("graph @main (%x: f32[" + std::to_string(rows) + R"(,64]) {
  %w = const random(seed=2) : f32[64,64]
  %a = matmul(%x, %w)
  %s = softmax(%a)
  %y = matmul(%s, %w)
  return (%y)
}
)");
  };
  EXPECT_EQ(of(48).kernels, 0);
  EXPECT_EQ(of(49).kernels, 2);
}

// The result of attention over 12 heads is what the next product takes, where lengths fill
// fractals.
TEST(DeviceLayouts, HeadsArePutTogetherInFractals) {
  const auto of = [](const std::string& length) {
    const std::string shape = "f32[1," + length + ",12,64]";
    return copies_of("graph @main (%q: " + shape + ", %k: " + shape + ", %v: " + shape + R"() {
  %w = const random(seed=1) : f32[768,768]
  %s = const dense<[1, -1, 768]> : i64[3]
  %a = attention(%q, %k, %v) {length_first=true}
  %b = reshape(%a, %s)
  %y = matmul(%b, %w)
  return (%y)
}
)");
  };
  EXPECT_EQ(of("128").kernels, 0);
  EXPECT_EQ(of("197").kernels, 4);
}

// Three by four heads in a row of 384: out of fractals go the rows that there are.
TEST(DeviceLayouts, HeadsLieApartInFractals) {
  const LayoutCopies copies = copies_of(R"(graph @main (%x: f32[64,144,128]) {
  %w = const random(seed=1) : f32[128,384]
  %s = const dense<[64, 144, 3, 4, 32]> : i64[5]
  %a = matmul(%x, %w)
  %b = reshape(%a, %s)
  %y = reduce_max(%b) {axes=[2]}
  return (%y)
}
)");
  EXPECT_EQ(copies.kernels, 1);
  EXPECT_EQ(copies.bytes, 2 * 64 * 144 * 384 * 2);
}

TEST(DeviceLayouts, FewChannelsFillBlocks) {
  const auto graph = parse_graph(R"(graph @main (%x: f32[1,8,8,16]) {
  %w = const random(seed=1) : f32[1,1,16,1]
  %a = conv(%x, %w)
  %y = sigmoid(%a)
  return (%y)
}
)",
                                 "few")
                         .value();
  DeviceLayouts layouts(false, DType::f16);
  for (const auto& node : graph->nodes()) {
    if (node->is("const")) continue;
    layouts.enter(*node);
    if (node->is("sigmoid")) {
      EXPECT_EQ(layouts.filling(*node), 16);
    }
  }
}

}  // namespace
}  // namespace tenon
