// The names nearest to a mistyped one, for errors that offer them.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tenon {

// "; did you mean 'fuse-bias' or 'fuse-pad'?" with up to three names within a third of the length
// in edits, or that begin with what was typed; empty when none is near.
std::string did_you_mean(std::string_view typed, std::span<const std::string> names);

// All of them, the nearest to what was typed first; what begins with it is nearest.
std::vector<std::string> by_nearness(std::string_view typed, std::vector<std::string> names);

}  // namespace tenon
