// A number of a machine description: its value, unit, where it is from and how sure that is. Units
// are converted when a file is read: code computes with bytes, hertz, seconds and bytes per second.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace tenon {

enum class Confidence {
  published,    // by the vendor
  third_party,  // another public source, or a measurement by others
  derived,      // arithmetic from published numbers
  assumed,      // a guess that fits what is known
};
std::string_view confidence_name(Confidence confidence);
std::optional<Confidence> confidence_named(std::string_view name);

// What a number measures; decides the units it may be written in.
enum class Dimension {
  count,            // cores, ids, …
  factor,           // a share or a multiple of something
  bytes,            // B, KiB, MiB, GiB
  frequency,        // Hz, MHz, GHz
  bandwidth,        // B/s, GB/s, TB/s
  bytes_per_cycle,  // B/cycle
  macs_per_cycle,   // multiply-accumulates a cycle
  cycles,
  time,   // s, ms, us, ns
  power,  // W
};

// How many base units one `unit` is, or nothing when the unit does not measure `dimension`.
std::optional<double> unit_scale(Dimension dimension, std::string_view unit);
// "KiB, MiB, …": the units a number of this dimension may be written in.
std::string unit_choices(Dimension dimension);

struct Number {
  std::string key;
  double value = 0;    // in the base unit
  double written = 0;  // as it stands in the file,
  std::string unit;    // in this unit
  Confidence confidence = Confidence::assumed;
  std::string source;  // in words
  std::string place;   // file:line
};

}  // namespace tenon
