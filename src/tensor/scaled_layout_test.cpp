#include "tensor/scaled_layout.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "tensor/tensor.h"

namespace tenon {
namespace {

// Bytes times a scale for each channel, as quantised weights are.
Tensor on_a_grid(const ScaledLayout& l, std::vector<int64_t> dims, int most, std::mt19937& random) {
  std::uniform_real_distribution<float> uniform(1e-6f, 3.0f);
  std::vector<float> scales(static_cast<size_t>(l.scales()));
  for (float& s : scales) s = uniform(random);
  Tensor t = Tensor::allocate(DType::f32, dims).value();
  for (int64_t i = 0; i < t.elements(); ++i) {
    const int byte = static_cast<int>(random() % static_cast<unsigned>(2 * most + 1)) - most;
    t.mutable_data<float>()[i] =
        static_cast<float>(byte) * scales[static_cast<size_t>(l.scale_of(i))];
  }
  return t;
}

TEST(ScaledLayout, FindsTheScalesOfWhatWasRounded) {
  std::mt19937 random(3);
  const std::vector<int64_t> dims = {2, 24, 40};
  Tensor like = Tensor::allocate(DType::f32, dims).value();
  for (const int most : {127, 126, 90, 7})
    for (int axis = 0; axis < 3; ++axis)
      for (const bool batched : {false, true}) {
        const ScaledLayout layout = ScaledLayout::along(like, axis, batched);
        const Tensor t = on_a_grid(layout, dims, most, random);
        const auto found = ScaledLayout::of(t);
        ASSERT_TRUE(found) << layout.name() << " " << most;
        std::vector<std::byte> packed(found->packed_bytes());
        ASSERT_TRUE(found->pack(t.data<float>(), packed.data()));
        Tensor again = Tensor::allocate(DType::f32, dims).value();
        found->unpack(packed.data(), again.mutable_data<float>());
        EXPECT_TRUE(bitwise_equal(again, t)) << layout.name();
        EXPECT_LT(packed.size(), t.byte_size() / 2);
        EXPECT_EQ(ScaledLayout::parse(found->name())->name(), found->name());
      }
}

TEST(ScaledLayout, OtherNumbersHaveNone) {
  std::mt19937 random(4);
  const std::vector<int64_t> dims = {32, 64};
  const ScaledLayout layout{.rows = 32, .columns = 64};
  for (const float other : {0.1234567f, -0.0f, INFINITY, NAN}) {
    Tensor t = on_a_grid(layout, dims, 127, random);
    ASSERT_TRUE(ScaledLayout::of(t));
    t.mutable_data<float>()[777] = other;
    EXPECT_FALSE(ScaledLayout::of(t)) << other;
    std::vector<std::byte> packed(layout.packed_bytes());
    EXPECT_FALSE(layout.pack(t.data<float>(), packed.data()));
  }
  EXPECT_FALSE(ScaledLayout::of(on_a_grid({.rows = 4, .columns = 8}, {4, 8}, 127, random)));
  EXPECT_FALSE(ScaledLayout::of(on_a_grid({.rows = 4, .columns = 512}, {4, 512}, 127, random)));
}

TEST(ScaledLayout, OtherNamesAreNone) {
  for (const std::string_view name :
       {"", "scaled", "scaled/", "scaled/1x2x3", "scaled/1x2x3x4x", "scaled/1x2x3x0",
        "scaled/01x2x3x4", "scaled/1x2x3x+4", "scaled/1x2x3x-4", "bytes/1x2x3x4",
        "scaled/1x2x3x9223372036854775807", "scaled/65536x65536x65536x65536"})
    EXPECT_FALSE(ScaledLayout::parse(name)) << name;
}

}  // namespace
}  // namespace tenon
