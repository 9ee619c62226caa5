#include "chip_report.h"

#include <fmt/format.h>

namespace tenon::tool {

nlohmann::json chips_to_json(std::span<const ChipReport> reports) {
  nlohmann::json list = nlohmann::json::array();
  for (const ChipReport& r : reports) {
    nlohmann::json entry{{"target", r.target},  {"signature", r.function},
                         {"inputs", r.inputs},  {"compiled", r.missing.empty()},
                         {"reason", r.missing}, {"kernels", r.kernels},
                         {"simulated", true},   {"host", nlohmann::json::array()}};
    for (const HostNode& n : r.host)
      entry["host"].push_back({{"name", n.name},
                               {"op", n.op},
                               {"reason", n.reason},
                               {"bytes", n.bytes},
                               {"latency_ms", n.seconds * 1e3}});
    if (r.missing.empty())
      entry.update({{"batch", r.prediction.batch},
                    {"precision", r.prediction.precision},
                    {"latency_ms", r.prediction.seconds * 1e3},
                    {"low_ms", r.prediction.low * 1e3},
                    {"high_ms", r.prediction.high * 1e3},
                    {"bytes", r.prediction.bytes},
                    {"peak_bytes", r.prediction.peak_bytes}});
    list.push_back(std::move(entry));
  }
  return list;
}

void print_reports(std::span<const ChipReport> reports) {
  for (const ChipReport& r : reports) {
    if (!r.missing.empty()) {
      fmt::print("{}: {}: no program, one is made when it is run: {}\n", r.function, r.target,
                 r.missing);
      continue;
    }
    fmt::print(
        "{}: {}: {}: {} kernels, {} nodes on the host, {:.4f} ms predicted ({:.4f} to {:.4f}), "
        "{} bytes of memory\n",
        r.function, r.target, r.inputs, r.kernels, r.host.size(), r.prediction.seconds * 1e3,
        r.prediction.low * 1e3, r.prediction.high * 1e3, r.prediction.peak_bytes);
    for (const HostNode& n : r.host)
      fmt::print("  on the host: {} ({}), {} bytes cross, {:.4f} ms predicted: {}\n", n.name, n.op,
                 n.bytes, n.seconds * 1e3, n.reason);
  }
  if (!reports.empty()) fmt::print("Times are simulated: nothing here ran on a chip.\n");
}

}  // namespace tenon::tool
