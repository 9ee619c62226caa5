#include "simulate/timing.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <map>

namespace tenon::simulate {

using isa::Instruction;
using isa::Opcode;
using isa::Program;

int64_t Cache::miss(int64_t address, int64_t bytes) {
  int64_t missed = 0;
  const int64_t end = address + bytes;
  while (address < end) {
    const int64_t chunk = address / kChunk, stop = std::min(end, (chunk + 1) * kChunk);
    const auto [found, fresh] = held_.try_emplace(chunk);
    if (fresh) {
      order_.push_front(chunk);
      found->second.place = order_.begin();
      if (static_cast<int64_t>(order_.size()) > most_) {
        held_.erase(order_.back());
        order_.pop_back();
      }
    } else {
      order_.splice(order_.begin(), order_, found->second.place);
    }
    const int64_t first = address % kChunk / line_, last = (stop - 1) % kChunk / line_;
    const uint64_t upto = last >= 63 ? ~uint64_t{0} : (uint64_t{1} << (last + 1)) - 1;
    const uint64_t wanted = upto & ~((uint64_t{1} << first) - 1);
    missed += std::popcount(wanted & ~found->second.lines) * line_;
    found->second.lines |= wanted;
    address = stop;
  }
  return missed;
}

// Something shared that serves requests one after the other at a rate.
struct Server {
  double rate = 0, free_at = 0;
  double serve(double start, double bytes) {
    if (rate == 0) return start;
    free_at = std::max(free_at, start) + bytes / rate;
    return free_at;
  }
};

struct TimingModel::Shared {
  std::span<const int64_t> addresses;
  Server memory;
  std::vector<Server> clusters;
};

// A core on its way through the program.
struct TimingModel::Core {
  struct Frame {
    const std::vector<isa::Statement>* body;
    size_t at;
    int variable;  // of the loop, -1: none
    int64_t count;
  };
  int64_t index = 0;
  std::vector<Frame> frames;
  std::vector<int64_t> variables;
  std::vector<double> free_at;  // per queue: when it takes the next instruction
  std::vector<double> done_at;  // and when all that it took is done
  std::vector<double> busy;
  std::map<std::array<int64_t, 3>, double> flags;  // those that are raised, and when
  double issue = 0, end = 0;
  bool waits = false;  // at a barrier
  const Instruction* next = nullptr;

