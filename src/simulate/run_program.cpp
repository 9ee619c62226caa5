#include "simulate/run_program.h"

#include <fmt/format.h>

#include <algorithm>

#include "isa/text.h"
#include "simulate/core.h"

namespace tenon::simulate {
namespace {

using Cores = std::vector<std::unique_ptr<Core>>;

Status check_buffers(const isa::Program& program, std::span<const GlobalBuffer> buffers) {
  if (buffers.size() != program.buffers.size())
    return invalid_argument(fmt::format("'{}' has {} buffers, {} are given", program.name,
                                        program.buffers.size(), buffers.size()));
  for (size_t i = 0; i < buffers.size(); ++i) {
    const isa::Buffer& b = program.buffers[i];
    const int64_t bytes = b.elements * static_cast<int64_t>(dtype_size(b.dtype));
    if (std::ssize(buffers[i].bytes) < bytes)
      return invalid_argument(fmt::format("buffer '{}' of '{}' has {} bytes, not {}", b.name,
                                          program.name, bytes, buffers[i].bytes.size()));
  }
  return {};
}

// What the blocks did since the last barrier must not depend on which was first.
Status compare_blocks(const isa::Program& program, const isa::Architecture& architecture,
                      const Cores& cores) {
  std::vector<BlockNotes*> notes;
  notes.reserve(cores.size());
  for (const auto& core : cores) notes.push_back(&core->notes());
  const auto conflict = GlobalMemory::compare(notes);
  if (!conflict) return {};
  const Core &core = *cores[conflict->block], &other = *cores[conflict->other_block];
  const isa::Instruction& earlier = other.instruction(conflict->other);
  const std::string_view way = conflict->block == conflict->other_block
                                   ? "no flag or sync orders them"
                                   : "no barrier is between them";
  return core.error_at(
      core.instruction(conflict->access),
      invalid_model(fmt::format(
          "race: bytes {} to {} of buffer '{}' are also touched by block {}, line {}, '{}': {}",
          conflict->begin, conflict->end,
          program.buffers[static_cast<size_t>(conflict->buffer)].name, conflict->other_block,
          isa::line_of(program, &earlier), isa::print_instruction(earlier, program, architecture),
          way)),
      false);
}

void note_peaks(const Cores& cores, const RunOptions& options) {
  if (options.peaks == nullptr) return;
  for (const auto& core : cores) {
    const auto peaks = core->peaks();
    if (options.peaks->size() < peaks.size()) options.peaks->resize(peaks.size());
    for (size_t i = 0; i < peaks.size(); ++i)
      (*options.peaks)[i] = std::max((*options.peaks)[i], peaks[i]);
  }
}

// What an output has of bytes that nobody wrote would be left from another tensor.
Status check_all_written(const isa::Program& program, const GlobalMemory& global) {
  for (size_t i = 0; i < program.buffers.size(); ++i) {
    const isa::Buffer& b = program.buffers[i];
    if (b.role != isa::Buffer::Role::output) continue;
    const int index = static_cast<int>(i);
    const auto element = static_cast<int64_t>(dtype_size(b.dtype));
    if (global.all_written(index, 0, b.elements * element)) continue;
    int64_t at = 0;
    while (at < b.elements && global.all_written(index, at * element, element)) ++at;
    return invalid_model(fmt::format("element {} of {} of output '{}' is not written by any block",
                                     at, b.elements, b.name))
        .at(program.name);
  }
  return {};
}

}  // namespace

Status run_program(const isa::Program& program, const isa::Architecture& architecture,
                   std::span<const GlobalBuffer> buffers, const RunOptions& options) {
  TRY(check_buffers(program, buffers));
  if (architecture.queues.size() > kMaxQueues)
    return unsupported(fmt::format("cores of over {} queues", kMaxQueues));
  GlobalMemory global(program, buffers);
  Cores cores;
  for (int64_t b = 0; b < program.blocks; ++b)
    cores.push_back(std::make_unique<Core>(program, architecture, global, options, b));
  for (;;) {
    std::vector<Status> results(cores.size());
    const auto run = [&](int64_t b) {
      const auto i = static_cast<size_t>(b);
      if (!cores[i]->is_done()) results[i] = cores[i]->advance();
    };
    if (options.pool != nullptr)
      options.pool->parallel_for(program.blocks, run);
    else
      for (int64_t b = 0; b < program.blocks; ++b) run(b);
    for (Status& result : results) TRY(std::move(result));
    if (options.check_order) TRY(compare_blocks(program, architecture, cores));
    const auto done = std::ranges::count_if(cores, [](const auto& c) { return c->is_done(); });
    if (done == program.blocks) {
      note_peaks(cores, options);
      return options.check_order && options.writes_all ? check_all_written(program, global)
                                                       : Status();
    }
    if (done > 0)
      return invalid_model(
          fmt::format("deadlock: {} of {} blocks of '{}' ended while the others wait at a barrier",
                      done, program.blocks, program.name));
  }
}

}  // namespace tenon::simulate
