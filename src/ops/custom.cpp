#include "ops/custom.h"

#include <fmt/format.h>

#include "ops/custom_call.h"
#include "ops/custom_kernel.h"
#include "ops/registry.h"

namespace tenon {
namespace {

Error not_loaded(const Custom& c) {
  return not_found(fmt::format(
      "custom op '{}' comes from library '{}', which is not loaded; give it with --custom-ops {}",
      c.op, c.library, c.library.empty() ? "LIBRARY.so" : c.library));
}

}  // namespace

Result<TensorTypes> Custom::infer(const InferContext& context) const {
  if (kernel != nullptr) return kernel->infer(context);
  if (bound == nullptr) return not_loaded(*this);
  return bound->infer(context, results);
}

Status Custom::eval(EvalContext& context) const {
  if (kernel != nullptr) return kernel->eval(context);
  if (bound == nullptr) return not_loaded(*this);
  return bound->eval(context);
}

constinit const OpDef Custom::def = define<Custom>();
OpDefs custom_ops() {
  return {&Custom::def};
}

}  // namespace tenon
