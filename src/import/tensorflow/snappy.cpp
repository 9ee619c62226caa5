#include "import/tensorflow/snappy.h"

#include "import/tensorflow/varint.h"

namespace tenon::tf {
namespace {

Error damaged() {
  return invalid_model("a Snappy-compressed block is damaged");
}

// A little-endian integer of `width` bytes off the front.
bool take_integer(Bytes& in, size_t width, size_t& value) {
  if (in.size() < width) return false;
  value = 0;
  for (size_t i = 0; i < width; ++i) value |= static_cast<size_t>(in[i]) << (8 * i);
  in = in.subspan(width);
  return true;
}

}  // namespace

Result<std::string> snappy_decompress(Bytes in) {
  uint64_t size = 0;
  // No element expands three bytes to more than 64.
  if (!take_varint(in, size) || size > in.size() * 64) return damaged();
  std::string out;
  out.reserve(size);
  while (!in.empty()) {
    const size_t tag = static_cast<size_t>(in[0]);
    in = in.subspan(1);
    size_t length = 0, offset = 0;
    switch (tag & 3) {
      case 0: {
        length = tag >> 2;
        if (length >= 60 && !take_integer(in, length - 59, length)) return damaged();
        ++length;
        if (length > in.size() || length > size - out.size()) return damaged();
        out.append(as_text(in.first(length)));
        in = in.subspan(length);
        continue;
      }
      case 1:
        length = (tag >> 2 & 7) + 4;
        if (!take_integer(in, 1, offset)) return damaged();
        offset |= tag >> 5 << 8;
        break;
      case 2:
        length = (tag >> 2) + 1;
        if (!take_integer(in, 2, offset)) return damaged();
        break;
      default:
        length = (tag >> 2) + 1;
        if (!take_integer(in, 4, offset)) return damaged();
    }
    if (offset == 0 || offset > out.size() || length > size - out.size()) return damaged();
    // The copy may overlap what it writes.
    for (size_t i = 0; i < length; ++i) out.push_back(out[out.size() - offset]);
  }
  if (out.size() != size) return damaged();
  return out;
}

}  // namespace tenon::tf
