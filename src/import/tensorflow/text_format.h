// Protobuf text format (.pbtxt) → wire bytes, so that text and binary models share one decoder.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace tenon::tf {

// `root` is "GraphDef", "SavedModel" or "MetaGraphDef". `file` names the source in errors, which
// carry the line: "graph.pbtxt:12". A field that the schema does not know is an error, except in
// messages the importer has no use for.
Result<std::string> text_to_wire(std::string_view text, std::string_view root,
                                 std::string_view file);

}  // namespace tenon::tf
