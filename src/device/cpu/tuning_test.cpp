#include "device/cpu/tuning.h"

#include <gtest/gtest.h>

#include "device/cpu/kernel.h"
#include "ops/conv.h"

namespace tenon::cpu {
namespace {

Tensor zeros(std::vector<int64_t> dims) {
  return Tensor::zeros(DType::f32, dims).value();
}

// A convolution to which several kernels apply.
struct Step {
  std::unique_ptr<Op> op = make_op(Conv{.pads = {1, 1, 1, 1}});
  Tensor x = zeros({1, 20, 20, 8});
  Tensor w = zeros({3, 3, 8, 16});
  std::vector<TensorType> inputs{x.type(), w.type()};
  std::vector<TensorType> outputs{{DType::f32, Shape{1, 20, 20, 16}}};
  std::vector<const Tensor*> constants{nullptr, &w};
  PackStore packs;

  StepInfo info(const Tuning* tuning, int threads = 1) {
    return {*op, inputs, outputs, constants, packs, threads, nullptr, tuning};
  }
};

TEST(Tuning, StepsTakeTheKernelThatWasMeasuredBest) {
  Step step;
  const Tuning measuring{.take = 1};
  const KernelChoice second = choose_kernel(step.info(&measuring));
  ASSERT_GT(second.measured.size(), 1u);
  EXPECT_EQ(second.name, second.measured[1].name);
  const std::string by_rule = choose_kernel(step.info(nullptr)).name;
  EXPECT_EQ(by_rule, second.measured[0].name);

  Tuning tuning;
  tuning.steps[second.key] = {{second.name, 10}, {by_rule, 20}};
  EXPECT_EQ(choose_kernel(step.info(&tuning)).name, second.name);
  EXPECT_EQ(choose_kernel(step.info(&tuning, 2)).name, by_rule) << "measured on one thread";
}

TEST(Tuning, NamesThatDoNotApplyArePassedOver) {
  Step step;
  const Tuning none;
  const KernelChoice by_rule = choose_kernel(step.info(&none));
  Tuning tuning;
  tuning.steps[by_rule.key] = {{"no such kernel", 1}, {"depthwise", 2}};
  EXPECT_EQ(choose_kernel(step.info(&tuning)).name, by_rule.name);
}

TEST(Tuning, ANoteReadsBack) {
  Tuning tuning{.processor = "a processor (avx2)"};
  tuning.steps["00ff"] = {{"winograd", 1200}, {"gemm_strip", 3400}};
  tuning.steps["0100"] = {{"gemm", 5}};
  const Tuning read = tuning_from_note(to_note(tuning));
  EXPECT_EQ(read.processor, tuning.processor);
  ASSERT_EQ(read.steps.size(), 2u);
  EXPECT_EQ(read.steps.at("00ff")[1].name, "gemm_strip");
  EXPECT_EQ(read.steps.at("00ff")[1].time_ns, 3400);
}

TEST(Tuning, DamagedNotesAreRead) {
  for (const std::string_view note : {"", "\n", "p\n\t\t\t\n\n", "p\nk\tgemm", "p\nk\tgemm\tx1\t"})
    for (const auto& [key, kernels] : tuning_from_note(note).steps)
      for (const MeasuredKernel& kernel : kernels) EXPECT_EQ(kernel.time_ns, 0) << note;
}

}  // namespace
}  // namespace tenon::cpu
