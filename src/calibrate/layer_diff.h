// Two builds of a model on data, layer by layer: what the compile report says, of files that are
// there already.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "calibrate/dataset.h"
#include "calibrate/layer_report.h"

namespace tenon {

// The range of a tensor as a compiled file notes it, by the tensor's name in the user's model.
struct NotedRange {
  quant::Method method;
  quant::QuantParams params;
};
using NotedRanges = std::map<std::string, NotedRange>;

// The note: a line for each tensor, of method, scale, zero point and name. Lines of another form
// are left out.
inline constexpr std::string_view kRangesNote = "ranges";
NotedRanges parse_ranges(std::string_view note);

// `a` against `b`, which should compute the same: each layer of `a` that has a counterpart, in the
// names of the user's model, its range and what is clipped, and what the outputs lose where this
// layer of `b` alone gets the integers of `a`. `ranges` are those that `a` notes; `statistics` gets
// what the tensors of `b` hold.
Result<LayerReport> diff_layers(const NamedGraph& a, const NamedGraph& b,
                                const std::vector<Sample>& samples,
                                const runtime::LoadOptions& load, const NotedRanges& ranges,
                                quant::FunctionStatistics& statistics);

}  // namespace tenon
