#include "text_output.h"

#include <fmt/format.h>

#include "base/bytes.h"
#include "passes/pipeline_text.h"

namespace tenon::tool {

std::string pipeline_error(const std::string& pipeline) {
  const auto steps = parse_pipeline(pipeline);
  return steps.ok() ? std::string() : steps.error().message;
}

Result<std::string> pipeline_for(const std::string& given, std::string_view text) {
  std::string pipeline = given.empty() ? std::string(pipeline_of_text(text)) : given;
  if (pipeline.empty())
    return invalid_argument("no pipeline: give -p, or write `// opt: …` in the first line");
  return pipeline;
}

void add_text_arguments(CLI::App& command, TextArguments& a) {
  command.add_option("-o,--output", a.output, "write the text there, with all data");
  command.add_flag("--full", a.full, "print the data of large constants, too");
}

Status write_text(const TextArguments& a, std::span<const NamedGraph> graphs,
                  const std::string& head) {
  const bool full = a.full || !a.output.empty();
  const std::string text = head + print_graphs(graphs, full ? TextForm::kFull : TextForm::kShort);
  if (!a.output.empty()) return write_file_atomically(a.output, as_bytes(text));
  std::fwrite(text.data(), 1, text.size(), stdout);
  return {};
}

}  // namespace tenon::tool
