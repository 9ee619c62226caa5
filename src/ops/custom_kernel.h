// A custom op whose kernel is a file in the subset of BANG C (src/bang), with the attributes of its
// node.
#pragma once

#include "bang/shape_rule.h"
#include "ops/op.h"

namespace tenon {

class CustomKernel {
 public:
  // `attributes` as encode_custom_attr() writes them. Errors: one that cannot be read, or is no
  // number where the kernel has one of its name.
  static Result<std::shared_ptr<const CustomKernel>> make(
      std::shared_ptr<const bang::Kernel> kernel, std::span<const std::string> attributes);

  const bang::Kernel& kernel() const { return *kernel_; }
  Result<bang::Sizes> sizes(std::span<const TensorType> inputs) const;
  Result<TensorTypes> infer(const InferContext& context) const;
  // On the CPU. Errors: those of bang::evaluate.
  Status eval(EvalContext& context) const;

 private:
  explicit CustomKernel(std::shared_ptr<const bang::Kernel> kernel) : kernel_(std::move(kernel)) {}

  std::shared_ptr<const bang::Kernel> kernel_;
  std::vector<bang::Attribute> attributes_;
};

}  // namespace tenon
