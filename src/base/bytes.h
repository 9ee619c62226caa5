// Byte ranges: mapped files, bounds-checked little-endian reading, atomic writing.
// Knows no formats.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tenon {

using Bytes = std::span<const std::byte>;

inline Bytes as_bytes(std::string_view s) {
  return {reinterpret_cast<const std::byte*>(s.data()), s.size()};
}
inline std::string_view as_text(Bytes b) {
  return {reinterpret_cast<const char*>(b.data()), b.size()};
}

// A read-only mapping of a whole file; shared by everything that points into it.
class MappedFile {
 public:
  // Errors: not_found when there is no such file, io when it cannot be read, invalid_argument for
  // a directory. An empty file maps to an empty range.
  static Result<std::shared_ptr<const MappedFile>> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  Bytes bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }

 private:
  MappedFile(std::string path, const std::byte* data, size_t size)
      : path_(std::move(path)), data_(data), size_(size) {}
  std::string path_;
  const std::byte* data_;
  size_t size_;
};

// Gives back the whole pages of a part of a mapped file: they are read again where they are
// touched.
void release_pages(Bytes bytes);

// A run of bytes and what keeps it alive (a mapping, a heap block).
struct Blob {
  Bytes bytes;
  std::shared_ptr<const void> owner;
};

// Copies `size` uninitialised bytes' worth of room, aligned to 64.
std::shared_ptr<std::byte> allocate_aligned(size_t size);

// Writes the file under a temporary name beside it, syncs, and renames: readers see the old file
// or the whole new one, a failure leaves nothing behind. A device is written to where it is.
Status write_file_atomically(const std::string& path, std::span<const Bytes> parts);
Status write_file_atomically(const std::string& path, Bytes content);

// Reads a whole small file.
Result<std::string> read_text_file(const std::string& path);

// Unaligned little-endian load; the caller has checked the bounds.
template <typename T>
T load_le(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

}  // namespace tenon
