// A report on layers as text.
#pragma once

#include "calibrate/layer_report.h"

namespace tenon::tool {

// The layers that cost most, `most` of them, and what techniques gained.
void print_layers(const LayerReport& report, size_t most);
// Every layer with its numbers, its range and what is clipped.
void print_layer_table(const LayerReport& report);

}  // namespace tenon::tool
