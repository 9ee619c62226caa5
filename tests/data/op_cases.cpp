// tests/ops/*.test: what each op computes, by its reference, on the CPU device and on simulated
// chips.
//
//   case NAME
//     input %x = dense<[1, -2]> : f32[2]     a tensor given when the graph runs
//     %w = const splat(3) : f32[2]           any text of the IR
//     %y = mul(%x, %w)
//     expect %y = dense<[3, -6]> : f32[2]    or: expect %y = reference   (devices against it)
//                                            or: expect %y : f32[2]      (only the type)
//     tolerance 1e-3                         relative L2; 1e-5 where none is given
//     error "words of the message"           instead of expect
//
// tests/ops/DEVICE.list: "xfail GLOB reason" and "unsupported GLOB reason"; a case that passes
// though it is listed fails.
#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <set>

#include "base/bytes.h"
#include "ir/interpret.h"
#include "ir/text.h"
#include "ops/registry.h"
#include "rewrite/pass.h"
#include "runner.h"

namespace tenon::data_tests {
namespace {

struct Case {
  std::string name, place;
  std::string body, error;
  std::vector<std::string> inputs;    // names of the tensors given at run time
  std::vector<std::string> results;   // names of what is looked at
  std::string expected;               // "%expect.N = const …" lines
  std::vector<std::string> outcomes;  // per result: "literal", "reference" or a type
  double tolerance = 1e-5;
};

std::string_view trim(std::string_view s) {
  while (s.starts_with(' ')) s.remove_prefix(1);
  while (s.ends_with(' ')) s.remove_suffix(1);
  return s;
}

bool take(std::string_view& line, std::string_view head) {
  if (!line.starts_with(head)) return false;
  line.remove_prefix(head.size());
  line = trim(line);
  return true;
}

Status add_expectation(Case& c, std::string_view line) {
  const std::string name(line.substr(0, line.find(' ')));
  std::string_view rest = trim(line.substr(name.size()));
  c.results.push_back(name);
  if (take(rest, ":")) {
    c.outcomes.emplace_back(rest);
  } else if (!take(rest, "=")) {
    return invalid_argument(fmt::format("expect {} needs = or :", name)).at(c.place);
  } else if (rest == "reference") {
    c.outcomes.emplace_back("reference");
  } else {
    c.outcomes.emplace_back("literal");
    c.expected += fmt::format("%expect.{} = const {}\n", c.results.size() - 1, rest);
  }
  return {};
}

Result<std::vector<Case>> read_cases(const std::string& path) {
  const std::string stem = std::filesystem::path(path).stem().string();
  const std::string text = TRY(read_text_file(path));
  std::vector<Case> cases;
  int number = 0;
  for (const std::string& raw : split_lines(text)) {
    ++number;
    std::string_view line = trim(raw);
    if (take(line, "case ")) {
      cases.push_back({stem + "/" + std::string(line), fmt::format("{}:{}", path, number)});
      continue;
    }
    if (line.empty() || line.starts_with("//")) continue;
    if (cases.empty()) return invalid_argument("a line before the first case").at(path);
    Case& c = cases.back();
    if (take(line, "expect ")) {
      TRY(add_expectation(c, line));
    } else if (take(line, "tolerance ")) {
      c.tolerance = std::strtod(std::string(line).c_str(), nullptr);
    } else if (take(line, "error ")) {
      c.error = line.substr(1, line.size() - 2);
    } else if (take(line, "input ")) {
      const size_t equals = line.find('=');
      if (equals == std::string_view::npos)
        return invalid_argument(fmt::format("line {}: input without =", number)).at(path);
      c.inputs.emplace_back(trim(line.substr(0, equals)));
      c.body += fmt::format("{} = const {}\n", c.inputs.back(), trim(line.substr(equals + 1)));
    } else {
      c.body += raw + "\n";
    }
  }
  return cases;
}

struct Prepared {
  std::unique_ptr<Graph> graph;
  std::vector<Tensor> inputs;
  std::vector<Tensor> expected;  // per result; undefined but for literals
};

Result<Prepared> prepare(const Case& c) {
  std::string text = "graph @case () {\n" + c.body + c.expected + "return (";
  for (size_t i = 0; i < c.results.size(); ++i) text += (i > 0 ? ", " : "") + c.results[i];
  for (size_t i = 0; i < c.results.size(); ++i)
    if (c.outcomes[i] == "literal") text += fmt::format(", %expect.{}", i);
  text += ")\n}\n";
  Prepared p;
  p.graph = TRY(parse_graph(text, c.place));
  std::vector<Value*> outputs = p.graph->outputs();
  p.expected.resize(c.results.size());
  size_t next = c.results.size();
  for (size_t i = 0; i < c.results.size(); ++i)
    if (c.outcomes[i] == "literal") p.expected[i] = *outputs[next++]->constant();
  outputs.resize(c.results.size());
  p.graph->set_outputs(std::move(outputs));
  for (const auto& node : p.graph->nodes()) {
    if (!node->is("const")) continue;
    Value* v = node->output();
    if (std::ranges::find(c.inputs, "%" + v->name) == c.inputs.end()) continue;
    p.inputs.push_back(*v->constant());
    p.graph->replace_all_uses(v, p.graph->add_input(v->type(), v->name));
  }
  remove_dead_nodes(*p.graph);
  TRY(p.graph->infer_all());
  return p;
}

Status check(const Case& c, std::span<const Tensor> actual, std::span<const Tensor> expected,
             const std::string& what) {
  for (size_t i = 0; i < actual.size(); ++i) {
    if (c.outcomes[i] != "literal" && c.outcomes[i] != "reference") {
      if (actual[i].type().to_string() != c.outcomes[i])
        return internal_error(fmt::format("{}: {} is {}, not {}", what, c.results[i],
                                          actual[i].type().to_string(), c.outcomes[i]));
    } else if (expected[i].defined() || c.outcomes[i] == "literal") {
      TRY(expect_close(actual.subspan(i, 1), expected.subspan(i, 1), c.tolerance,
                       what + ", " + c.results[i]));
    }
  }
  return {};
}

Status run_case_on_reference(const Case& c) {
  const auto attempt = [&]() -> Status {
    const Prepared p = TRY(prepare(c));
    TRY(check_round_trips(*p.graph));
    const auto actual = TRY(interpret(*p.graph, p.inputs));
    return check(c, actual, p.expected, "the reference");
  };
  Status status = attempt();
  if (c.error.empty()) return status;
  if (status.ok()) return internal_error(fmt::format("no error; \"{}\" was expected", c.error));
  if (status.error().message.find(c.error) == std::string::npos)
    return internal_error(
        fmt::format("\"{}\" was expected, not: {}", c.error, status.error().message));
  return {};
}

// Where cases run, and how far they may be off in relative L2 whatever the case says.
struct Device {
  std::string name;
  double tolerance = 0;
  // With `whole` nothing may be left to the host.
  std::function<Result<std::vector<Tensor>>(const Graph&, std::span<const Tensor>, bool whole)> run;
};

std::vector<Device> devices() {
  const auto chip = [](const std::string& target, DType real) {
    return [target, real](const Graph& graph, std::span<const Tensor> inputs, bool whole) {
      return run_on_chip(graph, inputs, target, {.real = real}, whole);
    };
  };
  const auto cpu = [](const Graph& graph, std::span<const Tensor> inputs, bool) {
    return run_on_cpu(graph, inputs);
  };
  return {{"cpu", 0, cpu},
          {"ascend310p3", 1e-2, chip("ascend310p3", DType::f16)},
          {"ascend910b3", 1e-4, chip("ascend910b3", DType::f32)},
          {"mlu370-s4", 1e-4, chip("mlu370-s4", DType::f32)},
          {"ascend310b1", 5e-2, chip("ascend310b1", DType::bf16)}};
}

Status run_case_on(const Device& device, Case c) {
  Prepared p = TRY(prepare(c));
  const auto reference = TRY(interpret(*p.graph, p.inputs));
  for (size_t i = 0; i < reference.size(); ++i)
    if (c.outcomes[i] == "reference") p.expected[i] = reference[i];
  c.tolerance = std::max(c.tolerance, device.tolerance);
  const auto actual = TRY(device.run(*p.graph, p.inputs, c.name.starts_with("chip_")));
  return check(c, actual, p.expected, device.name);
}

// What a device is known not to do.
struct Exception {
  bool unsupported = false;
  std::string glob, reason;
};

std::vector<Exception> read_exceptions(const std::string& path) {
  std::vector<Exception> list;
  const auto text = read_text_file(path);
  if (!text.ok()) return list;
  for (const std::string& raw : split_lines(*text)) {
    std::string_view line = trim(raw);
    Exception e;
    e.unsupported = take(line, "unsupported ");
    if (!e.unsupported && !take(line, "xfail ")) continue;
    e.glob = line.substr(0, line.find("  "));
    e.reason = trim(line.substr(e.glob.size()));
    list.push_back(std::move(e));
  }
  return list;
}

void run_on_device(Runner& runner, const Case& c, const Device& device,
                   const std::vector<Exception>& exceptions) {
  const std::string name = fmt::format("ops/{} [{}]", c.name, device.name);
  const Exception* listed = nullptr;
  for (const Exception& e : exceptions)
    if (::fnmatch(e.glob.c_str(), c.name.c_str(), 0) == 0) listed = &e;
  if (listed != nullptr && listed->unsupported) return runner.skip(name, listed->reason);
  runner.run(name, [&]() -> Status {
    Status status = run_case_on(device, c);
    if (listed == nullptr) return status;
    if (status.ok())
      return internal_error(fmt::format("passes, but {}.list says it does not", device.name));
    return {};
  });
}

}  // namespace

void run_op_cases(Runner& runner) {
  const std::vector<Device> all = devices();
  std::vector<std::vector<Exception>> exceptions;
  exceptions.reserve(all.size());
  for (const Device& device : all)
    exceptions.push_back(
        read_exceptions(fmt::format("{}/tests/ops/{}.list", TENON_SOURCE_DIR, device.name)));
  std::set<std::string> covered;
  for (const std::string& path : files_in("ops", ".test")) {
    auto cases = read_cases(path);
    if (!cases.ok()) {
      runner.run("ops/" + path, [&]() -> Status { return cases.error(); });
      continue;
    }
    for (const Case& c : *cases) {
      for (const OpDef* op : all_ops())
        if (c.error.empty() && c.body.find(fmt::format("= {}(", op->name)) != std::string::npos)
          covered.emplace(op->name);
      runner.run("ops/" + c.name, [&] { return run_case_on_reference(c); });
      for (size_t i = 0; i < all.size() && c.error.empty(); ++i)
        run_on_device(runner, c, all[i], exceptions[i]);
    }
  }
  for (const OpDef* op : all_ops())
    if (!covered.contains(std::string(op->name)) && op->name != "const")
      runner.skip(fmt::format("ops/{}", op->name), "no case in tests/ops yet");
}

}  // namespace tenon::data_tests
