// What `tenon compile --target CHIP` says of the programs it made.
#pragma once

#include <nlohmann/json.hpp>
#include <span>

#include "chip/deploy.h"

namespace tenon::tool {

nlohmann::json chips_to_json(std::span<const ChipReport> reports);
void print_reports(std::span<const ChipReport> reports);

}  // namespace tenon::tool
