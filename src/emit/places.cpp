#include "emit/places.h"

#include <algorithm>
#include <optional>

namespace tenon::emit {
namespace {

using isa::Expr;
using isa::View;
using Kind = isa::Expr::Kind;

// The constant term of a sum.
int64_t constant_of(const Expr& e) {
  if (e.is_number()) return e.value();
  if (e.kind() == Kind::add) return constant_of(e.left()) + constant_of(e.right());
  if (e.kind() == Kind::sub) return constant_of(e.left()) - constant_of(e.right());
  return 0;
}

// The bytes of a slot in turn % depth * bytes, and of all but one of them.
struct Ring {
  int64_t slot = 0, rest = 0;
};
Ring ring_of(const Expr& e) {
  if (e.is_number()) return {};
  if (e.kind() == Kind::add || e.kind() == Kind::sub) {
    const Ring left = ring_of(e.left());
    return left.slot != 0 || e.kind() == Kind::sub ? left : ring_of(e.right());
  }
  if (e.kind() == Kind::mul && e.left().kind() == Kind::mod && e.right().is_number() &&
      e.left().right().is_number())
    return {e.right().value(), (e.left().right().value() - 1) * e.right().value()};
  return {};
}

std::string_view role_of(isa::Opcode op, std::string_view memory) {
  if (memory == "l0a") return "left";
  if (memory == "l0b") return "right";
  if (memory == "l0c") return "acc";
  switch (op) {
    case isa::Opcode::copy:
      return "part";
    case isa::Opcode::conv:
      return "acc";
    case isa::Opcode::fill:
      return "filled";
    case isa::Opcode::convert:
      return "wide";
    default:
      return isa::info(op).name;
  }
}

}  // namespace

Places::Places(const isa::Program& program, const isa::Program& shown,
               const isa::Architecture& architecture)
    : shown_(shown) {
  collect(program.body, ranges_of(program));
  collect(shown.body, ranges_of(shown));
  join();
  name(shown.body);
  std::map<int, Names> names;  // unique within a memory
  std::erase_if(place_of_, [&](const auto& p) { return places_[p.second].dtypes.empty(); });
  for (Place& p : places_) {
    const int64_t room = architecture.memories[static_cast<size_t>(p.memory)].bytes - p.offset;
    p.bytes = std::min(p.bytes, std::max<int64_t>(room, 0));
    if (p.name.starts_with('?')) {
      const auto op = isa::parse_opcode(std::string_view(p.name).substr(1));
      p.name = role_of(*op, architecture.memories[static_cast<size_t>(p.memory)].name);
    }
    if (p.name.empty()) p.name = "values";
    if (!p.dtypes.empty()) p.name = names[p.memory].unique(p.name);
  }
}

void Places::collect(const std::vector<isa::Statement>& body, const Ranges& ranges) {
  for (const isa::Statement& s : body) {
    if (const auto* loop = std::get_if<isa::Loop>(&s)) {
      collect(loop->body, ranges);
      continue;
    }
    const auto& instruction = std::get<isa::Instruction>(s);
    for (const View& v : instruction.views) {
      if (v.memory == 0) continue;
      const auto element = static_cast<int64_t>(dtype_size(v.dtype));
      int64_t least = 1, most = 1;
      for (const isa::Axis& a : v.axes) {
        const isa::Range size = range_of(a.size, ranges), stride = range_of(a.stride, ranges);
        least += std::max<int64_t>(size.low - 1, 0) * std::max<int64_t>(stride.low, 0);
        most += std::max<int64_t>(size.high - 1, 0) * std::max<int64_t>(stride.high, 0);
      }
      // Convolutions may compute as many channels as their pixels have room for.
      if (instruction.op == isa::Opcode::conv && &v == &instruction.views[2] && v.axes.size() == 4)
        most += range_of(instruction.views[0].axes[1].stride, ranges).high *
                range_of(v.axes[0].stride, ranges).high;
      const Ring ring = ring_of(v.offset);
      const int64_t reach = range_of(v.offset, ranges).high + most * element;
      const int64_t begin = std::max<int64_t>(constant_of(v.offset), 0);
      Start& start = starts_[{v.memory, begin}];
      start.slot = std::max(start.slot, ring.slot);
      start.least = std::max(start.least, ring.rest + least * element);
      start.most = std::max(start.most, reach - begin);
    }
  }
}

void Places::join() {
  int64_t sure = 0;  // where the place surely goes to
  for (const auto& [key, start] : starts_) {
    const auto& [memory, begin] = key;
    const bool apart = places_.empty() || places_.back().memory != memory || sure <= begin;
    if (apart) {
      places_.push_back({memory, begin, 0, "", {}});
      sure = begin;
    }
    Place& p = places_.back();
    sure = std::max({sure, begin + start.least, p.offset + start.slot});
    p.bytes = std::max(p.bytes, begin + start.most - p.offset);
    place_of_[key] = places_.size() - 1;
  }
}

void Places::name(const std::vector<isa::Statement>& body) {
  for (const isa::Statement& s : body)
    if (const auto* loop = std::get_if<isa::Loop>(&s))
      name(loop->body);
    else
      name(std::get<isa::Instruction>(s));
}

void Places::name(const isa::Instruction& instruction) {
  const auto& views = instruction.views;
  for (size_t i = 0; i < views.size(); ++i) {
    if (views[i].memory == 0) continue;
    Place& p = places_[position(views[i]).place];
    if (std::ranges::find(p.dtypes, views[i].dtype) == p.dtypes.end())
      p.dtypes.push_back(views[i].dtype);
    if (!p.name.empty() && !p.name.starts_with('?')) continue;
    // What comes from or goes to the global memory has the name of the tensor there.
    const View* global = nullptr;
    if (instruction.op == isa::Opcode::copy && views[1 - i].memory == 0) global = &views[1 - i];
    if (instruction.op == isa::Opcode::gather && i == 0) global = &views[1];
    if (instruction.op == isa::Opcode::scatter && i == 1) global = &views[0];
    if (global != nullptr)
      p.name = identifier(shown_.buffers[static_cast<size_t>(global->buffer)].name);
    else if (i == 0 && p.name.empty())
      p.name = "?" + std::string(isa::info(instruction.op).name);
  }
}

Places::Position Places::position(const View& view) const {
  const int64_t begin = std::max<int64_t>(constant_of(view.offset), 0);
  const size_t place = place_of_.find({view.memory, begin})->second;
  // Nothing is folded into the ranges: the constant leaves the sum it is in.
  Expr offset = view.offset;
  const int64_t base = places_[place].offset;
  if (base != 0) {
    const auto without = [base](const auto& self, const Expr& e) -> std::optional<Expr> {
      if (e.is_number()) return Expr(e.value() - base);
      if (e.kind() != Kind::add && e.kind() != Kind::sub) return std::nullopt;
      if (e.kind() == Kind::add && e.right().is_number()) return e.left() + (e.right() - base);
      if (const auto left = self(self, e.left())) return Expr::make(e.kind(), *left, e.right());
      if (e.kind() == Kind::add)
        if (const auto right = self(self, e.right())) return e.left() + *right;
      return std::nullopt;
    };
    offset = without(without, offset).value_or(offset - base);
  }
  return {place, divided(offset, static_cast<int64_t>(dtype_size(view.dtype)))};
}

}  // namespace tenon::emit
