#include "ops/custom_kernel.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "bang/evaluate.h"
#include "ops/custom.h"

namespace tenon {

Result<std::shared_ptr<const CustomKernel>> CustomKernel::make(
    std::shared_ptr<const bang::Kernel> kernel, std::span<const std::string> attributes) {
  std::shared_ptr<CustomKernel> made(new CustomKernel(std::move(kernel)));
  const bang::Signature& signature = made->kernel().signature;
  for (const std::string& text : attributes) {
    CustomAttr attr = TRY(decode_custom_attr(text));
    const auto known = std::ranges::find(signature.names, attr.name, &bang::Signature::Name::name);
    // The others are the framework's own, such as T.
    if (known == signature.names.end()) continue;
    if (const auto* i = std::get_if<int64_t>(&attr.value))
      made->attributes_.push_back({attr.name, *i});
    else if (const auto* b = std::get_if<bool>(&attr.value))
      made->attributes_.push_back({attr.name, int64_t{*b}});
    else if (const auto* f = std::get_if<double>(&attr.value))
      made->attributes_.push_back({attr.name, *f});
    else
      return invalid_argument(fmt::format("custom op '{}' takes a number as attribute '{}', not {}",
                                          signature.op, attr.name, attr_kind_name(attr.value)));
  }
  return std::shared_ptr<const CustomKernel>(std::move(made));
}

Result<bang::Sizes> CustomKernel::sizes(std::span<const TensorType> inputs) const {
  return bang::apply_shape_rule(*kernel_, inputs, attributes_);
}

Result<TensorTypes> CustomKernel::infer(const InferContext& context) const {
  TensorTypes inputs;
  for (int i = 0; i < context.size(); ++i) inputs.push_back(context.type(i));
  bang::Sizes found = TRY(sizes(inputs));
  return std::move(found.outputs);
}

Status CustomKernel::eval(EvalContext& context) const {
  TensorTypes types;
  std::vector<Tensor> inputs, outputs;
  for (int i = 0; i < context.size(); ++i) {
    inputs.push_back(context.in(i));
    types.push_back(inputs.back().type());
  }
  const bang::Sizes found = TRY(sizes(types));
  if (!bang::is_complete(*kernel_, found))
    return invalid_argument(fmt::format("custom op '{}' has a size that its inputs do not tell",
                                        kernel_->signature.op));
  for (int i = 0; i < context.outputs() && i < std::ssize(found.outputs); ++i) {
    const TensorType& type = found.outputs[static_cast<size_t>(i)];
    const std::vector<int64_t> dims = type.shape.sizes();
    if (!context.out(i).defined() || context.out(i).dims() != dims)
      TRY(context.allocate(i, type.dtype, dims));
    // What a kernel forgets to write is no number.
    std::memset(context.out(i).mutable_raw(), 0xff, context.out(i).byte_size());
    outputs.push_back(context.out(i));
  }
  Status status = bang::evaluate(*kernel_, found, inputs, outputs);
  if (status.ok()) return status;
  // The place of an error is the node; the kernel's line is part of what is wrong.
  Error error = std::move(status).error();
  error.message = fmt::format("{}: {}", error.where, error.message);
  error.where.clear();
  return error;
}

}  // namespace tenon
