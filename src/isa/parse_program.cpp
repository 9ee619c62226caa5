#include "isa/parse_program.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

#include "isa/text.h"
#include "tensor/text_lexer.h"

namespace tenon::isa {
namespace {

using text::Lexer;

constexpr int kMaxDepth = 32;        // of loops, and of brackets in an expression
constexpr int kMaxOperators = 200;   // in an expression
constexpr int kMaxVariables = 1000;  // loops in a program
constexpr size_t kMaxAxes = 16;

class Parser {
 public:
  Parser(std::string_view text, const Architecture& architecture, std::string_view file)
      : lexer_(text, file), architecture_(architecture) {}

  Result<Program> program();

 private:
  Status header();
  Status buffers();
  Result<bool> buffer();
  Result<std::vector<Statement>> body(int depth);
  Result<Loop> loop(int depth);
  Result<Instruction> instruction();
  Result<Instruction> order(Opcode op);
  Status numbers(const OpcodeInfo& opcode, Instruction& instruction);
  Result<View> view();
  Result<int> queue();
  Result<std::string> name();

  Result<Expr> expr();
  Result<Expr> sum(int depth);
  Result<Expr> product(int depth);
  Result<Expr> atom(int depth);
  Result<Expr> combine(Expr::Kind kind, Expr a, Expr b);

