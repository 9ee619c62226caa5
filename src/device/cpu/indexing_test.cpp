// scatter_elements, scatter_nd and segment_reduce against the reference evaluation, over random
// shapes.
#include <gtest/gtest.h>

#include "device/cpu/test_support.h"

namespace tenon::cpu {
namespace {

int64_t below(int64_t n) {
  return std::uniform_int_distribution<int64_t>(0, n - 1)(test_random());
}

// Data, indices and updates. Where they are `sliced`, the indices of a slice along the axis are
// equal.
std::vector<Tensor> scatter_operands(DType dtype, DType index_type, int64_t axis, bool sliced,
                                     std::vector<int64_t> dims, std::vector<int64_t> index_dims) {
  const double size = static_cast<double>(dims[static_cast<size_t>(axis)]);
  Tensor index = random_tensor(index_type, index_dims, -size, size);
  int64_t inner = 1;
  for (size_t d = static_cast<size_t>(axis) + 1; d < dims.size(); ++d) inner *= index_dims[d];
  const auto n = static_cast<size_t>(inner);
  if (sliced)
    visit_int(index_type, [&](auto tag) {
      using T = typename decltype(tag)::type;
      T* values = index.mutable_data<T>();
      for (size_t i = 0; i < static_cast<size_t>(index.elements()); ++i)
        values[i] = values[i / n * n];
    });
  return {random_tensor(dtype, std::move(dims)), index,
          random_tensor(dtype, std::move(index_dims))};
}

void check_scatter(std::string_view reduction, int64_t axis, std::vector<Tensor> operands) {
  check({"scatter_elements",
         std::move(operands),
         {{"axis", axis}, {"reduction", std::string(reduction)}},
         "index_scatter"});
}

TEST(KernelsAgainstReference, ScatterNd) {
  using Ints = std::vector<int64_t>;
  const Ints x{4, 5, 3};
  for (const DType index_type : {DType::i32, DType::i64})
    for (const int64_t depth : {1, 2, 3}) {
      const Tensor index = random_tensor(index_type, {7, 2, depth}, -2.9, 2.9);
      Ints u{7, 2};
      u.insert(u.end(), x.begin() + depth, x.end());
      for (const std::string_view reduction : {"none", "add", "mul", "min", "max"})
        for (const DType dtype : {DType::f32, DType::i64})
          check({"scatter_nd",
                 {random_tensor(dtype, x), index, random_tensor(dtype, u)},
                 {{"reduction", std::string(reduction)}},
                 "index_scatter"});
      check({"scatter_nd",
             {random_tensor(DType::boolean, x), index, random_tensor(DType::boolean, u)},
             {},
             "index_scatter"});
    }
}

TEST(KernelsAgainstReference, ScatterElements) {
  using Ints = std::vector<int64_t>;
  for (int round = 0; round < 400; ++round) {
    Ints dims, index_dims;
    for (int64_t rank = 1 + below(4); rank > 0; --rank) dims.push_back(1 + below(6));
    const auto rank = static_cast<int64_t>(dims.size()), axis = below(rank);
    for (const int64_t d : dims) index_dims.push_back(round % 3 == 0 ? d : below(d + 1));
    index_dims[static_cast<size_t>(axis)] = below(9);
    const DType index_type = round % 2 == 0 ? DType::i32 : DType::i64;
    const int64_t written = round % 5 == 0 ? axis - rank : axis;
    const auto operands = [&](DType dtype) {
      return scatter_operands(dtype, index_type, axis, round % 4 < 2, dims, index_dims);
    };
    for (const DType dtype : {DType::boolean, DType::u8, DType::f16, DType::f32, DType::f64})
      check_scatter("none", written, operands(dtype));
    for (const DType dtype : {DType::f32, DType::i32, DType::i64})
      for (const std::string_view reduction : {"add", "mul", "min", "max"})
        check_scatter(reduction, written, operands(dtype));
  }
}

// So many that the work is divided.
TEST(KernelsAgainstReference, ScatterManyElements) {
  for (const bool sliced : {false, true})
    for (const std::string_view reduction : {"none", "add"})
      for (const int64_t axis : {0, 1, 2}) {
        check_scatter(
            reduction, axis,
            scatter_operands(DType::f32, DType::i64, axis, sliced, {30, 40, 50}, {30, 40, 50}));
        check_scatter(
            reduction, axis,
            scatter_operands(DType::f32, DType::i32, axis, sliced, {30, 40, 50}, {29, 38, 47}));
      }
  check_scatter("none", 0,
                scatter_operands(DType::f32, DType::i64, 0, true, {40, 2500}, {60, 2500}));
  check_scatter("add", 1, scatter_operands(DType::f32, DType::i64, 1, false, {2, 40}, {2, 40000}));
}

TEST(KernelsAgainstReference, Segments) {
  using Ints = std::vector<int64_t>;
  for (const DType index_type : {DType::i32, DType::i64})
    for (const std::string_view reduction : {"sum", "mean", "max", "min", "prod"})
      for (const DType dtype : {DType::f32, DType::i32, DType::i64})
        for (const Ints& row : {Ints{}, Ints{1}, Ints{3}, Ints{2, 9}, Ints{40}}) {
          Ints x{31};
          x.insert(x.end(), row.begin(), row.end());
          const Attributes attributes{{"reduction", std::string(reduction)}};
          const Tensor data = random_tensor(dtype, x);
          // Some segments have no slices, some slices no segment.
          Tensor ids = random_tensor(index_type, {31}, -2.9, 9.9);
          check({"segment_reduce",
                 {data, ids, Tensor::scalar<int64_t>(11)},
                 attributes,
                 "segment_rows"});
          check({"segment_reduce", {data, ids}, attributes, "segment_rows"});
        }
  check({"segment_reduce",
         {f32({4, 6, 5}), random_tensor(DType::i64, {4, 6}, 0, 6.9), Tensor::scalar<int32_t>(7)},
         {},
         "segment_rows"});
}

TEST(KernelsAgainstReference, SegmentOutside) {
  const Tensor data = f32({3, 2}), num = Tensor::scalar<int64_t>(4);
  const std::vector<Tensor> in{data, ints({0, 4, 1}), num};
  const auto op = create_op("segment_reduce");
  const auto expected = evaluate(*op, in, 1);
  ASSERT_FALSE(expected.ok());
  const TensorTypes types = {in[0].type(), in[1].type(), in[2].type()};
  Tensor y = Tensor::zeros(DType::f32, std::vector<int64_t>{4, 2}).value();
  const TensorTypes results = {y.type()};
  const std::vector<const Tensor*> constants(3), operands = {in.data(), &in[1], &in[2]};
  PackStore packs;
  const KernelChoice choice = choose_kernel({*op, types, results, constants, packs});
  ASSERT_NE(choice.kernel, nullptr);
  Tensor* const out[] = {&y};
  ThreadPool pool(1);
  const Status status = choice.kernel->run({operands, out, pool});
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().message, expected.error().message);
}

TEST(KernelsAgainstReference, ScatterOutside) {
  for (const int64_t axis : {0, 1, 2})
    for (const int64_t outside : {-41, 41, 1000})
      for (const bool sliced : {false, true}) {
        std::vector<Tensor> in =
            scatter_operands(DType::f32, DType::i64, axis, sliced, {40, 40, 40}, {40, 40, 40});
        for (const int64_t i : {47000, 52001})
          in[1].mutable_data<int64_t>()[i] = outside + (i == 52001 ? 1 : 0);
        const auto op = create_op("scatter_elements");
        ASSERT_TRUE(set_attr(*op, "axis", axis).ok());
        const auto expected = evaluate(*op, in, 1);
        ASSERT_FALSE(expected.ok());
        const TensorTypes types = {in[0].type(), in[1].type(), in[2].type()};
        const TensorTypes results = {in[0].type()};
        const std::vector<const Tensor*> constants(3), operands = {in.data(), &in[1], &in[2]};
        PackStore packs;
        const KernelChoice choice = choose_kernel({*op, types, results, constants, packs});
        ASSERT_NE(choice.kernel, nullptr);
        Tensor y = Tensor::zeros(DType::f32, in[0].dims()).value();
        Tensor* const out[] = {&y};
        ThreadPool pool(1);
        const Status status = choice.kernel->run({operands, out, pool});
        ASSERT_FALSE(status.ok());
        EXPECT_EQ(status.error().message, expected.error().message);
      }
}

}  // namespace
}  // namespace tenon::cpu
