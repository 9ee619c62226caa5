// Loops: a state goes through a body as long as a condition says so.
#pragma once

#include <vector>

#include "format/model_file.h"
#include "runtime/execute.h"

namespace tenon::runtime {

// The lists of a loop's state that its body changes item by item and gives back, while nothing else
// keeps them: their items move on from one value to the next, where a copy of them all would be
// made. Every iteration of a loop over n items is then as short as the first.
ListsInPlace lists_in_place(const FileGraph& body);

// The list after `step`, a step in place, with the items of `list`, which are gone from there.
// Errors: of the op's evaluation.
Result<Tensor> change_list(const FileStep& step, const Tensor& list, const Tensor& operand,
                           const Tensor& index);

// The state when the condition no longer holds. Errors: of the graphs' runs and their inference; a
// condition without a value; more iterations than machine.control allows.
Result<std::vector<Tensor>> run_loop(GraphState& condition, GraphState& body,
                                     std::vector<Tensor> state, const Machine& machine);

}  // namespace tenon::runtime
