// What is known of each 32 bytes of a core's own memory: which of them were written, who wrote
// last, and how far each queue has read. Finds reads of what nobody wrote, and accesses that
// nothing orders.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>

#include "simulate/order.h"

namespace tenon::simulate {

class Shadow {
 public:
  static constexpr int64_t kGranule = 32;

  explicit Shadow(int64_t bytes);

  // Notes an access to bytes [begin, begin + length). What is returned is an earlier access that
  // nothing orders before it.
  std::optional<Access> read(Access access, const Clock& now, int64_t begin, int64_t length);
  std::optional<Access> write(Access access, const Clock& now, int64_t begin, int64_t length);

  // Whether all of the bytes were written.
  bool written(int64_t begin, int64_t length) const;
  // The bytes become as much written as those of another memory are.
  void copy_written(const Shadow& from, int64_t source, int64_t begin, int64_t length);

 private:
  struct Granule {
    std::array<uint32_t, kMaxQueues> reads;  // the last turn of each queue
    uint32_t writer, write_turn;
    uint32_t written;  // a bit a byte
    uint32_t unused;
  };
  struct Free {
    void operator()(Granule* p) const { std::free(p); }
  };

  // Memory that was never touched takes none.
  std::unique_ptr<Granule, Free> granules_;
};

}  // namespace tenon::simulate
