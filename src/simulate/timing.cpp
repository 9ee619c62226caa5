#include "simulate/timing.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

namespace tenon::simulate {

using isa::Instruction;
using isa::Opcode;
using isa::Program;

namespace {

// A loop of more turns is followed from its first to this many, by what turns `kFrom` to `kTo` took
// the others are reckoned but for the last two. Turns are left out in dozens, so that places and
// flags, which take turns, are again those they were.
constexpr int64_t kLong = 256, kFrom = 48, kTo = 144, kDozen = 12;

// Something shared that serves requests one after the other at a rate.
struct Server {
  double rate = 0;
  Cause cause = Cause::memory;
  Moment free_at;
  void serve(const Moment& start, double bytes, Moment& end) {
    if (rate == 0 || bytes == 0) return;
    free_at.wait_for(start);
    free_at.spend(cause, bytes / rate);
    end.wait_for(free_at);
  }
};

}  // namespace

struct TimingModel::Shared {
  std::span<const int64_t> addresses;
  const std::vector<bool>& in_l2;  // per buffer; empty: none
  Server memory;
  std::vector<Server> clusters;
};

struct TimingModel::Core {     // on its way through the program
  struct Counters {            // what grows while it runs
    std::vector<double> busy;  // per queue
    std::vector<BufferTraffic> buffers;
    double missed = 0;  // bytes
    double operations = 0;
    void add(const Counters& other, double times) {
      for (size_t q = 0; q < busy.size(); ++q) busy[q] += times * other.busy[q];
      for (size_t b = 0; b < buffers.size(); ++b) buffers[b].add(other.buffers[b], times);
      missed += times * other.missed, operations += times * other.operations;
    }
  };
  struct Mark {
    Moment end, issue;
    Counters counters;
  };
  struct Frame {
    const std::vector<isa::Statement>* body;
    size_t at;
    int variable;  // of the loop, -1: none
    int64_t count;
    std::optional<Mark> mark;  // of a long loop, once it is steady
  };
  Core(const Program& program, size_t queues, int64_t ids, int64_t number)
      : index(number),
        variables(static_cast<size_t>(program.variables), 0),
        free_at(queues),
        done_at(queues),
        flags(queues * queues * static_cast<size_t>(ids)),
        flag_ids(ids) {
    variables[0] = index;
    counters.busy.assign(queues, 0);
    counters.buffers.resize(program.buffers.size());
    frames.push_back({&program.body, 0, -1, 1, {}});
    advance();
  }

  int64_t index = 0;
  std::vector<Frame> frames;
  std::vector<int64_t> variables;
  std::vector<Moment> free_at;               // per queue: when it takes the next instruction
  std::vector<Moment> done_at;               // and when all that it took is done
  std::vector<std::optional<Moment>> flags;  // those that are raised, and when
  int64_t flag_ids;
  Moment issue, end;
  Counters counters;
  std::pair<int, int64_t> last{-1, 0};  // memory and offset of what the last product wrote
  bool drained = false;                 // that was a copy out of L0C
  bool waits = false;                   // at a barrier
  bool skipped = false, ahead = false;  // turns, ever and just now
  const Instruction* next = nullptr;

