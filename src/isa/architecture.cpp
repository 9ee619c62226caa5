#include "isa/architecture.h"

#include <algorithm>

namespace tenon::isa {
namespace {

constexpr Opcode kUnary[] = {Opcode::convert, Opcode::exp,        Opcode::ln,  Opcode::sqrt,
                             Opcode::rsqrt,   Opcode::reciprocal, Opcode::abs, Opcode::relu};
constexpr Opcode kBinary[] = {Opcode::add, Opcode::sub, Opcode::mul,
                              Opcode::div, Opcode::max, Opcode::min};
constexpr Opcode kScalar[] = {Opcode::adds, Opcode::muls, Opcode::maxs, Opcode::mins};
constexpr Opcode kReduce[] = {Opcode::reduce_sum, Opcode::reduce_max, Opcode::reduce_min};

// What every vector unit does, all views in `memory`.
void add_vector(Architecture& a, int queue, int memory) {
  const auto route = [&](Opcode op) {
    const auto views = static_cast<size_t>(info(op).views);
    a.routes.push_back({op, queue, std::vector<int>(views, memory), 0});
  };
  route(Opcode::copy);
  route(Opcode::fill);
  for (const Opcode op : kUnary) route(op);
  for (const Opcode op : kBinary) route(op);
  for (const Opcode op : kScalar) route(op);
  for (const Opcode op : kReduce) route(op);
  route(Opcode::compare);
  route(Opcode::select);
}

// Memories: gm l1 l0a l0b l0c ub. The queues are named as in the vendor's manuals.
Architecture ascend(const AscendChip& chip) {
  enum { gm, l1, l0a, l0b, l0c, ub };
  enum { mte2, mte1, m, v, mte3, fix };
  const auto block = static_cast<int64_t>(chip.block), fractal = static_cast<int64_t>(chip.fractal);
  Architecture a;
  a.family = AscendChip::family;
  a.memories = {{"gm", static_cast<int64_t>(chip.memory), 1},
                {"l1", static_cast<int64_t>(chip.l1), block},
                {"l0a", static_cast<int64_t>(chip.l0a), fractal},
                {"l0b", static_cast<int64_t>(chip.l0b), fractal},
                {"l0c", static_cast<int64_t>(chip.l0c), 64},
                {"ub", static_cast<int64_t>(chip.ub), block}};
  a.queues = {"mte2", "mte1", "m", "v", "mte3"};
  a.cores = static_cast<int64_t>(chip.cube_cores);
  const bool split = chip.coupling == VectorCoupling::split;
  a.vector_cores = split ? static_cast<int64_t>(chip.vector_cores) : a.cores;
  a.flag_ids = static_cast<int64_t>(chip.event_ids);
  a.clock = chip.cube_clock;
  a.block = block;
  a.routes = {
      {Opcode::copy, mte2, {l1, gm}, chip.l2_read},
      {Opcode::copy, mte2, {ub, gm}, chip.l2_read},
      {Opcode::gather, mte2, {ub, gm, ub}, chip.l2_read},
      {Opcode::copy, mte1, {l0a, l1}, chip.l1_to_l0a},
      {Opcode::img2col, mte1, {l0a, l1}, chip.l1_to_l0a},
      {Opcode::copy, mte1, {l0b, l1}, chip.l1_to_l0b},
      {Opcode::copy, mte1, {ub, l1}, chip.l1_to_ub},
      {Opcode::fill, mte2, {l1}, chip.l2_read},
      {Opcode::copy, mte3, {gm, ub}, chip.ub_to_l2},
      {Opcode::scatter, mte3, {gm, ub, ub}, chip.ub_to_l2},
      {Opcode::copy, mte3, {l1, ub}, chip.ub_to_l1},
      {Opcode::mmad, m, {l0c, l0a, l0b}, 0},
  };
  if (split) {
    a.queues.emplace_back("fix");
    a.routes.push_back({Opcode::copy, fix, {gm, l0c}, chip.l0c_to_ub});
    a.routes.push_back({Opcode::copy, fix, {l1, l0c}, chip.l0c_to_ub});
  } else {
    a.routes.push_back({Opcode::copy, v, {ub, l0c}, chip.l0c_to_ub});
  }
  add_vector(a, v, ub);
  return a;
}

// Memories: gdram nram wram sram.
Architecture cambricon(const CambriconChip& chip) {
  enum { gdram, nram, wram, sram };
  enum { io, move, compute };
  Architecture a;
  a.family = CambriconChip::family;
  const auto align = static_cast<int64_t>(chip.align);
  a.memories = {{"gdram", static_cast<int64_t>(chip.memory), 1},
                {"nram", static_cast<int64_t>(chip.nram - chip.nram_reserved), align},
                {"wram", static_cast<int64_t>(chip.wram), static_cast<int64_t>(chip.wram_align)},
                {"sram", static_cast<int64_t>(chip.sram - chip.sram_reserved), align}};
  a.queues = {"io", "move", "compute"};
  // Chips whose queues depend on each other have one for both movements.
  const int on_chip = chip.independent_queues != 0 ? move : io;
  a.cores = a.vector_cores = static_cast<int64_t>(chip.clusters * chip.cores_per_cluster);
  // No number is published: kernels in BANG C wait for whole queues, which flags stand for here.
  a.flag_ids = 16;
  a.clock = chip.clock;
  a.block = align;
  for (const int memory : {static_cast<int>(nram), static_cast<int>(wram)}) {
    a.routes.push_back({Opcode::copy, io, {memory, gdram}, chip.io_bytes});
    a.routes.push_back({Opcode::copy, on_chip, {memory, sram}, chip.move_bytes});
  }
  // Within NRAM the compute queue copies.
  a.routes.push_back({Opcode::copy, on_chip, {wram, nram}, chip.move_bytes});
  a.routes.push_back({Opcode::copy, io, {gdram, nram}, chip.io_bytes});
  a.routes.push_back({Opcode::copy, io, {sram, gdram}, chip.io_bytes});
  a.routes.push_back({Opcode::copy, on_chip, {sram, nram}, chip.move_bytes});
  a.routes.push_back({Opcode::gather, io, {nram, gdram, nram}, chip.io_bytes});
  a.routes.push_back({Opcode::scatter, io, {gdram, nram, nram}, chip.io_bytes});
  a.routes.push_back({Opcode::conv, compute, {nram, nram, wram}, 0});
  add_vector(a, compute, nram);
  for (const Opcode op : {Opcode::sigmoid, Opcode::tanh})
    a.routes.push_back({op, compute, {nram, nram}, 0});
  return a;
}

template <typename Items, typename Name>
std::optional<int> find(const Items& items, const Name& name_of, std::string_view name) {
  for (size_t i = 0; i < items.size(); ++i)
    if (name_of(items[i]) == name) return static_cast<int>(i);
  return std::nullopt;
}

}  // namespace

std::optional<int> Architecture::memory(std::string_view name) const {
  return find(
      memories, [](const Memory& m) -> std::string_view { return m.name; }, name);
}

std::optional<int> Architecture::queue(std::string_view name) const {
  return find(
      queues, [](const std::string& q) -> std::string_view { return q; }, name);
}

const Route* Architecture::route(Opcode op, const std::vector<View>& views) const {
  const auto r = std::ranges::find_if(routes, [&](const Route& route) {
    return route.op == op && std::ranges::equal(route.memories, views, {}, {}, &View::memory);
  });
  return r == routes.end() ? nullptr : &*r;
}

Architecture architecture_of(const Machine& machine) {
  Architecture a = std::visit(
      [](const auto& chip) {
        if constexpr (std::is_same_v<std::decay_t<decltype(chip)>, AscendChip>)
          return ascend(chip);
        else
          return cambricon(chip);
      },
      machine.chip);
  a.name = machine.name;
  return a;
}

}  // namespace tenon::isa
