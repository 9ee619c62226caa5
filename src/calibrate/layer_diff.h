// Two builds of a model on data, layer by layer: what the compile report says, of files that are
// there already.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "calibrate/dataset.h"
#include "calibrate/layer_report.h"

namespace tenon {

// `a` against `b`, which should compute the same: each layer of `a` that has a counterpart, in the
// names of the user's model, its range and what is clipped, and what the outputs lose where this
// layer of `b` alone gets the integers of `a`. `methods` says how the range of a tensor was chosen;
// `statistics` gets what the tensors of `b` hold.
Result<LayerReport> diff_layers(const NamedGraph& a, const NamedGraph& b,
                                const std::vector<Sample>& samples,
                                const runtime::LoadOptions& load,
                                const std::map<std::string, quant::Method>& methods,
                                quant::FunctionStatistics& statistics);

// How ranges were chosen, as a note in a compiled file: a line for each tensor.
inline constexpr std::string_view kRangeMethodsNote = "range_methods";
std::map<std::string, quant::Method> parse_range_methods(std::string_view note);

}  // namespace tenon
