// PNG: chunks, inflated by zlib, rows whose bytes are differences to their neighbours, and the
// conversions between what is stored and what is wanted.
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <vector>

#include "image/image.h"

namespace tenon::image {
namespace {

uint32_t big_endian(std::string_view bytes) {
  uint32_t value = 0;
  for (const char c : bytes.substr(0, 4)) value = value << 8 | static_cast<uint8_t>(c);
  return value;
}

struct Png {
  int64_t width = 0, height = 0;
  int depth = 0;     // bits of a stored sample
  int channels = 0;  // stored: 1 of a palette, too
  bool palette = false, alpha = false, interlaced = false;
  std::string_view colours;       // PLTE
  std::string_view transparency;  // tRNS
  double gamma = 0;               // gAMA or sRGB; 0: the file says nothing
  std::vector<std::string_view> data;

  int64_t row_bytes(int64_t columns) const { return (columns * channels * depth + 7) / 8; }
};

Status read_header(std::string_view chunk, Png& png) {
  if (chunk.size() != 13) return invalid_argument("the PNG file has a wrong header");
  png.width = big_endian(chunk), png.height = big_endian(chunk.substr(4));
  png.depth = static_cast<uint8_t>(chunk[8]);
  const int type = static_cast<uint8_t>(chunk[9]);
  png.palette = type == 3, png.alpha = type == 4 || type == 6, png.interlaced = chunk[12] == 1;
  png.channels = type == 0 || type == 3 ? 1 : type == 4 ? 2 : type == 2 ? 3 : type == 6 ? 4 : 0;
  const bool narrow = png.depth == 1 || png.depth == 2 || png.depth == 4;
  const bool depth_fits =
      png.depth == 8 || (png.depth == 16 && !png.palette) || (narrow && png.channels == 1);
  if (png.channels == 0 || !depth_fits || chunk[10] != 0 || chunk[11] != 0 ||
      (chunk[12] != 0 && chunk[12] != 1))
    return invalid_argument("the PNG file has a wrong header");
  constexpr int64_t kMost = int64_t{1} << 27;
  if (png.width < 1 || png.height < 1 || png.width >= kMost || png.height >= kMost ||
      png.width * png.height >= kMost * 4)
    return invalid_argument("the PNG file has a size of nothing or too large");
  return {};
}

Result<Png> read_chunks(std::string_view file) {
  Png png;
  bool ended = false;
  for (file.remove_prefix(8); !ended;) {
    if (file.size() < 12) return invalid_argument("the PNG file ends too early");
    const size_t size = big_endian(file);
    if (size > file.size() - 12) return invalid_argument("the PNG file ends too early");
    const std::string_view kind = file.substr(4, 4), chunk = file.substr(8, size);
    const auto* checked = reinterpret_cast<const Bytef*>(kind.data());
    const bool critical = (kind[0] & 0x20) == 0;
    const bool sound = crc32_z(0, checked, size + 4) == big_endian(file.substr(8 + size));
    file.remove_prefix(12 + size);
    if (!sound && critical) return invalid_argument("a checksum in the PNG file is wrong");
    if ((png.width == 0) != (kind == "IHDR"))
      return invalid_argument("the PNG file does not begin with one header");
    if (kind == "IHDR") {
      TRY(read_header(chunk, png));
    } else if (kind == "PLTE") {
      png.colours = chunk;
    } else if (kind == "IDAT") {
      png.data.push_back(chunk);
    } else if (kind == "tRNS" && sound) {
      png.transparency = chunk;
    } else if (kind == "gAMA" && sound && size == 4) {
      if (png.gamma == 0) png.gamma = big_endian(chunk) / 1e5;
    } else if (kind == "sRGB" && sound) {
      png.gamma = 0.45455;
    } else if (kind == "IEND") {
      ended = true;
    } else if (critical) {
      return invalid_argument("the PNG file has a chunk of no known kind");
    }
  }
  if (png.palette && (png.colours.empty() || png.colours.size() % 3 != 0))
    return invalid_argument("the PNG file has no palette");
  const size_t needed = png.palette ? 0 : png.channels == 1 ? 2 : 6;
  if (png.transparency.size() < needed || png.alpha) png.transparency = {};
  return png;
}

// The part of an interlaced image that one pass holds; one pass with all of it for others.
struct Pass {
  int64_t x0 = 0, y0 = 0, dx = 1, dy = 1, columns = 0, rows = 0;
};

std::vector<Pass> passes_of(const Png& png) {
  std::vector<Pass> passes{{}};
  if (png.interlaced)
    passes = {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4},
              {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}};
  for (Pass& pass : passes) {
    pass.columns = (png.width - pass.x0 + pass.dx - 1) / pass.dx;
    pass.rows = pass.columns == 0 ? 0 : (png.height - pass.y0 + pass.dy - 1) / pass.dy;
  }
  return passes;
}

Result<std::vector<uint8_t>> inflate_all(const Png& png, int64_t size) {
  size_t packed = 0;
  for (const std::string_view part : png.data) packed += part.size();
  // No deflated stream is shorter than a thousandth of what it holds.
  if (size / 1040 > static_cast<int64_t>(packed))
    return invalid_argument("the PNG file ends too early");
  std::vector<uint8_t> raw(static_cast<size_t>(size));
  z_stream stream{};
  if (inflateInit(&stream) != Z_OK)
    return Error(Code::resource_exhausted, "no memory for inflating");
  stream.next_out = raw.data();
  int64_t left = size;
  int status = Z_OK;
  for (const std::string_view part : png.data) {
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(part.data()));
    stream.avail_in = static_cast<uInt>(part.size());
    while (status == Z_OK && stream.avail_in > 0 && left > 0) {
      const auto room = static_cast<uInt>(std::min<int64_t>(left, 1 << 30));
      stream.avail_out = room;
      status = inflate(&stream, Z_NO_FLUSH);
      left -= room - stream.avail_out;
    }
  }
  inflateEnd(&stream);
  if (status != Z_OK && status != Z_STREAM_END)
    return invalid_argument("the PNG file has damaged data");
  if (left > 0) return invalid_argument("the PNG file ends too early");
  return raw;
}

