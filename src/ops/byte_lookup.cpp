#include "ops/byte_lookup.h"

#include <fmt/format.h>

#include <cstring>

#include "ops/movement.h"
#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {

Result<TensorTypes> ByteLookup::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  if (context.dtype(0) != DType::i8 && context.dtype(0) != DType::u8)
    return invalid_argument(
        fmt::format("{} needs i8 or u8, not {}", name, context.type(0).to_string()));
  if (context.dtype(1) == DType::string)
    return invalid_argument(fmt::format("{}: a table of strings", name));
  TRY(nn::expect_vector(context, name, 1, 256, "one value per byte"));
  return TensorTypes{{context.dtype(1), context.shape(0)}};
}

Status ByteLookup::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  Tensor& y = context.out(0);
  const size_t size = dtype_size(y.dtype());
  const auto* table = static_cast<const char*>(context.in(1).raw());
  auto* out = static_cast<char*>(y.mutable_raw());
  const int64_t lowest = x.dtype() == DType::i8 ? -128 : 0;
  for (int64_t i = 0; i < x.elements(); ++i)
    std::memcpy(out + static_cast<size_t>(i) * size,
                table + static_cast<size_t>(x.int_at(i) - lowest) * size, size);
  return {};
}

constinit const OpDef ByteLookup::def = define<ByteLookup>();
OpDefs byte_lookup_ops() {
  return {&ByteLookup::def};
}

}  // namespace tenon
