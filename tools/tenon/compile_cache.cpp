#include "compile_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "base/bytes.h"
#include "base/cpu_features.h"
#include "base/hash.h"
#include "format/model_file.h"

namespace tenon::tool {
namespace {

namespace fs = std::filesystem;

class Key {
 public:
  void add(std::string_view text) {
    const uint64_t size = text.size();
    hash_.add(std::as_bytes(std::span(&size, 1)));
    hash_.add(as_bytes(text));
  }
  Status add_file(const std::string& path) {
    const auto file = TRY(MappedFile::open(path));
    add(as_text(file->bytes()));
    return {};
  }
  // What files are called counts within a folder alone.
  Status add_folder(const std::string& path) {
    std::vector<std::string> files;
    std::error_code error;
    for (fs::recursive_directory_iterator it(path, error), end; !error && it != end;
         it.increment(error))
      if (it->is_regular_file(error)) files.push_back(it->path().string());
    if (error) return io_error(fmt::format("cannot read '{}': {}", path, error.message()));
    std::ranges::sort(files);
    for (const std::string& file : files) {
      add(fs::path(file).lexically_relative(path).string());
      TRY(add_file(file));
    }
    return {};
  }
  Status add_argument(const std::string& text) {
    std::error_code error;
    if (fs::is_directory(text, error)) return add_folder(text);
    if (!fs::is_regular_file(text, error)) {
      add(text);
      return {};
    }
    add(fs::path(text).extension().string());
    return add_file(text);
  }
  std::string text() const { return fmt::format("{:016x}", hash_.digest()); }

 private:
  StreamHash64 hash_;
};

void drop_oldest(const std::string& folder, uint64_t max_bytes) {
  struct Kept {
    fs::file_time_type used;
    uint64_t bytes;
    fs::path path;
  };
  std::vector<Kept> files;
  std::error_code error;
  uint64_t total = 0;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().extension() != ".tenon") continue;
    const uint64_t bytes = entry.file_size(error);
    if (error) continue;
    total += bytes;
    files.push_back({entry.last_write_time(error), bytes, entry.path()});
  }
  std::ranges::sort(files, {}, &Kept::used);
  for (const Kept& file : files) {
    if (total <= max_bytes) return;
    total -= file.bytes;
    fs::remove(file.path, error);
    fs::remove(fs::path(file.path).replace_extension(".json"), error);
  }
}

}  // namespace

Result<CompileCache> CompileCache::open(std::string folder, const CLI::App& command,
                                        const std::set<std::string, std::less<>>& ignored) {
  CompileCache cache;
  cache.folder_ = std::move(folder);
  if (cache.folder_.empty()) return cache;
  std::error_code error;
  fs::create_directories(cache.folder_, error);
  if (error)
    return io_error(fmt::format("cannot make the folder of the cache '{}': {}", cache.folder_,
                                error.message()));
  Key key;
  TRY(key.add_file("/proc/self/exe"));
  key.add(processor_name());
  for (const CLI::Option* option : command.get_options()) {
    if (option->count() == 0 || ignored.contains(option->get_name())) continue;
    key.add(option->get_name());
    for (const std::string& value : option->results()) TRY(key.add_argument(value));
  }
  cache.key_ = key.text();
  return cache;
}

std::optional<nlohmann::json> CompileCache::find(const std::string& output) const {
  if (folder_.empty()) return std::nullopt;
  const auto text = read_text_file(report_file());
  const auto file = MappedFile::open(this->file());
  if (!text.ok() || !file.ok()) return std::nullopt;
  nlohmann::json report = nlohmann::json::parse(*text, nullptr, false);
  if (!report.is_object() || !read_model({(*file)->bytes(), *file}).ok()) return std::nullopt;
  if (!write_file_atomically(output, (*file)->bytes()).ok()) return std::nullopt;
  std::error_code error;
  fs::last_write_time(this->file(), fs::file_time_type::clock::now(), error);
  return report;
}

void CompileCache::keep(const std::string& output, const nlohmann::json& report) const {
  if (folder_.empty()) return;
  const auto file = MappedFile::open(output);
  if (!file.ok() || !write_file_atomically(this->file(), (*file)->bytes()).ok()) return;
  // A report without a file, or the other way round, is found to be nothing.
  (void)write_file_atomically(report_file(), as_bytes(report.dump()));
  drop_oldest(folder_, kMaxBytes);
}

}  // namespace tenon::tool
