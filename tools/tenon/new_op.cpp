// `tenon new-op`: files to fill in for an op that Tenon has no mapping for.
#include <fmt/format.h>
#include <sys/stat.h>

#include <filesystem>

#include "base/bytes.h"
#include "commands.h"
#include "op_headers.h"
#include "op_templates.h"

namespace tenon::tool {
namespace {

struct NewOpArguments {
  std::string name, directory = ".", language;
  int inputs = 1, outputs = 1;
  bool decomposition = false, custom = false;
};

// A file name and an identifier in C++ from the op's name.
std::string stem_of(std::string_view name) {
  std::string stem;
  for (const char c : name) {
    const bool upper = c >= 'A' && c <= 'Z';
    const bool letter = upper || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (upper && !stem.empty() && stem.back() != '_' && !(stem.back() >= 'A' && stem.back() <= 'Z'))
      stem += '_';
    stem += letter ? c : '_';
  }
  for (char& c : stem)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return stem;
}

std::string bad_name(const std::string& name) {
  if (name.empty() || name.size() > 200) return "an op's name has 1 to 200 characters";
  for (const char c : name)
    if (c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20)
      return "an op's name has no quotes, backslashes or control characters";
  return {};
}

Status write_new(const std::filesystem::path& path, std::string_view text) {
  std::error_code error;
  if (std::filesystem::exists(path, error))
    return invalid_argument(
        fmt::format("'{}' is there already; move it away first", path.string()));
  return write_file_atomically(path.string(), as_bytes(text));
}

// The op's name in parts.
Result<NewOp> parts_of(const NewOpArguments& a) {
  NewOp op{a.name, a.name, "", "", a.inputs, a.outputs};
  if (const size_t colons = a.name.rfind("::"); colons != std::string::npos) {
    op.domain = a.name.substr(0, colons);
    op.name = a.name.substr(colons + 2);
  }
  if (op.name.empty()) return invalid_argument("the op's name is empty");
  op.stem = stem_of(op.name);
  if (op.stem[0] >= '0' && op.stem[0] <= '9') op.stem = "op_" + op.stem;
  return op;
}

Status write_headers(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder / "tenon", error);
  for (const OpHeader& header : op_headers())
    TRY(write_file_atomically((folder / header.path).string(), as_bytes(header.text)));
  return {};
}

// The op, its test and how to use them, in a folder of its own.
Status new_custom_op(const NewOpArguments& a, const NewOp& op) {
  const bool kernel = a.language != "cpp";
  const std::filesystem::path folder = std::filesystem::path(a.directory) / op.stem;
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error)
    return io_error(
        fmt::format("cannot make the folder '{}': {}", folder.string(), error.message()));
  std::vector<NewFile> files = test_files(op, kernel);
  files.insert(files.begin(),
               {op.stem + (kernel ? ".mlu" : ".cpp"), kernel ? kernel_source(op) : cpp_source(op)});
  for (const NewFile& file : files) TRY(write_new(folder / file.path, file.text));
  if (!kernel) TRY(write_headers(folder));
  fmt::print("wrote {0}/:\n", folder.string());
  for (const NewFile& file : files) fmt::print("  {}\n", file.path);
  fmt::print("  test it:  python {}\n", (folder / ("test_" + op.stem + ".py")).string());
  if (kernel)
    fmt::print("  use it:   tenon compile MODEL --custom-ops {}\n",
               (folder / files[0].path).string());
  return {};
}

Status new_op(const NewOpArguments& a) {
  const NewOp op = TRY(parts_of(a));
  if (a.custom || a.language == "mlu") return new_custom_op(a, op);
  const std::string& stem = op.stem;
  const std::filesystem::path folder(a.directory);
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error)
    return io_error(fmt::format("cannot make the folder '{}': {}", a.directory, error.message()));
  const auto file = folder / (stem + (a.decomposition ? ".tn" : ".cpp"));
  TRY(write_new(file, a.decomposition ? decomposition(op) : cpp_source(op)));
  if (a.decomposition) {
    fmt::print("wrote {}\n  use it:   tenon compile MODEL --custom-ops {}\n", file.string(),
               file.string());
    return {};
  }
  TRY(write_headers(folder));
  const std::string dir = folder.string(), library = (folder / ("lib" + stem + ".so")).string();
  fmt::print(
      "wrote {0}, and the headers it needs to {1}\n"
      "  build it: g++ -std=c++17 -O2 -fPIC -shared -fvisibility=hidden -I{2} {0} -o {3}\n"
      "  test it:  g++ -std=c++17 -g -DTENON_OP_TEST -I{2} {0} -o {4}_test && {4}_test\n"
      "  use it:   tenon compile MODEL --custom-ops {3}\n",
      file.string(), (folder / "tenon").string(), dir, library,
      (std::filesystem::absolute(folder).lexically_normal() / stem).string());
  return {};
}

}  // namespace

void add_new_op(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand(
      "new-op", "Write the files of an op of your own: shape rule, kernel, test");
  auto a = std::make_shared<NewOpArguments>();
  command->add_option("NAME", a->name, "the op's type in the model; domain::Type for ONNX")
      ->required()
      ->check(bad_name);
  command->add_option("--dir", a->directory, "folder to write to (default: here); made if missing");
  command->add_option("--num-inputs", a->inputs, "how many it has (default: 1)")
      ->check(CLI::Range(1, 64));
  command->add_option("--num-outputs", a->outputs, "how many it has (default: 1)")
      ->check(CLI::Range(1, 64));
  command->add_flag("--decomposition", a->decomposition,
                    "write a .tn file instead, in terms of Tenon's own ops");
  command->add_flag("--custom", a->custom,
                    "a folder with the op, its test on the CPU and a simulated chip, and a README");
  command
      ->add_option(
          "--language", a->language,
          "mlu: a kernel for the CPU and Cambricon chips (default with --custom); cpp: a C++ "
          "library for the CPU")
      ->check(CLI::IsMember({"mlu", "cpp"}));
  command->footer(
      "Example:\n  tenon new-op --custom my.domain::Swish\n  tenon new-op Frobnicate\n"
      "  tenon new-op my.domain::Swish --decomposition --dir ops");
  command->callback([a, &action] { action = [a] { return new_op(*a); }; });
}

}  // namespace tenon::tool
