#include "check_precision.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "cost/precision_cost.h"
#include "machine/machine.h"
#include "ops/recurrent.h"
#include "passes/passes.h"
#include "predict/predict.h"

namespace tenon::tool {
namespace {

using cost::LayerCost;
using cost::PrecisionCost;
using cost::StepCost;
using quant::LayerPrecision;

struct Row {
  std::string node, op, reason;
  double before_us = 0, after_us = 0;
  double two_bytes_us = 0;  // of a recurrent layer, where one byte loses too much; 0: of none
};

struct Answer {
  std::string key, machine, before, after;
  double before_us = 0, after_us = 0;
  std::vector<Row> rows;
  nlohmann::json steps;
};

double gain(double before, double after) {
  return after > 0 ? before / after : 1;
}

nlohmann::json json_of(const std::vector<StepCost>& steps) {
  nlohmann::json json = nlohmann::json::array();
  for (const StepCost& s : steps)
    json.push_back({{"op", s.op},
                    {"name", s.name},
                    {"layer", s.layer},
                    {"reader", s.reader},
                    {"kind", s.features.kind},
                    {"features", s.features.values},
                    {"us", s.ns * 1e-3}});
  return json;
}

// What recurrent layers of integers take if they multiply two bytes of each number, by name.
Result<std::map<std::string, double>> times_of_two_bytes(const Graph& prepared,
                                                         const PrecisionCost& one,
                                                         cost::CpuLevel level,
                                                         const cost::AssumedSizes& sizes) {
  std::map<std::string, double> times;
  quant::QuantizeOptions options;
  for (const LayerCost& l : one.layers)
    if (l.changes && (l.op == Lstm::name || l.op == Gru::name || l.op == Rnn::name))
      options.two_bytes.insert(l.name);
  if (options.two_bytes.empty()) return times;
  const PrecisionCost two = TRY(
      cost::compare_integers(prepared, cost::assumed_statistics(prepared), options, level, sizes));
  for (const LayerCost& l : two.layers)
    if (options.two_bytes.contains(l.name)) times[l.name] = l.other_ns * 1e-3;
  return times;
}

Result<Answer> of_cpu(const PrecisionQuestion& q, const NamedGraph& function) {
  const cost::CpuLevel level =
      q.cpu.empty() ? cost::level_of(cpu_features()) : TRY(cost::parse_level(q.cpu));
  const auto graph = function.graph->clone();
  const LayerPrecision products = TRY(quant::parse_precision(q.precision)).products;
  const bool integers = products == LayerPrecision::int8;
  PassContext context;
  TRY(canonicalize(*graph, context));
  if (integers || products == LayerPrecision::int8_dynamic) TRY(quant::prepare(*graph));
  const cost::AssumedSizes sizes{.batch = q.batch};
  const PrecisionCost c =
      integers
          ? TRY(cost::compare_integers(*graph, cost::assumed_statistics(*graph), {}, level, sizes))
          : TRY(cost::compare_narrowed(*graph, products, level, sizes));
  Answer a{function.key, std::string(cost::kCpuLevels[static_cast<size_t>(level)].doc), "fp32",
           std::string(name_of(products))};
  a.before_us = c.fp32_ns * 1e-3;
  a.after_us = c.other_ns * 1e-3;
  std::map<std::string, double> two;
  if (integers) two = TRY(times_of_two_bytes(*graph, c, level, sizes));
  for (const LayerCost& l : c.layers)
    a.rows.push_back({l.node, l.op, l.reason, l.fp32_ns * 1e-3, l.other_ns * 1e-3, two[l.name]});
  a.steps = {{a.before, json_of(c.fp32)}, {a.after, json_of(c.other)}};
  return a;
}

// By simulation: integers against the halves that chips compute in, or those against floats.
Result<Answer> of_chip(const PrecisionQuestion& q, const NamedGraph& function) {
  const MachineCatalog catalog = TRY(MachineCatalog::load(q.folder));
  const Machine* machine = TRY(catalog.find(q.target));
  const auto time = [&](const std::string& precision) -> Result<Prediction> {
    return predict(*function.graph, *machine, q.batch, {TRY(device_real(precision, true))});
  };
  const LayerPrecision products = TRY(quant::parse_precision(q.precision)).products;
  if (products != LayerPrecision::int8 && products != LayerPrecision::fp16)
    return unsupported(fmt::format(
        "there is no prediction of {} for simulated chips; there is of int8, beside fp16, and of "
        "fp16, beside fp32",
        name_of(products)));
  Answer a{function.key, "the simulated " + machine->name,
           products == LayerPrecision::int8 ? "fp16" : "fp32", std::string(name_of(products))};
  const Prediction before = TRY(time(a.before)), after = TRY(time(a.after));
  a.before_us = before.seconds * 1e6;
  a.after_us = after.seconds * 1e6;
  std::map<std::string, size_t> rows;
  for (const LayerPrediction& l : before.layers) {
    const auto [it, is_new] = rows.try_emplace(l.name, a.rows.size());
    if (is_new) a.rows.push_back({l.name, l.algorithm, l.reason});
    a.rows[it->second].before_us += l.seconds * 1e6;
  }
  for (const LayerPrediction& l : after.layers)
    if (const auto it = rows.find(l.name); it != rows.end())
      a.rows[it->second].after_us += l.seconds * 1e6;
  return a;
}

const char* verdict(double before, double after) {
  constexpr double kSame = 0.03;
  if (std::abs(before - after) <= kSame * before) return "the same";
  return after < before ? "faster" : "slower";
}

nlohmann::json json_of(const Answer& a) {
  nlohmann::json json{{"signature", a.key},
                      {"machine", a.machine},
                      {a.before + "_us", a.before_us},
                      {a.after + "_us", a.after_us},
                      {"gain", gain(a.before_us, a.after_us)},
                      {"verdict", verdict(a.before_us, a.after_us)},
                      {"layers", nlohmann::json::array()},
                      {"steps", a.steps}};
  for (const Row& r : a.rows) {
    json["layers"].push_back(
        {{"name", r.node},
         {"op", r.op},
         {"reason", r.reason},
         {a.before + "_us", r.before_us},
         {a.after + "_us", r.after_us},
         {"gain", gain(r.before_us, r.after_us)},
         {"verdict", r.reason.empty() ? verdict(r.before_us, r.after_us) : a.before.c_str()}});
    if (r.two_bytes_us > 0) json["layers"].back()["two_bytes_us"] = r.two_bytes_us;
  }
  return json;
}

void print(const Answer& a) {
  fmt::print("\n{}: {} against {} on {}, one thread, as predicted\n", a.key, a.after, a.before,
             a.machine);
  fmt::print("{:>10} {:>10} {:>6}  {:<9} {:<10} {}\n", a.before + " us", a.after + " us", "gain",
             "", "op", "layer");
  for (const Row& r : a.rows) {
    if (!r.reason.empty())
      fmt::print("{:>10.2f} {:>10} {:>6}  {:<9} {:<10} {}: stays in {}: {}\n", r.before_us, "", "",
                 "", r.op, r.node, a.before, r.reason);
    else
      fmt::print("{:>10.2f} {:>10.2f} {:>6.2f}  {:<9} {:<10} {}\n", r.before_us, r.after_us,
                 gain(r.before_us, r.after_us), verdict(r.before_us, r.after_us), r.op, r.node);
    if (r.two_bytes_us > 0)
      fmt::print("{:>10} {:>10.2f} {:>6.2f}  {:<9} {:<10} with two bytes, if one loses too much\n",
                 "", r.two_bytes_us, gain(r.before_us, r.two_bytes_us),
                 r.two_bytes_us < r.before_us ? verdict(r.before_us, r.two_bytes_us) : "fp32", "");
  }
  fmt::print("{:>10.2f} {:>10.2f} {:>6.2f}  {:<9} the whole model, with what lies between\n",
             a.before_us, a.after_us, gain(a.before_us, a.after_us),
             verdict(a.before_us, a.after_us));
}

}  // namespace

Status check_question(const PrecisionQuestion& q) {
  if (!q()) return {};
  const quant::Precision precision = TRY(quant::parse_precision(q.precision));
  if (precision.products == LayerPrecision::fp32)
    return invalid_argument("fp32 is what precisions are compared with; name another");
  if (!q.cpu.empty()) TRY(cost::parse_level(q.cpu));
  return {};
}

Result<nlohmann::json> answer(const PrecisionQuestion& q, ImportedModel& model) {
  TRY(check_question(q));
  nlohmann::json json = nlohmann::json::array();
  for (const ImportedFunction& f : model.functions) {
    const Answer a = TRY(q.target == "cpu" ? of_cpu(q, f) : of_chip(q, f));
    if (q.json)
      json.push_back(json_of(a));
    else
      print(a);
  }
  return json;
}

}  // namespace tenon::tool
