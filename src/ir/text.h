// The text form of graphs (.tn files), described in docs/ir.md:
//
//   graph @main stage=canonical signature="serving_default" (%x "images": f32[?n,3]) {
//     %w = const splat(0.5) : f32[3,4] from "dense/kernel"
//     %y = matmul(%x, %w) {activation="relu"} : f32[?n,4] from "dense/MatMul"
//     return (%y "scores")
//   }
//
// Printing is deterministic. What the full form prints parses to the same graph and prints the same
// again. The short form, for reading and for golden tests, leaves the data of large constants out
// and shows their content hash; it parses only if it has no such constants.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ir/named_graph.h"

namespace tenon {

struct CustomLibraries;

enum class TextForm : uint8_t { kShort, kFull };

std::string print_graph(const Graph& graph, TextForm form = TextForm::kShort);
std::string print_graphs(std::span<const NamedGraph> graphs, TextForm form = TextForm::kShort);

// The value of an attribute as it stands after name=.
std::string print_attribute(const AttrValue& value);

// Parses a whole text: one graph or more, and their data. Types may be left out where inference
// knows them. `file` is for errors, which say file:line:column. Errors: invalid_model. Memory is
// bounded by the text and 512 MiB of splat and random constants. `libraries` (null: none) have the
// custom ops.
Result<std::vector<NamedGraph>> parse_graphs(std::string_view text, std::string_view file = {},
                                             const CustomLibraries* libraries = nullptr);
// A text that holds exactly one graph.
Result<std::unique_ptr<Graph>> parse_graph(std::string_view text, std::string_view file = {});

}  // namespace tenon
