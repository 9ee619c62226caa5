// `tenon new-op`: a C++ file to fill in for an op that Tenon has no mapping for.
#include <fmt/format.h>
#include <sys/stat.h>

#include <filesystem>

#include "base/bytes.h"
#include "commands.h"
#include "op_headers.h"

namespace tenon::tool {
namespace {

struct NewOpArguments {
  std::string name, directory = ".";
  int inputs = 1, outputs = 1;
  bool decomposition = false;
};

// What is between and around {{NAME}}, {{DOMAIN}}, … is the file as it will be.
constexpr std::string_view kSource =
    R"~~(// The op '{{FULL}}' for Tenon: its shape rule, its kernel and their test.
//
// The library:  g++ -std=c++17 -O2 -fPIC -shared -fvisibility=hidden -I. {{STEM}}.cpp -o lib{{STEM}}.so
// The test:     g++ -std=c++17 -g -DTENON_OP_TEST -I. {{STEM}}.cpp -o {{STEM}}_test && ./{{STEM}}_test
// Its use:      tenon compile MODEL --custom-ops lib{{STEM}}.so -o model.tenon
//               tenon run model.tenon --custom-ops lib{{STEM}}.so --input …
#include "tenon/custom_op.hpp"

namespace {

using namespace tenon::custom;

// The types of the outputs from those of the inputs. A dimension may be negative: not known yet;
// copying it keeps what is known. Throw Refusal("why") for operands that the op does not take.
// Attributes of the node: call.attr("alpha", 1.0), call.ints("axes"), …
void infer_shape(ShapeCall& call) {
  const Type x = call.input(0);
  if (x.dtype != TENON_FLOAT32) throw Refusal("it takes float32 only");
  for (size_t i = 0; i < call.outputs(); ++i) call.set_output(i, x);
}

// The outputs, whose memory is there. May be called by several threads at once.
void compute(KernelCall& call) {
  const float* x = call.input<float>(0);
  for (size_t i = 0; i < call.outputs(); ++i) {
    float* y = call.output<float>(i);
    for (int64_t k = 0; k < call.elements(0); ++k) y[k] = x[k];  // TODO: what the op computes
  }
}

}  // namespace

// Name and domain as in the model, least and most inputs (-1: any number), outputs.
TENON_CUSTOM_OPS(op<infer_shape, compute>("{{NAME}}", "{{DOMAIN}}", {{INPUTS}}, {{INPUTS}}, {{OUTPUTS}}))

#ifdef TENON_OP_TEST
#include "tenon/custom_op_test.hpp"

int main() {
  const auto x = TestTensor::of<float>({2, 2}, {-1, 0, 1, 2});
  const auto y = run("{{NAME}}", std::vector<TestTensor>({{INPUTS}}, x));
  expect_near(y[0].values<float>(), {-1, 0, 1, 2});
  std::puts("{{FULL}}: the test passes");
}
#endif
)~~";

constexpr std::string_view kDecomposition =
    R"~~(// The op '{{FULL}}' in terms of Tenon's own ops (docs/ops.md): no compiler is needed.
//   tenon compile MODEL --custom-ops {{STEM}}.tn -o model.tenon
// The first inputs are the node's operands; others are its attributes by name, such as %alpha: f32[].
// Types are inferred anew for each node; what is written here need only be consistent.
graph @{{STEM}} signature="{{FULL}}" (%x: f32[?n, ?m]) {
  %y = identity(%x)
  return (%y)
}
)~~";

std::string fill(std::string text, std::string_view mark, std::string_view value) {
  const std::string pattern = fmt::format("{{{{{}}}}}", mark);
  for (size_t at = text.find(pattern); at != std::string::npos; at = text.find(pattern, at + 1))
    text.replace(at, pattern.size(), value);
  return text;
}

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

Status new_op(const NewOpArguments& a) {
  const size_t colons = a.name.rfind("::");
  const std::string domain = colons == std::string::npos ? "" : a.name.substr(0, colons);
  const std::string name = colons == std::string::npos ? a.name : a.name.substr(colons + 2);
  if (name.empty()) return invalid_argument("the op's name is empty");
  const std::string stem = stem_of(name);
  std::string text(a.decomposition ? kDecomposition : kSource);
  text = fill(fill(fill(text, "FULL", a.name), "STEM", stem), "NAME", name);
  text = fill(fill(text, "DOMAIN", domain), "INPUTS", std::to_string(a.inputs));
  text = fill(text, "OUTPUTS", std::to_string(a.outputs));
  const std::filesystem::path folder(a.directory);
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error)
    return io_error(fmt::format("cannot make the folder '{}': {}", a.directory, error.message()));
  const auto file = folder / (stem + (a.decomposition ? ".tn" : ".cpp"));
  TRY(write_new(file, text));
  if (a.decomposition) {
    fmt::print("wrote {}\n  use it:   tenon compile MODEL --custom-ops {}\n", file.string(),
               file.string());
    return {};
  }
  std::filesystem::create_directories(folder / "tenon", error);
  for (const OpHeader& header : op_headers())
    TRY(write_file_atomically((folder / header.path).string(), as_bytes(header.text)));
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
      "new-op", "Write a C++ file for an op of your own: shape rule, kernel, test");
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
  command->footer("Example:\n  tenon new-op Frobnicate\n  tenon new-op my.domain::Swish --dir ops");
  command->callback([a, &action] { action = [a] { return new_op(*a); }; });
}

}  // namespace tenon::tool
