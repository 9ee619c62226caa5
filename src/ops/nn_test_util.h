// Small helpers of the op tests: tensors from literals, evaluation that expects success.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>

#include "ops/op.h"

namespace tenon {

template <typename T>
Tensor make(const std::vector<int64_t>& dims, const std::vector<T>& values) {
  return Tensor::vector(values).reshaped(dims);
}

inline Tensor f32(const std::vector<int64_t>& dims, const std::vector<float>& values) {
  return make<float>(dims, values);
}

template <typename Op>
std::vector<Tensor> run(const Op& op, const std::vector<Tensor>& inputs, int outputs = 1) {
  auto result = evaluate(*make_op(op), inputs, outputs);
  if (!result.ok()) {
    ADD_FAILURE() << result.error().to_string();
    return std::vector<Tensor>(static_cast<size_t>(outputs), Tensor::scalar(0.0f));
  }
  return std::move(result).value();
}

inline void expect_values(const Tensor& t, const std::vector<int64_t>& dims,
                          const std::vector<double>& values, double tolerance = 1e-5) {
  ASSERT_EQ(t.dims(), dims);
  for (size_t i = 0; i < values.size(); ++i)
    EXPECT_NEAR(t.real_at(static_cast<int64_t>(i)), values[i], tolerance) << "element " << i;
}

// Result types for operand types written as text; an empty text is an absent operand.
template <typename Op>
Result<TensorTypes> infer_text(const Op& op, const std::vector<std::string>& operands) {
  std::vector<OperandInfo> infos;
  for (const std::string& text : operands)
    infos.push_back({text.empty() ? TensorType{} : parse_tensor_type(text).value()});
  return make_op(op)->infer(InferContext(infos));
}

template <typename Op>
std::string inferred(const Op& op, const std::vector<std::string>& operands) {
  auto types = infer_text(op, operands);
  return types.ok() ? (*types)[0].to_string() : types.error().message;
}

}  // namespace tenon
