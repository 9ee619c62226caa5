// The buffers of a program in the global memory, shared by all blocks: which bytes were written,
// and whether two blocks, or two queues of one block, touch the same bytes unordered. Each block
// notes what it does; between two barriers, and at the end, the notes are compared.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "simulate/order.h"
#include "simulate/run_program.h"

namespace tenon::simulate {

// Bytes [begin, end) of a buffer that one instruction touched.
struct Note {
  int64_t begin = 0, end = 0;
  uint32_t moment = 0;  // index into BlockNotes::moments
  int32_t buffer = 0;
  bool writes = false;
};

// When a block touched what.
struct BlockNotes {
  struct Moment {
    Access access;
    Clock now;
  };
  std::vector<Moment> moments;
  std::vector<Note> notes;

  void begin(Access access, const Clock& now) { moments.push_back({access, now}); }
  void add(int buffer, int64_t begin, int64_t length, bool writes);
};

// Two accesses that nothing orders.
struct Conflict {
  size_t block = 0, other_block = 0;
  Access access, other;
  int32_t buffer = 0;
  int64_t begin = 0, end = 0;
};

class GlobalMemory {
 public:
  GlobalMemory(const isa::Program& program, std::span<const GlobalBuffer> buffers);

  const GlobalBuffer& buffer(int index) const { return buffers_[static_cast<size_t>(index)]; }
  // Whether the program writes the buffer: the others need no notes.
  bool is_written(int index) const { return written_[static_cast<size_t>(index)]; }

  // Thread-safe. Of inputs and constants, everything counts as written.
  void mark_written(int buffer, int64_t begin, int64_t length);
  bool all_written(int buffer, int64_t begin, int64_t length) const;

  // Compares what the blocks did since the last barrier and forgets it.
  static std::optional<Conflict> compare(std::span<BlockNotes* const> blocks);

 private:
  std::span<const GlobalBuffer> buffers_;
  std::vector<bool> written_;
  // A bit a byte, of outputs and scratch.
  std::vector<std::unique_ptr<std::atomic<uint64_t>[]>> bits_;
};

}  // namespace tenon::simulate