  Lexer lexer_;
  const Architecture& architecture_;
  Program program_;
  int operators_ = 0;
};

// After which a name or number is expected.
Result<std::string> Parser::name() {
  lexer_.skip();
  return lexer_.name();
}

Result<Program> Parser::program() {
  TRY(header());
  TRY(buffers());
  program_.body = TRY(body(0));
  if (!lexer_.at_end()) return lexer_.expected("the end");
  return std::move(program_);
}

Status Parser::header() {
  if (!lexer_.take_word("program")) return lexer_.expected("'program'");
  program_.name = TRY(name());
  while (!lexer_.take('{')) {
    const size_t place = (lexer_.skip(), lexer_.position());
    const std::string key = TRY(name());
    TRY(lexer_.expect('='));
    if (key == "algorithm") {
      program_.algorithm = TRY(name());
    } else if (key == "target") {
      if (const std::string target = TRY(name()); target != architecture_.name)
        return lexer_.fail_at(
            place, fmt::format("the program is for {}, not for {}", target, architecture_.name));
    } else if (key == "blocks") {
      program_.blocks = TRY(lexer_.integer());
    } else if (key == "variables") {
      const int64_t variables = TRY(lexer_.integer());
      if (variables < 1 || variables > kMaxVariables)
        return lexer_.fail_at(place, fmt::format("there are 1 to {} variables", kMaxVariables));
      program_.variables = static_cast<int>(variables);
    } else if (key == "origins") {
      TRY(lexer_.expect('['));
      do program_.origins.push_back(TRY(lexer_.string()));
      while (lexer_.take(','));
      TRY(lexer_.expect(']'));
    } else {
      return lexer_.fail_at(
          place, fmt::format("a program has no '{}'; it has: algorithm, target, blocks, variables, "
                             "origins",
                             key));
    }
  }
  return {};
}

// Buffers come first: `name: role dtype [elements]`, while an instruction is `queue: opcode …`.
Status Parser::buffers() {
  while (TRY(buffer())) {
  }
  return {};
}

Result<bool> Parser::buffer() {
  lexer_.skip();
  const size_t begin = lexer_.position();
  if (const char c = lexer_.peek(); c == '}' || c == '\0') return false;
  Buffer b;
  b.name = TRY(name());
  const bool colon = lexer_.take(':');
  const std::string_view word = lexer_.word();
  using Role = Buffer::Role;
  static constexpr Role kRoles[] = {Role::input, Role::output, Role::constant, Role::scratch};
  const auto* found = std::ranges::find(kRoles, word, role_name);
  if (!colon || found == std::end(kRoles)) {
    lexer_.seek(begin);
    return false;
  }
  if (std::ranges::find(program_.buffers, b.name, &Buffer::name) != program_.buffers.end())
    return lexer_.fail_at(begin, fmt::format("there are two buffers '{}'", b.name));
  b.role = *found;
  const size_t place = (lexer_.skip(), lexer_.position());
  const auto dtype = parse_dtype(lexer_.identifier());
  if (!dtype) return lexer_.fail_at(place, "expected an element type such as f16");
  b.dtype = *dtype;
  TRY(lexer_.expect('['));
  b.elements = TRY(lexer_.integer());
  TRY(lexer_.expect(']'));
  program_.buffers.push_back(std::move(b));
  return true;
}

Result<std::vector<Statement>> Parser::body(int depth) {
  if (depth > kMaxDepth) return lexer_.fail(fmt::format("loops are nested over {}", kMaxDepth));
  std::vector<Statement> statements;
  while (!lexer_.take('}')) {
    if (lexer_.take_word("for"))
      statements.emplace_back(TRY(loop(depth)));
    else
      statements.emplace_back(TRY(instruction()));
  }
  return statements;
}

Result<Loop> Parser::loop(int depth) {
  const size_t place = (lexer_.skip(), lexer_.position());
  const Expr variable = TRY(atom(0));
  if (variable.kind() != Expr::Kind::variable || variable.value() == 0)
    return lexer_.fail_at(place, "expected a loop's variable: i0, i1, …");
  if (!lexer_.take_word("in")) return lexer_.expected("'in'");
  Loop loop;
  loop.variable = static_cast<int>(variable.value());
  loop.count = TRY(expr());
  TRY(lexer_.expect('{'));
  loop.body = TRY(body(depth + 1));
  program_.variables = std::max(program_.variables, loop.variable + 1);
  return loop;
}

Result<int> Parser::queue() {
  const size_t place = (lexer_.skip(), lexer_.position());
  const std::string_view word = lexer_.word();
  if (const auto queue = architecture_.queue(word)) return *queue;
  return lexer_.fail_at(place, fmt::format("{} has no queue '{}'; it has: {}", architecture_.name,
                                           word, fmt::join(architecture_.queues, ", ")));
}

Result<Instruction> Parser::order(Opcode op) {
  Instruction out;
  out.op = op;
  if (op == Opcode::barrier) return out;
  if (op == Opcode::sync) {
    out.numbers = {lexer_.take_word("all") ? -1 : TRY(queue())};
    return out;
  }
  const int from = TRY(queue());
  TRY(lexer_.expect('-'));
  TRY(lexer_.expect('>'));
  const int to = TRY(queue());
  TRY(lexer_.expect('#'));
  out.numbers = {from, to, TRY(expr())};
  out.queue = op == Opcode::set_flag ? from : to;
  return out;
}

Result<Instruction> Parser::instruction() {
  for (const Opcode op : {Opcode::set_flag, Opcode::wait_flag, Opcode::sync, Opcode::barrier})
    if (lexer_.take_word(info(op).name)) return order(op);
  Instruction out;
  out.queue = TRY(queue());
  TRY(lexer_.expect(':'));
  const size_t place = (lexer_.skip(), lexer_.position());
  const std::string_view word = lexer_.word();
  const auto op = parse_opcode(word);
  if (!op || info(*op).kind == OpcodeClass::order)
    return lexer_.fail_at(place, fmt::format("there is no instruction '{}'", word));
  out.op = *op;
  const OpcodeInfo& opcode = info(*op);
  for (int i = 0; i < opcode.views; ++i) {
    if (i == 1) {
      TRY(lexer_.expect('<'));
      TRY(lexer_.expect('-'));
    } else if (i > 1) {
      TRY(lexer_.expect(','));
    }
    out.views.push_back(TRY(view()));
  }
  TRY(numbers(opcode, out));
  if (lexer_.take('@')) out.line = std::max<int64_t>(TRY(lexer_.integer()), 0);
  return out;
}

// {m = 16, k = 16, scalar = 0.5}: all that the instruction has, in its order; a scalar of 0 beside
// numbers may be left out.
Status Parser::numbers(const OpcodeInfo& opcode, Instruction& instruction) {
  if (opcode.numbers.empty() && !opcode.has_scalar) return {};
  TRY(lexer_.expect('{'));
  const auto named = [&](std::string_view name, bool first) -> Status {
    if (!first) TRY(lexer_.expect(','));
    if (!lexer_.take_word(name)) return lexer_.expected(fmt::format("'{} = …'", name));
    return lexer_.expect('=');
  };
  for (size_t i = 0; i < opcode.numbers.size(); ++i) {
    TRY(named(opcode.numbers[i], i == 0));
    instruction.numbers.push_back(TRY(expr()));
  }
  if (opcode.has_scalar && (opcode.numbers.empty() || lexer_.peek() != '}')) {
    TRY(named("scalar", opcode.numbers.empty()));
    instruction.scalar = TRY(lexer_.real());
  }
  return lexer_.expect('}');
}

Result<View> Parser::view() {
  View view;
  size_t place = (lexer_.skip(), lexer_.position());
  const std::string_view word = lexer_.word();
  const auto memory = architecture_.memory(word);
  if (!memory) {
    std::vector<std::string_view> known;
    for (const Memory& m : architecture_.memories) known.push_back(m.name);
    return lexer_.fail_at(place, fmt::format("{} has no memory '{}'; it has: {}",
                                             architecture_.name, word, fmt::join(known, ", ")));
  }
  view.memory = *memory;
  if (view.memory == 0) {
    place = (lexer_.skip(), lexer_.position());
    const std::string buffer = TRY(name());
    const auto b = std::ranges::find(program_.buffers, buffer, &Buffer::name);
    if (b == program_.buffers.end())
      return lexer_.fail_at(place, fmt::format("the program has no buffer '{}'", buffer));
    view.buffer = static_cast<int>(b - program_.buffers.begin());
  }
  TRY(lexer_.expect('['));
  view.offset = TRY(expr());
  TRY(lexer_.expect(']'));
  place = (lexer_.skip(), lexer_.position());
  const auto dtype = parse_dtype(lexer_.identifier());
  if (!dtype) return lexer_.fail_at(place, "expected an element type such as f16");
  view.dtype = *dtype;
  if (!lexer_.take('(')) return view;
  do {
    if (view.axes.size() == kMaxAxes)
      return lexer_.fail(fmt::format("a view has at most {} axes", kMaxAxes));
    Axis axis;
    axis.size = TRY(expr());
    TRY(lexer_.expect(':'));
    axis.stride = TRY(expr());
    view.axes.push_back(std::move(axis));
  } while (lexer_.take(','));
  TRY(lexer_.expect(')'));
  return view;
}

Result<Expr> Parser::expr() {
  operators_ = 0;
  return sum(0);
}

Result<Expr> Parser::combine(Expr::Kind kind, Expr a, Expr b) {
  if (++operators_ > kMaxOperators)
    return lexer_.fail(fmt::format("an expression has at most {} operators", kMaxOperators));
  return Expr::make(kind, std::move(a), std::move(b));
}

Result<Expr> Parser::sum(int depth) {
  Expr left = TRY(product(depth));
  for (;;) {
    if (lexer_.take('+')) {
      left = TRY(combine(Expr::Kind::add, left, TRY(product(depth))));
    } else if (lexer_.peek() == '-') {
      lexer_.take('-');
      left = TRY(combine(Expr::Kind::sub, left, TRY(product(depth))));
    } else {
      return left;
    }
  }
}

Result<Expr> Parser::product(int depth) {
  Expr left = TRY(atom(depth));
  for (;;) {
    using enum Expr::Kind;
    const char c = lexer_.peek();
    const Expr::Kind kind = c == '*' ? mul : c == '/' ? div : c == '%' ? mod : number;
    if (kind == number) return left;
    lexer_.take(c);
    left = TRY(combine(kind, left, TRY(atom(depth))));
  }
}

Result<Expr> Parser::atom(int depth) {
  if (depth > kMaxDepth) return lexer_.fail(fmt::format("brackets are nested over {}", kMaxDepth));
  const char c = lexer_.peek();
  if (c == '-' || (c >= '0' && c <= '9')) return Expr(TRY(lexer_.digits()));
  if (lexer_.take('(')) {
    Expr inner = TRY(sum(depth + 1));
    TRY(lexer_.expect(')'));
    return inner;
  }
  const size_t place = lexer_.position();
  const std::string_view word = lexer_.identifier();
  if (word == "block") return Expr::variable(0);
  if (word == "min" || word == "max") {
    TRY(lexer_.expect('('));
    Expr a = TRY(sum(depth + 1));
    TRY(lexer_.expect(','));
    Expr b = TRY(sum(depth + 1));
    TRY(lexer_.expect(')'));
    return combine(word == "min" ? Expr::Kind::min : Expr::Kind::max, a, b);
  }
  if (word.size() > 1 && word[0] == 'i') {
    int index = 0;
    const char* last = word.data() + word.size();
    const auto [end, error] = std::from_chars(word.data() + 1, last, index);
    if (error == std::errc() && end == last && index >= 0 && index < kMaxVariables - 1)
      return Expr::variable(index + 1);
  }
  lexer_.seek(place);
  return lexer_.expected("a number, block, i0, i1, …, min(…), max(…) or (…)");
}

}  // namespace

Result<std::string> target_of_program(std::string_view text, std::string_view file) {
  Lexer lexer(text, file);
  if (!lexer.take_word("program")) return lexer.expected("'program'");
  lexer.skip();
  TRY(lexer.name());
  while (!lexer.at_end() && lexer.peek() != '{') {
    const size_t before = lexer.position();
    const std::string_view key = lexer.word();
    TRY(lexer.expect('='));
    lexer.skip();
    if (key == "target") return lexer.name();
    if (key == "origins") break;  // the last
    if (lexer.peek() == '"')
      TRY(lexer.string());
    else
      lexer.word();
    if (lexer.position() == before) break;
  }
  return lexer.fail("the program has no target=…");
}

Result<Program> parse_program(std::string_view text, const Architecture& architecture,
                              std::string_view file) {
  return Parser(text, architecture, file).program();
}

}  // namespace tenon::isa
