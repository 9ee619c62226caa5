#include "simulate/cache.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace tenon::simulate {
namespace {

constexpr uint64_t kBlock = 32, kChunk = 64 * kBlock;
constexpr size_t kMostUses = 65536;  // that are kept although they may count for nothing

// The blocks of [address, address + bytes) in the chunk of its first byte.
uint64_t blocks_of(uint64_t address, uint64_t bytes) {
  const uint64_t first = address % kChunk, last = std::min(first + bytes, kChunk) - 1;
  return (~uint64_t{0} << (first / kBlock)) & (~uint64_t{0} >> (63 - last / kBlock));
}

int64_t bytes_of(uint64_t blocks) {
  return static_cast<int64_t>(std::popcount(blocks) * kBlock);
}

}  // namespace

MemoryTraffic Cache::access_runs(int64_t address, int64_t bytes, int64_t count, int64_t stride,
                                 bool writes) {
  if (bytes <= 0 || count <= 0) return {};
  if (count == 1) stride = kChunk;  // any will do
  const auto first = static_cast<uint64_t>(address), run = static_cast<uint64_t>(bytes),
             step = static_cast<uint64_t>(stride), runs = static_cast<uint64_t>(count);
  const uint64_t end = first + (runs - 1) * step + run;
  MemoryTraffic moved;
  // Where chunks are whole numbers of strides, all have the same blocks.
  const bool is_alike = runs == 1 || (kChunk % step == 0 && first % step + run <= step);
  if (is_alike) {
    uint64_t all = runs == 1 ? ~uint64_t{0} : 0;
    for (uint64_t at = first % step; runs > 1 && at < kChunk; at += step) all |= blocks_of(at, run);
    for (uint64_t at = first; at < end; at = (at / kChunk + 1) * kChunk)
      moved.add(touch(at / kChunk, all & blocks_of(at, end - at), writes));
    return moved;
  }
  // What lies in one chunk is looked up once: a chunk that was just used is the newest already.
  uint64_t chunk = first / kChunk, wanted = 0;
  for (uint64_t i = 0; i < runs; ++i) {
    const uint64_t stop = first + i * step + run;
    for (uint64_t at = stop - run; at < stop; at = (at / kChunk + 1) * kChunk) {
      if (at / kChunk != chunk && wanted != 0)
        moved.add(touch(chunk, std::exchange(wanted, 0), writes));
      chunk = at / kChunk;
      wanted |= blocks_of(at, stop - at);
    }
  }
  moved.add(touch(chunk, wanted, writes));
  return moved;
}

MemoryTraffic Cache::touch(size_t number, uint64_t wanted, bool writes) {
  if (number >= chunks_.size()) chunks_.resize(std::max(number + 1, 2 * chunks_.size()));
  Chunk& c = chunks_[number];
  if (c.blocks == 0) ++held_;
  if (first_ == uses_.size() || uses_.back() != number) {
    if (uses_.size() > kMostUses + 4 * held_) forget_old_uses();
    uses_.push_back(static_cast<uint32_t>(number));
  }
  c.used = uses_.size() - 1;
  const int64_t added = bytes_of(wanted & ~c.blocks);
  if (writes) c.written |= wanted;
  c.blocks |= wanted;
  bytes_ += added;
  MemoryTraffic moved{writes ? 0 : added, 0};
  while (bytes_ > most_ && held_ > 1) moved.written_back += drop_oldest();
  return moved;
}

void Cache::forget_old_uses() {
  size_t kept = 0;
  for (size_t i = first_; i < uses_.size(); ++i) {
    Chunk& c = chunks_[uses_[i]];
    if (c.blocks == 0 || c.used != i) continue;
    c.used = kept;
    uses_[kept++] = uses_[i];
  }
  uses_.resize(kept);
  first_ = 0;
}

// What memory has to be given of it.
int64_t Cache::drop_oldest() {
  for (;;) {
    const size_t i = first_++;
    Chunk& c = chunks_[uses_[i]];
    if (c.blocks == 0 || c.used != i) continue;
    const int64_t moved = bytes_of(c.written);
    bytes_ -= bytes_of(c.blocks);
    --held_;
    c = {};
    return moved;
  }
}

}  // namespace tenon::simulate
