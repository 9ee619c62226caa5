#include "ops/constant.h"

#include "ops/registry.h"

namespace tenon {

std::optional<SymInts> Constant::infer_ints(const InferContext&) const {
  constexpr int64_t kSmall = 64;
  if (value.is_list() || !is_int(value.dtype()) || value.rank() > 1 || value.elements() > kSmall)
    return std::nullopt;
  SymInts ints;
  for (const int64_t v : value.to_ints()) ints.push_back({v});
  return ints;
}

constinit const OpDef Constant::def = define<Constant>();
OpDefs constant_ops() {
  return {&Constant::def};
}

}  // namespace tenon
