// The parsers of foreign bytes, each as one function that must survive anything.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "fuzz/mutate.h"

namespace tenon::fuzz {

struct Target {
  std::string_view name;
  std::string_view doc;
  Form form = Form::bytes;
  // Model files under the project's root that seed the mutants: folder, ending.
  std::vector<std::pair<std::string_view, std::string_view>> seeds;
  // Parses the bytes as far as the product would. Refusals are errors; anything but returning is a
  // bug. `scratch` is a folder of this process's own.
  Status (*run)(const std::string& bytes, const std::string& scratch) = nullptr;
  // Makes a seed of a file where it is not the file itself; empty: none.
  std::string (*prepare)(const std::string& path) = nullptr;
};

std::span<const Target> targets();

}  // namespace tenon::fuzz
