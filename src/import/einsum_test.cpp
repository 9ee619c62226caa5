// Einstein sums against a loop over all indices.
#include "import/einsum.h"

#include <gtest/gtest.h>

#include <map>

#include "ir/interpret.h"

namespace tenon {
namespace {

Tensor counted(const std::vector<int64_t>& dims, float step) {
  Tensor t = Tensor::allocate(DType::f32, dims).value();
  for (int64_t i = 0; i < t.elements(); ++i)
    t.mutable_data<float>()[i] = static_cast<float>(i % 7) * step - 1;
  return t;
}

// The sum by definition; letters only.
std::vector<double> by_definition(const std::vector<std::string>& terms, const std::string& result,
                                  const std::vector<Tensor>& operands) {
  std::map<char, int64_t> sizes;
  for (size_t t = 0; t < terms.size(); ++t)
    for (size_t i = 0; i < terms[t].size(); ++i)
      sizes[terms[t][i]] = operands[t].dim(static_cast<int>(i));
  std::string labels;
  int64_t total = 1, count = 1;
  for (const auto& [label, size] : sizes) labels += label, total *= size;
  for (const char label : result) count *= sizes[label];
  std::vector<double> sums(static_cast<size_t>(count), 0);
  for (int64_t n = 0; n < total; ++n) {
    std::map<char, int64_t> at;
    int64_t rest = n;
    for (const char label : labels) at[label] = rest % sizes[label], rest /= sizes[label];
    const auto place = [&](const std::string& term) {
      int64_t offset = 0;
      for (const char label : term) offset = offset * sizes[label] + at[label];
      return offset;
    };
    double product = 1;
    for (size_t t = 0; t < terms.size(); ++t) product *= operands[t].real_at(place(terms[t]));
    sums[static_cast<size_t>(place(result))] += product;
  }
  return sums;
}

Result<Tensor> compute(const std::string& equation, const std::vector<Tensor>& operands) {
  Graph graph;
  std::vector<Value*> inputs;
  for (const Tensor& t : operands) inputs.push_back(graph.add_input(t.type()));
  Builder builder(graph);
  graph.set_outputs({TRY(add_einsum(builder, equation, inputs))});
  auto results = TRY(interpret(graph, operands));
  return results[0];
}

void check(const std::string& equation, const std::vector<Tensor>& operands,
           const std::vector<std::string>& terms, const std::string& result) {
  const auto got = compute(equation, operands);
  ASSERT_TRUE(got.ok()) << equation << ": " << got.error().to_string();
  const auto expected = by_definition(terms, result, operands);
  ASSERT_EQ(static_cast<size_t>(got->elements()), expected.size()) << equation;
  for (size_t i = 0; i < expected.size(); ++i)
    EXPECT_NEAR(got->real_at(static_cast<int64_t>(i)), expected[i], 1e-3) << equation;
}

TEST(Einsum, OneOperand) {
  const Tensor x = counted({2, 3, 4}, 0.5f), square = counted({3, 3}, 0.5f);
  check("ijk->kij", {x}, {"ijk"}, "kij");
  check("ijk->j", {x}, {"ijk"}, "j");
  check("ijk->", {x}, {"ijk"}, "");
  check("ii->i", {square}, {"ii"}, "i");
  check("ii", {square}, {"ii"}, "");
  check("ba", {square}, {"ba"}, "ab");
  check("i...->...", {x}, {"ijk"}, "jk");
}

TEST(Einsum, TwoOperands) {
  const Tensor a = counted({2, 3, 4}, 0.5f), b = counted({2, 4, 5}, 0.25f);
  check("bij, bjk -> bik", {a, b}, {"bij", "bjk"}, "bik");
  check("bij,bjk->kib", {a, b}, {"bij", "bjk"}, "kib");
  check("...ij,...jk->...ik", {a, b}, {"bij", "bjk"}, "bik");
  check("bij,cjk->ik", {a, b}, {"bij", "cjk"}, "ik");
  check("bij,bjk->", {a, b}, {"bij", "bjk"}, "");
  check("i,j->ij", {counted({3}, 1), counted({4}, 1)}, {"i", "j"}, "ij");
  check("i,i", {counted({3}, 1), counted({3}, 1)}, {"i", "i"}, "");
  check("abcd,cde->abe", {counted({2, 3, 4, 5}, 1), counted({4, 5, 2}, 1)}, {"abcd", "cde"}, "abe");
  check("bthd,bshd->bhts", {counted({2, 3, 2, 4}, 1), counted({2, 5, 2, 4}, 1)}, {"bthd", "bshd"},
        "bhts");
  check("bij,b->bij", {a, counted({2}, 1)}, {"bij", "b"}, "bij");
}

TEST(Einsum, ThreeOperands) {
  check("i,ij,j->", {counted({3}, 1), counted({3, 4}, 1), counted({4}, 1)}, {"i", "ij", "j"}, "");
  check("ab,bc,cd->ad", {counted({2, 3}, 1), counted({3, 4}, 1), counted({4, 2}, 1)},
        {"ab", "bc", "cd"}, "ad");
}

TEST(Einsum, SizesOfOneStretch) {
  const auto y = compute("...ij,...jk->...ik", {counted({1, 2, 3}, 1), counted({4, 3, 2}, 1)});
  ASSERT_TRUE(y.ok()) << y.error().to_string();
  EXPECT_EQ(y->dims(), (std::vector<int64_t>{4, 2, 2}));
}

TEST(Einsum, RefusesWhatDoesNotFit) {
  const Tensor x = counted({2, 3}, 1);
  for (const char* equation :
       {"ij,jk->ik", "ijk->i", "i->i", "ij->k", "i.j->ij", "ij->-", "......ij->ij", "i1->i"})
    EXPECT_FALSE(compute(equation, {x}).ok()) << equation;
}

}  // namespace
}  // namespace tenon
