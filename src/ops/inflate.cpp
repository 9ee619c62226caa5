#include "ops/inflate.h"

#include "base/inflate.h"
#include "ops/movement.h"
#include "ops/registry.h"

namespace tenon {

constexpr size_t kMostUnpacked = size_t{1} << 31;

Result<TensorTypes> Inflate::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  if (context.dtype(0) != DType::string) return invalid_argument("inflate needs strings");
  return TensorTypes{context.type(0)};
}

Status Inflate::eval(EvalContext& context) const {
  const auto in = context.in(0).span<std::string>();
  auto* out = context.out(0).mutable_data<std::string>();
  for (size_t i = 0; i < in.size(); ++i)
    out[i] =
        TRY(inflate_bytes(as_bytes(in[i]), gzip ? Packing::gzip : Packing::zlib, kMostUnpacked));
  return {};
}

constinit const OpDef Inflate::def = define<Inflate>();
OpDefs inflate_ops() {
  return {&Inflate::def};
}

}  // namespace tenon
