// Maximum and average over windows, channels last, any number of spatial dimensions.
#pragma once

#include "ops/auto_pad.h"
#include "ops/op.h"

namespace tenon {

// Windows over x [N, spatial…, C]. With ceil_mode a last window may hang over the end, but not
// start behind it.
struct MaxPool {
  std::vector<int64_t> kernel;
  std::vector<int64_t> strides;    // empty means 1
  std::vector<int64_t> pads;       // begins, then ends; empty means 0
  std::vector<int64_t> dilations;  // empty means 1
  bool ceil_mode = false;
  AutoPad auto_pad = AutoPad::none;

  static const OpDef def;
  static constexpr std::string_view name = "max_pool";
  static constexpr std::string_view doc =
      "Maximum over windows of x [N, spatial…, C]; what a window covers outside x is skipped, NaN "
      "propagates.";
  static constexpr Arity inputs{1};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "kernel", &MaxPool::kernel, "window size per spatial dimension"},
        Field{2, "strides", &MaxPool::strides, "per spatial dimension; empty means 1"},
        Field{3, "pads", &MaxPool::pads, "begins, then ends; empty means 0"},
        Field{4, "dilations", &MaxPool::dilations, "per spatial dimension; empty means 1"},
        Field{5, "ceil_mode", &MaxPool::ceil_mode, "round the output size up"},
        Field{7, "auto_pad", &MaxPool::auto_pad, "pads by the size of the input; then no pads"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
  int64_t flops(std::span<const TensorType> in, std::span<const TensorType> out) const;
};

struct MaxPoolIndex {
  std::vector<int64_t> kernel;
  std::vector<int64_t> strides;    // empty means 1
  std::vector<int64_t> pads;       // begins, then ends; empty means 0
  std::vector<int64_t> dilations;  // empty means 1
  bool ceil_mode = false;
  AutoPad auto_pad = AutoPad::none;

  static const OpDef def;
  static constexpr std::string_view name = "max_pool_index";
  static constexpr std::string_view doc =
      "Where max_pool of x [N, spatial…, C] finds its maxima, i64: positions within the spatial "
      "dimensions of x, row-major; of equal ones the first.";
  static constexpr Arity inputs{1};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "kernel", &MaxPoolIndex::kernel, "window size per spatial dimension"},
        Field{2, "strides", &MaxPoolIndex::strides, "per spatial dimension; empty means 1"},
        Field{3, "pads", &MaxPoolIndex::pads, "begins, then ends; empty means 0"},
        Field{4, "dilations", &MaxPoolIndex::dilations, "per spatial dimension; empty means 1"},
        Field{5, "ceil_mode", &MaxPoolIndex::ceil_mode, "round the output size up"},
        Field{7, "auto_pad", &MaxPoolIndex::auto_pad, "pads by the size of the input"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
  int64_t flops(std::span<const TensorType> in, std::span<const TensorType> out) const;
};

struct AvgPool {
  std::vector<int64_t> kernel;
  std::vector<int64_t> strides;    // empty means 1
  std::vector<int64_t> pads;       // begins, then ends; empty means 0
  std::vector<int64_t> dilations;  // empty means 1
  bool ceil_mode = false;
  bool count_include_pad = false;
  AutoPad auto_pad = AutoPad::none;

  static const OpDef def;
  static constexpr std::string_view name = "avg_pool";
  static constexpr std::string_view doc =
      "Mean over windows of x [N, spatial…, C]. The divisor counts the positions inside x, or with "
      "count_include_pad inside x and its pads.";
  static constexpr Arity inputs{1};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "kernel", &AvgPool::kernel, "window size per spatial dimension"},
        Field{2, "strides", &AvgPool::strides, "per spatial dimension; empty means 1"},
        Field{3, "pads", &AvgPool::pads, "begins, then ends; empty means 0"},
        Field{4, "dilations", &AvgPool::dilations, "per spatial dimension; empty means 1"},
        Field{5, "ceil_mode", &AvgPool::ceil_mode, "round the output size up"},
        Field{6, "count_include_pad", &AvgPool::count_include_pad, "pads count in the divisor"},
        Field{7, "auto_pad", &AvgPool::auto_pad, "pads by the size of the input; then no pads"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
  int64_t flops(std::span<const TensorType> in, std::span<const TensorType> out) const;
};

}  // namespace tenon
