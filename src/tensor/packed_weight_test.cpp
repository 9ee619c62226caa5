#include "tensor/packed_weight.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

namespace tenon {
namespace {

std::vector<std::byte> random_bytes(size_t size, std::mt19937& random) {
  std::vector<std::byte> bytes(size);
  for (std::byte& b : bytes) b = static_cast<std::byte>(random());
  return bytes;
}

PanelLayout random_layout(std::mt19937& random) {
  const auto upto = [&](int64_t n) {
    return 1 + static_cast<int64_t>(random() % static_cast<uint64_t>(n));
  };
  PanelLayout layout{.batch = upto(3), .k = upto(150), .n = upto(70)};
  layout.transposed = random() % 2 == 0;
  layout.unit = int64_t{1} << (random() % 3);
  if (layout.unit == 2) layout.k *= 2;
  return layout;
}

TEST(PanelLayout, UnpackingGivesBackWhatWasPacked) {
  std::mt19937 random(1);
  for (int i = 0; i < 300; ++i) {
    const PanelLayout layout = random_layout(random);
    const auto dense = random_bytes(layout.dense_bytes(), random);
    std::vector<std::byte> packed(layout.packed_bytes(), std::byte{0x5a});
    std::vector<std::byte> again(layout.dense_bytes());
    layout.pack(dense.data(), packed.data());
    layout.unpack(packed.data(), again.data());
    ASSERT_EQ(dense, again) << layout.name();
    // All is written, so that equal weights are equal bytes.
    std::vector<std::byte> other(layout.packed_bytes(), std::byte{0xc3});
    layout.pack(dense.data(), other.data());
    ASSERT_EQ(packed, other) << layout.name();
    const auto parsed = PanelLayout::parse(layout.name());
    ASSERT_TRUE(parsed) << layout.name();
    EXPECT_EQ(parsed->name(), layout.name());
    EXPECT_EQ(parsed->packed_bytes(), layout.packed_bytes());
  }
}

TEST(PanelLayout, OtherNamesAreNone) {
  for (const std::string_view name :
       {"", "panels", "panels/", "panels/1x2", "panels/1x2x", "panels/1x2x3x", "panels/1x2x3 ",
        "panels/01x2x3", "panels/+1x2x3", "panels/-1x2x3", "panels/0x2x3", "panels/1x0x3",
        "panels/1 2 3", "tiles/1x2x3", "pairs/1x3x2", "panels/1x9223372036854775807x3",
        "panels/4294967296x4294967296x4294967296", "panels/1x99999999999999999999x1"})
    EXPECT_FALSE(PanelLayout::parse(name)) << name;
}

TEST(PanelLayout, SmallAndPaddedWeightsStayDense) {
  EXPECT_TRUE((PanelLayout{.k = 512, .n = 512}).is_worth_storing());
  EXPECT_TRUE((PanelLayout{.k = 2048, .n = 1000}).is_worth_storing());
  EXPECT_FALSE((PanelLayout{.k = 2048, .n = 10}).is_worth_storing());
  EXPECT_FALSE((PanelLayout{.k = 16, .n = 16}).is_worth_storing());
}

TEST(PackedWeight, IsDenseWhenAskedFor) {
  std::mt19937 random(2);
  const PanelLayout layout{.k = 40, .n = 20};
  const auto dense = random_bytes(layout.dense_bytes(), random);
  auto packed = std::make_shared<std::vector<std::byte>>(layout.packed_bytes());
  layout.pack(dense.data(), packed->data());
  const auto weight = PackedWeight::create(layout, *packed, packed).value();
  EXPECT_FALSE(weight->is_dense());
  for (int i = 0; i < 2; ++i) {
    weight->make_dense();
    EXPECT_TRUE(weight->is_dense());
    EXPECT_EQ(std::memcmp(weight->dense(), dense.data(), dense.size()), 0);
  }
}

TEST(PackedWeightDeathTest, EndsTheProcessWhereItIsReadBefore) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const PanelLayout layout{.k = 16, .n = 16};
  auto packed = std::make_shared<std::vector<std::byte>>(layout.packed_bytes());
  const auto weight = PackedWeight::create(layout, *packed, packed).value();
  EXPECT_DEATH(std::_Exit(*static_cast<const volatile uint8_t*>(weight->dense())), "");
}

}  // namespace
}  // namespace tenon
