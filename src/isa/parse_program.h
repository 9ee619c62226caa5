// Reads the text form of tile programs (text.h). What it reads is well-formed, not yet allowed:
// check_program.h says that.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "isa/architecture.h"

namespace tenon::isa {

// The chip a text says it is for.
Result<std::string> target_of_program(std::string_view text, std::string_view file);

// One program for the architecture. Errors say line and column, and `file` as the place.
Result<Program> parse_program(std::string_view text, const Architecture& architecture,
                              std::string_view file);

}  // namespace tenon::isa
