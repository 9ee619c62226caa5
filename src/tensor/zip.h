// The members of a zip archive, stored or deflated. Not for encrypted ones.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"

namespace tenon {

struct ZipMember {
  std::string name;
  Bytes content;                                // in the archive's bytes, or unpacked
  std::shared_ptr<const std::string> unpacked;  // null for a stored one
};

// The most that a deflated member may hold.
constexpr uint64_t kMaxUnpacked = uint64_t{1} << 34;

// In the order of the archive's directory, with the 64-bit form. Errors: invalid_argument for what
// is no archive or damaged, unsupported for
// another compression than deflate, resource_exhausted for more than `kMaxUnpacked` bytes.
Result<std::vector<ZipMember>> zip_members(Bytes archive);

}  // namespace tenon
