#include "tensor/dtype.h"

#include <array>

namespace tenon {
namespace {

struct DTypeRow {
  std::string_view name;
  std::string_view long_name;
  size_t size;
};

constexpr std::array<DTypeRow, kDTypeCount> kRows{{
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
