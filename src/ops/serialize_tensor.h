// Tensors as strings: TensorFlow's TensorProto, written and read while a model runs.
#pragma once

#include "ops/op.h"

namespace tenon {

struct ParseTensor {
  DType dtype = DType::f32;

  static const OpDef def;
  static constexpr std::string_view name = "parse_tensor";
  static constexpr std::string_view doc = "The tensor that a string holds as a TensorProto.";
  static constexpr Arity inputs{1};
  static constexpr uint32_t traits = kDataDependent;
  static constexpr auto fields() {
    return std::tuple{Field{1, "dtype", &ParseTensor::dtype, "that the tensor must have"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct SerializeTensor {
  bool strings_as_content = false;

  static const OpDef def;
  static constexpr std::string_view name = "serialize_tensor";
  static constexpr std::string_view doc = "A tensor as a TensorProto in one string.";
  static constexpr Arity inputs{1};
  static constexpr auto fields() {
    return std::tuple{Field{1, "strings_as_content", &SerializeTensor::strings_as_content,
                            "in one run of bytes, else each on its own"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
