// Base 64 (RFC 4648, section 4), in which the text form holds the elements of large tensors.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace tenon::text {

std::string base64(Bytes bytes);
// Decodes into `out`, which gives the size. False when the text is anything else.
bool decode_base64(std::string_view text, std::byte* out, size_t size);

}  // namespace tenon::text
