// The names nearest to a mistyped one, for errors that offer them.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace tenon {

// "; did you mean 'fuse-bias' or 'fuse-pad'?" with up to three names within a third of the length
// in edits, or that begin with what was typed; empty when none is near.
std::string did_you_mean(std::string_view typed, std::span<const std::string> names);

}  // namespace tenon
