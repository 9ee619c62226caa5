// Slices by begin, end and step: ONNX's form and TensorFlow's.
#pragma once

#include "ops/op.h"
#include "ops/strided_view.h"

namespace tenon {

struct Slice {
  std::vector<int64_t> axes;

  static const OpDef def;
  static constexpr std::string_view name = "slice";
  static constexpr std::string_view doc =
      "slice(x, starts, ends [, steps]): per axis from start to before end; negative values count "
      "from the end, values outside are clamped.";
  static constexpr Arity inputs{3, 4};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "axes", &Slice::axes, "the axis of each element of starts; empty: 0, 1, …"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  std::optional<SymInts> infer_ints(const InferContext& context) const;
  Result<StridedView> strided_view(const EvalContext& context) const;
  Status eval(EvalContext& context) const;
};

struct StridedSlice {
  int64_t begin_mask = 0;
  int64_t end_mask = 0;
  int64_t ellipsis_mask = 0;
  int64_t new_axis_mask = 0;
  int64_t shrink_axis_mask = 0;

  static const OpDef def;
  static constexpr std::string_view name = "strided_slice";
  static constexpr std::string_view doc =
      "strided_slice(x, begin, end, strides): x[begin:end:stride, …] as TensorFlow writes it.";
  static constexpr Arity inputs{4};
  static constexpr auto fields() {
    using Op = StridedSlice;
    return std::tuple{
        Field{1, "begin_mask", &Op::begin_mask, "bit i: begin[i] is not given"},
        Field{2, "end_mask", &Op::end_mask, "bit i: end[i] is not given"},
        Field{3, "ellipsis_mask", &Op::ellipsis_mask, "bit i: entry i is …"},
        Field{4, "new_axis_mask", &Op::new_axis_mask, "bit i: entry i inserts a dimension"},
        Field{5, "shrink_axis_mask", &Op::shrink_axis_mask, "bit i: entry i is a single index"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  std::optional<SymInts> infer_ints(const InferContext& context) const;
  Result<StridedView> strided_view(const EvalContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
