#include "import/tensorflow/proto.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace tenon::tf {

std::string dtype_name(DataType dtype) {
  switch (dtype) {
    case DataType::invalid:
      return "invalid";
    case DataType::f32:
      return "float32";
    case DataType::f64:
      return "float64";
    case DataType::i32:
      return "int32";
    case DataType::u8:
      return "uint8";
    case DataType::i16:
      return "int16";
    case DataType::i8:
      return "int8";
    case DataType::string:
      return "string";
    case DataType::complex64:
      return "complex64";
    case DataType::i64:
      return "int64";
    case DataType::boolean:
      return "bool";
    case DataType::qi8:
      return "qint8";
    case DataType::qu8:
      return "quint8";
    case DataType::qi32:
      return "qint32";
    case DataType::bf16:
      return "bfloat16";
    case DataType::qi16:
      return "qint16";
    case DataType::qu16:
      return "quint16";
    case DataType::u16:
      return "uint16";
    case DataType::complex128:
      return "complex128";
    case DataType::f16:
      return "float16";
    case DataType::resource:
      return "resource";
    case DataType::variant:
      return "variant";
    case DataType::u32:
      return "uint32";
    case DataType::u64:
      return "uint64";
    case DataType::f8_e5m2:
      return "float8_e5m2";
    case DataType::f8_e4m3fn:
      return "float8_e4m3fn";
    case DataType::i4:
      return "int4";
    case DataType::u4:
      return "uint4";
  }
  if (base_dtype(dtype) != dtype) return dtype_name(base_dtype(dtype)) + "_ref";
  return fmt::format("type {}", static_cast<int32_t>(dtype));
}

size_t dtype_size(DataType dtype) {
  switch (dtype) {
    case DataType::u8:
    case DataType::i8:
    case DataType::boolean:
    case DataType::qi8:
    case DataType::qu8:
    case DataType::f8_e5m2:
    case DataType::f8_e4m3fn:
    case DataType::i4:
    case DataType::u4:
      return 1;
    case DataType::i16:
    case DataType::u16:
    case DataType::bf16:
    case DataType::f16:
    case DataType::qi16:
    case DataType::qu16:
      return 2;
    case DataType::f32:
    case DataType::i32:
    case DataType::u32:
    case DataType::qi32:
      return 4;
    case DataType::f64:
    case DataType::i64:
    case DataType::u64:
    case DataType::complex64:
      return 8;
    case DataType::complex128:
      return 16;
    default:
      return 0;
  }
}

std::string ShapeProto::to_string() const {
  if (unknown_rank) return "?";
  return fmt::format("[{}]", fmt::join(dims, ","));
}

namespace {

std::string_view kind_name(AttrValue::Kind kind) {
  switch (kind) {
    case AttrValue::Kind::none:
      return "an empty value";
    case AttrValue::Kind::string:
      return "a string";
    case AttrValue::Kind::integer:
      return "an integer";
    case AttrValue::Kind::real:
      return "a float";
    case AttrValue::Kind::boolean:
      return "a bool";
    case AttrValue::Kind::type:
      return "a type";
    case AttrValue::Kind::shape:
      return "a shape";
    case AttrValue::Kind::tensor:
      return "a tensor";
    case AttrValue::Kind::function:
      return "a function";
    case AttrValue::Kind::placeholder:
      return "a placeholder";
    case AttrValue::Kind::list:
      return "a list";
  }
  return "another kind";
}

Result<AttrValue> decode_kind(const Bytes* bytes, std::string_view name, AttrValue::Kind kind) {
  if (!bytes) return invalid_model(fmt::format("attribute '{}' is missing", name));
  AttrValue value = TRY(decode_attr(*bytes, name));
  // An empty AttrValue is what a writer leaves of a list without elements.
  const bool empty_list = kind == AttrValue::Kind::list && value.kind == AttrValue::Kind::none;
  if (value.kind != kind && !empty_list) {
    return invalid_model(fmt::format("attribute '{}' is {}, but {} is expected", name,
                                     kind_name(value.kind), kind_name(kind)));
  }
  return value;
}

}  // namespace

const Bytes* Attrs::find(std::string_view name) const {
  for (const auto& [key, value] : entries)
    if (key == name) return &value;
  return nullptr;
}

Result<AttrValue> Attrs::get(std::string_view name) const {
  const Bytes* bytes = find(name);
  if (!bytes) return invalid_model(fmt::format("attribute '{}' is missing", name));
  return decode_attr(*bytes, name);
}
Result<int64_t> Attrs::get_int(std::string_view name) const {
  return TRY(decode_kind(find(name), name, AttrValue::Kind::integer)).i;
}
Result<int64_t> Attrs::get_int(std::string_view name, int64_t fallback) const {
  if (!has(name)) return fallback;
  return get_int(name);
}
Result<float> Attrs::get_float(std::string_view name) const {
  return TRY(decode_kind(find(name), name, AttrValue::Kind::real)).f;
}
Result<float> Attrs::get_float(std::string_view name, float fallback) const {
  if (!has(name)) return fallback;
  return get_float(name);
}
Result<bool> Attrs::get_bool(std::string_view name, bool fallback) const {
  if (!has(name)) return fallback;
  return TRY(decode_kind(find(name), name, AttrValue::Kind::boolean)).b;
}
Result<std::string_view> Attrs::get_string(std::string_view name) const {
  return TRY(decode_kind(find(name), name, AttrValue::Kind::string)).s;
}
Result<std::string_view> Attrs::get_string(std::string_view name, std::string_view fallback) const {
  if (!has(name)) return fallback;
  return get_string(name);
}
Result<DataType> Attrs::get_type(std::string_view name) const {
  return TRY(decode_kind(find(name), name, AttrValue::Kind::type)).type;
}
Result<DataType> Attrs::get_type(std::string_view name, DataType fallback) const {
  if (!has(name)) return fallback;
  return get_type(name);
}
Result<std::vector<int64_t>> Attrs::get_ints(std::string_view name) const {
  return TRY(decode_kind(find(name), name, AttrValue::Kind::list)).ints;
}
Result<std::vector<DataType>> Attrs::get_types(std::string_view name) const {
  return TRY(decode_kind(find(name), name, AttrValue::Kind::list)).types;
}
Result<ShapeProto> Attrs::get_shape(std::string_view name) const {
  ShapeProto unknown;
  unknown.unknown_rank = true;
  if (!has(name)) return unknown;
  return TRY(decode_kind(find(name), name, AttrValue::Kind::shape)).shape;
}
Result<TensorProto> Attrs::get_tensor(std::string_view name) const {
  const AttrValue value = TRY(decode_kind(find(name), name, AttrValue::Kind::tensor));
  return decode_tensor(value.tensor, fmt::format("tensor attribute '{}'", name));
}

}  // namespace tenon::tf
