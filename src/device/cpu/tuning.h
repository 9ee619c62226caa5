// What was measured of kernel candidates on one processor, and which of them a step takes by it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tenon::cpu {

struct StepInfo;

struct MeasuredKernel {
  std::string name;
  int64_t time_ns = 0;
};

struct Tuning {
  std::string processor;  // processor_name() of the machine it was measured on
  // By step_key(), the one to take first. A name that does not apply is passed over, so that a
  // wrong entry costs time alone.
  std::map<std::string, std::vector<MeasuredKernel>, std::less<>> steps;
  // While measuring: every step takes the candidate of this place among those that apply to it, the
  // first one where there are fewer. `steps` is not asked.
  std::optional<size_t> take;
};

// What decides which kernel is the fastest: op, attributes, types, constants and threads, hashed.
std::string step_key(const StepInfo& step);

// As a note of the model's file: the processor, then one line per step. What cannot be read is left
// out; an empty processor is that of no machine.
std::string to_note(const Tuning& tuning);
Tuning tuning_from_note(std::string_view note);

}  // namespace tenon::cpu
