#include "chip/simulated_graph.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <set>

#include "ir/interpret.h"
#include "ir/text.h"
#include "lower/lowering.h"

namespace tenon {
namespace {

// A dropout that keeps all, as frozen TensorFlow graphs have it.
constexpr std::string_view kDropout = R"(graph @main (%keep: f32[1]) {
  %shape = const dense<[30000]> : i64[1]
  %u = random_uniform(%shape)
  %s = add(%u, %keep)
  %y = floor(%s)
  return (%y)
}
)";

TEST(SimulatedGraph, DrawsRandomNumbersInTheTypeOfTheChip) {
  const auto graph = parse_graph(kDropout, "dropout").value();
  const MachineCatalog catalog = MachineCatalog::load().value();
  const Tensor keep = Tensor::vector<float>({1});
  for (const std::string target : {"ascend310p3", "mlu370-s4"}) {
    const DeviceProgram program =
        lower_graph(*graph, **catalog.find(target), {.real = DType::f16}).value();
    const auto chip = SimulatedGraph::load(*graph, program).value();
    const auto outputs = chip->run({&keep, 1}, {}).value();
    for (const float kept : outputs[0].span<float>()) ASSERT_EQ(kept, 1) << target;
  }
}

// What f16 cannot hold: -1e9 that hides, 1e-12 that a divisor is not to be below.
constexpr std::string_view kBeyondHalves =
    R"(graph @main (%scores: f32[2,8], %seen: f32[2,8], %mask: f32[2,8], %x: f32[2,8]) {
  %one = const splat(1) : f32[]
  %much = const splat(-1e9) : f32[]
  %hidden = sub(%one, %seen)
  %low = mul(%hidden, %much)
  %masked = add(%scores, %low)
  %a = softmax(%masked)
  %given = add(%scores, %mask)
  %b = softmax(%given)
  %squares = sum_square(%x) {axes=[1], keep_dims=true}
  %norm = sqrt(%squares)
  %least = clip(%norm) {min=1e-12}
  %d = div(%x, %least)
  return (%a, %b, %d)
}
)";

TEST(SimulatedGraph, NumbersBeyondHalvesLeaveNoInfinities) {
  const auto graph = parse_graph(kBeyondHalves, "beyond").value();
  const auto tensor = [](const auto& element) {
    std::vector<float> all;
    for (int i = 0; i < 16; ++i) all.push_back(element(i));
    Tensor t = Tensor::allocate(DType::f32, std::vector<int64_t>{2, 8}).value();
    std::ranges::copy(all, t.mutable_data<float>());
    return t;
  };
  // Of the second row nothing is seen, and all of x is 0.
  const std::vector<Tensor> inputs{
      tensor([](int i) { return 0.25F * static_cast<float>(i % 5); }),
      tensor([](int i) { return i < 8 && i % 3 == 0 ? 1.0F : 0.0F; }),
      tensor([](int i) { return i < 8 && i % 3 == 0 ? 0.0F : -1e9F; }),
      tensor([](int i) { return i < 8 ? static_cast<float>(i - 3) : 0.0F; })};
  const auto expected = interpret(*graph, inputs).value();
  const MachineCatalog catalog = MachineCatalog::load().value();
  for (const std::string target : {"ascend310p3", "ascend910b3", "mlu370-s4"}) {
    const DeviceProgram program =
        lower_graph(*graph, **catalog.find(target), {.real = DType::f16}).value();
    const auto chip = SimulatedGraph::load(*graph, program).value();
    const auto outputs = chip->run(inputs, {}).value();
    for (size_t o = 0; o < outputs.size(); ++o)
      for (size_t i = 0; i < 16; ++i)
        ASSERT_NEAR(outputs[o].span<float>()[i], expected[o].span<float>()[i], 2e-3)
            << target << ", output " << o << ", element " << i;
  }
}

