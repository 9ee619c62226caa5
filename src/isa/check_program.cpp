#include "isa/check_program.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "isa/range.h"
#include "isa/text.h"

namespace tenon::isa {
namespace {

constexpr int64_t kMaxElements = int64_t{1} << 40;
constexpr int kMaxVariables = 1000;
constexpr int kMaxDepth = 32;
constexpr int64_t kMaxTrials = 300'000;  // of ranges, for a whole program: within a second

Error refuse(std::string message) {
  return invalid_model(std::move(message));
}

bool has_product(const std::vector<Statement>& body) {
  return std::ranges::any_of(body, [](const Statement& s) {
    const auto* loop = std::get_if<Loop>(&s);
    return loop != nullptr ? has_product(loop->body)
                           : info(std::get<Instruction>(s).op).kind == OpcodeClass::product;
  });
}

class Checker {
 public:
  Checker(const Program& program, const Architecture& architecture)
      : program_(program), arch_(architecture) {}

  Status run();

 private:
  Status check_buffers();
  Status check_body(const std::vector<Statement>& body);
  Status check_loop(const Loop& loop);
  Status check(const Instruction& instruction);
  Status check_scope(const Expr& expr) const;

  // Holds for all values of what is not fixed, or splits one variable's range into its values.
  Status prove(const Instruction& instruction, const std::vector<bool>& used);
  // Ranges of the variables in scope; false if the instruction is not reached.
  bool find_ranges();
  Status check_values(const Instruction& instruction) const;
  Status check_view(const View& view, size_t index) const;
  Status check_sizes(const Instruction& instruction) const;
  Status check_product_sizes(const Instruction& instruction) const;
  Status check_windows(const Instruction& instruction) const;
  Status at_least(const Instruction& instruction, std::initializer_list<size_t> numbers,
                  int64_t least) const;

  Range range(const Expr& e) const { return range_of(e, ranges_); }
  std::string point(const std::vector<bool>& used) const;

