// Records of comma-separated values.
#pragma once

#include "ops/op.h"

namespace tenon {

struct DecodeCsv {
  std::string delimiter = ",";
  bool quotes = true;
  std::string missing;
  std::vector<int64_t> columns;

  static const OpDef def;
  static constexpr std::string_view name = "decode_csv";
  static constexpr std::string_view doc =
      "decode_csv(records, defaults…): one tensor per field, with the shape of the records and the "
      "type of the field's default (one element, used for fields that are missing; none: that is "
      "an "
      "error).";
  static constexpr Arity inputs{2, kVariadic};
  static constexpr Arity outputs{1, kVariadic};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "delimiter", &DecodeCsv::delimiter, "one character between fields"},
        Field{2, "quotes", &DecodeCsv::quotes, "fields in double quotes may hold any character"},
        Field{3, "missing", &DecodeCsv::missing, "what stands for a missing field beside nothing"},
        Field{4, "columns", &DecodeCsv::columns, "which fields there are tensors of; empty: all"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
