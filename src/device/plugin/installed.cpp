// Which plug-ins are there.
#include <dlfcn.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>

#include "base/nearest.h"
#include "device/plugin/plugin.h"

namespace tenon::device {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "libtenon_device_";

// The file that this code is in: the runtime's library, Python's extension or the program.
fs::path own_file() {
  std::error_code error;
  ::Dl_info info{};
  const auto* self = reinterpret_cast<const void*>(&own_file);
  fs::path path;
  if (::dladdr(self, &info) != 0 && info.dli_fname != nullptr) path = info.dli_fname;
  // That of a program is how it was called.
  if (!path.has_parent_path() || !fs::exists(path, error)) path = "/proc/self/exe";
  return fs::canonical(path, error);
}

std::vector<fs::path> folders() {
  const fs::path own = own_file().parent_path(), up = own.parent_path();
  // Beside it, as installed (bin and lib), in a build tree (python/tenon and lib).
  std::vector<fs::path> all{own, up / "lib", up.parent_path() / "lib"};
  // The programs of a wheel.
  std::error_code error;
  for (fs::directory_iterator it(up / "lib", error), end; !error && it != end; it.increment(error))
    if (it->path().filename().string().starts_with("python"))
      all.push_back(it->path() / "site-packages" / "tenon");
  return all;
}

void add_folder(const fs::path& folder, std::vector<std::string>& files) {
  std::error_code error;
  std::vector<std::string> found;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.starts_with(kPrefix) && name.ends_with(".so")) found.push_back(it->path().string());
  }
  std::ranges::sort(found);
  files.insert(files.end(), found.begin(), found.end());
}

std::vector<std::string> plugin_files() {
  std::vector<std::string> files;
  const char* given = std::getenv("TENON_DEVICE_PATH");
  for (std::string_view rest = given == nullptr ? "" : given; !rest.empty();) {
    const std::string item(rest.substr(0, rest.find(':')));
    rest.remove_prefix(std::min(item.size() + 1, rest.size()));
    std::error_code error;
    if (fs::is_directory(item, error))
      add_folder(item, files);
    else if (!item.empty())
      files.push_back(item);
  }
  for (const fs::path& folder : folders()) add_folder(folder, files);
  return files;
}

std::string plain(std::string_view name) {
  std::string out;
  for (const char c : name)
    if (c != '-' && c != '_') out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

Installed look() {
  Installed all;
  std::vector<fs::path> seen;
  for (const std::string& file : plugin_files()) {
    std::error_code error;
    const fs::path real = fs::canonical(file, error);
    if (std::ranges::find(seen, real) != seen.end()) continue;
    seen.push_back(real);
    const auto plugin = Plugin::open(file);
    if (!plugin.ok()) {
      all.problems.push_back(plugin.error().to_string());
      continue;
    }
    const auto devices = (*plugin)->devices();
    if (!devices.ok()) {
      all.problems.push_back(devices.error().to_string());
      continue;
    }
    // The first of a name is the one: those of the environment come first.
    for (const Description& d : *devices)
      if (std::ranges::find(all.devices, d.name, &Description::name) == all.devices.end())
        all.devices.push_back(d);
  }
  return all;
}

}  // namespace

const Installed& installed() {
  static const Installed all = look();
  return all;
}

bool is_cpu(std::string_view name) {
  const std::string text = plain(name);
  return text.empty() || text == "cpu" || text == "cpu:0";
}

Result<const Description*> find_device(std::string_view name) {
  const Installed& all = installed();
  std::vector<std::string> names{"cpu"}, of_family;
  for (const Description& d : all.devices) {
    names.push_back(d.name);
    if (d.family == plain(name)) of_family.push_back(d.name);
    if (plain(d.name) == plain(name)) return &d;
    for (std::string_view rest = d.aliases; !rest.empty();) {
      const std::string_view alias = rest.substr(0, rest.find(' '));
      rest.remove_prefix(std::min(alias.size() + 1, rest.size()));
      if (!alias.empty() && plain(alias) == plain(name)) return &d;
    }
  }
  if (!of_family.empty())
    return unsupported(
        fmt::format("'{}' is a family of devices; name one: {}", name, fmt::join(of_family, ", ")));
  std::string text = fmt::format("there is no device '{}'{}; this runs on: {}", name,
                                 did_you_mean(plain(name), names), fmt::join(names, ", "));
  for (const std::string& problem : all.problems) text += "\n  a plug-in is of no use: " + problem;
  return unsupported(std::move(text));
}

}  // namespace tenon::device
