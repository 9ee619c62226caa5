// Which weights a file holds in the order in which CPU kernels read them, or as bytes with scales.
#pragma once

#include "format/model_file.h"

namespace tenon {

// Sets the layouts of a graph's constants. All that are bytes times scales are held so: a quarter
// of the file is worth more than the time to widen and pack them. Of others, those of large ones,
// or, for tests, of all. It goes by ops and types and not by the processor at hand, so that a model
// gives the same file everywhere; a kernel that wants another form makes it.
void choose_layouts(FileGraph& graph, bool of_all = false);

}  // namespace tenon
