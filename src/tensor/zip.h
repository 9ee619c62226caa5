// The members of a zip archive that are stored as they are. Not for compressed or encrypted ones.
#pragma once

#include <string>
#include <vector>

#include "base/bytes.h"

namespace tenon {

struct ZipMember {
  std::string name;
  Bytes content;  // in the archive's bytes
};

// In the order of the archive's directory, with the 64-bit form. Errors: invalid_argument for what
// is no archive or damaged, unsupported for a compressed member.
Result<std::vector<ZipMember>> zip_members(Bytes archive);

}  // namespace tenon
