#include "isa/text.h"

#include <fmt/format.h>

#include <algorithm>

#include "tensor/text_lexer.h"

namespace tenon::isa {
namespace {

// Programs that do not pass the verifier are printed too, in its errors: any index may be wrong.
std::string queue_text(int64_t queue, const Architecture& a) {
  if (queue < 0 || queue >= std::ssize(a.queues)) return fmt::format("?{}", queue);
  return a.queues[static_cast<size_t>(queue)];
}

std::string queue_text(const Expr& queue, const Architecture& a) {
  return queue.is_number() ? queue_text(queue.value(), a) : "?" + queue.to_string();
}

std::string view_text(const View& view, const Program& program, const Architecture& a) {
  const auto i = static_cast<size_t>(view.memory), b = static_cast<size_t>(view.buffer);
  std::string out = i < a.memories.size() ? a.memories[i].name : fmt::format("?{}", view.memory);
  if (view.memory == 0)
    out += " " + (b < program.buffers.size() ? text::name_text(program.buffers[b].name)
                                             : fmt::format("?{}", view.buffer));
  out += fmt::format("[{}] {}", view.offset.to_string(), dtype_name(view.dtype));
  for (size_t k = 0; k < view.axes.size(); ++k)
    out += fmt::format("{}{}:{}", k == 0 ? " (" : ", ", view.axes[k].size.to_string(),
                       view.axes[k].stride.to_string());
  return view.axes.empty() ? out : out + ")";
}

std::string numbers_text(const Instruction& instruction, const OpcodeInfo& opcode) {
  std::string out;
  for (size_t i = 0; i < instruction.numbers.size(); ++i)
    out += fmt::format("{}{} = {}", i == 0 ? "" : ", ",
                       i < opcode.numbers.size() ? opcode.numbers[i] : "?",
                       instruction.numbers[i].to_string());
  if (opcode.has_scalar && (instruction.scalar != 0 || opcode.numbers.empty()))
    out += fmt::format("{}scalar = {}", out.empty() ? "" : ", ",
                       text::double_text(instruction.scalar));
  return out.empty() ? out : " {" + out + "}";
}

std::string order_text(const Instruction& instruction, const Architecture& a) {
  const std::string_view name = info(instruction.op).name;
  const auto number = [&](size_t i) {
    return i < instruction.numbers.size() ? instruction.numbers[i] : Expr(-1);
  };
  if (instruction.op == Opcode::barrier) return std::string(name);
  if (instruction.op == Opcode::sync)
    return fmt::format("{} {}", name, number(0) == Expr(-1) ? "all" : queue_text(number(0), a));
  return fmt::format("{} {} -> {} #{}", name, queue_text(number(0), a), queue_text(number(1), a),
                     number(2).to_string());
}

void print_body(const std::vector<Statement>& body, const Program& program,
                const Architecture& architecture, const std::string& indent, std::string& out) {
  for (const Statement& statement : body) {
    if (const auto* instruction = std::get_if<Instruction>(&statement)) {
      out += indent + print_instruction(*instruction, program, architecture) + "\n";
      continue;
    }
    const auto& loop = std::get<Loop>(statement);
    out += fmt::format("{}for i{} in {} {{\n", indent, loop.variable - 1, loop.count.to_string());
    print_body(loop.body, program, architecture, indent + "  ", out);
    out += indent + "}\n";
  }
}

// Whether the statement is below `body`; `line` is the one before the first, then the one found.
bool find_line(const std::vector<Statement>& body, const void* wanted, int& line) {
  for (const Statement& statement : body) {
    ++line;
    if (const auto* instruction = std::get_if<Instruction>(&statement)) {
      if (instruction == wanted) return true;
      continue;
    }
    const auto& loop = std::get<Loop>(statement);
    if (&loop == wanted || find_line(loop.body, wanted, line)) return true;
    ++line;  // the closing brace
  }
  return false;
}

int last_variable(const std::vector<Statement>& body) {
  int last = 0;
  for (const Statement& statement : body)
    if (const auto* loop = std::get_if<Loop>(&statement))
      last = std::max({last, loop->variable, last_variable(loop->body)});
  return last;
}

}  // namespace

std::string_view role_name(Buffer::Role role) {
  static constexpr std::string_view kNames[] = {"input", "output", "constant", "scratch"};
  return kNames[static_cast<size_t>(role)];
}

std::string print_instruction(const Instruction& instruction, const Program& program,
                              const Architecture& architecture) {
  const OpcodeInfo& opcode = info(instruction.op);
  if (opcode.kind == OpcodeClass::order) return order_text(instruction, architecture);
  std::string out = fmt::format("{}: {}", queue_text(instruction.queue, architecture), opcode.name);
  for (size_t i = 0; i < instruction.views.size(); ++i)
    out += (i == 0   ? " "
            : i == 1 ? " <- "
                     : ", ") +
           view_text(instruction.views[i], program, architecture);
  out += numbers_text(instruction, opcode);
  if (instruction.line > 0) out += fmt::format(" @{}", instruction.line);
  return out;
}

std::string print_program(const Program& program, const Architecture& architecture) {
  std::string out = "program " + text::name_text(program.name);
  if (!program.algorithm.empty()) out += " algorithm=" + text::name_text(program.algorithm);
  out += fmt::format(" target={} blocks={}", text::name_text(architecture.name), program.blocks);
  if (program.variables != last_variable(program.body) + 1)
    out += fmt::format(" variables={}", program.variables);
  for (size_t i = 0; i < program.origins.size(); ++i)
    out += (i == 0 ? " origins=[" : ", ") + text::quoted(program.origins[i]);
  out += program.origins.empty() ? " {\n" : "] {\n";
  for (const Buffer& buffer : program.buffers)
    out += fmt::format("  {}: {} {} [{}]\n", text::name_text(buffer.name), role_name(buffer.role),
                       dtype_name(buffer.dtype), buffer.elements);
  print_body(program.body, program, architecture, "  ", out);
  return out + "}\n";
}

int line_of(const Program& program, const void* statement) {
  int line = 1 + static_cast<int>(program.buffers.size());
  return find_line(program.body, statement, line) ? line : 0;
}

}  // namespace tenon::isa
