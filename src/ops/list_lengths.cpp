#include "ops/list_lengths.h"

#include <fmt/format.h>

#include "ops/registry.h"

namespace tenon {

Result<TensorTypes> ListLengths::infer(const InferContext& context) const {
  if (context.has(0) && context.type(0).is_list)
    return TensorTypes{{DType::i64, Shape{Dim::unknown()}}};
  return invalid_argument(
      fmt::format("list_lengths needs a list, not {}", context.type(0).to_string()));
}

Status ListLengths::eval(EvalContext& context) const {
  const auto& items = context.in(0).items();
  const int64_t n[] = {static_cast<int64_t>(items.size())};
  TRY(context.allocate(0, DType::i64, n));
  auto* out = context.out(0).mutable_data<int64_t>();
  for (size_t i = 0; i < items.size(); ++i) {
    if (items[i].defined() && items[i].rank() == 0)
      return invalid_argument(fmt::format("list_lengths: item {} has no dimensions", i));
    out[i] = items[i].defined() ? items[i].dim(0) : 0;
  }
  return {};
}

constinit const OpDef ListLengths::def = define<ListLengths>();
OpDefs list_lengths_ops() {
  return {&ListLengths::def};
}

}  // namespace tenon
