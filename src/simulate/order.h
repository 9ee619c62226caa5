// What happens before what in one core: vector clocks of its queues, moved on by flags and syncs.
// Two accesses that the clocks do not order may happen in either order on the chip.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "base/result.h"
#include "isa/program.h"

namespace tenon::simulate {

constexpr int kMaxQueues = 8;

// How far each queue is known to be done: entry q counts instructions of queue q.
struct Clock {
  alignas(32) std::array<uint32_t, kMaxQueues> done{};

  void join(const Clock& other) {
    for (size_t i = 0; i < done.size(); ++i) done[i] = std::max(done[i], other.done[i]);
  }
};

// One instruction as it was issued.
struct Access {
  uint32_t queue = 0;
  uint32_t turn = 0;  // the how-manieth of its queue, from 1
};

class Order {
 public:
  Order(int queues, int64_t flag_ids);

  // The next instruction of a queue. Its clock is now(queue).
  Access issue(int queue, const isa::Instruction& instruction);
  const Clock& now(uint32_t queue) const { return clocks_[queue]; }
  // What was issued so.
  const isa::Instruction& instruction(Access access) const {
    return *issued_[access.queue][access.turn - 1];
  }
  bool before(Access earlier, const Clock& later) const {
    return later.done[earlier.queue] >= earlier.turn;
  }

  // Instructions of the class `order`. Errors: a flag that nothing raised, or raised twice.
  Status set_flag(const isa::Instruction& instruction, int from, int to, int64_t id);
  Status wait_flag(const isa::Instruction& instruction, int from, int to, int64_t id);
  // Nothing is issued before the queue (-1: every queue) is done.
  void sync(int queue);
  // At the end of the program. Errors: a flag that is still raised.
  Status finish(const isa::Instruction*& culprit) const;

 private:
  struct Flag {
    bool raised = false;
    Access set, waited;
    Clock when;  // of the set
  };
  Flag& flag(int from, int to, int64_t id) {
    return flags_[static_cast<size_t>((from * queues_ + to) * ids_ + id)];
  }

  int queues_;
  int64_t ids_;
  std::array<Clock, kMaxQueues> clocks_{};
  Clock issuing_;
  std::array<std::vector<const isa::Instruction*>, kMaxQueues> issued_;
  std::vector<Flag> flags_;
};

}  // namespace tenon::simulate
