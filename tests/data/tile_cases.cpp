// tests/isa/*.tile: tile programs, as the verifier lets them pass and prints them, or its error.
#include "isa/check_program.h"
#include "isa/parse_program.h"
#include "isa/text.h"
#include "runner.h"

namespace tenon::data_tests {

Result<std::string> check_tile_program(const std::string& input) {
  const auto shown = [](const Error& error) {
    std::string out = "error: " + error.message + "\n";
    if (!error.where.empty()) out += "  at " + error.where + "\n";
    for (const std::string& note : error.notes) out += "  " + note + "\n";
    return out;
  };
  const auto catalog = TRY(MachineCatalog::load());
  const auto machine = TRY(catalog.find(TRY(isa::target_of_program(input, "input"))));
  const isa::Architecture architecture = isa::architecture_of(*machine);
  const auto program = isa::parse_program(input, architecture, "input");
  if (!program.ok()) return shown(program.error());
  const auto allowed = isa::check_program(*program, architecture);
  if (!allowed.ok()) return shown(allowed.error());
  const std::string text = isa::print_program(*program, architecture);
  if (TRY(isa::parse_program(text, architecture, "the printed program")) == *program) return text;
  return internal_error("the text does not read back the same:\n" + text);
}

}  // namespace tenon::data_tests
