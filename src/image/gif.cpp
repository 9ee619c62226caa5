// GIF: frames painted over each other on a canvas, as colours.
#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <vector>

#include "image/image.h"

namespace tenon::image {
namespace {

Error cut_off() {
  return invalid_argument("the GIF file ends too early");
}

// What is left to read; every read is checked.
class Cursor {
 public:
  explicit Cursor(std::string_view bytes) : rest_(bytes) {}
  bool has(size_t n) const { return rest_.size() >= n; }
  std::string_view take(size_t n) {
    n = std::min(n, rest_.size());
    const std::string_view taken = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return taken;
  }
  // Only where has() said yes.
  uint8_t byte() { return static_cast<uint8_t>(take(1)[0]); }
  int word() {
    const int low = byte();
    return low | byte() << 8;
  }

 private:
  std::string_view rest_;
};

struct Frame {
  int left = 0, top = 0, width = 0, height = 0;
  std::string_view colours;  // three bytes each
  std::optional<uint8_t> see_through;
  std::vector<uint8_t> indices;  // row by row from the top
};

// Blocks of up to 255 bytes until an empty one, joined.
Result<std::vector<uint8_t>> sub_blocks(Cursor& in) {
  std::vector<uint8_t> data;
  while (true) {
    if (!in.has(1)) return cut_off();
    const size_t n = in.byte();
    if (n == 0) return data;
    if (!in.has(n)) return cut_off();
    const std::string_view block = in.take(n);
    data.insert(data.end(), block.begin(), block.end());
  }
}

// LZW with codes that grow up to 12 bits: every code is an earlier one and a last byte.
Status unpack(const std::vector<uint8_t>& data, int bits, std::vector<uint8_t>& out) {
  if (bits < 1 || bits > 8) return invalid_argument("the GIF file has a wrong code size");
  constexpr int kCodes = 4096;
  std::array<uint16_t, kCodes> prefix{};
  std::array<uint8_t, kCodes> last{}, stack{};
  const int clear = 1 << bits, end = clear + 1;
  for (int i = 0; i < clear; ++i) last[static_cast<size_t>(i)] = static_cast<uint8_t>(i);
  int next = end + 1, width = bits + 1, previous = -1;
  uint8_t first = 0;
  uint32_t buffer = 0;
  int held = 0;
  size_t at = 0, written = 0;
  while (written < out.size()) {
    while (held < width) {
      if (at == data.size()) return cut_off();
      buffer |= static_cast<uint32_t>(data[at++]) << held;
      held += 8;
    }
    const int code = static_cast<int>(buffer & ((1U << width) - 1));
    buffer >>= width;
    held -= width;
    if (code == end) return cut_off();
    if (code == clear) {
      next = end + 1, width = bits + 1, previous = -1;
      continue;
    }
    if (code > next || (code == next && previous < 0) || (previous < 0 && code >= clear))
      return invalid_argument("the GIF file has a wrong code");
    // The bytes of the code come out last one first; the code just being made is the previous one
    // and that one's first byte again.
    size_t depth = 0;
    int walk = code;
    if (code == next) {
      stack[depth++] = first;
      walk = previous;
    }
    for (; walk >= clear; walk = prefix[static_cast<size_t>(walk)])
      stack[depth++] = last[static_cast<size_t>(walk)];
    first = last[static_cast<size_t>(walk)];
    stack[depth++] = first;
    while (depth > 0 && written < out.size()) out[written++] = stack[--depth];
    if (previous >= 0 && next < kCodes) {
      prefix[static_cast<size_t>(next)] = static_cast<uint16_t>(previous);
      last[static_cast<size_t>(next)] = first;
      if (++next == 1 << width && width < 12) ++width;
    }
    previous = code;
  }
  return {};
}

// Rows stored as every eighth, every eighth from the fourth, every fourth from the second, the
// rest.
void weave(Frame& frame) {
  const std::vector<uint8_t> stored = frame.indices;
  const auto width = static_cast<size_t>(frame.width);
  size_t row = 0;
  for (const auto& [start, step] : {std::pair{0, 8}, {4, 8}, {2, 4}, {1, 2}})
    for (int y = start; y < frame.height; y += step)
      std::memcpy(&frame.indices[static_cast<size_t>(y) * width], &stored[row++ * width], width);
}

Result<Frame> read_frame(Cursor& in, std::string_view global_colours, int64_t& budget) {
  if (!in.has(9)) return cut_off();
  Frame frame;
  frame.left = in.word(), frame.top = in.word();
  frame.width = in.word(), frame.height = in.word();
  const int flags = in.byte();
  const size_t colour_bytes = (flags & 0x80) != 0 ? size_t{3} << ((flags & 7) + 1) : 0;
  if (!in.has(colour_bytes + 1)) return cut_off();
  const std::string_view own = in.take(colour_bytes);
  frame.colours = own.empty() ? global_colours : own;
  if (frame.width == 0 || frame.height == 0) return invalid_argument("a frame of the GIF is empty");
  const int64_t pixels = int64_t{frame.width} * frame.height;
  if ((budget -= pixels) < 0)
    return Error(Code::resource_exhausted, "the frames of the GIF file are too large");
  const int bits = in.byte();
  const auto data = TRY(sub_blocks(in));
  // A code of at most 12 bits stands for at most 4096 bytes.
  if (pixels / 4096 > static_cast<int64_t>(data.size())) return cut_off();
  frame.indices.resize(static_cast<size_t>(pixels));
  TRY(unpack(data, bits, frame.indices));
  if ((flags & 0x40) != 0) weave(frame);
  return frame;
}

// Which colour a frame's own extension says is to be left out.
Result<std::optional<uint8_t>> read_extension(Cursor& in, std::optional<uint8_t> before) {
  if (!in.has(1)) return cut_off();
  const bool control = in.byte() == 0xF9;
  const auto data = TRY(sub_blocks(in));
  if (!control || data.size() < 4) return before;
  return (data[0] & 1) != 0 ? std::optional(data[3]) : std::nullopt;
}

Result<std::vector<Frame>> read_frames(std::string_view file, bool first_only) {
  Cursor in(file);
  if (!in.has(13)) return cut_off();
  in.take(10);
  const int flags = in.byte();
  in.take(2);
  const size_t colour_bytes = (flags & 0x80) != 0 ? size_t{3} << ((flags & 7) + 1) : 0;
  if (!in.has(colour_bytes)) return cut_off();
  const std::string_view colours = in.take(colour_bytes);
  std::vector<Frame> frames;
  std::optional<uint8_t> see_through;
  int64_t budget = int64_t{1} << 29;
  while (in.has(1)) {
    const uint8_t kind = in.byte();
    if (kind == 0x3B || (first_only && !frames.empty())) break;
    if (kind == 0x21) {
      see_through = TRY(read_extension(in, see_through));
    } else if (kind == 0x2C) {
      auto frame = read_frame(in, colours, budget);
      // What was read in full stands, as it does for viewers.
      if (!frame.ok() && !frames.empty()) break;
      if (!frame.ok()) return std::move(frame).error();
      frames.push_back(std::move(*frame));
      frames.back().see_through = see_through;
      see_through.reset();
    } else {
      return invalid_argument("the GIF file has a block of no known kind");
    }
  }
  if (frames.empty()) return invalid_argument("the GIF file has no image");
  return frames;
}

}  // namespace

Result<Pixels> decode_gif(std::string_view file, const Options& options) {
  if (options.channels != 0 && options.channels != 3)
    return invalid_argument("a GIF file gives three channels");
  const auto frames = TRY(read_frames(file, options.first_frame));
  Pixels image{.frames = static_cast<int64_t>(frames.size()), .channels = 3, .animation = true};
  for (const Frame& frame : frames) {
    image.width = std::max<int64_t>(image.width, frame.width);
    image.height = std::max<int64_t>(image.height, frame.height);
  }
  TRY(image.allocate());
  const auto canvas = static_cast<size_t>(image.width * image.height * 3);
  uint8_t* out = image.data.get();
  for (size_t k = 0; k < frames.size(); ++k, out += canvas) {
    const Frame& frame = frames[k];
    if (k == 0)
      std::memset(out, 0, canvas);
    else
      std::memcpy(out, out - canvas, canvas);
    const int64_t right = std::min<int64_t>(image.width, frame.left + frame.width);
    const int64_t bottom = std::min<int64_t>(image.height, frame.top + frame.height);
    for (int64_t y = frame.top; y < bottom; ++y)
      for (int64_t x = frame.left; x < right; ++x) {
        const uint8_t index =
            frame.indices[static_cast<size_t>((y - frame.top) * frame.width + x - frame.left)];
        if (frame.see_through && index == *frame.see_through) continue;
        if (size_t{index} * 3 >= frame.colours.size())
          return invalid_argument("the GIF file uses a colour that it does not define");
        std::memcpy(out + (y * image.width + x) * 3, frame.colours.data() + size_t{index} * 3, 3);
      }
  }
  return image;
}

}  // namespace tenon::image
