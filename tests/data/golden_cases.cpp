// tests/ir/*.tn and tests/passes/*.tn: a graph, and what a pipeline makes of it.
//
//   // opt: fuse-bias
//   graph …
//   ----
//   graph …                    what is printed; or "no change"; or "error: …"
//   ====                       the next case of the file
//
// tests/isa/*.tile: tile programs in the same form (tile_cases.cpp).
// tests/import/*.{pbtxt,onnx}: a model, and the graph it becomes in the .tn beside it.
#include <fmt/format.h>

#include <filesystem>

#include "base/bytes.h"
#include "compiler/compile.h"
#include "ir/interpret.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "passes/pipeline_text.h"
#include "runner.h"

namespace tenon::data_tests {
namespace {

struct Golden {
  std::string input, expected;
};

std::vector<Golden> split_cases(const std::string& text) {
  std::vector<Golden> cases(1);
  bool after = false;
  for (const std::string& line : split_lines(text)) {
    if (line == "====") {
      cases.emplace_back();
      after = false;
    } else if (line == "----") {
      after = true;
    } else {
      (after ? cases.back().expected : cases.back().input) += line + "\n";
    }
  }
  return cases;
}

// A pipeline must not change what a graph computes, nor do more when it runs again.
Status check_pipeline(const Graph& before, const Graph& after,
                      const std::vector<PipelineStep>& steps) {
  TRY(check_round_trips(after));
  auto again = after.clone();
  PassContext context;
  const bool changed = TRY(run_pipeline(*again, steps, context));
  if (changed || print_graph(*again) != print_graph(after))
    return internal_error("the pipeline changes its own result:\n" + print_graph(*again));
  const auto inputs = TRY(random_inputs(before, 1));
  const auto expected = TRY(interpret(before, inputs));
  const auto actual = TRY(interpret(after, inputs));
  constexpr double kTolerance = 1e-5;
  TRY(expect_close(actual, expected, kTolerance, "after the pipeline"));
  const auto on_cpu = TRY(run_on_cpu(after, inputs));
  return expect_close(on_cpu, expected, kTolerance, "after the pipeline, on the CPU");
}

Result<std::string> outcome(const std::string& input) {
  auto imported = import_text(input, "input", {});
  if (!imported.ok())
    return "error: " + imported.error().message + "\n" +
           (imported.error().where.empty() ? "" : "  at " + imported.error().where + "\n");
  const auto steps = TRY(parse_pipeline(pipeline_of_text(input)));
  std::string out;
  bool changed = false;
  for (NamedGraph& g : imported->functions) {
    const auto before = g.graph->clone();
    TRY(check_round_trips(*before));
    PassContext context;
    changed |= TRY(run_pipeline(*g.graph, steps, context));
    if (!steps.empty()) TRY(check_pipeline(*before, *g.graph, steps));
    const NamedGraph* named = &g;
    out += print_graphs(std::span(named, 1));
  }
  if (!changed && !steps.empty()) return std::string("no change\n");
  return out;
}

using Outcome = Result<std::string> (*)(const std::string& input);

void run_file(Runner& runner, const std::string& path, const std::string& folder, Outcome outcome) {
  const auto text = read_text_file(path);
  if (!text.ok()) return;
  std::vector<Golden> cases = split_cases(*text);
  bool rewritten = false;
  for (size_t i = 0; i < cases.size(); ++i) {
    const std::string name =
        fmt::format("{}/{} {}", folder, std::filesystem::path(path).stem().string(), i + 1);
    runner.run(name, [&]() -> Status {
      const std::string actual = TRY(outcome(cases[i].input));
      if (actual == cases[i].expected) return {};
      if (runner.options().bless) {
        cases[i].expected = actual;
        rewritten = true;
        return {};
      }
      return internal_error(fmt::format("expected\n{}but got\n{}(--bless accepts it)",
                                        cases[i].expected, actual))
          .at(path);
    });
  }
  if (!rewritten) return;
  std::string out;
  for (const Golden& c : cases)
    out += (out.empty() ? "" : "====\n") + c.input + "----\n" + c.expected;
  if (write_file_atomically(path, as_bytes(out)).ok()) fmt::print("blessed {}\n", path);
}

void run_import(Runner& runner, const std::string& path) {
  const std::filesystem::path model(path);
  runner.run("import/" + model.stem().string(), [&]() -> Status {
    const std::string golden = std::filesystem::path(model).replace_extension(".tn").string();
    auto imported = TRY(import_model(path, {}));
    std::string actual;
    for (const NodeReport& node : imported.report.nodes)
      if (node.fate == Fate::unsupported)
        actual += fmt::format("// {} ({}): {}\n", node.name, node.op, node.reason);
    actual += print_graphs(imported.functions);
    const auto expected = read_text_file(golden);
    if (expected.ok() && *expected == actual) return {};
    if (runner.options().bless) return write_file_atomically(golden, as_bytes(actual));
    return internal_error(fmt::format("expected\n{}but got\n{}(--bless accepts it)",
                                      expected.ok() ? *expected : "", actual))
        .at(golden);
  });
}

// The examples in docs/ir.md are graphs.
Status check_documented_graphs() {
  const std::string page = TRY(read_text_file(std::string(TENON_SOURCE_DIR) + "/docs/ir.md"));
  constexpr std::string_view kOpen = "```tn\n", kClose = "```";
  int found = 0;
  for (size_t at = page.find(kOpen); at != std::string::npos; at = page.find(kOpen, at)) {
    at += kOpen.size();
    TRY(import_text(std::string_view(page).substr(at, page.find(kClose, at) - at), "docs/ir.md",
                    {}));
    ++found;
  }
  if (found > 0) return {};
  return internal_error("docs/ir.md has no example");
}

}  // namespace

void run_golden_cases(Runner& runner) {
  runner.run("docs/ir.md", check_documented_graphs);
  for (const std::string ending : {".pbtxt", ".onnx"})
    for (const std::string& path : files_in("import", ending)) run_import(runner, path);
  for (const std::string folder : {"ir", "passes"})
    for (const std::string& path : files_in(folder, ".tn")) run_file(runner, path, folder, outcome);
  for (const std::string& path : files_in("isa", ".tile"))
    run_file(runner, path, "isa", check_tile_program);
}

}  // namespace tenon::data_tests
