// Portable grey and colour maps (PGM, PPM) of 8 bits in their binary forms: "P5" or "P6", width,
// height and the largest value in decimal, one white space, samples.
#include "image/image.h"

namespace tenon::image {
namespace {

bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

// The next number of the header, behind white space and comments; -1 where there is none.
int64_t take_number(std::string_view& text) {
  while (!text.empty() && (is_space(text[0]) || text[0] == '#')) {
    const size_t line = text[0] == '#' ? text.find('\n') : 0;
    text.remove_prefix(line == std::string_view::npos ? text.size() : line + 1);
  }
  constexpr int64_t kMost = int64_t{1} << 30;
  int64_t value = -1;
  for (; !text.empty() && text[0] >= '0' && text[0] <= '9'; text.remove_prefix(1)) {
    value = (value < 0 ? 0 : value) * 10 + (text[0] - '0');
    if (value > kMost) return -1;
  }
  return value;
}

}  // namespace

Result<Pixels> decode_pnm(std::string_view file, const Options& options) {
  const int64_t stored = file.starts_with("P6") ? 3 : 1;
  file.remove_prefix(2);
  Pixels image;
  image.width = take_number(file);
  image.height = take_number(file);
  const int64_t most = take_number(file);
  if (image.width < 1 || image.height < 1 || most < 1 || most > 255 || file.empty() ||
      !is_space(file[0]))
    return invalid_argument("PNM file: only samples of 8 bits, behind a whole header");
  file.remove_prefix(1);
  image.channels = options.channels == 0 ? stored : options.channels;
  if (image.channels != 3 && image.channels != stored)
    return invalid_argument("PNM file: its channels cannot be had as asked for");
  TRY(image.allocate());
  const int64_t pixels = image.width * image.height;
  if (file.size() < static_cast<size_t>(pixels * stored))
    return invalid_argument("PNM file: it ends too early");
  for (int64_t i = 0; i < image.samples(); ++i) {
    const int64_t at = stored == image.channels ? i : i / image.channels;
    const auto sample = static_cast<uint8_t>(file[static_cast<size_t>(at)]);
    image.data[static_cast<size_t>(i)] =
        static_cast<uint8_t>(sample >= most ? 255 : (sample * 255 + most / 2) / most);
  }
  return image;
}

}  // namespace tenon::image
