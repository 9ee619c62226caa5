#include "memory_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace tenon::tool {
namespace {

std::string_view role_name(DeviceTensor::Role role) {
  static constexpr std::string_view kNames[] = {"input", "output", "constant", "activation"};
  return kNames[static_cast<size_t>(role)];
}

nlohmann::json spills_json(const Spills& s) {
  return {{"reread_bytes", s.reread},
          {"between_kernels_bytes", s.passed},
          {"refetched_bytes", s.refetched}};
}

nlohmann::json per_memory(const Prediction& p, const std::vector<int64_t>& bytes) {
  nlohmann::json json = nlohmann::json::object();
  for (size_t i = 1; i < bytes.size(); ++i) json[p.memories[i].first] = bytes[i];
  return json;
}

std::vector<std::string> loop_names(const isa::Resident& r) {
  std::vector<std::string> names;
  for (const int variable : r.loops) names.push_back(fmt::format("i{}", variable - 1));
  return names;
}

nlohmann::json residents_json(const MemoryMap& map, const Prediction& p, size_t step) {
  nlohmann::json list = nlohmann::json::array();
  for (const isa::Resident& r : map.cores[step])
    list.push_back({{"memory", p.memories[static_cast<size_t>(r.memory)].first},
                    {"begin", r.begin},
                    {"end", r.end},
                    {"holds", contents_of(r, map.buffers[step])},
                    {"first_instruction", r.first},
                    {"last_instruction", r.last},
                    {"in_each_turn_of", loop_names(r)}});
  return list;
}

std::string spills_text(const Spills& s) {
  return fmt::format(
      "spills: {} bytes read again for lack of room on a core, {} between its kernels, {} fetched "
      "again that the cache had lost",
      s.reread, s.passed, s.refetched);
}

}  // namespace

nlohmann::json memory_json(const MemoryMap& map, const Prediction& p) {
  nlohmann::json json{{"peak_bytes", p.peak_bytes},
                      {"on_chip_bytes", per_memory(p, p.on_chip)},
                      {"cache_bytes", p.cache_bytes},
                      {"ddr_bytes", p.bytes},
                      {"moved_bytes", p.moved},
                      {"spills", spills_json(p.spills)},
                      {"tensors", nlohmann::json::array()},
                      {"layers", nlohmann::json::array()}};
  if (!map.live.empty())
    json["fullest"] = {{"layer", map.layers[map.fullest]}, {"bytes", map.live[map.fullest]}};
  for (const TensorLife& t : map.tensors)
    json["tensors"].push_back({{"name", t.name},
                               {"role", role_name(t.role)},
                               {"address", t.address},
                               {"bytes", t.bytes},
                               {"first_step", t.first},
                               {"last_step", t.last},
                               {"from", map.layers[t.first]},
                               {"to", map.layers[t.last]}});
  for (size_t s = 0; s < p.layers.size(); ++s) {
    const LayerPrediction& l = p.layers[s];
    json["layers"].push_back({{"name", l.name},
                              {"algorithm", l.algorithm},
                              {"live_bytes", map.live[s]},
                              {"ddr_bytes", l.bytes},
                              {"moved_bytes", l.moved},
                              {"spills", spills_json(l.spills)},
                              {"on_chip_bytes", per_memory(p, l.on_chip)},
                              {"on_chip", residents_json(map, p, s)}});
  }
  return json;
}

void print_memory(const MemoryMap& map, const Prediction& p) {
  fmt::print("\n{} bytes of the chip's memory{}\n", p.peak_bytes,
             map.live.empty() ? ""
                              : fmt::format("; most is alive at '{}': {} bytes",
                                            map.layers[map.fullest], map.live[map.fullest]));
  fmt::print("{} bytes move between cores and memory, {} of them in DDR\n{}\n\n", p.moved, p.bytes,
             spills_text(p.spills));
  fmt::print("{:>12} {:>12}  {:<10} {:<40} {}\n", "address", "bytes", "role", "tensor",
             "from … to");
  for (const TensorLife& t : map.tensors) {
    const std::string when = t.role != DeviceTensor::Role::activation
                                 ? "for good"
                                 : fmt::format("{} … {}", map.layers[t.first], map.layers[t.last]);
    fmt::print("{:>12} {:>12}  {:<10} {:<40} {}\n", t.address, t.bytes, role_name(t.role), t.name,
               when);
  }
}

void print_layer_memory(const MemoryMap& map, const Prediction& p, size_t step) {
  const LayerPrediction& l = p.layers[step];
  fmt::print("  {} bytes moved, {} in DDR; {}\n", l.moved, l.bytes, spills_text(l.spills));
  for (const isa::Resident& r : map.cores[step]) {
    const std::vector<std::string> loops = loop_names(r);
    fmt::print("  {:<6} {:>8} … {:<8} {:<32} instructions {} to {}{}\n",
               p.memories[static_cast<size_t>(r.memory)].first, r.begin, r.end,
               contents_of(r, map.buffers[step]), r.first, r.last,
               loops.empty() ? "" : fmt::format(" in each turn of {}", fmt::join(loops, ", ")));
  }
}

}  // namespace tenon::tool
