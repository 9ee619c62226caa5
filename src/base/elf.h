// Shared libraries, looked at before the loader maps them: what is cut off would be a crash there.
#pragma once

#include "base/bytes.h"

namespace tenon {

bool is_elf(Bytes file);
// Whether the file ends before what its header says is in it.
bool is_elf_cut_off(Bytes file);

}  // namespace tenon
