// The shape rule of a kernel's op: what its names stand for at a node, and the types of its
// outputs.
#pragma once

#include <span>
#include <variant>

#include "bang/kernel.h"
#include "tensor/shape.h"

namespace tenon::bang {

// An attribute of the node.
struct Attribute {
  std::string name;
  std::variant<int64_t, double> value;
};

// What the op's names stand for at a node.
struct Sizes {
  struct Value {
    Dim dim = Dim::unknown();  // of sizes
    std::vector<Dim> pack;     // of leading dimensions; dim is their product
    bool known_rank = false;   // of these
    int64_t integer = 0;       // of attributes; of sizes when dim is known
    double real = 0;
  };
  std::vector<Value> values;   // of Signature::names
  DType generic = DType::f32;  // T
  TensorTypes outputs;
};

// Errors: invalid_argument where operands or attributes are not what the op takes, naming them.
Result<Sizes> apply_shape_rule(const Kernel& kernel, std::span<const TensorType> inputs,
                               std::span<const Attribute> attributes);

// Whether every size is known.
bool is_complete(const Kernel& kernel, const Sizes& sizes);

}  // namespace tenon::bang
