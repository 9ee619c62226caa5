// Lookup tables: what their initialisers put into them, found out at import.
#pragma once

#include <vector>

#include "import/tensorflow/graph_importer.h"

namespace tenon::tf {

// The contents of every table some operation of the model fills. Never fails: a table is missed
// when it is used.
LoadedTables load_tables(LoadedModel& model, const NodeGraph& main, const FunctionLibrary& library,
                         const VariableSources& variables);

// The dimensions of each value of a table: none for most of them.
Result<std::vector<int64_t>> value_dims(const NodeDef& table);

}  // namespace tenon::tf
