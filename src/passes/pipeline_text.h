// Pipelines as text: "fold-constants,fuse{disable=fuse-bias},default". A step is a pass, a rule run
// on its own, or "default": the whole pipeline until nothing changes.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "rewrite/pass.h"

namespace tenon {

struct PipelineStep {
  std::string name;
  std::set<std::string, std::less<>> disabled;  // rules switched off, for this step
};

// Errors: invalid_argument naming the step that is none, and those there are.
Result<std::vector<PipelineStep>> parse_pipeline(std::string_view text);
std::string pipeline_text(const std::vector<PipelineStep>& steps);

// Runs the steps in order; returns whether any changed the graph. Rules and passes disabled in the
// context stay so.
Result<bool> run_pipeline(Graph& graph, const std::vector<PipelineStep>& steps,
                          PassContext& context);

// The pipeline in the first line of a .tn file, after "// opt:"; empty when there is none.
std::string_view pipeline_of_text(std::string_view text);

}  // namespace tenon
