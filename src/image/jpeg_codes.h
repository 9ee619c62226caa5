// Huffman codes of JPEG files (ITU-T T.81, annexes C and K).
#pragma once

#include <cstdint>
#include <cstdio>

// In this order: jpeglib.h wants the types of cstdio.
#include <jpeglib.h>

namespace tenon::image {

struct Code {
  uint16_t bits, size;
};

struct Codes {
  Code of[256];
};

// What codes are made of: how often each symbol comes.
struct Counts {
  uint32_t of[256];
};

// What a table of a file says. A symbol without a code has size 0.
Codes codes_of(const JHUFF_TBL& table);

// The shortest codes for what was counted, as a table that is not in the file yet.
void make_table(const Counts& counts, JHUFF_TBL& table);

}  // namespace tenon::image
