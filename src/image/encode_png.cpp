// Writing PNG files with the choices that libpng makes by default, so that the bytes are the same:
// the filter of each row whose differences are smallest, and chunks of 8 kB.
#include <zlib.h>

#include <array>
#include <cstdlib>
#include <string>
#include <vector>

#include "image/image.h"

namespace tenon::image {
namespace {

constexpr size_t kChunk = 8192;

void put_u32(std::string& out, uint32_t v) {
  for (const int shift : {24, 16, 8, 0}) out += static_cast<char>(v >> shift & 0xFF);
}

void put_chunk(std::string& out, std::string_view kind, std::string_view data) {
  put_u32(out, static_cast<uint32_t>(data.size()));
  const size_t begin = out.size();
  out += kind;
  out += data;
  put_u32(out, static_cast<uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(out.data()) + begin,
                                             out.size() - begin)));
}

int predicted(int filter, int left, int up, int corner) {
  if (filter == 1) return left;
  if (filter == 2) return up;
  if (filter == 3) return (left + up) / 2;
  const int p = left + up - corner;
  const int pl = std::abs(p - left), pu = std::abs(p - up), pc = std::abs(p - corner);
  return pl <= pu && pl <= pc ? left : pu <= pc ? up : corner;
}

// Appends a row, the number of its filter first. `before` is the row above, zeros for the first.
void put_row(std::vector<uint8_t>& out, const std::vector<uint8_t>& row,
             const std::vector<uint8_t>& before, size_t step, int64_t rows, int64_t columns) {
  std::vector<uint8_t> best, now(row.size());
  uint64_t least = ~uint64_t{0};
  int chosen = 0;
  for (int filter = 0; filter < 5; ++filter) {
    // Where there is no neighbour in that direction at all.
    if ((rows == 1 && filter >= 2) || (columns == 1 && (filter == 1 || filter >= 3))) continue;
    uint64_t sum = 0;
    for (size_t i = 0; i < row.size(); ++i) {
      const int left = i < step ? 0 : row[i - step], corner = i < step ? 0 : before[i - step];
      now[i] = static_cast<uint8_t>(row[i] -
                                    (filter == 0 ? 0 : predicted(filter, left, before[i], corner)));
      sum += now[i] < 128 ? now[i] : 256U - now[i];
    }
    if (sum >= least) continue;
    least = sum;
    chosen = filter;
    best = now;
  }
  out.push_back(static_cast<uint8_t>(chosen));
  out.insert(out.end(), best.begin(), best.end());
}

// Says in the stream's first bytes that a window as small as the data is enough.
void shrink_window(std::string& stream, size_t size) {
  if (size > 16384 || stream.size() < 2) return;
  auto method = static_cast<unsigned>(static_cast<uint8_t>(stream[0]));
  unsigned window = method >> 4;
  size_t half = size_t{1} << (window + 7);
  if (size > half) return;
  do {
    half >>= 1;
    --window;
  } while (window > 0 && size <= half);
  method = (method & 0xF) | window << 4;
  unsigned flags = static_cast<unsigned>(static_cast<uint8_t>(stream[1])) & 0xE0;
  flags += 0x1F - ((method << 8) + flags) % 0x1F;
  stream[0] = static_cast<char>(method);
  stream[1] = static_cast<char>(flags);
}

Result<std::string> deflated(std::vector<uint8_t>& raw, int level) {
  int window = 15;
  if (raw.size() <= 16384)
    for (size_t half = size_t{1} << (window - 1); raw.size() + 262 <= half; half >>= 1) --window;
  z_stream stream{};
  if (deflateInit2(&stream, level, Z_DEFLATED, window, MAX_MEM_LEVEL, Z_FILTERED) != Z_OK)
    return invalid_argument("the compression level of a PNG file must be -1 to 9");
  // The bound forgets what a stored block of a small window needs.
  std::string out(deflateBound(&stream, raw.size()) + 64, '\0');
  stream.next_in = raw.data();
  stream.avail_in = static_cast<uInt>(raw.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  const int status = deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  if (status != Z_STREAM_END) return Error(Code::resource_exhausted, "no memory for deflating");
  shrink_window(out, raw.size());
  return out;
}

}  // namespace

Result<std::string> encode_png(const Pixels& image, int level) {
  constexpr std::array<char, 5> kTypes{0, 0, 4, 2, 6};
  if (image.channels < 1 || image.channels > 4)
    return invalid_argument("a PNG file has one to four channels");
  constexpr int64_t kMost = int64_t{1} << 29;
  if (image.height < 1 || image.width < 1 || image.height > kMost / image.width)
    return invalid_argument("an image for a PNG file has no pixels, or too many");
  const size_t bytes = image.wide ? 2 : 1, step = bytes * static_cast<size_t>(image.channels);
  const size_t row_bytes = step * static_cast<size_t>(image.width);
  std::vector<uint8_t> raw, row(row_bytes), before(row_bytes, 0);
  raw.reserve((row_bytes + 1) * static_cast<size_t>(image.height));
  const uint8_t* in = image.data.get();
  for (int64_t y = 0; y < image.height; ++y, in += row_bytes) {
    // Samples of 16 bits have the upper byte first.
    for (size_t i = 0; i < row_bytes; ++i) row[i] = in[bytes == 2 ? i ^ 1 : i];
    put_row(raw, row, before, step, image.height, image.width);
    before = row;
  }
  const std::string data = TRY(deflated(raw, level));
  std::string file = "\x89PNG\r\n\x1A\n", header;
  put_u32(header, static_cast<uint32_t>(image.width));
  put_u32(header, static_cast<uint32_t>(image.height));
  header += static_cast<char>(8 * bytes);
  header += kTypes[static_cast<size_t>(image.channels)];
  header.append(3, '\0');
  put_chunk(file, "IHDR", header);
  for (size_t at = 0; at < data.size(); at += kChunk)
    put_chunk(file, "IDAT", std::string_view(data).substr(at, kChunk));
  put_chunk(file, "IEND", {});
  return file;
}

}  // namespace tenon::image
