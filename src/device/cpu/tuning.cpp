#include "device/cpu/tuning.h"

#include <fmt/format.h>

#include <charconv>

#include "base/hash.h"
#include "device/cpu/kernel.h"

namespace tenon::cpu {
namespace {

// Attributes as a key needs them: data of constants does not decide how fast a kernel is.
void append_attributes(const Op& op, std::string& text) {
  const OpDef& def = op.def();
  text += def.name;
  for (size_t i = 0; i < def.fields.size(); ++i) {
    if (op.is_default(i)) continue;
    text += fmt::format(";{}=", def.fields[i].name);
    std::visit(
        [&]<typename T>(const T& value) {
          if constexpr (std::is_same_v<T, std::vector<int64_t>> ||
                        std::is_same_v<T, std::vector<double>> ||
                        std::is_same_v<T, std::vector<std::string>>)
            text += fmt::format("{}", fmt::join(value, ","));
          else if constexpr (std::is_arithmetic_v<T> || std::is_same_v<T, std::string>)
            text += fmt::format("{}", value);
          else if constexpr (std::is_same_v<T, DType>)
            text += dtype_name(value);
        },
        op.get(i));
  }
}

// The text up to the separator, which is taken off with it.
std::string_view take_part(std::string_view& text, char separator) {
  const std::string_view part = text.substr(0, text.find(separator));
  text.remove_prefix(std::min(text.size(), part.size() + 1));
  return part;
}

}  // namespace

std::string step_key(const StepInfo& step) {
  std::string text = fmt::format("{} threads: ", step.threads);
  append_attributes(step.op, text);
  for (size_t i = 0; i < step.inputs.size(); ++i)
    text += fmt::format(" {}{}", step.inputs[i].is_none() ? "none" : step.inputs[i].to_string(),
                        step.constants[i] != nullptr ? " constant" : "");
  for (const TensorType& t : step.outputs) text += " -> " + t.to_string();
  if (step.region != nullptr)
    for (const Region::Step& inner : step.region->steps) {
      text += fmt::format(" | {} <- ", fmt::join(inner.outputs, ","));
      append_attributes(*inner.op, text);
      text += fmt::format(" {}", fmt::join(inner.inputs, ","));
    }
  return fmt::format("{:016x}", hash64(std::as_bytes(std::span(text))));
}

std::string to_note(const Tuning& tuning) {
  std::string note = tuning.processor + "\n";
  for (const auto& [key, kernels] : tuning.steps) {
    note += key;
    for (const MeasuredKernel& k : kernels) note += fmt::format("\t{}\t{}", k.name, k.time_ns);
    note += "\n";
  }
  return note;
}

Tuning tuning_from_note(std::string_view note) {
  Tuning tuning;
  tuning.processor = take_part(note, '\n');
  while (!note.empty()) {
    std::string_view line = take_part(note, '\n');
    const std::string key(take_part(line, '\t'));
    std::vector<MeasuredKernel>& kernels = tuning.steps[key];
    while (!line.empty()) {
      MeasuredKernel& kernel = kernels.emplace_back();
      kernel.name = take_part(line, '\t');
      const std::string_view time = take_part(line, '\t');
      std::from_chars(time.data(), time.data() + time.size(), kernel.time_ns);
    }
  }
  return tuning;
}

}  // namespace tenon::cpu
