// Loops that change lists: what they give, and that nobody else sees the changes.
#include "runtime/loop.h"

#include <gtest/gtest.h>

#include "format/model_file.h"
#include "ops/registry.h"
#include "runtime/model.h"

namespace tenon::runtime {
namespace {

const TensorType kCounter{DType::i64, Shape{}};
const TensorType kItem{DType::f32, Shape{2}};
const TensorType kList{DType::f32, Shape{2}, true};
constexpr int64_t kRounds = 6;

struct Maker {
  FileGraph graph;

  int value(const TensorType& type) {
    graph.values.push_back({type, "v" + std::to_string(graph.values.size())});
    return static_cast<int>(graph.values.size()) - 1;
  }
  int input(const TensorType& type) {
    graph.inputs.push_back(value(type));
    return graph.inputs.back();
  }
  int constant(Tensor t) {
    graph.constants.push_back({value(t.type()), std::move(t)});
    return graph.constants.back().value;
  }
  int step(std::string_view op, std::vector<int> inputs, const TensorType& type) {
    FileStep s;
    s.op = create_op(op);
    EXPECT_NE(s.op, nullptr) << op;
    s.inputs = std::move(inputs);
    s.outputs = {value(type)};
    graph.steps.push_back(std::move(s));
    return graph.steps.back().outputs[0];
  }
};

// The body's inputs are a counter, an item and two lists.
struct Body : Maker {
  int counter = input(kCounter), item = input(kItem), first = input(kList), second = input(kList);
  int next = step("add", {counter, constant(Tensor::scalar<int64_t>(1))}, kCounter);
  int doubled = step("add", {item, item}, kItem);
};

FileGraph condition() {
  Maker m;
  const int counter = m.input(kCounter);
  for (const TensorType& type : {kItem, kList, kList}) m.input(type);
  const int rounds = m.constant(Tensor::scalar<int64_t>(kRounds));
  m.graph.outputs = {m.step("less", {counter, rounds}, {DType::boolean, Shape{}})};
  return std::move(m.graph);
}

// What the two lists and the list they began as are after the loop, stacked.
std::vector<Tensor> run(FileGraph body) {
  Maker m;
  const int x = m.input(kItem);
  const int zero = m.constant(Tensor::scalar<int64_t>(0));
  const int list = m.step("list_make", {x, x}, kList);
  FileStep loop;
  loop.op = create_op("while");
  loop.inputs = {zero, x, list, list};
  loop.outputs = {m.value(kCounter), m.value(kItem), m.value(kList), m.value(kList)};
  const int first = loop.outputs[2], second = loop.outputs[3];
  loop.regions.push_back(condition());
  loop.regions.push_back(std::move(body));
  m.graph.steps.push_back(std::move(loop));
  const TensorType stacked{DType::f32, Shape::unknown_dims(2)};
  for (const int l : {first, second, list})
    m.graph.outputs.push_back(m.step("list_stack", {l}, stacked));
  FileModel file;
  file.functions.push_back({"serving_default", std::move(m.graph), {"x"}, {"a", "b", "c"}});
  auto owner = std::make_shared<std::vector<std::byte>>(encode_model(file).value());
  const Model model = Model::load(Blob{*owner, owner}, {.threads = 1}).value();
  const Tensor given = Tensor::vector<float>({1, 3});
  std::vector<Tensor> results;
  // The second run has the memory of the first.
  for (int i = 0; i < 2; ++i)
    results = model.function().value().run(std::span(&given, 1), {}, nullptr).value();
  return results;
}

void expect_rows(const Tensor& t, std::vector<double> firsts) {
  ASSERT_EQ(t.dims(), (std::vector<int64_t>{static_cast<int64_t>(firsts.size()), 2}));
  for (size_t i = 0; i < firsts.size(); ++i) {
    EXPECT_EQ(t.real_at(static_cast<int64_t>(i) * 2), firsts[i]) << i;
    EXPECT_EQ(t.real_at(static_cast<int64_t>(i) * 2 + 1), 3 * firsts[i]) << i;
  }
}

TEST(Loop, ListsChangeInPlace) {
  Body b;
  const int set = b.step("list_set", {b.first, b.counter, b.doubled}, kList);
  const int pushed = b.step("list_push", {b.second, b.item}, kList);
  b.graph.outputs = {b.next, b.doubled, set, pushed};
  EXPECT_EQ(lists_in_place(b.graph).states, (std::vector<size_t>{2, 3}));
  const auto results = run(std::move(b.graph));
  expect_rows(results[0], {2, 4, 8, 16, 32, 64});
  expect_rows(results[1], {1, 1, 1, 2, 4, 8, 16, 32});
  expect_rows(results[2], {1, 1});  // before the loop as after it
}

TEST(Loop, ItemsThatAreReadStayWhatTheyWere) {
  Body b;
  const int before = b.step("list_get", {b.first, b.counter}, kItem);
  const int set = b.step("list_set", {b.first, b.counter, b.doubled}, kList);
  const int again = b.step("list_push", {set, b.item}, kList);
  const int pushed = b.step("list_push", {b.second, before}, kList);
  b.graph.outputs = {b.next, b.doubled, again, pushed};
  EXPECT_EQ(lists_in_place(b.graph).steps.size(), b.graph.steps.size());
  const auto results = run(std::move(b.graph));
  expect_rows(results[0], {2, 4, 8, 16, 32, 64, 16, 32});
  expect_rows(results[1], {1, 1, 1, 1, 1, 2, 4, 8});
}

TEST(Loop, ListsThatOthersHaveAreCopied) {
  // Both states are one list, of which the next iteration changes one.
  Body twice;
  int set = twice.step("list_set", {twice.first, twice.counter, twice.doubled}, kList);
  twice.graph.outputs = {twice.next, twice.doubled, set, set};
  EXPECT_TRUE(lists_in_place(twice.graph).states.empty());
  // What was the list is kept as the other state.
  Body kept;
  set = kept.step("list_set", {kept.first, kept.counter, kept.doubled}, kList);
  kept.graph.outputs = {kept.next, kept.doubled, set, kept.first};
  EXPECT_TRUE(lists_in_place(kept.graph).states.empty());
  const auto results = run(std::move(kept.graph));
  expect_rows(results[0], {2, 4, 8, 16, 32, 64});
  expect_rows(results[1], {2, 4, 8, 16, 32});
  // It is read after it was changed.
  Body late;
  set = late.step("list_set", {late.first, late.counter, late.doubled}, kList);
  const int old = late.step("list_get", {late.first, late.counter}, kItem);
  const int pushed = late.step("list_push", {late.second, old}, kList);
  late.graph.outputs = {late.next, late.doubled, set, pushed};
  EXPECT_EQ(lists_in_place(late.graph).states, (std::vector<size_t>{3}));
}

}  // namespace
}  // namespace tenon::runtime
