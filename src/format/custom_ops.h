// The custom ops of a file and the libraries that compute them: those the caller gives, and those
// the file carries where the caller trusts it.
#pragma once

#include <string>
#include <vector>

#include "format/model_file.h"
#include "ops/custom_library.h"

namespace tenon {

// Foreign code that loading a file may run.
struct CustomOpOptions {
  std::vector<std::string> libraries;  // paths of shared libraries and kernel files; decompositions
                                       // (.tn) are passed over
  bool allow_embedded_code = false;    // also those that the file itself carries
};

// Binds every custom op of the file to the library that has it. Errors: a library that cannot be
// used; not_found where an op stays without one, which says every op, its node and its library, and
// what to do.
Status bind_custom_ops(FileModel& model, const CustomOpOptions& options);

// A custom op of a file, with one of the nodes it is at.
struct CustomOpUse {
  std::string op, library, node;
  bool carried = false;  // the file has its kernel as text
};
// Each op once.
std::vector<CustomOpUse> custom_ops_of(const FileModel& model);

}  // namespace tenon
