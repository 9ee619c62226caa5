// BMP without compression: 8 bits (taken as grey), 24 or 32 bits a pixel.
#include <cstdlib>
#include <cstring>

#include "image/image.h"

namespace tenon::image {
namespace {

int32_t read_i32(std::string_view file, size_t at) {
  int32_t value = 0;
  std::memcpy(&value, file.data() + at, sizeof value);
  return value;
}

}  // namespace

Result<Pixels> decode_bmp(std::string_view file, const Options& options) {
  if (file.size() < 32) return invalid_argument("the BMP file ends within its header");
  const int64_t begin = read_i32(file, 10), width = read_i32(file, 18), rows = read_i32(file, 22);
  const int64_t stored = (read_i32(file, 28) & 0xFFFF) / 8;
  if (stored != 1 && stored != 3 && stored != 4)
    return invalid_argument("only BMP files of 8, 24 or 32 bits a pixel can be read");
  if (options.channels == 1 || options.channels == 2)
    return invalid_argument("a BMP file gives three or four channels");
  Pixels image{.height = std::abs(rows), .width = width};
  image.channels = options.channels == 0 ? stored : options.channels;
  const int64_t row_bytes = (stored * width + 3) / 4 * 4;
  const auto size = static_cast<int64_t>(file.size());
  if (width < 1 || rows == 0 || begin < 0 || row_bytes > size ||
      begin + row_bytes * image.height != size)
    return invalid_argument("the size of the BMP file is not what its header says");
  TRY(image.allocate());
  uint8_t* out = image.data.get();
  for (int64_t y = 0; y < image.height; ++y) {
    // A positive number of rows: the lowest comes first.
    const int64_t row = rows > 0 ? image.height - 1 - y : y;
    const auto* in = reinterpret_cast<const uint8_t*>(file.data()) + begin + row * row_bytes;
    for (int64_t x = 0; x < width; ++x, in += stored, out += image.channels) {
      for (int64_t k = 0; k < image.channels && k < 3; ++k) out[k] = in[stored == 1 ? 0 : 2 - k];
      if (image.channels == 4) out[3] = stored == 4 ? in[3] : 255;
    }
  }
  return image;
}

}  // namespace tenon::image
