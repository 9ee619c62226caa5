# Build options and the flags every target shares.
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)

option(TENON_BUILD_COMPILER "The compiler and its tools; without it, the runtime alone" ON)
option(TENON_BUILD_TOOLS "The command-line tools" ON)
option(TENON_BUILD_TESTS "The test binaries" ON)
option(TENON_BUILD_PYTHON "The Python extension (needs nanobind)" OFF)
option(TENON_WERROR "Warnings are errors" OFF)
set(TENON_SANITIZE "" CACHE STRING "address;undefined or thread")

# x86-64-v3 is the oldest machine a .tenon file runs on; wider kernels are chosen at load.
add_compile_options(-march=x86-64-v3 -Wall -Wextra -Wno-missing-field-initializers -Wno-restrict
                    -ffp-contract=off -fno-math-errno -ffunction-sections -fdata-sections)
# What is hot are the kernels, which ask for -O3 themselves; the rest is better small.
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")
set(TENON_HOT_FLAGS -O3)
if(TENON_WERROR)
  add_compile_options(-Werror)
endif()
if(TENON_SANITIZE)
  string(REPLACE ";" "," _sanitizers "${TENON_SANITIZE}")
  # -O1 halves the time the compiler takes, which is most of a run.
  set(TENON_HOT_FLAGS -O2)
  add_compile_options(-fsanitize=${_sanitizers} -fno-sanitize-recover=all -fno-omit-frame-pointer -g1 -O1)
  # Checked at each access to a member, these double the time the compiler takes; a null pointer is the address
  # sanitizer's, too.
  if("undefined" IN_LIST TENON_SANITIZE)
    add_compile_options(-fno-sanitize=null,alignment)
  endif()
  add_link_options(-fsanitize=${_sanitizers})
endif()
find_program(TENON_CCACHE ccache)
if(TENON_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${TENON_CCACHE})
endif()
find_program(TENON_MOLD mold)
if(TENON_MOLD)
  add_link_options(-fuse-ld=mold)
endif()
