#include "lower/custom_kernel.h"

#include <fmt/format.h>

#include <algorithm>

#include "isa/check_program.h"
#include "isa/text.h"
#include "lower/elementwise.h"
#include "lower/lowering.h"
#include "ops/custom.h"
#include "ops/custom_kernel.h"

namespace tenon::lower {

using bang::Statement;

KernelCompiler::KernelCompiler(const bang::Kernel& kernel, const bang::Sizes& sizes, DType generic,
                               const isa::Architecture& architecture, int64_t clusters)
    : kernel_(kernel),
      sizes_(sizes),
      generic_(generic),
      architecture_(architecture),
      clusters_(clusters),
      used_(architecture.memories.size(), 0) {}

void KernelCompiler::fail(uint32_t at, std::string message) {
  if (failed()) return;
  Error error = kernel_.source.error(at, std::move(message));
  error.code = Code::unsupported;
  status_ = std::move(error);
}

int64_t KernelCompiler::allocate(int64_t bytes, bang::Space space, uint32_t at) {
  static constexpr std::string_view kMemories[] = {"gdram", "nram", "wram", "sram"};
  const auto m = static_cast<size_t>(*architecture_.memory(kMemories[static_cast<size_t>(space)]));
  const isa::Memory& memory = architecture_.memories[m];
  constexpr int64_t kRow = 128;  // of the vector unit
  const int64_t place = used_[m];
  used_[m] += (bytes + kRow - 1) / kRow * kRow;
  if (used_[m] > memory.bytes)
    fail(at, fmt::format("the kernel needs {} bytes of {} up to here, {} has {}", used_[m],
                         memory.name, architecture_.name, memory.bytes));
  return place;
}

void KernelCompiler::place_objects() {
  const bang::Signature& s = kernel_.signature;
  for (const bang::Binding& b : kernel_.bindings) {
    if (b.kind == bang::Binding::Kind::name) continue;
    const bool input = b.kind == bang::Binding::Kind::input;
    const bang::Signature::Operand& operand =
        (input ? s.inputs : s.outputs)[static_cast<size_t>(b.index)];
    Object object{operand.name, bang::Space::gdram, static_cast<int>(program_.buffers.size()), 0,
                  0};
    objects_.push_back(object);
    program_.buffers.push_back({operand.name,
                                input ? isa::Buffer::Role::input : isa::Buffer::Role::output,
                                dtype_of(operand.dtype), 0});
  }
  first_array_ = static_cast<int>(objects_.size());
  for (const bang::Array& a : kernel_.arrays) {
    int64_t bytes = size_of(a.element);
    for (const bang::Expr& dim : a.dims) bytes *= bang::fold(dim, size_of(DType::none)).value_or(1);
    shares_ |= a.space == bang::Space::sram;
    objects_.push_back({a.name, a.space, -1, allocate(bytes, a.space, a.at), bytes});
  }
}

Error KernelCompiler::refused(const isa::Program& program, Error error) const {
  // "name:LINE" of the program's text, whose instructions are in the order they were made.
  size_t count = 0;
  std::optional<uint32_t> at;
  const auto visit = [&](const auto& self, const Body& body) -> void {
    for (const isa::Statement& s : body) {
      if (const auto* loop = std::get_if<isa::Loop>(&s)) {
        self(self, loop->body);
        continue;
      }
      const auto& instruction = std::get<isa::Instruction>(s);
      if (error.where == fmt::format("{}:{}", program.name, isa::line_of(program, &instruction)) &&
          count < places_.size())
        at = places_[count];
      ++count;
    }
  };
  visit(visit, program.body);
  error.code = Code::unsupported;
  if (!at) return error;
  Error placed = kernel_.source.error(*at, std::move(error.message));
  placed.code = Code::unsupported;
  placed.notes = std::move(error.notes);
  return placed;
}

Result<isa::Program> KernelCompiler::run(std::string name) {
  program_.name = std::move(name);
  program_.algorithm = kernel_.entry->name;
  place_objects();
  TRY(std::move(status_));
  status_ = {};
  const int64_t cores = architecture_.vector_cores;
  program_.blocks = shares_ ? std::min(clusters_, cores) : cores;
  core_dim_ = shares_ ? 1 : std::max<int64_t>(cores / std::max<int64_t>(clusters_, 1), 1);
  Frame arguments;
  int next = 0;
  for (const bang::Binding& b : kernel_.bindings) {
    Value v;
    if (b.kind == bang::Binding::Kind::name) {
      const auto& value = sizes_.values[static_cast<size_t>(b.index)];
      v.integer = value.integer;
      v.number = static_cast<float>(value.real);
    } else {
      v.object = next++;
    }
    arguments.push_back(std::move(v));
  }
  out_ = &program_.body;
  (void)call(*kernel_.entry, std::move(arguments), kernel_.entry->at);
  TRY(std::move(status_));
  return std::move(program_);
}

KernelCompiler::Value KernelCompiler::call(const bang::Function& function, Frame arguments,
                                           uint32_t at) {
  if (++steps_ > 1'000'000) {
    fail(at, "the kernel is too intricate to compile for a chip");
    return {};
  }
  arguments.resize(function.variables.size());
  Frame outer = std::exchange(frame_, std::move(arguments));
  const bang::Function* outer_function = std::exchange(function_, &function);
  const int outer_conditions = std::exchange(function_conditions_, conditions_);
  const int outer_loops = std::exchange(loops_, 0);
  // Reals that change have a place of their own.
  for (size_t i = 0; i < static_cast<size_t>(function.parameters); ++i) {
    if (!function.variables[i].changes || function.variables[i].type.kind != bang::Type::Kind::real)
      continue;
    const Value v = frame_[i];
    frame_[i].real = slot(DType::f32, at);
    const isa::View from = element(v, DType::f32, at);
    emit(isa::Opcode::copy, {*frame_[i].real, from}, at);
  }
  result_ = {};
  (void)run(function.body);
  frame_ = std::move(outer);
  function_ = outer_function;
  function_conditions_ = outer_conditions;
  loops_ = outer_loops;
  return result_;
}

KernelCompiler::Flow KernelCompiler::run(std::span<const Statement> body) {
  for (size_t i = 0; i < body.size(); ++i) {
    const Statement& s = body[i];
    if (failed()) return Flow::give_back;
    if (s.kind == Statement::Kind::branch) {
      const isa::Expr condition = integer(*s.value);
      if (!condition.is_number()) return branch(s, body.subspan(i + 1));
    }
    const Flow flow = run(s);
    if (flow == Flow::ended && i + 1 < body.size())
      fail(body[i + 1].at, "this follows a block that may be left; take the block's braces away");
    if (flow != Flow::on) return flow;
  }
  return Flow::on;
}

namespace {

// Whether it ends what is around it on every way.
bool leaves(std::span<const Statement> body) {
  if (body.empty()) return false;
  const Statement& last = body.back();
  switch (last.kind) {
    case Statement::Kind::give_back:
    case Statement::Kind::leave:
    case Statement::Kind::next:
      return true;
    case Statement::Kind::block:
      return leaves(last.body);
    default:
      return false;
  }
}

}  // namespace

void KernelCompiler::guarded(const isa::Expr& condition, std::span<const Statement> body,
                             bool tail) {
  if (body.empty() || failed()) return;
  isa::Loop once{program_.variables++, condition, {}};
  Body* outer = std::exchange(out_, &once.body);
  const int outer_function = function_conditions_, outer_loop = loop_conditions_;
  ++conditions_;
  if (tail) function_conditions_ = loop_conditions_ = conditions_;
  (void)run(body);
  --conditions_;
  function_conditions_ = outer_function;
  loop_conditions_ = outer_loop;
  out_ = outer;
  if (!once.body.empty()) out_->emplace_back(std::move(once));
}

// What ends under a condition may do so where nothing else follows but what the condition is put
// around.
void KernelCompiler::check_leaving(std::span<const Statement> body) {
  const Statement* last = &body.back();
  while (last->kind == Statement::Kind::block) last = &last->body.back();
  if (last->kind == Statement::Kind::leave)
    fail(last->at,
         "a break under a condition that depends on the task or the loop; put the condition into "
         "the loop's");
  if (last->kind == Statement::Kind::next && conditions_ != loop_conditions_)
    fail(last->at,
         "a continue under two conditions that depend on the task or a loop; write an if around "
         "what is not to be done");
  if (last->kind != Statement::Kind::give_back) return;
  if (last->value)
    fail(last->at, "a value given back under a condition that depends on the task or a loop");
  if (conditions_ != function_conditions_ || loops_ > 0)
    fail(last->at,
         "a return from within a loop or a second condition; write an if around what is not to be "
         "done");
}

// A branch whose condition depends on the block or a loop: loops that run once or not at all. What
// follows a side that ends is under the other's condition.
KernelCompiler::Flow KernelCompiler::branch(const Statement& s, std::span<const Statement> rest) {
  const isa::Expr truth = integer(*s.value);
  const bool is_truth = s.value->kind == bang::Expr::Kind::binary &&
                        s.value->op >= bang::Op::less && s.value->op <= bang::Op::either;
  const isa::Expr condition =
      is_truth ? truth : min(isa::Expr(1), max(truth, isa::Expr(0) - truth));
  const isa::Expr otherwise = isa::Expr(1) - condition;
  const bool then_leaves = leaves(s.body), other_leaves = leaves(s.other);
  if (then_leaves) check_leaving(s.body);
  if (other_leaves) check_leaving(s.other);
  const Frame before = frame_;
  guarded(condition, s.body, then_leaves);
  Frame then = std::exchange(frame_, before);
  guarded(otherwise, s.other, other_leaves);
  if (!then_leaves && !other_leaves) {
    merge(condition, then, Frame(frame_), s.at);
    return run(rest);
  }
  Frame other = frame_;
  if (then_leaves && !other_leaves) {
    guarded(otherwise, rest, true);
    other = frame_;
  } else if (other_leaves && !then_leaves) {
    frame_ = std::move(then);
    guarded(condition, rest, true);
    then = frame_;
  }
  // A loop goes on from both; after a function nothing is read.
  if (loops_ > 0) merge(condition, then, other, s.at);
  return failed() ? Flow::give_back : Flow::ended;
}

void KernelCompiler::merge(const isa::Expr& condition, const Frame& then, const Frame& otherwise,
                           uint32_t at) {
  for (size_t i = 0; i < frame_.size(); ++i) {
    const Value &a = then[i], &b = otherwise[i];
    frame_[i] = a;
    if (a.object != b.object && a.object >= 0 && b.object >= 0)
      fail(at,
           fmt::format("'{}' points to one of two arrays here, which depends on the task or a loop",
                       function_->variables[i].name));
    if (a.lost || b.lost)
      frame_[i].lost = true;
    else if (a.integer != b.integer)
      frame_[i].integer = condition * a.integer + (isa::Expr(1) - condition) * b.integer;
  }
}

KernelCompiler::Flow KernelCompiler::run(const Statement& s) {
  if (++steps_ > 1'000'000) fail(s.at, "the kernel is too intricate to compile for a chip");
  if (failed()) return Flow::give_back;
  switch (s.kind) {
    case Statement::Kind::assign:
      assign(s);
      break;
    case Statement::Kind::evaluate:
      (void)value(*s.value);
      break;
    case Statement::Kind::builtin:
      builtin(s);
      break;
    case Statement::Kind::branch:
      return run(integer(*s.value).value() != 0 ? s.body : s.other);
    case Statement::Kind::loop:
      return loop(s);
    case Statement::Kind::give_back:
      if (s.value) result_ = value(*s.value);
      return Flow::give_back;
    case Statement::Kind::leave:
      return Flow::leave;
    case Statement::Kind::next:
      return Flow::next;
    case Statement::Kind::block:
      return run(s.body);
  }
  return failed() ? Flow::give_back : Flow::on;
}

void KernelCompiler::assign(const Statement& s) {
  const bang::Expr& target = *s.target;
  const Value v = value(*s.value);
  if (failed()) return;
  if (target.kind != bang::Expr::Kind::variable) return store(target, v);
  const auto i = static_cast<size_t>(target.index);
  if (target.type.kind != bang::Type::Kind::real || !function_->variables[i].changes) {
    frame_[i] = v;
    return;
  }
  // Reals that change have a place of their own.
  if (s.declares) frame_[i].real = slot(DType::f32, s.at);
  const isa::View to = *frame_[i].real;
  if (!v.real) return emit(isa::Opcode::fill, {to}, s.at, {}, v.number);
  const isa::View from = element(v, DType::f32, s.at);
  emit(isa::Opcode::copy, {to, from}, s.at);
}

namespace {

// A copy of a tensor in the type that the kernel is written for.
Status convert(Lowering& lowering, const Node& node, int from, int to, const std::string& name) {
  Elementwise work;
  work.dims = {lowering.tensor(from).elements};
  work.strides = {1};
  work.operands = {{name, from, {1}}};
  work.results = {to};
  work.wide = true;
  const DType dtype = lowering.tensor(to).dtype;
  work.compute = [dtype](VectorCode& code,
                         std::span<const Register> operands) -> Result<std::vector<Register>> {
    return std::vector<Register>{code.tile(operands[0], dtype)};
  };
  return lower_elementwise(lowering, node, work);
}

}  // namespace

Status lower_custom(Lowering& lowering, const Node& node) {
  const auto* custom = node.op().as<Custom>();
  if (custom == nullptr || custom->kernel == nullptr)
    return unsupported(
        "a custom op of a library, which runs on the CPU alone; a kernel file (.mlu) runs on "
        "Cambricon chips, too");
  const auto* chip = std::get_if<CambriconChip>(&lowering.machine().chip);
  if (chip == nullptr)
    return unsupported(
        fmt::format("its kernel '{}' is written for Cambricon chips", custom->library));
  const bang::Kernel& kernel = custom->kernel->kernel();
  TensorTypes types;
  for (const Value* v : node.inputs()) types.push_back(v->type());
  const bang::Sizes sizes = TRY(custom->kernel->sizes(types));
  if (!bang::is_complete(kernel, sizes))
    return unsupported("it has a size that its inputs do not tell");
  const DType generic = computed_dtype(lowering.real()) == DType::f32 ? DType::f32 : DType::f16;
  KernelCompiler compiler(kernel, sizes, generic, lowering.architecture(),
                          static_cast<int64_t>(chip->clusters));
  isa::Program program = TRY(compiler.run(layer_of(node)));
  std::vector<int> operands;
  std::vector<std::pair<int, int>> after;  // a result as the kernel has it, and as the graph has
  for (const bang::Binding& b : kernel.bindings) {
    if (b.kind == bang::Binding::Kind::name) continue;
    const bool input = b.kind == bang::Binding::Kind::input;
    const int tensor = lowering.tensor_of(input ? node.input(b.index) : node.output(b.index));
    isa::Buffer& buffer = program.buffers[operands.size()];
    buffer.elements = lowering.tensor(tensor).elements;
    int used = tensor;
    if (buffer.dtype != lowering.tensor(tensor).dtype) {
      used = lowering.scratch(fmt::format("{}.{}", layer_of(node), buffer.name), buffer.dtype,
                              buffer.elements);
      if (!input) after.emplace_back(used, tensor);
    }
    operands.push_back(used);
  }
  if (Status s = isa::check_program(program, lowering.architecture()); !s.ok())
    return compiler.refused(program, std::move(s).error());
  for (size_t i = 0, at = 0; i < kernel.bindings.size(); ++i) {
    const bang::Binding& b = kernel.bindings[i];
    if (b.kind == bang::Binding::Kind::name) continue;
    const int used = operands[at++];
    if (b.kind != bang::Binding::Kind::input) continue;
    const int tensor = lowering.tensor_of(node.input(b.index));
    if (tensor != used) TRY(convert(lowering, node, tensor, used, program.buffers[at - 1].name));
  }
  lowering.add(node, std::move(program), compiler.used(), std::move(operands), custom->library);
  for (const auto& [from, to] : after) TRY(convert(lowering, node, from, to, "result"));
  return {};
}

}  // namespace tenon::lower