  // The next instruction, or null at the end.
  void advance() {
    next = nullptr;
    while (!frames.empty()) {
      Frame& f = frames.back();
      if (f.at == f.body->size()) {
        if (f.variable >= 0 && turn(f)) {
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
      frames.push_back({&loop.body, 0, loop.variable, count, {}});
    }
  }

  // The next turn of a loop, if there is one.
  bool turn(Frame& f) {
    int64_t& i = variables[static_cast<size_t>(f.variable)];
    if (++i >= f.count) return false;
    if (f.count < kLong) return true;
    if (i == kFrom) f.mark = Mark{end, issue, counters};
    if (i == kTo) skip(f, (f.count - 2 - kTo) / kDozen * kDozen);  // a dozen at least
    return true;
  }

  // As if so many more turns had passed as those since the mark.
  void skip(Frame& f, int64_t turns) {
    const double times = static_cast<double>(turns) / (kTo - kFrom);
    const double seconds = times * (end.at - f.mark->end.at);
    const double issuing = times * (issue.at - f.mark->issue.at);
    Causes causes;
    // Where the longest way went another way meanwhile, its causes are no difference.
    bool grows = true;
    for (size_t c = 0; c < kCauses; ++c) {
      causes[c] = times * (end.by[c] - f.mark->end.by[c]);
      grows &= causes[c] >= 0;
    }
    for (size_t c = 0; c < kCauses && !grows; ++c) causes[c] = seconds * end.by[c] / end.at;
    for (Moment& m : free_at) m.shift(seconds, causes);
    for (Moment& m : done_at) m.shift(seconds, causes);
    for (auto& m : flags)
      if (m) m->shift(seconds, causes);
    end.shift(seconds, causes);
    Causes ratio = causes;
    for (double& c : ratio) c *= seconds > 0 ? issuing / seconds : 0;
    issue.shift(issuing, ratio);
    Counters since = counters;
    since.add(f.mark->counters, -1);
    counters.add(since, times);
    variables[static_cast<size_t>(f.variable)] += turns;
    skipped = ahead = true;
    f.mark.reset();
  }
};

TimingModel::TimingModel(const Machine& machine, const isa::Architecture& architecture)
    : architecture_(architecture), costs_(machine, architecture), cache_(0) {
  if (const auto* a = std::get_if<AscendChip>(&machine.chip)) {
    // Without a cache, what tiles share and ours read anew the vendor's kernels keep in L1.
    cache_ = Cache(static_cast<int64_t>(a->l2_pages > 0 ? a->cube_cores * a->l1 : a->l2));
    memory_rate_ = a->memory_bandwidth * a->memory_rate;
    cluster_rate_ = 0;
    l0c_ = architecture.memory("l0c").value_or(-1);
    core_rate_ = a->l2_read * a->cube_clock * a->port_rate;
    core_write_rate_ = a->l2_write * a->cube_clock * a->port_rate;
    hit_latency_ = a->l2_latency / a->cube_clock;
    near_rate_ = 0;
    copy_start_ = a->copy_start / a->cube_clock;
    miss_latency_ = a->memory_latency / a->cube_clock;
    barrier_ = a->barrier / a->cube_clock;
  } else {
    const auto& c = std::get<CambriconChip>(machine.chip);
    // Without a cache, the vendor's software keeps in the memories of the clusters what their cores
    // share and what one kernel leaves to the next.
    const double used = static_cast<double>(architecture.cores) / c.cores_per_cluster;
    const double bytes = c.l2 > 0 ? c.l2 : used * (c.sram - c.sram_reserved);
    cache_ = Cache(static_cast<int64_t>(bytes));
    memory_rate_ = c.memory_bandwidth * c.memory_rate;
    cluster_rate_ = c.cluster_bandwidth * c.memory_rate;
    core_rate_ = core_write_rate_ = c.io_bytes * c.clock;
    copy_start_ = c.copy_start / c.clock;
    near_rate_ = c.l2 > 0 ? 0 : c.move_bytes * c.clock;
    miss_latency_ = c.memory_latency / c.clock;
    hit_latency_ = 0;
    cores_per_cluster_ = static_cast<int64_t>(c.cores_per_cluster);
    crowded_rate_ = c.crowded_rate;
    clusters_ = c.clusters;
  }
}

// Run by run.
MemoryTraffic TimingModel::moved(const isa::View& view, int64_t address,
                                 std::span<const int64_t> variables, bool writes) {
  constexpr int64_t kBlock = 32;
  std::array<std::pair<int64_t, int64_t>, 16> axes;  // stride in bytes, size
  const auto size = static_cast<int64_t>(dtype_size(view.dtype));
  size_t n = 0;
  for (const isa::Axis& axis : view.axes) {
    const int64_t count = axis.size.at(variables), stride = axis.stride.at(variables) * size;
    if (count <= 0) return {};
    // Backwards or not, it is the same bytes.
    if (stride < 0) address += (count - 1) * stride;
    if (count > 1 && stride != 0 && n < axes.size()) axes[n++] = {std::abs(stride), count};
  }
  std::sort(axes.begin(), axes.begin() + static_cast<int64_t>(n));
  // Gaps within a block are of the same block.
  int64_t run = size;
  size_t inner = 0;
  for (; inner < n && axes[inner].first < run + kBlock; ++inner)
    run += (axes[inner].second - 1) * axes[inner].first;
  const int64_t runs = inner < n ? axes[inner].second : 1, step = inner < n ? axes[inner].first : 0;
  const size_t outer = std::min(inner + 1, n);
  std::array<int64_t, 16> at{};
  MemoryTraffic moved;
  for (;;) {
    int64_t offset = 0;
    for (size_t i = outer; i < n; ++i) offset += at[i] * axes[i].first;
    moved.add(cache_.access_runs(address + offset, run, runs, step, writes));
    size_t i = outer;
    while (i < n && ++at[i] == axes[i].second) at[i++] = 0;
    if (i == n) return moved;
  }
}

// Flags, syncs and barriers.
Status TimingModel::order(Core& core, const Instruction& i) {
  const auto number = [&](size_t n) { return i.numbers[n].at(core.variables); };
  if (i.op == Opcode::barrier) {
    for (const Moment& done : core.done_at) core.issue.wait_for(done);
    core.waits = true;
    return {};
  }
  if (i.op == Opcode::sync) {
    for (size_t q = 0; q < core.done_at.size(); ++q)
      if (number(0) < 0 || static_cast<size_t>(number(0)) == q)
        core.issue.wait_for(core.done_at[q]);
    return {};
  }
  const auto from = static_cast<size_t>(number(0)), to = static_cast<size_t>(number(1));
  const size_t queues = core.done_at.size(), ids = static_cast<size_t>(core.flag_ids);
  const size_t at = (from * queues + to) * ids + static_cast<size_t>(number(2));
  if (from >= queues || to >= queues || at >= core.flags.size())
    return internal_error("the program has a flag that the chip has not");
  auto& flag = core.flags[at];
  if (i.op == Opcode::set_flag) {
    flag = core.done_at[from];
    flag->wait_for(core.issue);
    return {};
  }
  if (!flag)
    return internal_error(
        fmt::format("the program waits for flag {} from {} to {}, which nobody raised before",
                    number(2), architecture_.queues[from], architecture_.queues[to]));
  core.free_at[to].wait_for(*flag);
  core.done_at[to].wait_for(*flag);
  flag.reset();
  return {};
}

// A copy from or to the global memory; `end` is when it starts, then when the queue goes on.
bool TimingModel::transfer(Core& core, Shared& shared, const Instruction& i, const Cost& cost,
                           Moment& end) {
  const isa::View* view = nullptr;
  for (const isa::View& v : i.views)
    if (v.memory == 0) view = &v;
  const int64_t address =
      shared.addresses[static_cast<size_t>(view->buffer)] + view->offset.at(core.variables);
  const double bytes = static_cast<double>(cost.bytes);
  const auto cluster = static_cast<size_t>(core.index / cores_per_cluster_);
  // Of a table, rows are read or written here and there.
  double moved = bytes, fetched = cost.writes ? 0 : bytes;
  if (!shared.in_l2.empty() && shared.in_l2[static_cast<size_t>(view->buffer)]) {
    moved = fetched = 0;
  } else if (i.op != Opcode::gather && i.op != Opcode::scatter && cache_.is_there()) {
    const MemoryTraffic traffic = this->moved(*view, address, core.variables, cost.writes);
    moved = static_cast<double>(traffic.bytes());
    fetched = static_cast<double>(traffic.fetched);
  }
  BufferTraffic& buffer = core.counters.buffers[static_cast<size_t>(view->buffer)];
  (cost.writes ? buffer.written : buffer.read) += bytes;
  buffer.fetched += fetched;
  core.counters.missed += moved;
  const Moment start = end;
  end.spend(Cause::copy_start, copy_start_ * static_cast<double>(cost.copies));
  if (moved == 0 && near_rate_ > 0)
    end.spend(Cause::move, bytes / near_rate_);
  else
    end.spend(Cause::port, bytes / (cost.writes ? core_write_rate_ : core_rate_) / cost.efficiency);
  shared.memory.serve(start, moved / cost.efficiency, end);
  if (!shared.clusters.empty()) shared.clusters[cluster].serve(start, moved, end);
  return moved > 0;
}

// What takes instructions of its own in a program and none on the chip. Cambricon's convolutions
// add the bias, apply relu and write their sums in the type that is asked for. On Ascend the copy
// out of L0C applies relu, sums begin with the bias, and the vector unit multiplies and adds at
// once (MulAddDst).
bool TimingModel::is_part_of_last(Core& core, const Instruction& i) const {
  const bool ascend = architecture_.family == AscendChip::family;
  const auto place = [&](const isa::View& v) {
    return std::pair{v.memory, v.offset.at(core.variables)};
  };
  const bool drains =
      ascend && i.op == Opcode::copy && i.views[1].memory == l0c_ && i.views[0].memory != 0;
  if (drains || i.op == (ascend ? Opcode::mul : Opcode::conv)) {
    core.last = place(i.views[0]);
    core.drained = drains;
    return false;
  }
  if (i.op != Opcode::add && (ascend ? i.op != Opcode::relu || !core.drained
                                     : i.op != Opcode::convert && i.op != Opcode::relu))
    return false;
  if (std::none_of(i.views.begin() + 1, i.views.end(),
                   [&](const isa::View& v) { return place(v) == core.last; }))
    return false;
  // A bias is the same for all rows; any other sum is the vector unit's.
  const auto repeats = [&](const isa::View& v) {
    return std::ranges::any_of(v.axes, [&](const isa::Axis& axis) {
      return axis.size.at(core.variables) > 1 && axis.stride.at(core.variables) == 0;
    });
  };
  if (core.drained && i.op == Opcode::add && std::ranges::none_of(i.views, repeats)) return false;
  core.last = !ascend || core.drained ? place(i.views[0]) : std::pair{-1, int64_t{0}};
  return true;
}

Result<double> TimingModel::step(Core& core, Shared& shared, const Instruction& i) {
  core.issue.spend(Cause::issue, 1 / architecture_.clock);
  if (isa::info(i.op).kind == isa::OpcodeClass::order) {
    TRY(order(core, i));
    return core.issue.at;
  }
  const auto [known, fresh] = fixed_.try_emplace(&i);
  if (fresh && CostModel::is_fixed(i)) known->second = costs_.of(i, core.variables);
  Cost cost = known->second ? *known->second : costs_.of(i, core.variables);
  if (is_part_of_last(core, i)) cost.start = cost.seconds = 0;
  const auto q = static_cast<size_t>(i.queue);
  Moment& free_at = core.free_at[q];
  free_at.wait_for(core.issue);
  const double start = free_at.at;
  double latency = 0;
  if (cost.bytes > 0) {
    latency = transfer(core, shared, i, cost, free_at) ? miss_latency_ : hit_latency_;
  } else {
    const bool product = cost.cause == Cause::product;
    if (product && is_float(i.views[1].dtype)) cost.seconds /= float_rate_;
    free_at.spend(product ? Cause::product_start : Cause::vector_start, cost.start);
    free_at.spend(cost.cause, cost.seconds);
  }
  core.counters.operations += cost.operations;
  core.counters.busy[q] += free_at.at - start;
  // A copy's latency delays what waits for it, not the copies behind it.
  Moment done = free_at;
  done.spend(Cause::latency, latency);
  core.done_at[q].wait_for(done);
  core.end.wait_for(core.done_at[q]);
  return start;
}

// All cores are at a barrier: they go on together.
void TimingModel::release(std::vector<Core>& cores, Order& order) {
  Moment latest;
  for (const Core& core : cores)
    if (core.waits) latest.wait_for(core.issue);
  latest.spend(Cause::barrier, barrier_);
  for (size_t c = 0; c < cores.size(); ++c) {
    if (!cores[c].waits) continue;
    cores[c].waits = false;
    cores[c].issue = latest;
    if (cores[c].next != nullptr) order.emplace(latest.at, c);
  }
}

Result<KernelTime> TimingModel::collect(const std::vector<Core>& cores) const {
  KernelTime time;
  time.busy.assign(architecture_.queues.size(), 0);
  Moment end;
  time.buffers.resize(cores.empty() ? 0 : cores[0].counters.buffers.size());
  double read = 0, written = 0, missed = 0;
  for (const Core& core : cores) {
    end.wait_for(core.end);
    for (size_t q = 0; q < time.busy.size(); ++q)
      time.busy[q] += core.counters.busy[q] / static_cast<double>(cores.size());
    for (size_t b = 0; b < time.buffers.size(); ++b)
      time.buffers[b].add(core.counters.buffers[b], 1);
    missed += core.counters.missed, time.operations += core.counters.operations;
  }
  time.seconds = end.at;
  time.causes = end.by;
  for (const BufferTraffic& b : time.buffers) read += b.read, written += b.written;
  time.read = std::llround(read), time.written = std::llround(written);
  time.missed = std::llround(missed);
  return time;
}

Result<KernelTime> TimingModel::run(const Program& program, std::span<const int64_t> addresses,
                                    const std::vector<bool>& in_l2) {
  Shared shared{addresses, in_l2, {memory_rate_, Cause::memory, {}}, {}};
  const auto clusters =
      static_cast<size_t>((program.blocks + cores_per_cluster_ - 1) / cores_per_cluster_);
  // The power is enough for so many clusters; more of them share it.
  const double at_once = crowded_rate_ * clusters_;
  float_rate_ = cluster_rate_ > 0 ? std::min(1.0, at_once / static_cast<double>(clusters)) : 1;
  fixed_.clear();
  if (cluster_rate_ > 0) shared.clusters.assign(clusters, {cluster_rate_, Cause::cluster, {}});
  std::vector<Core> cores;
  // The core that is furthest back goes on, so that requests to what is shared come in order.
  Order order;
  for (int64_t c = 0; c < program.blocks; ++c) {
    cores.emplace_back(program, architecture_.queues.size(), architecture_.flag_ids, c);
    order.emplace(0, static_cast<size_t>(c));
  }
  while (!order.empty()) {
    const auto [at, c] = order.top();
    order.pop();
    Core& core = cores[c];
    double key = at;
    while (core.next != nullptr) {
      const double start = TRY(step(core, shared, *core.next));
      core.advance();
      key = std::max(key, start);
      if (core.waits) break;
      // The others catch up before it asks for what is shared.
      if (core.ahead) key = std::max(key, core.end.at);
      core.ahead = false;
      if (!order.empty() && key > order.top().first) break;
    }
    if (core.next != nullptr && !core.waits) order.emplace(key, c);
    if (order.empty()) release(cores, order);
  }
  // Turns that were left out would have moved the rest of their tensors through the cache.
  if (cache_.is_there() && std::ranges::any_of(cores, &Core::skipped))
    for (size_t b = 0; b < program.buffers.size(); ++b) {
      const isa::Buffer& buffer = program.buffers[b];
      if (!in_l2.empty() && in_l2[b]) continue;
      cache_.access(addresses[b], buffer.elements * static_cast<int64_t>(dtype_size(buffer.dtype)),
                    buffer.role == isa::Buffer::Role::output);
    }
  return collect(cores);
}

}  // namespace tenon::simulate
