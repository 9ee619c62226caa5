#include "ops/custom.h"

#include <gtest/gtest.h>

#include <limits>

namespace tenon {
namespace {

TEST(CustomAttributes, ReadBackAsTheyWereWritten) {
  const std::vector<AttrValue> values{
      int64_t{-7},
      0.1,
      std::numeric_limits<double>::infinity(),
      true,
      std::string("a:b=c,\n"),
      std::vector<int64_t>{1, -2},
      std::vector<int64_t>{},
      std::vector<double>{0.5, 1e300},
      std::vector<std::string>{"3:x", "", "y,"},
      DType::bf16,
      Tensor::vector<float>({1, -2.5f}),
  };
  for (const AttrValue& value : values) {
    const auto text = encode_custom_attr({"name", value});
    ASSERT_TRUE(text.ok());
    const auto attr = decode_custom_attr(*text);
    ASSERT_TRUE(attr.ok()) << *text;
    EXPECT_EQ(attr->name, "name");
    EXPECT_TRUE(attr_equal(attr->value, value)) << *text;
  }
}

TEST(CustomAttributes, WhatIsNoneIsRefused) {
  for (const char* text :
       {"", "a", "a=", "a=i", "a=i:", "a=i:x", "a=i:1x", "a=b:2", "a=q:1", "a=d:f99", "a=I:1,,2",
        "a=S:5:ab", "a=S:x", "a=t:f32[2]", "a=t:f32[2]:00", "a=t:f32[?n]:00", "a=t:str[1]:00",
        "a=t:f32[1]:zzzzzzzz", "a=t:f32[99999999999]:00"})
    EXPECT_FALSE(decode_custom_attr(text).ok()) << text;
}

TEST(Custom, WithoutItsLibraryNothingRuns) {
  Custom op;
  op.op = "my::Op";
  op.library = "libmine.so";
  const auto types = op.infer(InferContext({}));
  ASSERT_FALSE(types.ok());
  EXPECT_NE(types.error().message.find("'my::Op'"), std::string::npos);
  EXPECT_NE(types.error().message.find("libmine.so"), std::string::npos);
}

}  // namespace
}  // namespace tenon
