#include "emit/expressions.h"

#include <fmt/format.h>

#include <algorithm>

#include "emit/simplify.h"

namespace tenon::emit {
namespace {

using isa::Expr;
using Kind = isa::Expr::Kind;

// Every n-th tile of a block: block + i * n, or of a part of the blocks.
bool is_tile_index(const Expr& e) {
  if (e.kind() != Kind::add || e.right().kind() != Kind::mul) return false;
  Expr first = e.left();
  if (first.kind() == Kind::div || first.kind() == Kind::mod) first = Expr(first.left());
  const Expr& turn = e.right();
  return first == Expr::variable(0) && turn.left().kind() == Kind::variable &&
         turn.right().is_number();
}

bool is_worth_a_name(const Expr& e, int times, size_t operations) {
  if (times < 2 || e.last_variable() < 0) return false;
  if (operations > 1) return true;
  // A variable and a number say as much as a name, but for what is used in turn.
  return times > 2 && (e.kind() == Kind::mod || e.kind() == Kind::min || e.kind() == Kind::max ||
                       !(e.left().is_number() || e.right().is_number()));
}

std::string default_hint(const Expr& e) {
  if (is_tile_index(e)) return "tile_index";
  switch (e.kind()) {
    case Kind::mod:
      return e.right().is_number() && e.right().value() <= 4 ? "slot" : "part";
    case Kind::div:
      return "index";
    case Kind::min:
    case Kind::max:
      return "limit";
    default:
      return "pos";
  }
}

std::string camel(std::string_view name) {
  std::string out;
  bool up = false;
  for (const char c : name) {
    if (c == '_') {
      up = true;
    } else {
      out += up ? static_cast<char>(c - 'a' + 'A') : c;
      up = false;
    }
  }
  return out;
}

}  // namespace

Expressions::Expressions(const isa::Program& program, const Places& places, Names& names)
    : places_(places) {
  constexpr int64_t kMost = int64_t{1} << 28;
  for (const isa::Buffer& b : program.buffers)
    if (b.elements >= kMost) type_ = "int64_t";
  visit(program.body);
  choose_names(names);
}

void Expressions::visit(const std::vector<isa::Statement>& body) {
  for (const isa::Statement& s : body) {
    if (const auto* instruction = std::get_if<isa::Instruction>(&s)) {
      visit(*instruction);
      continue;
    }
    const auto& loop = std::get<isa::Loop>(s);
    visit(loop.count, "turns");
    visit(loop.body);
  }
}

// What is printed of an instruction is what the axes are when they are joined.
void Expressions::visit(const isa::Instruction& instruction) {
  const isa::OpcodeInfo& info = isa::info(instruction.op);
  for (size_t i = 0; i < instruction.numbers.size(); ++i)
    visit(instruction.numbers[i],
          info.kind == isa::OpcodeClass::order ? "slot" : camel(info.numbers[i]));
  for (const isa::View& v : instruction.views)
    visit(v.memory == 0 ? divided(v.offset, static_cast<int64_t>(dtype_size(v.dtype)))
                        : places_.position(v).offset,
          "offset");
  const bool same = std::ranges::all_of(instruction.views, [&](const isa::View& v) {
    return v.axes.size() == instruction.views[0].axes.size();
  });
  if (info.kind == isa::OpcodeClass::product || info.kind == isa::OpcodeClass::order || !same ||
      instruction.op == isa::Opcode::img2col) {
    for (const isa::View& v : instruction.views)
      for (const isa::Axis& a : v.axes) visit(a.size, "extent");
    return;
  }
  const Nest nest(instruction.views);
  for (size_t i = 0; i < nest.rank(); ++i) visit(nest.size[i], i + 1 == nest.rank() ? "n" : "rows");
}

size_t Expressions::visit(const Expr& e, const std::string& hint) {
  if (e.is_number() || e.kind() == Kind::variable) return 0;
  Use& use = uses_[e.to_string()];
  if (use.times++ == 0) {
    use.expr = e;
    use.hint = hint;
    use.operations = 1 + visit(e.left(), "") + visit(e.right(), "");
  } else if (use.hint.empty()) {
    use.hint = hint;
  }
  return use.operations;
}

void Expressions::choose_names(Names& names) {
  std::vector<Use*> chosen;
  for (auto& [key, use] : uses_)
    if (is_worth_a_name(use.expr, use.times, use.operations)) chosen.push_back(&use);
  std::ranges::stable_sort(chosen, {}, &Use::operations);
  for (Use* use : chosen) {
    std::string hint = use->hint.empty() ? default_hint(use->expr) : use->hint;
    if (is_tile_index(use->expr)) hint = "tileIndex";
    if (hint == "offset" && use->expr.kind() == Kind::mod) hint = "slot";
    use->name = names.unique(hint);
    named_.push_back(use);
  }
}

std::string Expressions::variable(int index) const {
  return index == 0 ? "block" : fmt::format("i{}", index - 1);
}

std::vector<std::string> Expressions::declarations(int variable) const {
  std::vector<std::string> out;
  for (const Use* use : named_)
    if (use->expr.last_variable() == variable)
      out.push_back(fmt::format("const {} {} = {};", type_, use->name, print(use->expr, 0, false)));
  return out;
}

// `outer`: 0 nothing around, 1 a sum, 2 a product or a division's left side, 3 a right side.
std::string Expressions::print(const Expr& e, int outer, bool named) const {
  if (e.is_number())
    return e.value() < 0 && outer > 0 ? fmt::format("({})", e.value())
                                      : fmt::format("{}", e.value());
  if (e.kind() == Kind::variable) return variable(static_cast<int>(e.value()));
  if (named)
    if (const auto use = uses_.find(e.to_string()); use != uses_.end() && !use->second.name.empty())
      return use->second.name;
  const auto infix = [&](std::string_view sign, int own, int right) {
    const std::string text =
        fmt::format("{} {} {}", print(e.left(), own), sign, print(e.right(), right));
    return own < outer ? "(" + text + ")" : text;
  };
  switch (e.kind()) {
    case Kind::add:
      return infix("+", 1, 1);
    case Kind::sub:
      return infix("-", 1, 2);
    case Kind::mul:
      return infix("*", 2, 3);
    case Kind::div:
    case Kind::mod:
      // By a number, as nearly always; else by zero is 0.
      if (e.right().is_number() && e.right().value() != 0)
        return infix(e.kind() == Kind::div ? "/" : "%", 2, 3);
      return fmt::format("tile::{}({}, {})", e.kind() == Kind::div ? "Quotient" : "Remainder",
                         print(e.left(), 0), print(e.right(), 0));
    case Kind::min:
      return fmt::format("tile::Min({}, {})", print(e.left(), 0), print(e.right(), 0));
    default:
      return fmt::format("tile::Max({}, {})", print(e.left(), 0), print(e.right(), 0));
  }
}

}  // namespace tenon::emit
