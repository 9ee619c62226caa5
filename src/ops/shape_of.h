// Shapes as values.
#pragma once

#include <limits>

#include "ops/op.h"

namespace tenon {

struct ShapeOf {
  int64_t start = 0;
  int64_t end = std::numeric_limits<int64_t>::max();
  DType dtype = DType::i64;

  static const OpDef def;
  static constexpr std::string_view name = "shape";
  static constexpr std::string_view doc = "The dimensions of x, as a vector of integers.";
  static constexpr Arity inputs{1};
  static constexpr auto fields() {
    return std::tuple{Field{1, "start", &ShapeOf::start, "first dimension"},
                      Field{2, "end", &ShapeOf::end, "one past the last dimension"},
                      Field{3, "dtype", &ShapeOf::dtype, "i32 or i64"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  std::optional<SymInts> infer_ints(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct SizeOf {
  DType dtype = DType::i64;

  static const OpDef def;
  static constexpr std::string_view name = "size";
  static constexpr std::string_view doc = "The number of elements of x.";
  static constexpr Arity inputs{1};
  static constexpr auto fields() {
    return std::tuple{Field{1, "dtype", &SizeOf::dtype, "i32 or i64"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  std::optional<SymInts> infer_ints(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
