// What rules share: known operands, and conversions of types, shapes and constants.
#include "import/tensorflow/rule.h"

#include <fmt/format.h>

#include <cstring>

namespace tenon::tf {

Result<std::vector<int64_t>> RuleContext::ints(int i) const {
  if (i < 0 || static_cast<size_t>(i) >= inputs.size())
    return invalid_model(fmt::format("operand {} is missing", i));
  const Value* v = inputs[static_cast<size_t>(i)];
  if (const Tensor* t = v->constant(); t != nullptr && is_int(t->dtype())) return t->to_ints();
  if (v->ints()) {
    std::vector<int64_t> values;
    for (const SymInt& s : *v->ints())
      if (s.value) values.push_back(*s.value);
    if (values.size() == v->ints()->size()) return values;
  }
  return unsupported(fmt::format("operand {} must be known when the model is compiled", i));
}

Result<int64_t> RuleContext::int_scalar(int i) const {
  const auto values = TRY(ints(i));
  if (values.size() == 1) return values[0];
  return invalid_model(fmt::format("operand {} has {} elements, one expected", i, values.size()));
}

Result<DType> to_dtype(DataType dtype) {
  switch (base_dtype(dtype)) {
    case DataType::f32:
      return DType::f32;
    case DataType::f64:
      return DType::f64;
    case DataType::f16:
      return DType::f16;
    case DataType::bf16:
      return DType::bf16;
    case DataType::i8:
    case DataType::qi8:
      return DType::i8;
    case DataType::i16:
    case DataType::qi16:
      return DType::i16;
    case DataType::i32:
    case DataType::qi32:
      return DType::i32;
    case DataType::i64:
      return DType::i64;
    case DataType::u8:
    case DataType::qu8:
      return DType::u8;
    case DataType::u16:
    case DataType::qu16:
      return DType::u16;
    case DataType::u32:
      return DType::u32;
    case DataType::u64:
      return DType::u64;
    case DataType::boolean:
      return DType::boolean;
    case DataType::string:
      return DType::string;
    case DataType::complex64:
      return DType::c64;
    case DataType::complex128:
      return DType::c128;
    default:
      return unsupported(fmt::format("element type {} is not supported", dtype_name(dtype)));
  }
}

Shape to_shape(const ShapeProto& shape, const std::string& input, bool only) {
  if (shape.unknown_rank) return Shape::unranked();
  Shape result;
  for (size_t i = 0; i < shape.dims.size(); ++i)
    result.dims().push_back(shape.dims[i] >= 0 ? Dim(shape.dims[i])
                            : i == 0 && only   ? Dim::symbol("batch")
                                               : Dim::symbol(fmt::format("{}_{}", input, i)));
  return result;
}

Result<Tensor> to_tensor(TensorValue value, const std::string& name) {
  auto dtype = to_dtype(value.dtype);
  if (!dtype.ok()) return std::move(dtype).error().at(name);
  const int64_t n = TRY(checked_elements(value.dims, dtype_size(value.dtype)));
  if (*dtype == DType::string) {
    Tensor t = TRY(Tensor::allocate(DType::string, value.dims));
    for (int64_t i = 0; i < n && !value.strings.empty(); ++i)
      t.mutable_data<std::string>()[i] = value.strings[value.splat ? 0 : static_cast<size_t>(i)];
    return t;
  }
  const size_t size = tenon::dtype_size(*dtype);
  if (value.splat) {
    Tensor t = TRY(Tensor::allocate(*dtype, value.dims));
    for (int64_t i = 0; i < n; ++i)
      std::memcpy(static_cast<std::byte*>(t.mutable_raw()) + static_cast<size_t>(i) * size,
                  value.data.bytes.data(), size);
    return t;
  }
  if (value.data.bytes.size() != static_cast<size_t>(n) * size)
    return invalid_model("a constant's data does not match its shape").at(name);
  Tensor t = Tensor::view(*dtype, value.dims, value.data.bytes.data(), value.data.owner);
  const bool aligned = reinterpret_cast<uintptr_t>(value.data.bytes.data()) % size == 0;
  return aligned ? Result<Tensor>(std::move(t)) : t.clone();
}

}  // namespace tenon::tf
