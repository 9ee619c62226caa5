#include "isa/footprint.h"

#include <algorithm>
#include <set>

#include "isa/extent.h"

namespace tenon::isa {
namespace {

// The loops around an instruction, and the ranges of their variables.
struct Nest {
  std::vector<const Loop*> loops;
  std::vector<Range> ranges;
};

// Calls `visit(instruction, nest)` for every instruction that is ever issued, in order.
template <class Visit>
void walk(const std::vector<Statement>& body, Nest& nest, const Visit& visit) {
  for (const Statement& s : body) {
    if (const auto* instruction = std::get_if<Instruction>(&s)) {
      visit(*instruction, nest);
      continue;
    }
    const Loop& loop = std::get<Loop>(s);
    const int64_t most = range_of(loop.count, nest.ranges).high - 1;
    if (most < 0) continue;
    nest.ranges[static_cast<size_t>(loop.variable)] = Range::between(0, most);
    nest.loops.push_back(&loop);
    walk(loop.body, nest, visit);
    nest.loops.pop_back();
  }
}

template <class Visit>
void walk(const Program& program, const Visit& visit) {
  Nest nest;
  nest.ranges.resize(static_cast<size_t>(std::max(program.variables, 1)));
  nest.ranges[0] = Range::between(0, program.blocks - 1);
  walk(program.body, nest, visit);
}

// What instructions have to do with a part of a memory.
struct Part {
  int memory;
  Extent extent;
  std::vector<const Loop*> loops;  // around all of them
  int64_t first, last;             // their numbers
  std::set<int> loaded, stored;    // buffers
  std::set<Opcode> written_by;

  bool meets(const Part& other) const {
    return memory == other.memory && extent.begin < other.extent.end &&
           other.extent.begin < extent.end;
  }
  void join(const Part& other) {
    extent = {std::min(extent.begin, other.extent.begin), std::max(extent.end, other.extent.end)};
    first = std::min(first, other.first), last = std::max(last, other.last);
    const auto ends = std::ranges::mismatch(loops, other.loops);
    loops.erase(ends.in1, loops.end());
    loaded.insert(other.loaded.begin(), other.loaded.end());
    stored.insert(other.stored.begin(), other.stored.end());
    written_by.insert(other.written_by.begin(), other.written_by.end());
  }
};

// Parts that do not overlap, by what instructions touch together.
class Parts {
 public:
  void touch(Part part) {
    for (size_t i = 0; i < parts_.size();) {
      if (!parts_[i].meets(part)) {
        ++i;
        continue;
      }
      part.join(parts_[i]);
      parts_.erase(parts_.begin() + static_cast<std::ptrdiff_t>(i));
      i = 0;  // it has grown
    }
    parts_.push_back(std::move(part));
  }
  Part& at(int memory, const Extent& extent) {
    const Part probe{memory, extent, {}, 0, 0, {}, {}, {}};
    return *std::ranges::find_if(parts_, [&](const Part& p) { return p.meets(probe); });
  }
  std::vector<Part> take() && { return std::move(parts_); }

 private:
  std::vector<Part> parts_;
};

// A movement within a core: what is loaded into its operand is in its destination too, and what is
// stored from its destination was in its operand.
struct Movement {
  int to;
  Extent to_extent;
  int from;
  Extent from_extent;
};

bool insert_all(std::set<int>& into, const std::set<int>& what) {
  const size_t before = into.size();
  into.insert(what.begin(), what.end());
  return into.size() > before;
}

void follow(const std::vector<Movement>& movements, Parts& parts) {
  for (bool changed = true; changed;) {
    changed = false;
    for (const Movement& m : movements) {
      Part &to = parts.at(m.to, m.to_extent), &from = parts.at(m.from, m.from_extent);
      if (&to == &from) continue;
      changed |= insert_all(to.loaded, from.loaded);
      changed |= insert_all(from.stored, to.stored);
    }
  }
}

}  // namespace

std::vector<int64_t> footprint(const Program& program, const Architecture& architecture) {
  std::vector<int64_t> peaks(architecture.memories.size());
  walk(program, [&](const Instruction& instruction, const Nest& nest) {
    for (const View& v : instruction.views) {
      int64_t& peak = peaks[static_cast<size_t>(v.memory)];
      if (v.memory != 0 && bound_of(v, nest.ranges).end > peak)
        peak = std::max(peak, extent_of(v, nest.ranges).end);
    }
  });
  return peaks;
}

std::vector<Resident> residents(const Program& program) {
  Parts parts;
  std::vector<Movement> movements;
  int64_t number = 0;
  walk(program, [&](const Instruction& instruction, const Nest& nest) {
    ++number;
    const bool moves = info(instruction.op).kind == OpcodeClass::move;
    std::vector<Extent> extents;
    for (size_t i = 0; i < instruction.views.size(); ++i) {
      const View& v = instruction.views[i];
      extents.push_back(v.memory == 0 ? Extent{} : extent_of(v, nest.ranges));
      if (extents[i].begin == extents[i].end) continue;
      Part part{v.memory, extents[i], nest.loops, number, number, {}, {}, {}};
      if (i == 0) part.written_by.insert(instruction.op);
      for (const View& other : instruction.views)
        if (other.memory == 0) (i == 0 ? part.loaded : part.stored).insert(other.buffer);
      parts.touch(std::move(part));
    }
    if (!moves || extents.size() < 2) return;
    const View &to = instruction.views[0], &from = instruction.views[1];
    const auto is_touched = [](const Extent& e) { return e.begin != e.end; };
    if (is_touched(extents[0]) && is_touched(extents[1]))
      movements.push_back({to.memory, extents[0], from.memory, extents[1]});
  });
  follow(movements, parts);
  std::vector<Resident> result;
  for (Part& p : std::move(parts).take()) {
    Resident r{p.memory, p.extent.begin, p.extent.end, {}, {}, p.first, p.last, {}};
    p.loaded.insert(p.stored.begin(), p.stored.end());
    r.buffers.assign(p.loaded.begin(), p.loaded.end());
    r.written_by.assign(p.written_by.begin(), p.written_by.end());
    for (const Loop* loop : p.loops) r.loops.push_back(loop->variable);
    result.push_back(std::move(r));
  }
  std::ranges::sort(result, {}, [](const Resident& r) { return std::pair{r.memory, r.begin}; });
  return result;
}

}  // namespace tenon::isa
