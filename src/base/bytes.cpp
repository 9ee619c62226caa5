#include "base/bytes.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

namespace tenon {
namespace {

// Where a file without a name can be had by its descriptor.
constexpr const char* kOpenFiles = "/proc/self/fd";

Error errno_error(std::string_view what, const std::string& path) {
  const int saved = errno;
  std::string message = fmt::format("cannot {} '{}': {}", what, path, std::strerror(saved));
  if (saved == ENOENT || saved == ENOTDIR) return not_found(std::move(message));
  return io_error(std::move(message));
}

// Closes a descriptor at the end of its scope.
struct Descriptor {
  explicit Descriptor(int f, bool n = false) : fd(f), nameless(n) {}
  Descriptor(Descriptor&& other) noexcept
      : fd(std::exchange(other.fd, -1)), nameless(other.nameless) {}
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
  int fd;
  bool nameless;  // the file is in no directory and vanishes with the process
};

Status write_all(int fd, Bytes bytes, const std::string& path) {
  const std::byte* p = bytes.data();
  size_t left = bytes.size();
  while (left > 0) {
    const ssize_t n = ::write(fd, p, left);
    if (n < 0) {
      if (errno == EINTR) continue;
      return errno_error("write", path);
    }
    p += n;
    left -= static_cast<size_t>(n);
  }
  return {};
}

Status write_all(int fd, std::span<const Bytes> parts, const std::string& path) {
  for (const Bytes part : parts) TRY(write_all(fd, part, path));
  return {};
}

// A file in the directory of `path`: one without a name where the file system has that, so that a
// process killed while it writes leaves nothing; else one named after the template `temporary`.
Result<Descriptor> create_beside(const std::string& path, std::string& temporary) {
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  if (::access(kOpenFiles, X_OK) == 0)
    if (const int fd = ::open(folder.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600); fd >= 0)
      return Descriptor(fd, true);
  const int fd = ::mkostemp(temporary.data(), O_CLOEXEC);
  if (fd < 0 && errno == ENOENT && slash != std::string::npos)
    return io_error(fmt::format("cannot create '{}': there is no folder '{}'; make it first", path,
                                path.substr(0, slash)));
  if (fd < 0) return errno_error("create", path);
  return Descriptor(fd);
}

// Enters a nameless file under a name after the template `temporary`, which no empty file takes
// meanwhile: what a killed process can leave is whole.
Status give_name(int fd, std::string& temporary) {
  const std::string source = fmt::format("{}/{}", kOpenFiles, fd);
  const std::string stem = temporary.substr(0, temporary.size() - std::strlen("XXXXXX"));
  constexpr int kTries = 100;
  for (int i = 0; i < kTries; ++i) {
    temporary = fmt::format("{}{}-{}", stem, ::getpid(), i);
    if (::linkat(AT_FDCWD, source.c_str(), AT_FDCWD, temporary.c_str(), AT_SYMLINK_FOLLOW) == 0)
      return {};
    if (errno != EEXIST) break;
  }
  return errno_error("create", temporary);
}

}  // namespace

Result<std::shared_ptr<const MappedFile>> MappedFile::open(const std::string& path) {
  // Without O_NONBLOCK a named pipe would wait here for its writer.
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) return errno_error("open", path);
  struct stat info {};
  if (::fstat(file.fd, &info) != 0) return errno_error("stat", path);
  if (S_ISDIR(info.st_mode))
    return invalid_argument(fmt::format("'{}' is a directory, a file was expected", path));
  if (!S_ISREG(info.st_mode))
    return invalid_argument(fmt::format(
        "'{}' is a pipe or a device and cannot be mapped; write it to a file first", path));
  const auto size = static_cast<size_t>(info.st_size);
  const std::byte* data = nullptr;
  if (size > 0) {
    void* mapped = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd, 0);
    if (mapped == MAP_FAILED) return errno_error("map", path);
    data = static_cast<const std::byte*>(mapped);
  }
  return std::shared_ptr<const MappedFile>(new MappedFile(path, data, size));
}

void release_pages(Bytes bytes) {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<uintptr_t>(bytes.data()) + page - 1) / page * page;
  const auto end = reinterpret_cast<uintptr_t>(bytes.data() + bytes.size()) / page * page;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

MappedFile::~MappedFile() {
  if (size_ > 0) ::munmap(const_cast<std::byte*>(data_), size_);
}

std::shared_ptr<std::byte> allocate_aligned(size_t size) {
  // Large blocks in large pages, where the system has them: fewer faults on first use.
  constexpr size_t kHugePage = size_t{2} << 20;
  // Small ones from the allocator's lists of equal sizes, which aligned ones do not come from.
  constexpr size_t kSmall = 512, kLine = 64;
  if (size <= kSmall) {
    auto* const block = static_cast<std::byte*>(::operator new(size + kLine, std::nothrow));
    if (block == nullptr) return nullptr;
    const size_t beyond = reinterpret_cast<uintptr_t>(block) % kLine;
    return {block + (kLine - beyond), [block](std::byte*) { ::operator delete(block); }};
  }
  const auto alignment = std::align_val_t{size >= kHugePage ? kHugePage : 64};
  void* p = ::operator new(size, alignment, std::nothrow);
  if (p == nullptr) return nullptr;
  if (size >= kHugePage) ::madvise(p, size / kHugePage * kHugePage, MADV_HUGEPAGE);
  return {static_cast<std::byte*>(p),
          [alignment](std::byte* q) { ::operator delete(q, alignment); }};
}

Status write_file_atomically(const std::string& path, std::span<const Bytes> parts) {
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
    if (S_ISDIR(info.st_mode))
      return invalid_argument(
          fmt::format("'{}' is a folder; give the name of the file to write", path));
    // Pipes and devices are written to; a rename would replace them.
    const Descriptor file{::open(path.c_str(), O_WRONLY | O_CLOEXEC)};
    return file.fd < 0 ? errno_error("open", path) : write_all(file.fd, parts, path);
  }
  std::string temporary = path + ".tmp-XXXXXX";
  const Descriptor file = TRY(create_beside(path, temporary));
  Status status = write_all(file.fd, parts, path);
  if (status.ok() && ::fchmod(file.fd, 0644) != 0) status = errno_error("set the mode of", path);
  if (status.ok() && ::fsync(file.fd) != 0) status = errno_error("sync", path);
  if (status.ok() && file.nameless) status = give_name(file.fd, temporary);
  if (status.ok() && ::rename(temporary.c_str(), path.c_str()) != 0)
    status = errno_error("rename to", path);
  if (!status.ok()) ::unlink(temporary.c_str());
  return status;
}

Status write_file_atomically(const std::string& path, Bytes content) {
  return write_file_atomically(path, std::span<const Bytes>(&content, 1));
}

Result<std::string> read_text_file(const std::string& path) {
  auto file = TRY(MappedFile::open(path));
  return std::string(as_text(file->bytes()));
}

}  // namespace tenon
