// Tables of bytes that are functions after all.
#pragma once

#include <optional>

#include "ops/activation.h"
#include "rewrite/pass.h"

namespace tenon {

// real = (byte - zero) scale
struct ByteScale {
  double scale = 1;
  int64_t zero = 0;
};
// What the bytes of a value stand for, where the node that made them says it.
std::optional<ByteScale> byte_scale_of(const Value* value);

// A byte to an activation of what it stands for, rounded to a byte again.
struct ByteFunction {
  ByteScale from, to;
  ActivationKind kind = ActivationKind::none;
  double alpha = 0, beta = 0;
};
// What a byte_lookup computes; nothing where no activation is found that gives its table.
std::optional<ByteFunction> function_of(const Node& lookup);

// A rule: byte_lookup as the activation of the product before it, or as pointwise ops.
Result<bool> lookup_as_function(Graph& graph, Node& node);

}  // namespace tenon
