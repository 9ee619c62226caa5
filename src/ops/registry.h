// All ops by name. The list is generated from the file names in src/ops.
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "ops/op.h"

namespace tenon {

using OpDefs = std::vector<const OpDef*>;

// Every op, sorted by name. Thread-safe, as is all of this file.
std::span<const OpDef* const> all_ops();

// Null when there is none.
const OpDef* find_op(std::string_view name);

// A new op of this name with default attributes; null when there is none.
std::unique_ptr<Op> create_op(std::string_view name);

}  // namespace tenon
