// Ways of transposed convolutions against the reference evaluation.
#include <gtest/gtest.h>

#include "device/cpu/test_support.h"

namespace tenon::cpu {
namespace {

TEST(KernelsAgainstReference, TransposedConvolutionsToFewChannels) {
  using Ints = std::vector<int64_t>;
  const auto pads = Ints{1, 2, 0, 1};
  for (const std::vector<int64_t>& window : {Ints{2, 3}, Ints{1, 2}, Ints{4, 4}}) {
    Case c{"conv_transpose",
           {f32({2, 4, 5, 20}), f32({3, 4, 3, 20})},
           {{"strides", window}, {"pads", pads}, {"dilations", Ints{2, 1}}},
           "column_sums",
           1,
           2e-5,
           true};
    check(c);
    c.attributes.push_back({"activation", std::string("relu")});
    c.inputs.push_back(f32({3}));
    check(c);
  }
  check({"conv_transpose",
         {f32({1, 9, 16}), f32({6, 1, 16})},
         {{"strides", Ints{2}}},
         "column_sums",
         1,
         2e-5,
         true});
}

// Other numbers of pixels are multiplied by other methods, which pack the filter otherwise.
TEST(KernelsAgainstReference, TransposedConvolutionsOfSeveralBatchesFromOneStore) {
  struct Layer {
    int64_t size, in, out;
  };
  for (const Layer& layer : {Layer{8, 64, 32}, {4, 128, 64}}) {
    PackStore packs;
    const Tensor filter = f32({5, 5, layer.out, layer.in});
    for (const int64_t batch : {1, 4})
      check({"conv_transpose",
             {f32({batch, layer.size, layer.size, layer.in}), filter},
             {{"strides", std::vector<int64_t>{2, 2}}},
             "phase_convs",
             1,
             5e-4,
             true,
             &packs});
  }
}

}  // namespace
}  // namespace tenon::cpu