  // The next instruction, or null at the end.
  void advance() {
    next = nullptr;
    while (!frames.empty()) {
      Frame& f = frames.back();
      if (f.at == f.body->size()) {
        if (f.variable >= 0 && ++variables[static_cast<size_t>(f.variable)] < f.count) {
          f.at = 0;
          continue;
        }
        frames.pop_back();
        continue;
      }
      const isa::Statement& s = (*f.body)[f.at++];
      if (const auto* i = std::get_if<Instruction>(&s)) {
        next = i;
        return;
      }
      const auto& loop = std::get<isa::Loop>(s);
      const int64_t count = loop.count.at(variables);
      if (count <= 0 || loop.body.empty()) continue;
      variables[static_cast<size_t>(loop.variable)] = 0;
      frames.push_back({&loop.body, 0, loop.variable, count});
    }
  }
};

TimingModel::TimingModel(const Machine& machine, const isa::Architecture& architecture)
    : architecture_(architecture), costs_(machine, architecture), cache_(0, 512) {
  if (const auto* a = std::get_if<AscendChip>(&machine.chip)) {
    cache_ = Cache(static_cast<int64_t>(a->l2), static_cast<int64_t>(a->l2_line));
    memory_rate_ = a->memory_bandwidth;
    cluster_rate_ = 0;
    core_rate_ = a->l2_read * a->cube_clock;
    core_write_rate_ = a->l2_write * a->cube_clock;
    hit_latency_ = a->l2_latency / a->cube_clock;
    copy_start_ = a->copy_start / a->cube_clock;
    miss_latency_ = a->memory_latency / a->cube_clock;
  } else {
    const auto& c = std::get<CambriconChip>(machine.chip);
    cache_ = Cache(static_cast<int64_t>(c.l2), 512);
    memory_rate_ = c.memory_bandwidth;
    cluster_rate_ = c.cluster_bandwidth;
    core_rate_ = core_write_rate_ = c.io_bytes * c.clock;
    copy_start_ = c.copy_start / c.clock;
    hit_latency_ = miss_latency_ = c.memory_latency / c.clock;
    cores_per_cluster_ = static_cast<int64_t>(c.cores_per_cluster);
  }
}

// What the cache does not hold of a view: run by run.
int64_t TimingModel::missed(const isa::View& view, int64_t address,
                            std::span<const int64_t> variables) {
  constexpr int64_t kLine = 512;
  std::array<std::pair<int64_t, int64_t>, 16> axes;  // stride in bytes, size
  const auto size = static_cast<int64_t>(dtype_size(view.dtype));
  size_t n = 0;
  for (const isa::Axis& axis : view.axes) {
    const int64_t count = axis.size.at(variables), stride = axis.stride.at(variables) * size;
    if (count <= 0) return 0;
    if (count > 1 && stride != 0 && n < axes.size()) axes[n++] = {stride, count};
  }
  std::sort(axes.begin(), axes.begin() + static_cast<int64_t>(n));
  // Gaps within a line are of the same line.
  int64_t run = size;
  size_t inner = 0;
  for (; inner < n && axes[inner].first < run + kLine; ++inner)
    run += (axes[inner].second - 1) * axes[inner].first;
  std::array<int64_t, 16> at{};
  int64_t missed = 0;
  for (;;) {
    int64_t offset = 0;
    for (size_t i = inner; i < n; ++i) offset += at[i] * axes[i].first;
    missed += cache_.miss(address + offset, run);
    size_t i = inner;
    while (i < n && ++at[i] == axes[i].second) at[i++] = 0;
    if (i == n) return missed;
  }
}

Result<double> TimingModel::step(Core& core, Shared& shared, const Instruction& i,
                                 KernelTime& time) {
  const auto queue = [&](int64_t q) -> double& { return core.free_at[static_cast<size_t>(q)]; };
  core.issue += 1 / architecture_.clock;
  switch (i.op) {
    case Opcode::set_flag:
    case Opcode::wait_flag: {
      const std::array<int64_t, 3> flag{i.numbers[0].at(core.variables),
                                        i.numbers[1].at(core.variables),
                                        i.numbers[2].at(core.variables)};
      if (i.op == Opcode::set_flag) {
        core.flags[flag] = std::max(core.done_at[static_cast<size_t>(flag[0])], core.issue);
        return 0.0;
      }
      const auto raised = core.flags.find(flag);
      if (raised == core.flags.end())
        return internal_error(
            fmt::format("the program waits for flag {} from {} to {}, which "
                        "nobody raised before",
                        flag[2], architecture_.queues[static_cast<size_t>(flag[0])],
                        architecture_.queues[static_cast<size_t>(flag[1])]));
      queue(flag[1]) = std::max(queue(flag[1]), raised->second);
      core.done_at[static_cast<size_t>(flag[1])] =
          std::max(core.done_at[static_cast<size_t>(flag[1])], raised->second);
      core.flags.erase(raised);
      return 0.0;
    }
    case Opcode::sync: {
      const int64_t q = i.numbers[0].at(core.variables);
      for (size_t k = 0; k < core.free_at.size(); ++k)
        if (q < 0 || static_cast<size_t>(q) == k)
          core.issue = std::max(core.issue, core.done_at[k]);
      return 0.0;
    }
    case Opcode::barrier:
      for (const double done : core.done_at) core.issue = std::max(core.issue, done);
      core.waits = true;
      return core.issue;
    default:
      break;
  }
  const Cost cost = costs_.of(i, core.variables);
  const double start = std::max(queue(i.queue), core.issue);
  double end = start + cost.seconds, latency = 0;
  if (cost.bytes > 0) {
    const isa::View* view = nullptr;
    for (const isa::View& v : i.views)
      if (v.memory == 0) view = &v;
    const int64_t address =
        shared.addresses[static_cast<size_t>(view->buffer)] + view->offset.at(core.variables);
    const double bytes = static_cast<double>(cost.bytes);
    // Of a table, rows are read here and there.
    const bool cached = cache_.is_there() && i.op != Opcode::gather;
    const auto missed =
        static_cast<double>(cached ? this->missed(*view, address, core.variables) : cost.bytes);
    (cost.writes ? time.written : time.read) += cost.bytes;
    time.missed += static_cast<int64_t>(missed);
    // A core's own rate is that of the cache; memory is shared. A copy's latency delays what waits
    // for it, not the copies behind it.
    const double rate = (cost.writes ? core_write_rate_ : core_rate_) * cost.efficiency;
    latency = missed > 0 ? miss_latency_ : hit_latency_;
    const double own = start + copy_start_ + bytes / rate;
    double served = shared.memory.serve(start, missed / cost.efficiency);
    if (!shared.clusters.empty())
      served = std::max(served,
                        shared.clusters[static_cast<size_t>(core.index / cores_per_cluster_)].serve(
                            start, bytes));
    end = std::max(own, served);
  }
  time.operations += cost.operations;
  core.busy[static_cast<size_t>(i.queue)] += end - start;
  queue(i.queue) = end;
  double& done = core.done_at[static_cast<size_t>(i.queue)];
  done = std::max(done, end + latency);
  core.end = std::max(core.end, done);
  return start;
}

// All cores are at a barrier: they go on together.
void TimingModel::release(std::vector<Core>& cores, Order& order) {
  double latest = 0;
  for (const Core& core : cores)
    if (core.waits) latest = std::max(latest, core.issue);
  // Each tells the others through the memory, and hears from them.
  latest += 2 * miss_latency_;
  for (size_t c = 0; c < cores.size(); ++c) {
    if (!cores[c].waits) continue;
    cores[c].waits = false;
    cores[c].issue = latest;
    if (cores[c].next != nullptr) order.emplace(latest, c);
  }
}

Result<KernelTime> TimingModel::run(const Program& program, std::span<const int64_t> addresses) {
  KernelTime time;
  time.busy.assign(architecture_.queues.size(), 0);
  Shared shared{addresses, {memory_rate_, 0}, {}};
  if (cluster_rate_ > 0)
    shared.clusters.assign(
        static_cast<size_t>((program.blocks + cores_per_cluster_ - 1) / cores_per_cluster_),
        {cluster_rate_, 0});
  std::vector<Core> cores(static_cast<size_t>(program.blocks));
  // The core that is furthest back goes on, so that requests to what is shared come in order.
  Order order;
  for (size_t c = 0; c < cores.size(); ++c) {
    Core& core = cores[c];
    core.index = static_cast<int64_t>(c);
    core.variables.assign(static_cast<size_t>(program.variables), 0);
    core.variables[0] = core.index;
    core.free_at.assign(architecture_.queues.size(), 0);
    core.done_at.assign(architecture_.queues.size(), 0);
    core.busy.assign(architecture_.queues.size(), 0);
    core.frames.push_back({&program.body, 0, -1, 1});
    core.advance();
    order.emplace(0, c);
  }
  while (!order.empty()) {
    const auto [at, c] = order.top();
    order.pop();
    Core& core = cores[c];
    double key = at;
    while (core.next != nullptr) {
      const double start = TRY(step(core, shared, *core.next, time));
      core.advance();
      key = std::max(key, start);
      if (core.waits) break;
      if (!order.empty() && key > order.top().first) break;
    }
    if (core.next != nullptr && !core.waits) order.emplace(key, c);
    if (order.empty()) release(cores, order);
  }
  for (const Core& core : cores) {
    time.seconds = std::max(time.seconds, core.end);
    for (size_t q = 0; q < time.busy.size(); ++q)
      time.busy[q] += core.busy[q] / static_cast<double>(cores.size());
  }
  return time;
}

}  // namespace tenon::simulate
