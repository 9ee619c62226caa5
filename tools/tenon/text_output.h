// Options and output of the commands that print graphs as text.
#pragma once

#include <CLI/CLI.hpp>
#include <span>
#include <string>

#include "ir/text.h"

namespace tenon::tool {

struct TextArguments {
  std::string output;
  bool full = false;
};

// What is wrong with a pipeline, for CLI11's check(); empty when nothing is.
std::string pipeline_error(const std::string& pipeline);

// The pipeline that is given, or that the first line of the text names. Error: there is none.
Result<std::string> pipeline_for(const std::string& given, std::string_view text);

void add_text_arguments(CLI::App& command, TextArguments& a);
// Prints the graphs, or writes them in full to the file of --output.
Status write_text(const TextArguments& a, std::span<const NamedGraph> graphs,
                  const std::string& head = {});

}  // namespace tenon::tool
