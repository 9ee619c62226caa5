#include "tensor/dtype.h"

#include <array>

#include "tensor/narrow.h"

namespace tenon {
namespace {

struct DTypeRow {
  std::string_view name;
  std::string_view long_name;
  size_t size;
};

constexpr std::array<DTypeRow, kDTypeEnd> kRows{{
    {"none", "none", 0},
    {"f32", "float32", 4},
    {"f64", "float64", 8},
    {"f16", "float16", 2},
    {"bf16", "bfloat16", 2},
    {"i8", "int8", 1},
    {"i16", "int16", 2},
    {"i32", "int32", 4},
    {"i64", "int64", 8},
    {"u8", "uint8", 1},
    {"u16", "uint16", 2},
    {"u32", "uint32", 4},
    {"u64", "uint64", 8},
    {"bool", "bool", 1},
    {"str", "string", sizeof(std::string)},
    {"c64", "complex64", 8},
    {"c128", "complex128", 16},
    {"f8e4m3fn", "float8_e4m3fn", 1},
    {"f8e4m3fnuz", "float8_e4m3fnuz", 1},
    {"f8e5m2", "float8_e5m2", 1},
    {"f8e5m2fnuz", "float8_e5m2fnuz", 1},
    {"f8e8m0", "float8_e8m0fnu", 1},
    {"f4e2m1", "float4_e2m1fn", 1},
    {"i4", "int4", 1},
    {"u4", "uint4", 1},
    {"i2", "int2", 1},
    {"u2", "uint2", 1},
}};

const DTypeRow& row(DType dtype) {
  return kRows[static_cast<size_t>(dtype)];
}

}  // namespace

std::string_view dtype_name(DType dtype) {
  return row(dtype).name;
}
std::string_view dtype_long_name(DType dtype) {
  return row(dtype).long_name;
}
size_t dtype_size(DType dtype) {
  return row(dtype).size;
}

std::optional<DType> parse_dtype(std::string_view name) {
  for (size_t i = 0; i < kRows.size(); ++i)
    if (name == kRows[i].name || name == kRows[i].long_name) return static_cast<DType>(i);
  return std::nullopt;
}

}  // namespace tenon
