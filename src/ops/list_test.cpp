// Lists: values, not places; items not set yet are zeros of the element's shape.
#include "ops/list.h"

#include <gtest/gtest.h>

#include "ops/control_flow.h"

namespace tenon {
namespace {

using Ints = std::vector<int64_t>;

const TensorType kElement = parse_tensor_type("i64[2]").value();

template <typename T>
std::vector<Tensor> run(const T& op, std::vector<Tensor> inputs) {
  auto result = evaluate(*make_op(op), inputs);
  EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message);
  return result.ok() ? *result : std::vector<Tensor>(2);
}
Tensor index(int64_t i) {
  return Tensor::scalar(i);
}

TEST(List, ItemsNotSetAreZeros) {
  const Tensor empty = run(ListReserve{kElement}, {index(3)})[0];
  const Tensor item = Tensor::vector(Ints{4, 5});
  const Tensor list = run(ListSet{}, {empty, index(1), item})[0];
  EXPECT_FALSE(empty.items()[1].defined());
  const Tensor stacked = run(ListStack{kElement}, {list})[0];
  EXPECT_EQ(stacked.dims(), (Ints{3, 2}));
  EXPECT_EQ(stacked.to_ints(), (Ints{0, 0, 4, 5, 0, 0}));
  EXPECT_EQ(run(ListGet{kElement}, {list, index(0)})[0].to_ints(), (Ints{0, 0}));
  const TensorType open = parse_tensor_type("i64[*]").value();
  EXPECT_FALSE(evaluate(*make_op(ListGet{open}), std::vector{empty, index(0)}).ok());
  EXPECT_FALSE(evaluate(*make_op(ListGet{kElement}), std::vector{list, index(3)}).ok());
}

TEST(List, OwnsItsItems) {
  Tensor item = Tensor::vector(Ints{1, 2});
  const Tensor list = run(ListPush{}, {run(ListEmpty{kElement}, {})[0], item})[0];
  item.mutable_data<int64_t>()[0] = 9;
  EXPECT_EQ(run(ListGet{}, {list, index(-1)})[0].to_ints(), (Ints{1, 2}));
}

TEST(List, GrowsAndShrinks) {
  Tensor list = run(ListMake{}, {index(1), index(2)})[0];
  list = run(ListInsert{}, {list, index(7), index(0)})[0];
  EXPECT_EQ(run(ListLength{}, {list})[0].to_ints(), (Ints{3}));
  const auto popped = run(ListPop{}, {list});
  EXPECT_EQ(popped[1].to_ints(), (Ints{2}));
  list = run(ListErase{}, {popped[0], index(-1)})[0];
  EXPECT_EQ(run(ListStack{}, {list})[0].to_ints(), (Ints{7}));
  const Tensor none = run(ListErase{}, {list})[0];
  EXPECT_FALSE(evaluate(*make_op(ListPop{}), std::vector{none}).ok());
}

TEST(List, CutsAndJoins) {
  const Tensor x = Tensor::vector(Ints{0, 1, 2, 3, 4, 5}).reshaped({3, 2});
  EXPECT_EQ(run(ListUnstack{}, {x})[0].items()[2].to_ints(), (Ints{4, 5}));
  const Tensor parts = run(ListSplit{}, {x, index(2)})[0];
  ASSERT_EQ(parts.items().size(), 2u);
  EXPECT_EQ(parts.items()[1].dims(), (Ints{1, 2}));
  EXPECT_TRUE(bitwise_equal(run(ListConcat{}, {parts})[0], x));
  const Tensor columns = run(ListSplit{1, false}, {x})[0];
  EXPECT_EQ(columns.items()[0].to_ints(), (Ints{0, 2, 4}));
  EXPECT_TRUE(bitwise_equal(run(ListConcat{1, true}, {columns})[0], x));
}

TEST(List, RaggedItemsMakeTheElementTypeWider) {
  const TensorType list = parse_tensor_type("list<f32[2]>").value();
  const std::vector<OperandInfo> operands{{list, nullptr, nullptr},
                                          {parse_tensor_type("f32[3]").value(), nullptr, nullptr}};
  EXPECT_EQ((*ListPush{}.infer(InferContext(operands)))[0].to_string(), "list<f32[?]>");
  const std::vector<OperandInfo> wrong{{list, nullptr, nullptr},
                                       {parse_tensor_type("i64[2]").value(), nullptr, nullptr}};
  EXPECT_FALSE(ListPush{}.infer(InferContext(wrong)).ok());
}

TEST(ControlFlow, JoinsWhatPathsGive) {
  const auto types = [](std::string_view text) {
    return TensorTypes{parse_tensor_type(text).value()};
  };
  const std::vector<OperandInfo> cond{{types("bool[]")[0], nullptr, nullptr}};
  const std::vector<TensorTypes> branches{types("f32[2,3]"), types("f32[4,3]")};
  EXPECT_EQ((*If{}.infer(InferContext(cond, branches)))[0].to_string(), "f32[?,3]");
  const std::vector<TensorTypes> clash{types("f32[2]"), types("i64[2]")};
  EXPECT_FALSE(If{}.infer(InferContext(cond, clash)).ok());
  const std::vector<OperandInfo> state{{types("f32[1]")[0], nullptr, nullptr}};
  const std::vector<TensorTypes> loop{types("bool[]"), types("f32[2]")};
  EXPECT_EQ((*While{}.infer(InferContext(state, loop)))[0].to_string(), "f32[?]");
}

}  // namespace
}  // namespace tenon
