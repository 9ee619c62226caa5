// Every chosen kernel against the reference evaluation of its op, over many shapes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "device/cpu/test_support.h"

namespace tenon::cpu {
namespace {

TEST(KernelsAgainstReference, Rows) {
  for (const int64_t axis : {0, 1, 2, -1})
    for (const std::string_view op : {"softmax", "log_softmax"})
      for (const std::vector<int64_t>& dims :
           {std::vector<int64_t>{3, 7, 20}, {1, 1, 1001}, {2, 33, 1}, {0, 3, 4}})
        check({op, {f32(dims)}, {{"axis", axis}}, "row_softmax", 1, 3e-6});
  for (const int64_t axis : {-1, 1}) {
    const std::vector<int64_t> row =
        axis == -1 ? std::vector<int64_t>{24} : std::vector<int64_t>{5, 24};
    check({"layer_norm", {f32({4, 5, 24}), f32(row), f32(row)}, {{"axis", axis}}, "", 1, 1e-5});
    check({"layer_norm", {f32({4, 5, 24}), Tensor(), f32(row)}, {{"axis", axis}}, "", 1, 1e-5});
    check({"rms_norm", {f32({4, 5, 24}), f32(row)}, {{"axis", axis}}, "", 1, 1e-5});
  }
}

TEST(KernelsAgainstReference, Convolutions) {
  using Ints = std::vector<int64_t>;
  struct Layer {
    std::string_view kernel;
    Ints x, w;
    Attributes attributes;
  };
  const Ints pads{1, 2, 0, 1};
  // Small numbers: of sums of 324 products of up to 9 the rounding alone is more than is allowed.
  const auto f32 = [](const Ints& dims) { return random_tensor(DType::f32, dims, -1, 1); };
  for (const Layer& layer :
       {Layer{"gemm", {2, 5, 6, 7}, {1, 1, 7, 20}, {}},
        {"gemm_strip", {2, 9, 8, 3}, {3, 5, 3, 20}, {{"strides", Ints{2, 1}}, {"pads", pads}}},
        {"gemm_indirect", {2, 9, 8, 20}, {3, 3, 20, 9}, {{"dilations", Ints{2, 1}}}},
        {"grouped", {2, 9, 8, 32}, {3, 3, 4, 32}, {{"groups", 8}, {"pads", pads}}},
        {"grouped", {2, 9, 8, 24}, {3, 3, 8, 24}, {{"groups", 3}, {"pads", pads}}},
        {"grouped_wide", {2, 6, 9, 48}, {3, 3, 24, 48}, {{"groups", 2}, {"pads", pads}}},
        {"gemm_merged", {1, 9, 8, 6}, {3, 3, 3, 12}, {{"groups", 2}, {"pads", pads}}},
        {"gemm_indirect", {1, 9, 8, 6}, {3, 2, 3, 34}, {{"groups", 2}, {"pads", pads}}},
        {"depthwise", {2, 9, 8, 6}, {3, 3, 1, 12}, {{"groups", 6}, {"pads", pads}}},
        {"gemm_indirect", {1, 30, 18}, {5, 18, 4}, {{"strides", Ints{3}}}},
        {"gemm_shift", {1, 4, 5, 6, 18}, {2, 3, 3, 18, 4}, {}},
        {"gemm_indirect", {1, 4, 5, 6, 18}, {2, 3, 3, 18, 40}, {}}})
    for (const bool constant : {false, true})
      for (const std::string_view activation : {"none", "relu", "silu"}) {
        Attributes attributes = layer.attributes;
        attributes.push_back({"activation", std::string(activation)});
        Case c{"conv", {f32(layer.x), f32(layer.w)}, attributes, layer.kernel, 1, 2e-5, constant};
        check(c);
        c.inputs.push_back(f32({layer.w.back()}));
        check(c);
        const auto y = evaluate_like(c);
        c.inputs.push_back(f32(y.dims()));
        check(c);
      }
  for (const Layer& layer :
       {Layer{"", {2, 4, 5, 6}, {2, 2, 7, 6}, {{"strides", Ints{2, 2}}}},
        {"", {1, 4, 5, 6}, {3, 4, 7, 6}, {{"strides", Ints{2, 3}}, {"pads", pads}}},
        {"", {1, 4, 5, 6}, {3, 3, 3, 6}, {{"groups", 2}, {"output_padding", Ints{0, 2}}}},
        {"", {1, 9, 6}, {4, 1, 6}, {{"groups", 6}, {"strides", Ints{2}}}}}) {
    const std::vector<Tensor> inputs{f32(layer.x), f32(layer.w)};
    Case c{"conv_transpose", inputs, layer.attributes, "phase_convs", 1, 2e-5, true};
    check(c);
    c.attributes.push_back({"activation", std::string("relu")});
    c.inputs.push_back(f32({evaluate_like(c).dims().back()}));
    check(c);
  }
}

TEST(KernelsAgainstReference, PoolsAndNorms) {
  using Ints = std::vector<int64_t>;
  for (const std::string_view op : {"max_pool", "avg_pool"})
    for (const bool ceil : {false, true}) {
      const Attributes base = {{"ceil_mode", ceil}};
      const auto with = [&](Attributes more) {
        more.insert(more.end(), base.begin(), base.end());
        return more;
      };
      check({op,
             {f32({2, 9, 8, 5})},
             with({{"kernel", Ints{3, 2}}, {"strides", Ints{2, 2}}, {"pads", Ints{1, 0, 1, 1}}}),
             "window_rows",
             1,
             1e-6});
      check({op, {f32({1, 7, 7, 40})}, with({{"kernel", Ints{7, 7}}}), "window_rows", 1, 1e-6});
      check({op,
             {f32({1, 20, 3})},
             with({{"kernel", Ints{4}}, {"dilations", Ints{3}}}),
             "window_rows",
             1,
             1e-6});
    }
  check({"avg_pool",
         {f32({2, 9, 8, 5})},
         {{"kernel", Ints{3, 3}}, {"pads", Ints{1, 1, 1, 1}}, {"count_include_pad", true}},
         "window_rows",
         1,
         1e-6});
  for (const int64_t c : {1, 16, 21})
    check(
        {"batch_norm",
         {f32({2, 5, 3, c}), f32({c}), f32({c}), f32({c}), random_tensor(DType::f32, {c}, 0.1, 2)},
         {},
         "channel_rows",
         1,
         1e-5});
}

TEST(KernelsAgainstReference, ElementsByIndex) {
  for (const DType t : {DType::u8, DType::f16, DType::f32, DType::i64})
    for (const DType index : {DType::i32, DType::i64})
      for (const int64_t axis : {0, 1, -1}) {
        const int64_t size = axis == 0 ? 4 : axis == 1 ? 3 : 7;
        const Tensor at = random_tensor(index, {4, 2, 5}, static_cast<double>(-size),
                                        static_cast<double>(size - 1));
        check({"gather_elements",
               {random_tensor(t, {4, 3, 7}, 0, 100), at},
               {{"axis", axis}},
               "index_elements"});
      }
}

TEST(KernelsAgainstReference, Resampling) {
  const auto sizes = [](std::vector<int64_t> values) { return ints(std::move(values)); };
  for (const std::string_view mode : {"nearest", "linear", "cubic", "area"})
    for (const std::string_view coordinate : {"half_pixel", "align_corners", "asymmetric"})
      for (const int64_t c : {1, 3, 8, 21}) {
        const Attributes attributes = {{"mode", std::string(mode)},
                                       {"coordinate", std::string(coordinate)}};
        const std::string_view kernel = mode == "nearest" ? "nearest_rows" : "weighted_rows";
        check({"resize", {f32({2, 5, 6, c}), sizes({10, 12})}, attributes, kernel, 1, 1e-5});
        check({"resize", {f32({2, 9, 7, c}), sizes({4, 5})}, attributes, kernel, 1, 1e-5});
        check({"resize", {f32({1, 9, c}), sizes({13})}, attributes, kernel, 1, 1e-5});
        check({"resize", {f32({1, 2, 3, 4, c}), sizes({3, 3, 9})}, attributes, kernel, 1, 1e-5});
        check({"resize",
               {f32({2, 3, 4, 5, 6, c}), sizes({3, 4, 9, 4})},
               attributes,
               kernel,
               1,
               1e-5});
      }
  check({"resize",
         {random_tensor(DType::u8, {1, 5, 5, 3}, 0, 255), sizes({7, 11})},
         {},
         "nearest_rows"});
  for (const std::string_view mode : {"dcr", "crd"})
    check({"depth_to_space",
           {f32({2, 3, 5, 36})},
           {{"block", 3}, {"mode", std::string(mode)}},
           "move_blocks"});
  check({"space_to_depth", {f32({2, 6, 8, 5})}, {{"block", 2}}, "move_blocks"});
}

TEST(KernelsAgainstReference, Reductions) {
  for (const std::string_view op :
       {"sum", "mean", "reduce_max", "reduce_min", "prod", "sum_square"})
    for (const bool keep : {false, true})
      for (const std::vector<int64_t>& dims :
           {std::vector<int64_t>{3, 4, 5, 6}, {1, 7, 7, 64}, {2, 1, 3, 1}, {2, 3, 0, 4}})
        for (const std::vector<int64_t>& axes :
             {std::vector<int64_t>{}, {0}, {-1}, {1, 2}, {0, 2}, {1, 3}, {0, 1, 2, 3}, {0, 3}})
          // Products of thousands stay within the range of f32.
          check({op,
                 {op == "prod" ? random_tensor(DType::f32, dims, 0.9, 1.1) : f32(dims)},
                 {{"axes", axes}, {"keep_dims", keep}},
                 "row_reduce",
                 1,
                 2e-5});
  for (const DType dtype : {DType::i32, DType::i64, DType::boolean})
    for (const std::string_view op : {"sum", "prod", "reduce_max", "reduce_min", "all", "any"})
      for (const std::vector<int64_t>& axes : {std::vector<int64_t>{}, {1}, {0, 2}, {-1}, {0, 3}})
        if ((dtype == DType::boolean) == (op == "all" || op == "any"))
          check(
              {op, {random_tensor(dtype, {3, 4, 5, 6}, -9, 9)}, {{"axes", axes}}, "typed_reduce"});
  for (const std::string_view op : {"sum", "reduce_max", "reduce_min"})
    for (const DType dtype : {DType::i32, DType::i64})
      for (const int64_t n : {127, 191, 1000})
        check({op, {random_tensor(dtype, {n}, -1e9, 1e9)}, {}, "typed_reduce"});
}

TEST(KernelsAgainstReference, ArgExtremes) {
  for (const std::string_view op : {"arg_max", "arg_min"})
    for (const DType dtype : {DType::f32, DType::i32, DType::i64})
      for (const DType index : {DType::i32, DType::i64})
        for (const int64_t axis : {0, 1, -1})
          for (const bool last : {false, true})
            check({op,
                   {random_tensor(dtype, {4, 9, 21})},
                   {{"axis", axis}, {"dtype", index}, {"select_last_index", last}}});
}

TEST(KernelsAgainstReference, Movement) {
  const DType dtypes[] = {DType::f32, DType::u8, DType::f16, DType::i64, DType::boolean};
  for (const DType dtype : dtypes) {
    const auto x = [&](std::vector<int64_t> dims) { return random_tensor(dtype, dims, 0, 100); };
    using Ints = std::vector<int64_t>;
    for (const Ints& perm : {Ints{}, {0, 2, 3, 1}, {0, 3, 1, 2}, {3, 1, 0, 2}, {0, 1, -1, 2}})
      check({"transpose", {x({2, 5, 9, 12})}, {{"perm", perm}}, "move_transpose"});
    for (const int64_t axis : {0, 1, -1}) {
      check({"concat", {x({2, 3, 4}), x({2, 3, 4}), x({2, 3, 4})}, {{"axis", axis}}, "move_rows"});
      check({"split", {x({6, 6, 6})}, {{"axis", axis}, {"num", int64_t{3}}}, "move_rows", 3});
    }
    check({"concat", {x({2, 3, 0}), x({2, 3, 4})}, {{"axis", int64_t{2}}}});
    check({"split", {x({2, 7})}, {{"axis", int64_t{1}}, {"sizes", Ints{2, 0, 5}}}, "", 3});
    check({"slice", {x({5, 6, 7}), ints({1, -3}), ints({4, 100})}, {{"axes", Ints{0, 2}}}});
    check({"slice", {x({5, 6}), ints({-1}), ints({-100}), ints({-2})}, {{"axes", Ints{1}}}});
    check({"slice", {x({5, 6}), ints({3}), ints({2}), ints({1})}, {{"axes", Ints{1}}}});
    check({"strided_slice",
           {x({5, 6, 7}), ints({1, 0, 2}), ints({4, 0, 6}), ints({2, 1, 1})},
           {{"shrink_axis_mask", int64_t{4}}, {"end_mask", int64_t{2}}}});
    check({"strided_slice",
           {x({5, 6, 7}), ints({0, -1}), ints({0, -9}), ints({1, -1})},
           {{"ellipsis_mask", int64_t{1}}, {"new_axis_mask", int64_t{0}}}});
    check({"reverse", {x({3, 4, 5})}, {{"axes", Ints{0, -1}}}});
    check({"expand", {x({3, 1, 5}), ints({2, 3, 4, 5})}, {}});
    check({"expand", {x({1}), ints({40})}, {}});
    check({"tile", {x({2, 3, 4}), ints({2, 1, 3})}, {}});
    check({"pad", {x({3, 4, 5}), ints({1, 0, 2, 0, 3, 1})}, {}, "move_pad"});
    check({"pad", {x({3, 4}), ints({-1, 2, 1, -1})}, {}, "move_pad"});
    check({"pad", {x({3, 4}), ints({2, 1}), x({})}, {{"axes", Ints{1}}}, "move_pad"});
    check({"pad", {x({0, 4}), ints({2, 1, 1, 0}), x({})}, {}, "move_pad"});
    for (const std::string_view mode : {"reflect", "edge", "symmetric", "wrap"})
      for (const Ints& pads : {Ints{1, 2, 0, 2, 1, 0}, {0, 0, 1, 0, 0, 3}, {0, -1, 2, 1, 1, -1}})
        check(
            {"pad", {x({3, 4, 5}), ints(pads)}, {{"mode", std::string(mode)}}, "move_pad_by_map"});
    for (const DType index : {DType::i32, DType::i64}) {
      const Tensor at = random_tensor(index, {3, 5}, -6, 5);
      check({"gather", {x({6, 7, 8}), at}, {{"axis", int64_t{0}}}, "gather_rows"});
      check({"gather", {x({7, 6, 8}), at}, {{"axis", int64_t{1}}}, "gather_rows"});
      check({"gather", {x({7, 6}), at}, {{"axis", int64_t{-1}}}, "gather_rows"});
      check({"gather",
             {x({3, 2, 6, 4}), at},
             {{"axis", int64_t{2}}, {"batch_dims", int64_t{1}}},
             "gather_rows"});
    }
  }
}

// NaN, zeros of both signs and the middle between whole numbers in the place of some numbers.
Tensor with_special(Tensor x) {
  const double special[] = {std::nan(""), 0.0, -0.0, 2.5, -0.5, 3.5};
  for (int64_t i = 0; i < x.elements(); i += 4)
    x.mutable_data<double>()[i] = special[i / 4 % std::ssize(special)];
  return x;
}

TEST(KernelsAgainstReference, TypedPointwise) {
  const std::vector<std::pair<std::vector<int64_t>, std::vector<int64_t>>> shapes = {
      {{3, 4, 33}, {3, 4, 33}}, {{3, 4, 5}, {5}}, {{1}, {7, 9}},
      {{4, 1, 6}, {1, 5, 1}},   {{0, 3}, {3}},    {{}, {}},
      {{2, 3, 1}, {1, 3, 8}}};
  for (const auto& [a, b] : shapes) {
    for (const DType dtype : {DType::f32, DType::f64, DType::i32, DType::i64})
      for (const std::string_view op :
           {"equal", "not_equal", "less", "less_equal", "greater", "greater_equal"})
        check({op, {random_tensor(dtype, a), random_tensor(dtype, b)}, {}, "array_typed"});
    for (const DType dtype : {DType::i32, DType::i64})
      for (const std::string_view op :
           {"add", "sub", "mul", "min", "max", "bitwise_and", "bitwise_or", "bitwise_xor"})
        check({op, {random_tensor(dtype, a, -1e9, 1e9), random_tensor(dtype, b, -1e9, 1e9)}, {}});
    for (const DType dtype : {DType::i32, DType::i64})
      for (const std::string_view op : {"shift_left", "shift_right"})
        check({op,
               {random_tensor(dtype, a, -1e9, 1e9), random_tensor(dtype, b, -9, 70)},
               {},
               "array_typed"});
    for (const DType dtype : {DType::i8, DType::u8})
      for (const std::string_view op : {"min", "max"})
        check({op,
               {random_tensor(dtype, a, 0, 100), random_tensor(dtype, b, 0, 100)},
               {},
               "array_typed"});
    for (const std::string_view op : {"add", "sub", "mul", "div", "div_no_nan", "min", "max"})
      check(
          {op,
           {with_special(random_tensor(DType::f64, a)), with_special(random_tensor(DType::f64, b))},
           {},
           "array_typed"});
    const Tensor x = with_special(random_tensor(DType::f64, a, -9, 9));
    for (const std::string_view op :
         {"abs", "neg", "sign", "floor", "ceil", "round", "relu", "square", "sqrt"})
      check({op, {x}, {}, "array_typed"});
    check({"clip", {x}, {{"min", -2.5}, {"max", 3.0}}, "array_typed"});
    for (const std::string_view op : {"logical_and", "logical_or", "logical_xor", "equal"})
      check({op, {random_tensor(DType::boolean, a), random_tensor(DType::boolean, b)}, {}});
    for (const DType dtype : {DType::f32, DType::i64, DType::u8, DType::f16, DType::boolean}) {
      check({"select",
             {random_tensor(DType::boolean, a), random_tensor(dtype, a), random_tensor(dtype, b)}});
      check(
          {"select",
           {random_tensor(DType::boolean, b), random_tensor(dtype, {}), random_tensor(dtype, a)}});
    }
  }
  check({"logical_not", {random_tensor(DType::boolean, {3, 70})}});
}

TEST(KernelsAgainstReference, Casts) {
  const DType dtypes[] = {DType::f32, DType::f64, DType::i32,    DType::i64,
                          DType::u8,  DType::i8,  DType::boolean};
  for (const DType from : dtypes)
    for (const DType to : dtypes)
      for (const double range : {3.0, 1000.0, 1e12, 1e30}) {
        if (from == to || (!is_float(from) && range > 100)) continue;
        Tensor x = random_tensor(from, {5, 77}, is_unsigned_int(from) ? 0 : -range, range);
        if (from == DType::f32) {
          float* v = x.mutable_data<float>();
          v[0] = NAN, v[1] = INFINITY, v[2] = -INFINITY, v[3] = -0.0f, v[4] = 2147483648.0f;
          v[5] = -2147483648.0f, v[6] = 9223372036854775808.0f, v[7] = 127.9f, v[8] = -128.9f;
        }
        check({"cast", {x}, {{"to", to}}, "array_cast"});
      }
  for (const DType small : {DType::f16, DType::bf16}) {
    check({"cast", {f32({5, 77})}, {{"to", small}}, "array_cast"});
    check({"cast", {random_tensor(small, {5, 77})}, {{"to", DType::f32}}, "array_cast"});
  }
}

TEST(KernelsAgainstReference, Attention) {
  for (const bool causal : {false, true})
    for (const std::vector<int64_t>& mask :
         {std::vector<int64_t>{2, 1, 1, 13}, {9, 13}, {2, 4, 9, 13}, {1, 4, 9, 1}})
      for (const DType dtype : {DType::f32, DType::boolean}) {
        const std::vector<Tensor> qkv = {f32({2, 4, 9, 16}), f32({2, 2, 13, 16}),
                                         f32({2, 2, 13, 8})};
        std::vector<Tensor> masked = qkv;
        masked.push_back(random_tensor(dtype, mask));
        check({"attention", qkv, {{"causal", causal}}, "attention", 1, 1e-5});
        check({"attention", masked, {{"causal", causal}, {"scale", 0.5}}, "attention", 1, 1e-5});
      }
}

TEST(KernelsAgainstReference, ChannelNorms) {
  for (const std::vector<int64_t>& dims :
       {std::vector<int64_t>{2, 7, 9, 12}, {1, 200, 96}, {3, 1, 6}, {0, 4, 6}}) {
    const int64_t c = dims.back();
    check({"instance_norm", {f32(dims), f32({c}), f32({c})}, {}, "group_norm", 1, 2e-5});
    for (const int64_t groups : {int64_t{1}, int64_t{3}, c})
      check({"group_norm", {f32(dims), f32({c}), f32({c})}, {{"groups", groups}}, "", 1, 2e-5});
  }
}

TEST(KernelsAgainstReference, Indexing) {
  for (const DType index : {DType::i32, DType::i64})
    for (const DType dtype : {DType::f32, DType::u8, DType::i64}) {
      for (const int64_t axis : {0, 1, -1})
        for (const bool wrap : {false, true})
          check({"one_hot",
                 {random_tensor(index, {3, 5}, -4, 9), ints({6}), random_tensor(dtype, {}, 0, 9),
                  random_tensor(dtype, {}, 0, 9)},
                 {{"axis", axis}, {"wrap_negative", wrap}},
                 "index_one_hot"});
      check({"gather_nd",
             {random_tensor(dtype, {4, 5, 6}, 0, 9), random_tensor(index, {7, 2}, -4, 4)}});
      check({"gather_nd",
             {random_tensor(dtype, {3, 5, 6}, 0, 9), random_tensor(index, {3, 2, 1}, -5, 5)},
             {{"batch_dims", int64_t{1}}}});
    }
  for (const DType dtype : {DType::i32, DType::i64})
    for (const int64_t axis : {0, 1, -1})
      for (const bool exclusive : {false, true})
        for (const bool reverse : {false, true})
          check({"cumsum",
                 {random_tensor(dtype, {3, 4, 5})},
                 {{"axis", axis}, {"exclusive", exclusive}, {"reverse", reverse}}});
}

TEST(KernelsAgainstReference, Quantize) {
  for (const DType dtype : {DType::i8, DType::u8}) {
    const double low = dtype == DType::i8 ? -100 : 0;
    for (const int64_t n : {1, 6}) {
      const std::vector<int64_t> one = n == 1 ? std::vector<int64_t>{} : std::vector<int64_t>{n};
      const Tensor scale = random_tensor(DType::f32, one, 0.01, 0.05);
      const Tensor zero = random_tensor(dtype, one, low, 100);
      Tensor x = random_tensor(DType::f32, {5, 6, 77}, -6, 6);
      x.mutable_data<float>()[0] = NAN, x.mutable_data<float>()[1] = INFINITY;
      const Tensor q = random_tensor(dtype, {5, 6, 77}, low, 127);
      check({"quantize_linear", {x, scale, zero}, {{"axis", int64_t{1}}}, "linear"});
      check({"quantize_linear", {x, scale}, {{"axis", int64_t{1}}, {"dtype", dtype}}, "linear"});
      check({"dequantize_linear", {q, scale, zero}, {{"axis", int64_t{1}}}, "linear", 1, 1e-6});
      check({"dequantize_linear", {q, scale}, {{"axis", int64_t{-2}}}, "linear", 1, 1e-6});
    }
  }
}

TEST(KernelsAgainstReference, DynamicQuantize) {
  for (const int64_t n : {0, 1, 77, 40000})
    for (const auto& [low, high] : {std::pair{-3.0, 5.0}, {1.0, 4.0}, {-9.0, -2.0}})
      check({"dynamic_quantize_linear",
             {random_tensor(DType::f32, {n}, low, high)},
             {},
             "dynamic",
             3});
}

// The real products are far from the middle between two integers mostly; one quantum is allowed.
TEST(KernelsAgainstReference, QuantizedProducts) {
  for (const auto& [a, b] : {std::pair{DType::u8, DType::i8}, {DType::i8, DType::u8}}) {
    const Tensor scale = random_tensor(DType::f32, {19}, 0.001, 0.01);
    const Tensor bias = random_tensor(DType::f32, {19}, -3, 3);
    const Tensor za = random_tensor(a, {}, 0, 9), zb = random_tensor(b, {19}, 0, 9), none;
    const Tensor ys = Tensor::scalar(0.5f), yz = Tensor::scalar(uint8_t{100});
    const auto x = [&](DType t, std::vector<int64_t> dims) {
      return random_tensor(t, std::move(dims), t == DType::u8 ? 0 : -128, 127);
    };
    for (const bool constant : {false, true}) {
      const auto product = [&](std::string_view op, Tensor l, Tensor r, Attributes attributes,
                               std::string_view kernel) {
        check({op, {l, r, za, zb}, attributes, kernel, 1, 0, constant});
        attributes.emplace_back("activation", std::string("relu"));
        check({op, {l, r, za, zb, scale, bias}, attributes, kernel, 1, 1e-5, constant});
        check({op, {l, r, za, zb, scale, bias, ys, yz}, attributes, kernel, 1, 0.02, constant});
      };
      product("quantized_matmul", x(a, {3, 5, 30}), x(b, {30, 19}), {}, "int8_gemm");
      product("quantized_matmul", x(a, {3, 5, 32}), x(b, {3, 32, 19}), {}, "int8_gemm");
      product("quantized_conv", x(a, {2, 6, 7, 8}), x(b, {3, 3, 8, 19}),
              {{"pads", std::vector<int64_t>{1, 0, 1, 2}}, {"strides", std::vector<int64_t>{2, 1}}},
              "int8_gemm");
      product("quantized_conv", x(a, {2, 6, 7, 19}), x(b, {3, 3, 1, 19}),
              {{"groups", int64_t{19}}, {"auto_pad", std::string("same_upper")}}, "int8_depthwise");
    }
  }
}

TEST(KernelsAgainstReference, HalfPrecisionOnF32Kernels) {
  for (const DType dtype : {DType::f16, DType::bf16}) {
    const double tolerance = dtype == DType::f16 ? 2e-3 : 2e-2;
    const auto x = [&](std::vector<int64_t> dims) { return random_tensor(dtype, std::move(dims)); };
    check({"add", {x({3, 40}), x({40})}, {}, "", 1, tolerance});
    check({"sigmoid", {x({3, 41})}, {}, "", 1, tolerance});
    check({"less", {x({3, 40}), x({40})}, {}});
    check({"softmax", {x({3, 40})}, {}, "", 1, tolerance});
    check({"mean", {x({3, 40, 2})}, {{"axes", std::vector<int64_t>{1}}}, "", 1, tolerance});
    check({"layer_norm", {x({3, 40}), x({40}), x({40})}, {}, "", 1, 2 * tolerance});
    Case product{"matmul", {x({5, 40}), x({40, 30}), x({30})}, {}, "", 1, tolerance};
    check(product);
    product.constant_weights = true;
    check(product);
    check({"cast", {x({3, 40})}, {{"to", DType::i64}}});
  }
}

}  // namespace
}  // namespace tenon::cpu
