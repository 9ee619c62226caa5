// A cache between cores and memory, as the timing model sees it: which bytes are there and which
// memory does not have yet; no data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tenon::simulate {

// What memory moves, in bytes.
struct MemoryTraffic {
  int64_t fetched = 0;       // of blocks that were not there to read
  int64_t written_back = 0;  // of blocks that had been written before and had to go
  int64_t bytes() const { return fetched + written_back; }
  void add(const MemoryTraffic& other) {
    fetched += other.fetched, written_back += other.written_back;
  }
};

// Blocks of 32 bytes within chunks; of chunks the least recently used goes. Chips have lines that
// are longer, and tensors in blocks of as many channels (NC1HWC0), so that a copy of some channels
// touches no others; here tensors have channels last, and a block stands for what a line would
// hold.
class Cache {
 public:
  explicit Cache(int64_t bytes) : most_(bytes) {}
  // What memory moves as [address, address + bytes) is read or written. What is written reaches it
  // only when it has to go.
  MemoryTraffic access(int64_t address, int64_t bytes, bool writes) {
    return access_runs(address, bytes, 1, 0, writes);
  }
  // The same of `count` runs of `bytes`, each `stride` bytes further than the one before.
  MemoryTraffic access_runs(int64_t address, int64_t bytes, int64_t count, int64_t stride,
                            bool writes);
  bool is_there() const { return most_ > 0; }

 private:
  struct Chunk {
    uint64_t blocks = 0, written = 0;  // that are there; that memory does not have yet
    size_t used = 0;                   // where its last use is in `uses_`
  };
  MemoryTraffic touch(size_t number, uint64_t wanted, bool writes);
  void forget_old_uses();
  int64_t drop_oldest();

  int64_t most_, bytes_ = 0;   // that it holds at most, and now
  std::vector<Chunk> chunks_;  // by number
  size_t held_ = 0;            // chunks that have blocks
  std::vector<uint32_t>
      uses_;          // chunks in the order of use; but their last, uses count for nothing
  size_t first_ = 0;  // of those that may count
};

}  // namespace tenon::simulate
