// Types that follow from sizes, through branches that sizes decide.
#include "runtime/foresee.h"

#include <gtest/gtest.h>

#include "ops/registry.h"
#include "runtime/plan.h"

namespace tenon::runtime {
namespace {

const TensorType kNumber{DType::i32, Shape{}}, kNumbers{DType::i32, Shape::unknown_dims(1)};

// if (c) range(0, n, 1) else n
FileStep range_or_number() {
  FileGraph then;
  then.values = {{kNumber, {}}, {kNumber, {}}, {kNumber, {}}, {kNumbers, {}}};
  then.inputs = {0};
  then.constants = {{1, Tensor::scalar(int32_t{0})}, {2, Tensor::scalar(int32_t{1})}};
  FileStep range;
  range.op = create_op("range");
  range.inputs = {1, 0, 2};
  range.outputs = {3};
  then.steps.push_back(std::move(range));
  then.outputs = {3};
  FileGraph otherwise;
  otherwise.values = {{kNumber, {}}};
  otherwise.inputs = otherwise.outputs = {0};
  FileStep step;
  step.op = create_op("if");
  step.inputs = {0, 1};
  step.outputs = {2};
  step.regions.push_back(std::move(then));
  step.regions.push_back(std::move(otherwise));
  return step;
}

TEST(Foresee, TypesOfTheBranchThatIsTaken) {
  const FileStep step = range_or_number();
  const Tensor seven = Tensor::scalar(int32_t{7});
  const OperandInfo number{kNumber, &seven, nullptr};
  for (const bool condition : {true, false}) {
    const Tensor c = Tensor::scalar(condition);
    const auto types = infer_step(step, std::vector<OperandInfo>{{c.type(), &c, nullptr}, number});
    ASSERT_TRUE(types.ok());
    EXPECT_EQ((*types)[0].shape, condition ? Shape{7} : Shape{});
  }
}

TEST(Foresee, BranchesThatDataDecidesHaveNoTypes) {
  const OperandInfo unknown{{DType::boolean, Shape{}}, nullptr, nullptr},
      number{kNumber, nullptr, nullptr};
  const FileStep step = range_or_number();
  EXPECT_FALSE(decided_branch(step, std::vector<OperandInfo>{unknown, number}));
  EXPECT_FALSE(infer_step(step, std::vector<OperandInfo>{unknown, number}).ok());
}

}  // namespace
}  // namespace tenon::runtime
