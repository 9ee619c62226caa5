// `tenon targets check`: tile programs, such as those that `tenon predict --programs` writes, after
// someone edited them.
#include "check_tile.h"

#include "base/bytes.h"
#include "isa/check_program.h"
#include "isa/parse_program.h"
#include "simulate/run_program.h"

namespace tenon::tool {
namespace {

// On inputs of zeros: races and reads of what nobody wrote do not depend on the values.
Status run_on_zeros(const isa::Program& program, const isa::Architecture& architecture) {
  std::vector<std::vector<std::byte>> memory;
  std::vector<simulate::GlobalBuffer> buffers;
  for (const isa::Buffer& b : program.buffers)
    buffers.push_back({memory.emplace_back(static_cast<size_t>(b.elements) * dtype_size(b.dtype))});
  return simulate::run_program(program, architecture, buffers);
}

}  // namespace

Result<TileTime> check_tile(const std::string& file, const MachineCatalog& catalog) {
  const std::string text = TRY(read_text_file(file));
  const auto machine = TRY(catalog.find(TRY(isa::target_of_program(text, file))));
  const isa::Architecture architecture = isa::architecture_of(*machine);
  const isa::Program program = TRY(isa::parse_program(text, architecture, file));
  if (Status s = isa::check_program(program, architecture); !s.ok())
    return std::move(s).error().note("while checking " + file);
  if (Status s = run_on_zeros(program, architecture); !s.ok())
    return std::move(s).error().note("while running " + file);
  std::vector<int64_t> addresses;
  int64_t end = 0;
  for (const isa::Buffer& b : program.buffers) {
    constexpr int64_t kAlign = 512;
    addresses.push_back(end);
    end += (b.elements * static_cast<int64_t>(dtype_size(b.dtype)) + kAlign - 1) / kAlign * kAlign;
  }
  simulate::TimingModel timing(*machine, architecture);
  return TileTime{machine->name, TRY(timing.run(program, addresses))};
}

}  // namespace tenon::tool
