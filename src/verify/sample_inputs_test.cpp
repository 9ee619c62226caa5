#include "verify/sample_inputs.h"

#include <gtest/gtest.h>

namespace tenon {
namespace {

using Sizes = std::vector<int64_t>;

runtime::PortInfo port(DType dtype, Shape shape) {
  return {"x", {dtype, std::move(shape)}};
}

Sizes sizes_of(Shape shape) {
  const auto inputs =
      sample_inputs(std::vector{port(DType::f32, std::move(shape))}, {2, 3, kUsualImage});
  return inputs.ok() ? Sizes(inputs.value()[0].dims().begin(), inputs.value()[0].dims().end())
                     : Sizes();
}

TEST(SampleInputs, ImagesHaveASizeOfTheirOwn) {
  const Dim n = Dim::symbol("n"), h = Dim::unknown(), w = Dim::unknown();
  EXPECT_EQ(sizes_of({n, h, w, 3}), Sizes({2, 224, 224, 3}));
  EXPECT_EQ(sizes_of({n, 32, w, 1}), Sizes({2, 32, 224, 1}));
  EXPECT_EQ(sizes_of({n, 3, h, w}), Sizes({2, 3, 224, 224}));
  EXPECT_EQ(sizes_of({n, h, w, 64}), Sizes({2, 3, 3, 64}));
  EXPECT_EQ(sizes_of({n, 1, h, w}), Sizes({2, 1, 3, 3}));  // a mask, maybe
  EXPECT_EQ(sizes_of({n, h, 3}), Sizes({2, 3, 3}));
}

TEST(SampleInputs, IntegersAreZeroOrBits) {
  const std::vector ports{port(DType::i32, {100}), port(DType::i64, {100}),
                          port(DType::boolean, {100})};
  for (const bool bits : {false, true}) {
    const auto inputs = sample_inputs(ports, {}, 1, bits);
    ASSERT_TRUE(inputs.ok());
    for (const Tensor& t : inputs.value()) {
      int64_t ones = 0;
      for (int64_t i = 0; i < t.elements(); ++i) {
        ASSERT_LE(static_cast<uint64_t>(t.int_at(i)), 1);
        ones += t.int_at(i);
      }
      EXPECT_EQ(ones > 20 && ones < 80, bits) << ones;
    }
  }
}

}  // namespace
}  // namespace tenon