uint8_t paeth(int a, int b, int c) {
  const int p = a + b - c, pa = std::abs(p - a), pb = std::abs(p - b), pc = std::abs(p - c);
  return static_cast<uint8_t>(pa <= pb && pa <= pc ? a : pb <= pc ? b : c);
}

// Undoes a row's filter. `before` is the row above, null for the first.
Status unfilter(int kind, uint8_t* row, const uint8_t* before, int64_t size, int64_t step) {
  const auto left = [&](int64_t i) { return i < step ? 0 : row[i - step]; };
  const auto up = [&](int64_t i) { return before == nullptr ? 0 : before[i]; };
  const auto corner = [&](int64_t i) {
    return before == nullptr || i < step ? 0 : before[i - step];
  };
  switch (kind) {
    case 0:
      return {};
    case 1:
      for (int64_t i = 0; i < size; ++i) row[i] = static_cast<uint8_t>(row[i] + left(i));
      return {};
    case 2:
      for (int64_t i = 0; i < size; ++i) row[i] = static_cast<uint8_t>(row[i] + up(i));
      return {};
    case 3:
      for (int64_t i = 0; i < size; ++i)
        row[i] = static_cast<uint8_t>(row[i] + (left(i) + up(i)) / 2);
      return {};
    case 4:
      for (int64_t i = 0; i < size; ++i)
        row[i] = static_cast<uint8_t>(row[i] + paeth(left(i), up(i), corner(i)));
      return {};
    default:
      return invalid_argument("the PNG file has a row of no known kind");
  }
}

struct Pixel {
  std::array<uint16_t, 3> colour{};
  uint16_t alpha = 0;
};

// From stored rows to the samples that are wanted.
class Converter {
 public:
  Converter(const Png& png, Pixels& image) : png_(png), image_(image) {
    most_ = png.depth == 16 ? 0xFFFF : 0xFF;
    if (png.gamma > 0.95 && png.gamma < 1.05) return;
    linear_ = png.gamma > 0;
  }

  // Whether rows can be copied as they are.
  bool is_plain() const {
    return png_.depth == 8 && !png_.palette && !image_.wide && png_.channels == image_.channels;
  }

  Status convert(const uint8_t* row, const Pass& pass, int64_t y) const {
    for (int64_t x = 0; x < pass.columns; ++x) {
      Pixel pixel;
      if (!read(row, x, pixel))
        return invalid_argument("the PNG file uses a colour it does not define");
      write(pixel, (pass.y0 + y * pass.dy) * png_.width + pass.x0 + x * pass.dx);
    }
    return {};
  }

 private:
  uint16_t stored(const uint8_t* row, int64_t sample) const {
    if (png_.depth == 8) return row[sample];
    if (png_.depth == 16) return static_cast<uint16_t>(row[2 * sample] << 8 | row[2 * sample + 1]);
    const int64_t bit = sample * png_.depth;
    const int shift = 8 - png_.depth - static_cast<int>(bit % 8);
    return static_cast<uint16_t>(row[bit / 8] >> shift & ((1 << png_.depth) - 1));
  }

