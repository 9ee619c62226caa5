// A cache between cores and memory, as the timing model sees it: which bytes are there and which
// memory does not have yet; no data.
#pragma once

#include <cstdint>
#include <list>
#include <unordered_map>

namespace tenon::simulate {

// Blocks of 32 bytes within chunks; of chunks the least recently used goes. Chips have lines that
// are longer, and tensors in blocks of as many channels (NC1HWC0), so that a copy of some channels
// touches no others; here tensors have channels last, and a block stands for what a line would
// hold.
class Cache {
 public:
  explicit Cache(int64_t bytes) : most_(bytes) {}
  // What memory moves as [address, address + bytes) is read or written: blocks that are not there
  // to read, and those written before that have to go. What is written reaches memory only so.
  int64_t access(int64_t address, int64_t bytes, bool writes);
  bool is_there() const { return most_ > 0; }

 private:
  static constexpr int64_t kBlock = 32, kChunk = 64 * kBlock;
  struct Chunk {
    std::list<int64_t>::iterator place;  // in the order of use
    uint64_t blocks = 0, written = 0;    // that are there; that memory does not have yet
  };
  int64_t most_, bytes_ = 0;  // that it holds at most, and now
  std::list<int64_t> order_;
  std::unordered_map<int64_t, Chunk> held_;
};

}  // namespace tenon::simulate
