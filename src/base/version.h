// The version of Tenon, which CMakeLists.txt states.
#pragma once

namespace tenon {

// "1.2.3".
const char* version();

}  // namespace tenon
