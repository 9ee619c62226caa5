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
  bool decomposition = false, custom = false, json = false;
};

// What was written, and the commands that come next; empty where there is none.
struct NewFiles {
  std::vector<std::string> files;
  std::string build, test, use;
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

Status write_headers(const std::filesystem::path& folder, NewFiles& written) {
  std::error_code error;
  std::filesystem::create_directories(folder / "tenon", error);
  for (const OpHeader& header : op_headers()) {
    written.files.push_back((folder / header.path).string());
    TRY(write_file_atomically(written.files.back(), as_bytes(header.text)));
  }
  return {};
}

Status make_folder(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (!error) return {};
  return io_error(fmt::format("cannot make the folder '{}': {}", folder.string(), error.message()));
}

// The op, its test and how to use them, in a folder of its own.
Result<NewFiles> new_custom_op(const NewOpArguments& a, const NewOp& op) {
  const bool kernel = a.language != "cpp";
  const std::filesystem::path folder = std::filesystem::path(a.directory) / op.stem;
  TRY(make_folder(folder));
  std::vector<NewFile> files = test_files(op, kernel);
  files.insert(files.begin(),
               {op.stem + (kernel ? ".mlu" : ".cpp"), kernel ? kernel_source(op) : cpp_source(op)});
  NewFiles written;
  for (const NewFile& file : files) {
    written.files.push_back((folder / file.path).string());
    TRY(write_new(written.files.back(), file.text));
  }
  written.test = "python " + (folder / ("test_" + op.stem + ".py")).string();
  if (kernel) written.use = "tenon compile MODEL --custom-ops " + written.files[0];
  if (!kernel) TRY(write_headers(folder, written));
  return written;
}

Result<NewFiles> new_decomposition(const NewOpArguments& a, const NewOp& op) {
  const std::filesystem::path folder(a.directory);
  TRY(make_folder(folder));
  const std::string file = (folder / (op.stem + ".tn")).string();
  TRY(write_new(file, decomposition(op)));
  return NewFiles{{file}, "", "", "tenon compile MODEL --custom-ops " + file};
}

Result<NewFiles> new_library(const NewOpArguments& a, const NewOp& op) {
  const std::filesystem::path folder(a.directory);
  TRY(make_folder(folder));
  const std::string file = (folder / (op.stem + ".cpp")).string();
  TRY(write_new(file, cpp_source(op)));
  const std::string library = (folder / ("lib" + op.stem + ".so")).string();
  const std::string test =
      (std::filesystem::absolute(folder).lexically_normal() / op.stem).string();
  NewFiles written{
      {file},
      fmt::format("g++ -std=c++17 -O2 -fPIC -shared -fvisibility=hidden -I{} {} -o {}",
                  folder.string(), file, library),
      fmt::format("g++ -std=c++17 -g -DTENON_OP_TEST -I{0} {1} -o {2}_test && {2}_test",
                  folder.string(), file, test),
      "tenon compile MODEL --custom-ops " + library};
  TRY(write_headers(folder, written));
  return written;
}

Status new_op(const NewOpArguments& a) {
  const NewOp op = TRY(parts_of(a));
  const NewFiles written = TRY(a.custom || a.language == "mlu" ? new_custom_op(a, op)
                               : a.decomposition               ? new_decomposition(a, op)
                                                               : new_library(a, op));
  if (a.json) {
    fmt::print("{}\n", to_text(nlohmann::json{{"files", written.files},
                                              {"build", written.build},
                                              {"test", written.test},
                                              {"use", written.use}}));
    return {};
  }
  fmt::print("wrote\n");
  for (const std::string& file : written.files) fmt::print("  {}\n", file);
  if (!written.build.empty()) fmt::print("build it: {}\n", written.build);
  if (!written.test.empty()) fmt::print("test it:  {}\n", written.test);
  if (!written.use.empty()) fmt::print("use it:   {}\n", written.use);
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
  command->add_flag("--json", a->json, "machine-readable output");
  command->footer(
      "Example:\n  tenon new-op --custom my.domain::Swish\n  tenon new-op Frobnicate\n"
      "  tenon new-op my.domain::Swish --decomposition --dir ops");
  command->callback([a, &action] { action = [a] { return new_op(*a); }; });
}

}  // namespace tenon::tool
