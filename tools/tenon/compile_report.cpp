#include "compile_report.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>

#include "chip_report.h"
#include "layer_table.h"

namespace tenon::tool {
namespace {

constexpr size_t kLayersShown = 5;

int64_t file_bytes(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 ? info.st_size : 0;
}

nlohmann::json firings_of(const FunctionReport& f) {
  std::map<std::string, int> counts;
  for (const Firing& firing : f.firings) ++counts[std::string(firing.rule)];
  return counts;
}

nlohmann::json to_json(const quant::QuantizeReport& q) {
  nlohmann::json layers = nlohmann::json::array(), tensors = nlohmann::json::array();
  for (const auto& l : q.layers)
    layers.push_back({{"name", l.node},
                      {"result", l.name},
                      {"op", l.op},
                      {"integer", l.integer},
                      {"reason", l.reason}});
  for (const auto& t : q.tensors)
    tensors.push_back({{"name", t.name},
                       {"low", t.range.low},
                       {"high", t.range.high},
                       {"method", quant::method_name(t.range.method)},
                       {"bits", t.bits},
                       {"scale", t.params.scale},
                       {"zero", t.params.zero},
                       {"saturation", t.saturation},
                       {"sqnr_db", t.sqnr_db}});
  return {{"layers", layers}, {"tensors", tensors}};
}

nlohmann::json to_json(const std::vector<TechniqueGain>& gains) {
  nlohmann::json json = nlohmann::json::array();
  for (const TechniqueGain& g : gains)
    json.push_back({{"name", g.name},
                    {"used", g.used},
                    {"relative_l2_without", g.without},
                    {"relative_l2_with", g.with}});
  return json;
}

// How many layers have weights of which precision, and how many multiply in it.
void print_narrowed(const FunctionReport& f) {
  std::map<std::string_view, std::pair<int, int>> counts;
  for (const auto& l : f.narrowed) {
    auto& [stored, multiplied] = counts[quant::name_of(l.precision)];
    ++stored;
    multiplied += l.multiplies_narrow;
  }
  for (const auto& [precision, count] : counts)
    fmt::print("{}: {} weights of {} layers, {} of which multiply in it\n", f.key, precision,
               count.first, count.second);
  for (const auto& l : f.narrowed)
    if (l.precision == quant::LayerPrecision::fp32)
      fmt::print("  weights of {} ({}) stay in fp32: {}\n", l.name, l.op, l.reason);
}

void print_function(const FunctionReport& f) {
  fmt::print("{}: {} nodes -> {} nodes\n", f.key, f.nodes_imported, f.nodes_compiled);
  print_narrowed(f);
  if (!f.quantization) return;
  const auto& layers = f.quantization->layers;
  fmt::print("{}: int8: {} of {} convolutions, matrix products and recurrent layers\n", f.key,
             std::ranges::count_if(layers, [](const auto& l) { return l.integer; }), layers.size());
  for (const auto& l : layers)
    if (!l.integer) fmt::print("  {} ({}) stays in fp32: {}\n", l.node, l.op, l.reason);
}

}  // namespace

nlohmann::json report_json(const CompileOutcome& o) {
  nlohmann::json json{{"output", o.output},
                      {"file_bytes", file_bytes(o.output)},
                      {"seconds", o.seconds},
                      {"warnings", o.compiled.report.warnings},
                      {"verified", nlohmann::json::array()}};
  for (const Verification& v : o.verifications)
    json["verified"].push_back({{"signature", v.key},
                                {"verified", v.verified},
                                {"reason", v.reason},
                                {"relative_l2", v.relative_l2}});
  for (const FunctionReport& f : o.compiled.report.functions) {
    json["functions"].push_back({{"signature", f.key},
                                 {"nodes_imported", f.nodes_imported},
                                 {"nodes_compiled", f.nodes_compiled},
                                 {"rules", firings_of(f)}});
    if (f.quantization) json["functions"].back()["quantization"] = to_json(*f.quantization);
    for (const auto& l : f.narrowed)
      json["functions"].back()["narrowed"].push_back({{"name", l.name},
                                                      {"op", l.op},
                                                      {"precision", quant::name_of(l.precision)},
                                                      {"multiplies_narrow", l.multiplies_narrow},
                                                      {"reason", l.reason}});
  }
  for (const Tuned& t : o.tuned)
    json["tuned"].push_back({{"signature", t.key},
                             {"batch", t.batch},
                             {"threads", t.threads},
                             {"steps", t.steps},
                             {"changed", t.changed},
                             {"before_ms", t.before_ms},
                             {"after_ms", t.after_ms}});
  json["prepacked_bytes"] = o.prepacked_bytes;
  json["targets"] = chips_to_json(o.chips);
  for (const FunctionAccuracy& f : o.findings->functions)
    json["accuracy"].push_back({{"signature", f.key},
                                {"samples", f.samples},
                                {"cosine", f.accuracy.cosine},
                                {"sqnr_db", f.accuracy.sqnr_db},
                                {"relative_l2", f.accuracy.relative_l2},
                                {"max_abs", f.accuracy.max_abs},
                                {"same_top1", f.accuracy.same_top1},
                                {"techniques", to_json(f.gains)}});
  return json;
}

void print_report(const CompileOutcome& o) {
  for (const std::string& warning : o.compiled.report.warnings)
    fmt::print(stderr, "warning: {}\n", warning);
  for (const FunctionReport& f : o.compiled.report.functions) print_function(f);
  for (const FunctionAccuracy& f : o.findings->functions)
    fmt::print(
        "{}: against fp32 on {} samples: cosine {:.5f}, SQNR {:.1f} dB, same top-1 {:.1f} %\n",
        f.key, f.samples, f.accuracy.cosine, f.accuracy.sqnr_db, 100 * f.accuracy.same_top1);
  if (o.findings->layers.empty())
    for (const FunctionAccuracy& f : o.findings->functions) print_layers({.gains = f.gains}, 0);
  for (const LayerReport& report : o.findings->layers) print_layers(report, kLayersShown);
  for (const Verification& v : o.verifications)
    if (v.verified)
      fmt::print("{}: verified against the reference, relative L2 {:.2g}\n", v.key, v.relative_l2);
    else
      fmt::print("{}: not verified: {}\n", v.key, v.reason);
  for (const Tuned& t : o.tuned)
    fmt::print(
        "{}: tuned for batch {} on {}: another kernel in {} of {} steps with a choice, {:.3f} ms "
        "-> "
        "{:.3f} ms\n",
        t.key, t.batch,
        t.threads == 0   ? "all cores"
        : t.threads == 1 ? "1 thread"
                         : fmt::format("{} threads", t.threads),
        t.changed, t.steps, t.before_ms, t.after_ms);
  if (o.prepacked_bytes > 0)
    fmt::print("prepacked for the CPU's kernels: {} bytes\n", o.prepacked_bytes);
  print_reports(o.chips);
  fmt::print("{}: {} bytes, {:.2f} s\n", o.output, file_bytes(o.output), o.seconds);
}

}  // namespace tenon::tool
