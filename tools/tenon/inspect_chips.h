// What `tenon inspect` says of the programs for chips in a file.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "format/model_file.h"

namespace tenon::tool {

// The programs of each chip; with `memory`, what each layer takes of the chip's memories. `target`:
// of this chip only. Errors: those of a damaged section; not_found.
Result<nlohmann::json> chips_json(const Blob& file, const FileModel& model,
                                  const std::string& target, bool memory);
void print_chips(const nlohmann::json& chips);

}  // namespace tenon::tool