  bool read(const uint8_t* row, int64_t x, Pixel& pixel) const {
    const int colours = png_.channels - (png_.alpha ? 1 : 0);
    std::array<uint16_t, 4> v{};
    for (int k = 0; k < png_.channels; ++k)
      v[static_cast<size_t>(k)] = stored(row, x * png_.channels + k);
    // Where the file has no alpha, as TensorFlow fills it in: the largest value of that depth.
    const auto opaque = static_cast<uint16_t>((1 << png_.depth) - 1);
    pixel.alpha = png_.alpha ? v[static_cast<size_t>(colours)] : opaque;
    if (png_.palette) {
      const size_t at = v[0];
      if (at * 3 >= png_.colours.size()) return false;
      for (size_t k = 0; k < 3; ++k)
        pixel.colour[k] = static_cast<uint8_t>(png_.colours[at * 3 + k]);
      if (!png_.transparency.empty())
        pixel.alpha =
            at < png_.transparency.size() ? static_cast<uint8_t>(png_.transparency[at]) : 255;
      return true;
    }
    if (!png_.transparency.empty()) {
      bool hidden = true;
      for (size_t k = 0; k < static_cast<size_t>(colours); ++k)
        hidden = hidden && v[k] == (big_endian(png_.transparency.substr(2 * k, 2)) & 0xFFFF);
      pixel.alpha = hidden ? 0 : most_;
    }
    const int scale = png_.depth < 8 ? 255 / ((1 << png_.depth) - 1) : 1;
    for (size_t k = 0; k < 3; ++k)
      pixel.colour[k] = static_cast<uint16_t>(v[colours == 1 ? 0 : k] * scale);
    return true;
  }

  // The weights of red, green and blue in 32768ths: 0.299, 0.587 and the rest. A file that says its
  // gamma is weighted in linear light.
  uint16_t grey(const Pixel& p) const {
    const auto& c = p.colour;
    if (c[0] == c[1] && c[1] == c[2]) return c[0];
    std::array<uint32_t, 3> v{c[0], c[1], c[2]};
    const auto power = [&](uint32_t value, double exponent) {
      const double most = most_;
      return static_cast<uint32_t>(std::floor(most * std::pow(value / most, exponent) + 0.5));
    };
    if (linear_)
      for (uint32_t& value : v) value = power(value, 1 / png_.gamma);
    const bool rounded = linear_ || most_ == 0xFFFF;
    const uint32_t sum = (9797 * v[0] + 19234 * v[1] + 3737 * v[2] + (rounded ? 16384 : 0)) >> 15;
    return static_cast<uint16_t>(linear_ ? power(sum, png_.gamma) : sum);
  }

  void write(const Pixel& pixel, int64_t at) const {
    std::array<uint16_t, 4> v{};
    size_t n = 0;
    if (image_.channels < 3)
      v[n++] = png_.channels < 3 && !png_.palette ? pixel.colour[0] : grey(pixel);
    else
      for (; n < 3; ++n) v[n] = pixel.colour[n];
    if (image_.channels % 2 == 0) v[n++] = pixel.alpha;
    const auto first = static_cast<size_t>(at * image_.channels);
    for (size_t k = 0; k < n; ++k) {
      if (image_.wide) {
        const auto wide = static_cast<uint16_t>(png_.depth == 16 ? v[k] : v[k] * 257);
        std::memcpy(image_.data.get() + 2 * (first + k), &wide, 2);
      } else {
        image_.data[static_cast<ptrdiff_t>(first + k)] =
            static_cast<uint8_t>(png_.depth == 16 ? v[k] >> 8 : v[k]);
      }
    }
  }

  const Png& png_;
  Pixels& image_;
  uint16_t most_ = 0;  // the largest value of a sample
  bool linear_ = false;
};

}  // namespace

Result<Pixels> decode_png(std::string_view file, const Options& options) {
  const Png png = TRY(read_chunks(file));
  Pixels image{.height = png.height, .width = png.width, .wide = options.wide};
  const int native = png.palette ? (png.transparency.empty() ? 3 : 4) : png.channels;
  image.channels = options.channels == 0 ? native : options.channels;
  const auto passes = passes_of(png);
  int64_t size = 0;
  for (const Pass& pass : passes) size += pass.rows * (png.row_bytes(pass.columns) + 1);
  auto raw = TRY(inflate_all(png, size));
  TRY(image.allocate());
  const Converter converter(png, image);
  const int64_t step = std::max(1, png.channels * png.depth / 8);
  uint8_t* row = raw.data();
  for (const Pass& pass : passes) {
    const int64_t bytes = png.row_bytes(pass.columns);
    const uint8_t* before = nullptr;
    for (int64_t y = 0; y < pass.rows; ++y, row += bytes + 1) {
      TRY(unfilter(row[0], row + 1, before, bytes, step));
      before = row + 1;
      if (converter.is_plain() && !png.interlaced)
        std::memcpy(image.data.get() + y * bytes, before, static_cast<size_t>(bytes));
      else
        TRY(converter.convert(before, pass, y));
    }
  }
  return image;
}

}  // namespace tenon::image
