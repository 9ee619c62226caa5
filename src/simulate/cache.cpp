#include "simulate/cache.h"

#include <algorithm>
#include <bit>

namespace tenon::simulate {

int64_t Cache::access(int64_t address, int64_t bytes, bool writes) {
  int64_t moved = 0;
  const int64_t end = address + bytes;
  while (address < end) {
    const int64_t chunk = address / kChunk, stop = std::min(end, (chunk + 1) * kChunk);
    const auto [found, fresh] = held_.try_emplace(chunk);
    if (fresh)
      order_.push_front(chunk), found->second.place = order_.begin();
    else
      order_.splice(order_.begin(), order_, found->second.place);
    Chunk& c = found->second;
    const int64_t first = address % kChunk / kBlock, last = (stop - 1) % kChunk / kBlock;
    const uint64_t upto = last >= 63 ? ~uint64_t{0} : (uint64_t{1} << (last + 1)) - 1;
    const uint64_t wanted = upto & ~((uint64_t{1} << first) - 1);
    const int64_t added = std::popcount(wanted & ~c.blocks) * kBlock;
    if (!writes) moved += added;
    if (writes) c.written |= wanted;
    c.blocks |= wanted;
    for (bytes_ += added; bytes_ > most_ && order_.size() > 1; order_.pop_back()) {
      const auto oldest = held_.find(order_.back());
      moved += std::popcount(oldest->second.written) * kBlock;
      bytes_ -= std::popcount(oldest->second.blocks) * kBlock;
      held_.erase(oldest);
    }
    address = stop;
  }
  return moved;
}

}  // namespace tenon::simulate
