# With TENON_PRECOMPILE, what nearly every source includes is parsed once for all targets of equal options: a sixth of
# the time of a build from nothing. ccache, which would find little between such builds, is left out. A file that
# forgets an include compiles here, so that this is not for the build that tests run against.
set(TENON_PRECOMPILED <algorithm> <array> <cmath> <cstdint> <cstring> <functional> <limits> <map> <memory> <numeric>
    <optional> <span> <string> <string_view> <unordered_map> <utility> <vector> <fmt/format.h>)

# The components, once all are there: one precompiled header for each set of options.
function(tenon_precompile_components)
  get_property(components GLOBAL PROPERTY TENON_COMPONENTS)
  file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/generated/precompiled.cpp CONTENT "")
  foreach(component ${components})
    get_target_property(options ${component} COMPILE_OPTIONS)
    string(MD5 holder "${options}")
    string(PREPEND holder tenon_precompiled_)
    if(NOT TARGET ${holder})
      add_library(${holder} OBJECT ${CMAKE_BINARY_DIR}/generated/precompiled.cpp)
      target_include_directories(${holder} PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include)
      set_target_properties(${holder} PROPERTIES COMPILE_OPTIONS "${options}")
      target_precompile_headers(${holder} PRIVATE ${TENON_PRECOMPILED})
    endif()
    target_precompile_headers(${component} REUSE_FROM ${holder})
  endforeach()
endfunction()

# A program, with headers of its own besides.
function(tenon_precompile_program name)
  if(TENON_PRECOMPILE)
    target_precompile_headers(${name} PRIVATE ${TENON_PRECOMPILED} ${ARGN})
  endif()
endfunction()
