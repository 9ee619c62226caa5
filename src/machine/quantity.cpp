#include "machine/quantity.h"

#include <array>
#include <utility>

namespace tenon {
namespace {

constexpr std::array<std::pair<Confidence, std::string_view>, 4> kConfidences{{
    {Confidence::published, "published"},
    {Confidence::third_party, "third-party"},
    {Confidence::derived, "derived"},
    {Confidence::assumed, "assumed"},
}};

struct Unit {
  Dimension dimension;
  std::string_view name;
  double scale;
};
constexpr Unit kUnits[] = {
    {Dimension::count, "cores", 1},
    {Dimension::count, "clusters", 1},
    {Dimension::count, "elements", 1},
    {Dimension::count, "ids", 1},
    {Dimension::count, "pages", 1},
    {Dimension::count, "repeats", 1},
    {Dimension::count, "tables", 1},
    {Dimension::factor, "x", 1},
    {Dimension::factor, "%", 0.01},
    {Dimension::bytes, "B", 1},
    {Dimension::bytes, "KiB", 1024},
    {Dimension::bytes, "MiB", 1024.0 * 1024},
    {Dimension::bytes, "GiB", 1024.0 * 1024 * 1024},
    {Dimension::frequency, "Hz", 1},
    {Dimension::frequency, "MHz", 1e6},
    {Dimension::frequency, "GHz", 1e9},
    {Dimension::bandwidth, "B/s", 1},
    {Dimension::bandwidth, "GB/s", 1e9},
    {Dimension::bandwidth, "TB/s", 1e12},
    {Dimension::bytes_per_cycle, "B/cycle", 1},
    {Dimension::macs_per_cycle, "MAC/cycle", 1},
    {Dimension::cycles, "cycles", 1},
    {Dimension::time, "s", 1},
    {Dimension::time, "ms", 1e-3},
    {Dimension::time, "us", 1e-6},
    {Dimension::time, "ns", 1e-9},
    {Dimension::power, "W", 1},
};

}  // namespace

std::string_view confidence_name(Confidence confidence) {
  for (const auto& [value, name] : kConfidences)
    if (value == confidence) return name;
  return "";
}

std::optional<Confidence> confidence_named(std::string_view name) {
  for (const auto& [value, known] : kConfidences)
    if (known == name) return value;
  return std::nullopt;
}

std::optional<double> unit_scale(Dimension dimension, std::string_view unit) {
  for (const Unit& known : kUnits)
    if (known.dimension == dimension && known.name == unit) return known.scale;
  return std::nullopt;
}

std::string unit_choices(Dimension dimension) {
  std::string names;
  for (const Unit& known : kUnits)
    if (known.dimension == dimension)
      names += (names.empty() ? "" : ", ") + std::string(known.name);
  return names;
}

}  // namespace tenon
