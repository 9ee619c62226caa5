// An op that Tenon does not have itself: its shape rule and kernel come from a shared library
// (include/tenon/custom_op.h), which is loaded by ops/custom_library.h, or from a kernel file
// (src/bang), whose text the op carries with it.
#pragma once

#include <memory>

#include "ops/op.h"

namespace tenon {

class BoundCustomOp;
class CustomKernel;

struct Custom {
  std::string op;                       // as a model names it: "Name", or "domain::Name"
  std::string library;                  // the file name of the library it was compiled with
  std::vector<std::string> attributes;  // as encode_custom_attr() writes them
  int64_t results = 1;                  // where the library leaves their number open
  std::string source;                   // of a kernel file; empty where it is a library

  // What computes it; null where no library was given that has it. Not part of the op's identity.
  std::shared_ptr<const BoundCustomOp> bound = nullptr;
  std::shared_ptr<const CustomKernel> kernel = nullptr;  // in place of a library's

  static const OpDef def;
  static constexpr std::string_view name = "custom";
  static constexpr std::string_view doc =
      "custom(operands…): an op of a library or kernel file given with `--custom-ops`. It is taken "
      "to be neither pure nor cheap: not folded, not shared.";
  static constexpr Arity inputs{0, kVariadic};
  static constexpr Arity outputs{0, kVariadic};
  static constexpr uint32_t traits = kRandom;
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "op", &Custom::op, "its name in the user's model, `domain::Name` for ONNX"},
        Field{2, "library", &Custom::library, "the library it was compiled with"},
        Field{3, "attributes", &Custom::attributes, "name=kind:value"},
        Field{4, "results", &Custom::results, "how many, where the library leaves it open"},
        Field{5, "source", &Custom::source, "the text of its kernel file"}};
  }

  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

// An attribute of the user's node. The value is none of: a tensor type.
struct CustomAttr {
  std::string name;
  AttrValue value;
};

// "alpha=f:0.5", "axes=I:0,1", "labels=S:3:cat,3:dog", "table=t:f32[2]:<hex>".
// Errors: unsupported for a tensor of strings.
Result<std::string> encode_custom_attr(const CustomAttr& attr);
Result<CustomAttr> decode_custom_attr(std::string_view text);

}  // namespace tenon
