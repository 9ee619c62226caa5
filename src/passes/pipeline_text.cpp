#include "passes/pipeline_text.h"

#include <fmt/format.h>

#include <algorithm>

#include "ir/hash.h"
#include "ir/verify.h"
#include "passes/passes.h"

namespace tenon {
namespace {

constexpr std::string_view kDefault = "default";

std::string_view trim(std::string_view s) {
  while (!s.empty() && s.front() == ' ') s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\r')) s.remove_suffix(1);
  return s;
}

const Pass* find_pass(std::string_view name) {
  const auto passes = all_passes();
  const auto it = std::ranges::find(passes, name, &Pass::name);
  return it == passes.end() ? nullptr : &*it;
}

std::optional<Rule> find_rule(std::string_view name) {
  for (const Rule& rule : all_rules())
    if (rule.name == name) return rule;
  return std::nullopt;
}

Status check_name(std::string_view name, bool step) {
  if ((step && name == kDefault) || find_pass(name) != nullptr || find_rule(name)) return {};
  std::string known = step ? std::string(kDefault) : std::string();
  for (const Pass& pass : all_passes()) known += " " + std::string(pass.name);
  for (const Rule& rule : all_rules()) known += " " + std::string(rule.name);
  return invalid_argument(fmt::format("there is no pass or rule '{}'; there are: {}", name, known));
}

// A rule alone, checked as a pass is.
Result<bool> run_rule(Graph& graph, const Rule& rule, PassContext& context) {
  TRY(graph.infer_all());
  const bool changed = TRY(apply_rules(graph, std::span(&rule, 1), context));
  TRY(verify(graph));
  if (context.observer) TRY(context.observer(Pass{rule.name, rule.doc, nullptr}, graph, changed));
  return changed;
}

}  // namespace

Result<std::vector<PipelineStep>> parse_pipeline(std::string_view text) {
  std::vector<PipelineStep> steps;
  std::string_view rest = trim(text);
  while (!rest.empty()) {
    PipelineStep step;
    step.name = trim(rest.substr(0, rest.find_first_of(",{")));
    TRY(check_name(step.name, true));
    rest.remove_prefix(std::min(rest.size(), rest.find_first_of(",{")));
    if (rest.starts_with("{")) {
      const size_t close = rest.find('}');
      std::string_view options = trim(rest.substr(1, close - 1));
      if (close == std::string_view::npos || !options.starts_with("disable="))
        return invalid_argument(
            fmt::format("after '{}' in the pipeline: expected {{disable=RULE;RULE}}", step.name));
      options.remove_prefix(std::string_view("disable=").size());
      while (!options.empty()) {
        const std::string_view name = trim(options.substr(0, options.find(';')));
        TRY(check_name(name, false));
        step.disabled.emplace(name);
        options.remove_prefix(std::min(options.size(), options.find(';')));
        if (!options.empty()) options.remove_prefix(1);
      }
      rest = trim(rest.substr(close + 1));
    }
    if (!rest.empty() && rest.front() != ',')
      return invalid_argument(fmt::format("a ',' is missing in the pipeline before '{}'", rest));
    if (!rest.empty()) rest = trim(rest.substr(1));
    steps.push_back(std::move(step));
  }
  return steps;
}

std::string pipeline_text(const std::vector<PipelineStep>& steps) {
  std::string text;
  for (const PipelineStep& step : steps) {
    text += (text.empty() ? "" : ",") + step.name;
    if (!step.disabled.empty())
      text += fmt::format("{{disable={}}}", fmt::join(step.disabled, ";"));
  }
  return text;
}

Result<bool> run_pipeline(Graph& graph, const std::vector<PipelineStep>& steps,
                          PassContext& context) {
  bool changed = false;
  const auto disabled = context.disabled;
  for (const PipelineStep& step : steps) {
    context.disabled = disabled;
    context.disabled.insert(step.disabled.begin(), step.disabled.end());
    if (step.name == kDefault) {
      const uint64_t before = graph_hash(graph);
      TRY(optimize(graph, context));
      changed |= graph_hash(graph) != before;
    } else if (const Pass* pass = find_pass(step.name)) {
      changed |= TRY(run_pass(graph, *pass, context));
    } else {
      changed |= TRY(run_rule(graph, *find_rule(step.name), context));
    }
  }
  context.disabled = disabled;
  return changed;
}

std::string_view pipeline_of_text(std::string_view text) {
  constexpr std::string_view kHead = "// opt:";
  if (!text.starts_with(kHead)) return {};
  const std::string_view line = text.substr(0, text.find('\n'));
  return trim(line.substr(kHead.size()));
}

}  // namespace tenon