  const Program& program_;
  const Architecture& arch_;
  std::vector<const Loop*> loops_;             // around what is looked at, outermost first
  std::vector<std::optional<int64_t>> fixed_;  // values of variables
  std::vector<Range> ranges_;                  // of variables
  int64_t trials_ = 0;
};

Status Checker::run() {
  const auto where = [&](Error error) {
    return std::move(error).at(fmt::format("{}:1", program_.name));
  };
  const int64_t cores = has_product(program_.body) ? arch_.cores : arch_.vector_cores;
  if (program_.blocks < 1 || program_.blocks > cores)
    return where(refuse(fmt::format("{} runs 1 to {} blocks, one a core, not {}", arch_.name, cores,
                                    program_.blocks)));
  if (program_.variables < 1 || program_.variables > kMaxVariables)
    return where(refuse(fmt::format("a program has 1 to {} variables", kMaxVariables)));
  fixed_.resize(static_cast<size_t>(program_.variables));
  ranges_.resize(fixed_.size());
  if (auto status = check_buffers(); !status.ok()) return where(std::move(status).error());
  return check_body(program_.body);
}

Status Checker::check_buffers() {
  std::set<std::string_view> names;
  int64_t total = 0;
  for (const Buffer& b : program_.buffers) {
    if (!names.insert(b.name).second)
      return refuse(fmt::format("there are two buffers '{}'", b.name));
    if (!is_tile_dtype(b.dtype))
      return refuse(fmt::format("buffer '{}' has elements of {}, which no chip computes with",
                                b.name, dtype_name(b.dtype)));
    if (b.elements < 1 || b.elements > kMaxElements)
      return refuse(fmt::format("buffer '{}' cannot have {} elements", b.name, b.elements));
    total += b.elements * static_cast<int64_t>(dtype_size(b.dtype));
    if (arch_.memories[0].bytes > 0 && total > arch_.memories[0].bytes)
      return refuse(fmt::format("the buffers up to '{}' take {} bytes, {} of {} has {}", b.name,
                                total, arch_.memories[0].name, arch_.name,
                                arch_.memories[0].bytes));
  }
  return {};
}

Status Checker::check_body(const std::vector<Statement>& body) {
  for (const Statement& statement : body) {
    if (const auto* loop = std::get_if<Loop>(&statement)) {
      TRY(check_loop(*loop));
      continue;
    }
    const auto& instruction = std::get<Instruction>(statement);
    if (auto status = check(instruction); !status.ok())
      return at_instruction(std::move(status).error(), instruction, program_, arch_);
  }
  return {};
}

Status Checker::check_loop(const Loop& loop) {
  const auto where = [&](Error error) {
    return std::move(error).at(fmt::format("{}:{}", program_.name, line_of(program_, &loop)));
  };
  if (std::ssize(loops_) == kMaxDepth)
    return where(refuse(fmt::format("loops are nested over {}", kMaxDepth)));
  if (loop.variable < 1 || loop.variable >= program_.variables)
    return where(refuse(fmt::format("the loop's variable i{} is not one of the program's {}",
                                    loop.variable - 1, program_.variables)));
  if (std::ranges::find(loops_, loop.variable, &Loop::variable) != loops_.end())
    return where(refuse(fmt::format("a loop around has the variable i{}", loop.variable - 1)));
  if (auto status = check_scope(loop.count); !status.ok()) return where(std::move(status).error());
  loops_.push_back(&loop);
  TRY(check_body(loop.body));
  loops_.pop_back();
  return {};
}

Status Checker::check_scope(const Expr& expr) const {
  if (expr.is_number()) return {};
  if (expr.kind() != Expr::Kind::variable) {
    TRY(check_scope(expr.left()));
    return check_scope(expr.right());
  }
  if (expr.value() == 0 || std::ranges::find(loops_, expr.value(), &Loop::variable) != loops_.end())
    return {};
  return refuse(fmt::format("no loop around has the variable {}", expr.to_string()));
}

void mark(const Expr& expr, std::vector<bool>& used) {
  if (expr.is_number()) return;
  if (expr.kind() == Expr::Kind::variable) {
    used[static_cast<size_t>(expr.value())] = true;
    return;
  }
  mark(expr.left(), used);
  mark(expr.right(), used);
}

Status Checker::check(const Instruction& instruction) {
  TRY(check_instruction(instruction, program_, arch_));
  std::vector<bool> used(fixed_.size());
  const auto visit = [&](const Expr& expr) -> Status {
    TRY(check_scope(expr));
    mark(expr, used);
    return {};
  };
  for (const View& view : instruction.views) {
    TRY(visit(view.offset));
    for (const Axis& axis : view.axes) {
      TRY(visit(axis.size));
      TRY(visit(axis.stride));
    }
  }
  for (const Expr& number : instruction.numbers) TRY(visit(number));
  for (const Loop* loop : loops_) mark(loop->count, used);
  std::ranges::fill(fixed_, std::nullopt);
  return prove(instruction, used);
}

Status Checker::prove(const Instruction& instruction, const std::vector<bool>& used) {
  if (++trials_ > kMaxTrials || !find_ranges()) return {};
  auto status = check_values(instruction);
  if (status.ok()) return status;
  const auto split = [&](size_t variable) -> Status {
    const Range all = ranges_[variable];
    for (int64_t v = all.low; v <= all.high && trials_ <= kMaxTrials; ++v) {
      fixed_[variable] = v;
      TRY(prove(instruction, used));
    }
    fixed_[variable].reset();
    return {};
  };
  if (used[0] && !ranges_[0].is_one()) return split(0);
  for (const Loop* loop : loops_) {
    const auto variable = static_cast<size_t>(loop->variable);
    if (used[variable] && !ranges_[variable].is_one()) return split(variable);
  }
  const std::string values = point(used);
  return values.empty() ? std::move(status).error()
                        : std::move(status).error().note("where " + values);
}

bool Checker::find_ranges() {
  ranges_[0] = fixed_[0] ? Range::of(*fixed_[0]) : Range::between(0, program_.blocks - 1);
  for (const Loop* loop : loops_) {
    const auto variable = static_cast<size_t>(loop->variable);
    const int64_t most = range(loop->count).high - 1;
    if (most < 0 || fixed_[variable].value_or(0) > most) return false;
    ranges_[variable] = fixed_[variable] ? Range::of(*fixed_[variable]) : Range::between(0, most);
  }
  return true;
}

std::string Checker::point(const std::vector<bool>& used) const {
  std::string out;
  for (size_t i = 0; i < used.size(); ++i)
    if (used[i])
      out += fmt::format("{}{} = {}", out.empty() ? "" : ", ",
                         Expr::variable(static_cast<int>(i)).to_string(), ranges_[i].low);
  return out;
}

Status Checker::check_values(const Instruction& instruction) const {
  for (size_t i = 0; i < instruction.views.size(); ++i) TRY(check_view(instruction.views[i], i));
  switch (instruction.op) {
    case Opcode::set_flag:
    case Opcode::wait_flag: {
      const Range id = range(instruction.numbers[2]);
      if (id.low >= 0 && id.high < arch_.flag_ids) return {};
      return refuse(fmt::format("{} has flags 0 to {} between two queues, not {}", arch_.name,
                                arch_.flag_ids - 1, id.low < 0 ? id.low : id.high));
    }
    case Opcode::img2col:
      TRY(at_least(instruction, {0, 1, 2, 3, 4, 5, 8}, 1));
      TRY(at_least(instruction, {9, 10}, 0));
      return check_windows(instruction);
    case Opcode::conv:
      TRY(at_least(instruction, {0, 1, 2, 3, 4, 5}, 1));
      return check_product_sizes(instruction);
    case Opcode::mmad:
      TRY(at_least(instruction, {0, 1, 2}, 0));
      return check_product_sizes(instruction);
    default:
      return check_sizes(instruction);
  }
}

// The unit pads rows on the right as far as it is to, but goes on to their end.
Status Checker::check_windows(const Instruction& instruction) const {
  const auto number = [&](size_t i) { return range(instruction.numbers[i]); };
  const int64_t reach = (number(1).high - 1) * number(5).high + 1;
  const int64_t room = range(instruction.views[1].axes[2].size).low + number(7).low - reach;
  const int64_t windows = room < 0 ? 0 : room / number(3).high + 1;
  if (windows <= number(8).high) return {};
  return refuse(fmt::format("rows of the image have room for {} windows, out_w is {}", windows,
                            number(8).high));
}

Status Checker::at_least(const Instruction& instruction, std::initializer_list<size_t> numbers,
                         int64_t least) const {
  for (const size_t i : numbers)
    if (const int64_t low = range(instruction.numbers[i]).low; low < least)
      return refuse(fmt::format("{} is to be at least {}, not {}", info(instruction.op).numbers[i],
                                least, low));
  return {};
}

Status Checker::check_view(const View& view, size_t index) const {
  const int64_t element = std::max<int64_t>(static_cast<int64_t>(dtype_size(view.dtype)), 1);
  const Memory& memory = arch_.memories[static_cast<size_t>(view.memory)];
  std::string name = memory.name;
  int64_t bytes = memory.bytes;
  if (view.memory == 0) {
    const Buffer& b = program_.buffers[static_cast<size_t>(view.buffer)];
    name = fmt::format("buffer '{}'", b.name);
    bytes = b.elements * static_cast<int64_t>(dtype_size(b.dtype));
  }
  const Range offset = range(view.offset);
  const int64_t align = std::max(memory.align, element);  // powers of two
  if (offset.step % align != 0)
    return refuse(fmt::format("operand {}: offsets in {} are multiples of {} bytes, not {}", index,
                              name, align, offset.low));
  Range reached = offset;  // bytes of elements
  bool empty = false;
  for (const Axis& axis : view.axes) {
    const Range size = range(axis.size);
    if (size.low < 0) return refuse(fmt::format("operand {}: a size is {}", index, size.low));
    empty |= size.high == 0;
    const Range extent = (size + Range::of(-1)) * range(axis.stride) * Range::of(element);
    reached.low = (reached + Range::of(std::min<int64_t>(extent.low, 0))).low;
    reached.high = (reached + Range::of(std::max<int64_t>(extent.high, 0))).high;
  }
  if (empty || (reached.low >= 0 && reached.high <= bytes - element)) return {};
  return refuse(fmt::format("operand {} reaches bytes {} to {} of {}, which has {}", index,
                            reached.low, reached.high + element, name, bytes));
}

// Elementwise operands have equal sizes; gather, scatter and reductions by their rules.
Status Checker::check_sizes(const Instruction& instruction) const {
  const std::vector<View>& views = instruction.views;
  const auto equal = [&](const Expr& a, const Expr& b) {
    if (a == b) return true;
    const Range x = range(a), y = range(b);
    return x.is_one() && y.is_one() && x.low == y.low;
  };
  const auto differ = [&](const Expr& a, const Expr& b) {
    return refuse(fmt::format("the sizes {} and {} of operands are to be equal", a.to_string(),
                              b.to_string()));
  };
  if (views.empty()) return {};
  const std::vector<Axis>& dst = views[0].axes;
  if (instruction.op == Opcode::gather || instruction.op == Opcode::scatter) {
    const bool from_table = instruction.op == Opcode::gather;
    const std::vector<Axis>&table = views[from_table ? 1 : 0].axes, &indices = views[2].axes,
          &rows = views[from_table ? 0 : 1].axes;
    for (size_t i = 0; i < rows.size(); ++i) {
      const Expr& size = i < indices.size() ? indices[i].size : table[i - indices.size() + 1].size;
      if (!equal(rows[i].size, size)) return differ(rows[i].size, size);
    }
    return {};
  }
  const bool reduces = info(instruction.op).kind == OpcodeClass::reduce;
  for (size_t v = 1; v < views.size(); ++v)
    for (size_t i = 0; i < dst.size(); ++i) {
      const Expr one = 1;
      const Expr& size = reduces && i + 1 == dst.size() ? one : views[v].axes[i].size;
      if (!equal(dst[i].size, size)) return differ(dst[i].size, size);
    }
  return {};
}

Status Checker::check_product_sizes(const Instruction& instruction) const {
  const std::vector<Axis>&c = instruction.views[0].axes, &a = instruction.views[1].axes,
        &b = instruction.views[2].axes;
  const auto size = [&](const Axis& axis) { return range(axis.size); };
  const auto same = [&](const Axis& x, const Axis& y, std::string_view what) -> Status {
    if (x.size == y.size) return {};
    if (size(x).is_one() && size(y).is_one() && size(x).low == size(y).low) return {};
    return refuse(fmt::format("operands differ in {}: {} and {}", what, x.size.to_string(),
                              y.size.to_string()));
  };
  if (instruction.op == Opcode::conv) {
    TRY(same(c[2], b[0], "output channels"));
    TRY(same(a[2], b[3], "input channels"));
    TRY(same(b[1], {instruction.numbers[0], 0}, "kernel_h"));
    return same(b[2], {instruction.numbers[1], 0}, "kernel_w");
  }
  TRY(same(c[2], a[2], "m0"));
  TRY(same(c[3], b[2], "n0"));
  TRY(same(c[3], {16, 0}, "n0, which is 16"));
  TRY(same(a[3], b[3], "k0"));
  const auto holds = [&](size_t number, const Axis& outer, const Axis& inner) -> Status {
    const Range wanted = range(instruction.numbers[number]), there = size(outer) * size(inner);
    if (wanted.high <= there.low) return {};
    return refuse(fmt::format("{} is {}, an operand holds {}", info(instruction.op).numbers[number],
                              wanted.high, there.low));
  };
  TRY(holds(0, c[1], c[2]));
  TRY(holds(0, a[0], a[2]));
  TRY(holds(1, a[1], a[3]));
  TRY(holds(1, b[0], b[3]));
  TRY(holds(2, c[0], c[3]));
  return holds(2, b[1], b[2]);
}

}  // namespace

Status check_program(const Program& program, const Architecture& architecture) {
  return Checker(program, architecture).run();
}

}  // namespace tenon::isa
