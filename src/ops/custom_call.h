// A custom op of a node, ready to be called: the library's functions with the node's attributes.
#pragma once

#include "ops/custom_library.h"

namespace tenon {

class BoundCustomOp {
 public:
  // Error: an attribute that cannot be read.
  static Result<std::shared_ptr<const BoundCustomOp>> make(
      std::shared_ptr<const CustomLibrary> library, const tenon_custom_op& op,
      std::span<const std::string> attributes);
  BoundCustomOp(const BoundCustomOp&) = delete;
  BoundCustomOp& operator=(const BoundCustomOp&) = delete;

  const CustomLibrary& library() const { return *library_; }
  // `results`: how many there are where the library leaves it open. Errors: what the shape rule
  // says, or that it crashed.
  Result<TensorTypes> infer(const InferContext& context, int64_t results) const;
  Status eval(EvalContext& context) const;

 private:
  BoundCustomOp(std::shared_ptr<const CustomLibrary> library, const tenon_custom_op& op)
      : library_(std::move(library)), op_(op) {}
  void add(CustomAttr attr);
  std::string place(std::string_view part) const;

  // What the attributes of the C interface point to.
  struct Storage {
    CustomAttr attr;
    std::vector<int64_t> ints;
    std::vector<double> floats;
    std::vector<tenon_string> strings;
    std::vector<tenon_tensor> tensors;
  };

  std::shared_ptr<const CustomLibrary> library_;
  const tenon_custom_op& op_;
  std::vector<std::unique_ptr<Storage>> storage_;
  std::vector<tenon_op_attr> attrs_;
};

}  // namespace tenon
