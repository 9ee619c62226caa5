#include "base/inflate.h"

#include <zlib.h>

#include <algorithm>
#include <limits>

namespace tenon {
namespace {

constexpr size_t kLeast = 4096;
constexpr int kWindow = 15;

struct Stream {
  z_stream z{};
  bool open = false;

  Stream() = default;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() {
    if (open) inflateEnd(&z);
  }
};

uInt piece(size_t size) {
  return static_cast<uInt>(std::min<size_t>(size, std::numeric_limits<uInt>::max()));
}

}  // namespace

Result<std::string> inflate_bytes(Bytes packed, Packing packing, size_t most) {
  constexpr int kGzip = 16;
  Stream stream;
  z_stream& z = stream.z;
  const int window = packing == Packing::deflate ? -kWindow
                     : packing == Packing::gzip  ? kWindow + kGzip
                                                 : kWindow;
  if (inflateInit2(&z, window) != Z_OK) return resource_exhausted("no memory for unpacking");
  stream.open = true;
  std::string out;
  size_t used = 0, made = 0;
  while (true) {
    // The room grows with what comes, not with what a header claims.
    if (made == out.size()) {
      if (made >= most) return resource_exhausted("the packed data is too large");
      out.resize(std::min(most, std::max(kLeast, 2 * made)));
    }
    const uInt in = piece(packed.size() - used), room = piece(out.size() - made);
    z.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(packed.data() + used));
    z.avail_in = in;
    z.next_out = reinterpret_cast<Bytef*>(out.data() + made);
    z.avail_out = room;
    const int status = inflate(&z, Z_NO_FLUSH);
    used += in - z.avail_in;
    made += room - z.avail_out;
    if (status == Z_STREAM_END) {
      if (packing != Packing::gzip || used == packed.size()) break;
      if (inflateReset(&z) != Z_OK) return invalid_argument("the packed data is damaged");
      continue;
    }
    if (status == Z_BUF_ERROR || status == Z_OK) {
      if (made < out.size() && used == packed.size())
        return invalid_argument("the packed data is cut off");
      continue;
    }
    return invalid_argument("the packed data is damaged");
  }
  out.resize(made);
  return out;
}

uint32_t crc32_of(Bytes bytes) {
  return static_cast<uint32_t>(
      crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

}  // namespace tenon
