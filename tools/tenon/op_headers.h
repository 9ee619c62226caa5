// The headers a custom op is built with, as text; made by the build from include/tenon.
#pragma once

#include <string_view>
#include <vector>

namespace tenon::tool {

struct OpHeader {
  std::string_view path, text;
};
std::vector<OpHeader> op_headers();

}  // namespace tenon::tool
