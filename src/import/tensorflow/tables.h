// Lookup tables: what their initialisers put into them, found out at import.
#pragma once

#include <map>
#include <string>

#include "import/tensorflow/graph_importer.h"

namespace tenon::tf {

// The contents of every table some operation of the model fills, by the table's name. What cannot
// be evaluated is left out. Never fails: a table is missed when it is used.
std::map<std::string, TableContents> load_tables(LoadedModel& model, const NodeGraph& main,
                                                 const FunctionLibrary& library,
                                                 const VariableSources& variables);

}  // namespace tenon::tf
