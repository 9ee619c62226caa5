// What was compiled before, found by its content: the same model, options and program give the same
// file, wherever the model lies and whatever it is called.
#pragma once

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tenon::tool {

class CompileCache {
 public:
  // Off where the folder is empty. The key is made of the program, the processor and the options
  // that `command` was given, but those of `ignored`; of files and folders among them, what they
  // hold. Errors: io_error where one cannot be read or the folder cannot be made.
  static Result<CompileCache> open(std::string folder, const CLI::App& command,
                                   const std::set<std::string, std::less<>>& ignored);

  // Puts the file that was kept into `output`, under a temporary name first, and returns the report
  // that was kept with it. None: compile. A damaged file counts as none.
  std::optional<nlohmann::json> find(const std::string& output) const;
  // Keeps a copy, and drops those that were not asked for the longest where the folder holds more
  // than `kMaxBytes`. A cache that cannot be written is no error: the file is there.
  void keep(const std::string& output, const nlohmann::json& report) const;

  static constexpr uint64_t kMaxBytes = uint64_t{8} << 30;

 private:
  std::string file() const { return folder_ + "/" + key_ + ".tenon"; }
  std::string report_file() const { return folder_ + "/" + key_ + ".json"; }
  std::string folder_, key_;
};

}  // namespace tenon::tool
