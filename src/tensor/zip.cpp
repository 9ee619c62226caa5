#include "tensor/zip.h"

#include <fmt/format.h>

#include <optional>

#include "base/inflate.h"

namespace tenon {
namespace {

constexpr uint32_t kEnd = 0x06054b50, kEnd64 = 0x06064b50, kLocator64 = 0x07064b50,
                   kEntry = 0x02014b50, kLocal = 0x04034b50;
constexpr size_t kEndSize = 22, kLocatorSize = 20, kEnd64Size = 56, kEntrySize = 46,
                 kLocalSize = 30;
constexpr size_t kMaxComment = 65535;
constexpr uint16_t kExtra64 = 1;
constexpr uint16_t kStored = 0, kDeflated = 8;

Error damaged(std::string_view what) {
  return invalid_argument(fmt::format("the .npz archive is damaged: {}", what));
}

// Little-endian loads that stay within the archive.
class Reader {
 public:
  explicit Reader(Bytes bytes) : bytes_(bytes) {}
  size_t size() const { return bytes_.size(); }
  bool has(uint64_t offset, uint64_t size) const {
    return offset <= bytes_.size() && size <= bytes_.size() - offset;
  }
  template <typename T>
  T at(uint64_t offset) const {
    return has(offset, sizeof(T)) ? load_le<T>(bytes_.data() + offset) : T{};
  }
  Bytes range(uint64_t offset, uint64_t size) const { return bytes_.subspan(offset, size); }

 private:
  Bytes bytes_;
};

std::optional<uint64_t> find_end(const Reader& r) {
  if (r.size() < kEndSize) return std::nullopt;
  const uint64_t last = r.size() - kEndSize;
  for (uint64_t back = 0; back <= last && back <= kMaxComment; ++back)
    if (r.at<uint32_t>(last - back) == kEnd) return last - back;
  return std::nullopt;
}

struct Directory {
  uint64_t offset, count;
};

Directory directory_of(const Reader& r, uint64_t end) {
  Directory d{r.at<uint32_t>(end + 16), r.at<uint16_t>(end + 10)};
  const bool has_locator = end >= kLocatorSize && r.at<uint32_t>(end - kLocatorSize) == kLocator64;
  if (!has_locator) return d;
  const auto end64 = r.at<uint64_t>(end - kLocatorSize + 8);
  if (r.has(end64, kEnd64Size) && r.at<uint32_t>(end64) == kEnd64)
    d = {r.at<uint64_t>(end64 + 48), r.at<uint64_t>(end64 + 32)};
  return d;
}

// Sizes and offsets too large for their fields are in an extra field, those only.
void widen(const Reader& r, uint64_t extra, uint64_t extra_size, uint64_t& size, uint64_t& packed,
           uint64_t& offset) {
  const uint64_t end = extra + extra_size;
  while (extra + 4 <= end) {
    const auto kind = r.at<uint16_t>(extra);
    const auto length = r.at<uint16_t>(extra + 2);
    if (kind == kExtra64) {
      uint64_t at = extra + 4;
      for (uint64_t* field : {&size, &packed, &offset})
        if (*field == UINT32_MAX && at + 8 <= extra + 4 + length) {
          *field = r.at<uint64_t>(at);
          at += 8;
        }
      return;
    }
    extra += 4 + uint64_t{length};
  }
}

// Replaces what is packed by what it holds, of which the directory gives size and checksum.
Status unpack(ZipMember& member, uint64_t size, uint32_t checksum) {
  if (size > kMaxUnpacked)
    return resource_exhausted(
        fmt::format("array '{}' claims to be {} bytes large", member.name, size));
  auto bytes = inflate_bytes(member.content, Packing::deflate, static_cast<size_t>(size) + 1);
  if (!bytes.ok() || bytes->size() != size || crc32_of(as_bytes(*bytes)) != checksum)
    return damaged(fmt::format("array '{}' does not unpack", member.name));
  member.unpacked = std::make_shared<const std::string>(std::move(*bytes));
  member.content = as_bytes(*member.unpacked);
  return {};
}

}  // namespace

Result<std::vector<ZipMember>> zip_members(Bytes archive) {
  const Reader r(archive);
  const auto end = find_end(r);
  if (!end)
    return invalid_argument(
        "this is not a .npz archive; write one with numpy.savez(path, name=array)");
  const Directory directory = directory_of(r, *end);
  std::vector<ZipMember> members;
  uint64_t at = directory.offset;
  for (uint64_t i = 0; i < directory.count; ++i) {
    if (!r.has(at, kEntrySize) || r.at<uint32_t>(at) != kEntry)
      return damaged("its directory is cut off");
    const uint64_t name_size = r.at<uint16_t>(at + 28), extra_size = r.at<uint16_t>(at + 30),
                   comment_size = r.at<uint16_t>(at + 32);
    uint64_t packed = r.at<uint32_t>(at + 20), size = r.at<uint32_t>(at + 24),
             offset = r.at<uint32_t>(at + 42);
    const uint64_t head = kEntrySize + name_size + extra_size + comment_size;
    if (!r.has(at, head)) return damaged("its directory is cut off");
    std::string name(as_text(r.range(at + kEntrySize, name_size)));
    widen(r, at + kEntrySize + name_size, extra_size, size, packed, offset);
    const auto method = r.at<uint16_t>(at + 10);
    if (method != kStored && method != kDeflated)
      return unsupported(fmt::format(
          "array '{}' is compressed in a way ({}) that numpy.savez does not use", name, method));
    if (!r.has(offset, kLocalSize) || r.at<uint32_t>(offset) != kLocal)
      return damaged(fmt::format("array '{}' is not where its directory says", name));
    const uint64_t begin =
        offset + kLocalSize + r.at<uint16_t>(offset + 26) + r.at<uint16_t>(offset + 28);
    const uint64_t stored = method == kStored ? size : packed;
    if (!r.has(begin, stored)) return damaged(fmt::format("array '{}' is cut off", name));
    ZipMember member{std::move(name), r.range(begin, stored), nullptr};
    if (method == kDeflated) TRY(unpack(member, size, r.at<uint32_t>(at + 16)));
    members.push_back(std::move(member));
    at += head;
  }
  return members;
}

}  // namespace tenon
