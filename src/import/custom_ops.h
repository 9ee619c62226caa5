// Ops of the user's own, for nodes that the importers have no rule for: from shared libraries
// (ops/custom_library.h), as kernels (src/bang), or as graphs in text that are put in place of the
// node.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "ir/named_graph.h"
#include "ops/custom_library.h"

namespace tenon {

class CustomOps {
 public:
  // Paths of shared libraries, kernel files (.mlu) and of .tn files. A function in a .tn file
  // stands for the op of its name. Errors: those of CustomLibrary::load and parse_graphs; two
  // decompositions of one name.
  static Result<std::shared_ptr<const CustomOps>> load(std::span<const std::string> paths);

  // By the name of custom_op_name().
  bool has(std::string_view op) const;
  // Whether it is computed by a kernel file, which chips run, too.
  bool is_kernel(std::string_view op) const;
  // Adds what computes the op. A decomposition's first inputs are the operands, the others
  // attributes by name. `results` is how many outputs the node has, where that is known. Errors:
  // of the shape rule, of the ops of a decomposition, an attribute that is missing.
  Result<std::vector<Value*>> apply(Builder& builder, const std::string& op,
                                    const std::vector<Value*>& operands, int64_t results,
                                    const std::vector<CustomAttr>& attrs) const;

  const CustomLibraries& libraries() const { return libraries_; }

 private:
  CustomLibraries libraries_;
  std::map<std::string, NamedGraph, std::less<>> decompositions_;
};

// What to do about an op without a mapping, for reports.
std::string ways_out(std::string_view op);

}  // namespace tenon
