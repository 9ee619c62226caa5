// Strings of packed data.
#pragma once

#include "ops/op.h"

namespace tenon {

struct Inflate {
  bool gzip = false;

  static const OpDef def;
  static constexpr std::string_view name = "inflate";
  static constexpr std::string_view doc = "What strings packed by zlib or gzip hold.";
  static constexpr Arity inputs{1};
  static constexpr auto fields() {
    return std::tuple{Field{1, "gzip", &Inflate::gzip, "packed by gzip, else by zlib"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
