// Ops whose attribute a model may only know when it runs, for the rules of both importers.
#pragma once

#include <optional>
#include <vector>

#include "ir/graph.h"

namespace tenon {

// The elements of an integer value where all are known now.
std::optional<std::vector<int64_t>> known_ints(const Value* value);

// The result of a core op with the attribute `attr` from a value, which may be one that only
// running the model gives: then through the core op with_attr, whose `hint` says what is known of
// the shape all the same.
Result<Value*> add_with_attr(Builder& builder, std::string_view core, std::vector<Value*> operands,
                             std::string_view attr, Value* value, std::vector<Builder::Attr> attrs,
                             std::string_view hint);

}  // namespace tenon
