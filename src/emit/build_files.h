// What is in an emitted folder beside the sources: how the vendor's compiler builds it, how a host
// checks it, and what it is.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "emit/folder.h"

namespace tenon::emit {

// How far the sources have been verified, in the words that stand in each of them.
std::string_view status_text(bool checked);

// tenon_target.h, build.sh, CMakeLists.txt, check.sh, README.md; `kernels` are files.
std::vector<EmittedFile> build_files(const EmitRequest& request, const EmittedModel& model,
                                     const std::vector<std::string>& kernels);

}  // namespace tenon::emit
