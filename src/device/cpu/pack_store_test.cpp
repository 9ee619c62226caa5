#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>

#include "device/cpu/kernel.h"

namespace tenon::cpu {
namespace {

// A file holds equal bytes once, so constants of different shapes may share an address.
TEST(PackStore, TellsConstantsOfOneAddressApart) {
  const std::vector<float> bytes(96, 1.0f);
  PackStore packs;
  const auto packed = [&](DType dtype, std::vector<int64_t> dims, std::string_view layout) {
    const Tensor t = Tensor::view(dtype, dims, bytes.data());
    return packs.get(t, layout, 96, [](float* out) { std::fill_n(out, 96, 0.0f); });
  };
  const auto first = packed(DType::f32, {8, 12}, "panels");
  EXPECT_EQ(packed(DType::f32, {8, 12}, "panels"), first);
  EXPECT_NE(packed(DType::f32, {12, 8}, "panels"), first);
  EXPECT_NE(packed(DType::f32, {8, 12}, "rows"), first);
  EXPECT_NE(packed(DType::f16, {8, 12}, "panels"), packed(DType::bf16, {8, 12}, "panels"));
  EXPECT_EQ(packs.bytes(), 5 * 96 * 4);
}

TEST(PackStore, FillsWhatIsPendingOnce) {
  PackStore packs;
  ThreadPool pool(2);
  std::atomic<int> fills = 0;
  std::vector<Tensor> constants;
  std::vector<PackStore::Packed> packed;
  const int64_t sizes[] = {1, 100'000, 33, 9'000'000, 70'000};
  for (int round = 0; round < 2; ++round)
    for (size_t i = 0; i < std::size(sizes); ++i) {
      if (round == 0) constants.push_back(Tensor::zeros(DType::f32, std::vector{sizes[i]}).value());
      const auto fill = [&, i](float* out) {
        ++fills;
        std::fill_n(out, sizes[i], static_cast<float>(i));
      };
      packed.push_back(packs.get(constants[i], "same", sizes[i], fill));
      EXPECT_EQ(packs.get(constants[i], "same", sizes[i], fill), packed.back());
      if (round == 1) {
        EXPECT_EQ(packed[i], packed.back());
      }
      if (i == 2) packs.fill_pending(pool);
    }
  packs.fill_pending(pool);
  EXPECT_EQ(fills, 5);
  for (size_t i = 0; i < std::size(sizes); ++i)
    EXPECT_EQ(std::count(packed[i].get(), packed[i].get() + sizes[i], static_cast<float>(i)),
              sizes[i]);
}

}  // namespace
}  // namespace tenon::cpu
