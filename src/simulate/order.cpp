#include "simulate/order.h"

#include <fmt/format.h>

namespace tenon::simulate {

Order::Order(int queues, int64_t flag_ids)
    : queues_(queues),
      ids_(flag_ids),
      flags_(static_cast<size_t>(queues * queues) * static_cast<size_t>(flag_ids)) {}

Access Order::issue(int queue, const isa::Instruction& instruction) {
  const auto q = static_cast<uint32_t>(queue);
  Clock& clock = clocks_[q];
  clock.join(issuing_);
  issued_[q].push_back(&instruction);
  return {q, ++clock.done[q]};
}

Status Order::set_flag(const isa::Instruction& instruction, int from, int to, int64_t id) {
  const Access access = issue(from, instruction);
  Flag& f = flag(from, to, id);
  if (f.raised) return invalid_model("the flag is raised already: nothing waited for it between");
  if (f.waited.turn > 0 && !before(f.waited, now(access.queue)))
    return invalid_model(
        "the flag may be raised before the wait for its last time is over: nothing orders them");
  f.raised = true;
  f.set = access;
  f.when = now(access.queue);
  return {};
}

Status Order::wait_flag(const isa::Instruction& instruction, int from, int to, int64_t id) {
  const Access access = issue(to, instruction);
  Flag& f = flag(from, to, id);
  if (!f.raised)
    return invalid_model("deadlock: nothing before raises the flag that is waited for");
  f.raised = false;
  f.waited = access;
  clocks_[access.queue].join(f.when);
  return {};
}

void Order::sync(int queue) {
  for (int q = 0; q < queues_; ++q)
    if (queue < 0 || queue == q) issuing_.join(clocks_[static_cast<size_t>(q)]);
}

Status Order::finish(const isa::Instruction*& culprit) const {
  for (const Flag& f : flags_)
    if (f.raised) {
      culprit = &instruction(f.set);
      return invalid_model("the flag is still raised at the end: nothing waits for it");
    }
  return {};
}

}  // namespace tenon::simulate
