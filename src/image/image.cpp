#include "image/image.h"

#include <new>

namespace tenon::image {

Status Pixels::allocate() {
  constexpr int64_t kMost = int64_t{1} << 29;
  for (const int64_t n : {frames, height, width, channels})
    if (n < 1 || n >= kMost)
      return invalid_argument("the image has a size of nothing or too large");
  const double total = static_cast<double>(frames) * static_cast<double>(height) *
                       static_cast<double>(width) * static_cast<double>(channels);
  if (total > static_cast<double>(kMost))
    return Error(Code::resource_exhausted, "the image has more than 2^29 samples");
  const auto bytes = static_cast<size_t>(samples()) * (wide ? 2 : 1);
  data.reset(new (std::nothrow) uint8_t[bytes]);
  if (data == nullptr) return Error(Code::resource_exhausted, "no memory for the image");
  return {};
}

Result<Pixels> decode(std::string_view file, const Options& options) {
  if (file.starts_with("\xFF\xD8\xFF")) return decode_jpeg(file, options);
  if (file.starts_with("\x89PNG\r\n\x1A\n")) return decode_png(file, options);
  if (file.starts_with("GIF8")) return decode_gif(file, options);
  if (file.starts_with("BM")) return decode_bmp(file, options);
  if (file.starts_with("P5") || file.starts_with("P6")) return decode_pnm(file, options);
  if (file.empty()) return invalid_argument("the image file is empty");
  return invalid_argument("the data are no JPEG, PNG, GIF, BMP or PNM file");
}

}  // namespace tenon::image