// Scores of a row that is hidden whole, by what f16 does not hold.
constexpr std::string_view kHidden =
    R"(graph @main (%q: f32[1,2,4,8], %k: f32[1,2,5,8], %v: f32[1,2,5,8], %mask: f32[1,1,4,5]) {
  %y = attention(%q, %k, %v, %mask) {scale=1.0}
  %t = transpose(%k) {perm=[0, 1, 3, 2]}
  %s = matmul(%q, %t)
  %m = add(%s, %mask)
  %p = softmax(%m)
  return (%y, %p)
}
)";

TEST(SimulatedGraph, RowsHiddenWholeAreFiniteWhateverTheirScores) {
  const auto graph = parse_graph(kHidden, "hidden").value();
  const auto filled = [](const std::vector<int64_t>& dims, float x) {
    Tensor t = Tensor::allocate(DType::f32, dims).value();
    std::fill_n(t.mutable_data<float>(), t.elements(), x);
    return t;
  };
  const MachineCatalog catalog = MachineCatalog::load().value();
  for (const float hides : {-1e9F, -3.4e38F})
    for (const std::string target : {"ascend310p3", "ascend910b3", "mlu370-s4"}) {
      // Scores of -288 each.
      const std::vector<Tensor> inputs{filled({1, 2, 4, 8}, 6), filled({1, 2, 5, 8}, -6),
                                       filled({1, 2, 5, 8}, 0.5F), filled({1, 1, 4, 5}, hides)};
      const DeviceProgram program =
          lower_graph(*graph, **catalog.find(target), {.real = DType::f16}).value();
      const auto chip = SimulatedGraph::load(*graph, program).value();
      const auto outputs = chip->run(inputs, {}).value();
      for (const float y : outputs[0].span<float>()) ASSERT_NEAR(y, 0.5F, 1e-3) << target;
      for (const float p : outputs[1].span<float>()) ASSERT_NEAR(p, 0.2F, 1e-3) << target;
    }
}

constexpr std::string_view kPlaces = R"(graph @main (%x: f32[2,8]) {
  %k = const dense<3> : i64[]
  %v, %n = top_k(%x, %k)
  %a = arg_max(%x) {axis=1}
  %b = arg_min(%x) {axis=1, select_last_index=true}
  return (%n, %a, %b)
}
)";

TEST(SimulatedGraph, PlacesInRowsWithNanAreInTheRow) {
  const auto graph = parse_graph(kPlaces, "places").value();
  std::vector<float> numbers{3, 1, 7, 5, 2, 0, 4, 6, 3, 1, 7, 5, 2, 0, 4, 6};
  numbers[10] = std::numeric_limits<float>::quiet_NaN();
  Tensor x = Tensor::allocate(DType::f32, std::vector<int64_t>{2, 8}).value();
  std::ranges::copy(numbers, x.mutable_data<float>());
  const MachineCatalog catalog = MachineCatalog::load().value();
  for (const std::string target : {"ascend310p3", "mlu370-s4"}) {
    const DeviceProgram program =
        lower_graph(*graph, **catalog.find(target), {.real = DType::f16}).value();
    const auto chip = SimulatedGraph::load(*graph, program).value();
    const auto outputs = chip->run({&x, 1}, {}).value();
    std::vector<double> top;
    for (int64_t k = 0; k < 6; ++k) top.push_back(outputs[0].real_at(k));
    EXPECT_EQ(std::vector(top.begin(), top.begin() + 3), (std::vector<double>{2, 7, 3})) << target;
    const std::set<double> of_nan(top.begin() + 3, top.end());
    EXPECT_EQ(of_nan.size(), 3) << target;
    EXPECT_GE(*of_nan.begin(), 0) << target;
    EXPECT_LT(*of_nan.rbegin(), 8) << target;
    EXPECT_EQ(outputs[1].real_at(0), 2) << target;
    EXPECT_EQ(outputs[2].real_at(0), 5) << target;
    for (const size_t o : {1, 2}) {
      EXPECT_GE(outputs[o].real_at(1), 0) << target;
      EXPECT_LT(outputs[o].real_at(1), 8) << target;
    }
  }
}

}  // namespace
}  // namespace tenon
