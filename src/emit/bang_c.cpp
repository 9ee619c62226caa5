#include "emit/bang_c.h"

#include <algorithm>
#include <set>

namespace tenon::emit {
namespace {

using isa::Expr;
using isa::Instruction;
using isa::Loop;
using isa::Opcode;
using isa::OpcodeClass;
using isa::Statement;
using isa::View;

struct VectorForm {
  Opcode op;
  std::string_view bang;    // n elements, one beside the other
  std::string_view cycle;   // the second operand again and again
  std::string_view scalar;  // one element of the second operand for all
  std::string_view tile;    // any rows (tenon_tiles.h)
};
constexpr VectorForm kVector[] = {
    {Opcode::exp, "__bang_active_exp", "", "", "Exp"},
    {Opcode::ln, "__bang_active_log", "", "", "Ln"},
    {Opcode::sqrt, "__bang_active_sqrt", "", "", "Sqrt"},
    {Opcode::rsqrt, "__bang_active_rsqrt", "", "", "Rsqrt"},
    {Opcode::reciprocal, "__bang_active_recip", "", "", "Reciprocal"},
    {Opcode::abs, "__bang_active_abs", "", "", "Abs"},
    {Opcode::relu, "__bang_active_relu", "", "", "Relu"},
    {Opcode::sigmoid, "__bang_active_sigmoid", "", "", "Sigmoid"},
    {Opcode::tanh, "__bang_active_tanh", "", "", "Tanh"},
    {Opcode::add, "__bang_add", "__bang_cycle_add", "__bang_add_scalar", "Add"},
    {Opcode::sub, "__bang_sub", "__bang_cycle_sub", "__bang_sub_scalar", "Sub"},
    {Opcode::mul, "__bang_mul", "__bang_cycle_mul", "__bang_mul_scalar", "Mul"},
    {Opcode::div, "__bang_div", "", "", "Div"},
    {Opcode::max, "__bang_maxequal", "__bang_cycle_maxequal", "__bang_maxeq_scalar", "Max"},
    {Opcode::min, "__bang_minequal", "__bang_cycle_minequal", "__bang_mineq_scalar", "Min"},
    {Opcode::adds, "__bang_add_scalar", "", "", "Adds"},
    {Opcode::muls, "__bang_mul_scalar", "", "", "Muls"},
    {Opcode::maxs, "__bang_maxeq_scalar", "", "", "Maxs"},
    {Opcode::mins, "__bang_mineq_scalar", "", "", "Mins"},
    {Opcode::reduce_sum, "", "", "", "ReduceSum"},
    {Opcode::reduce_max, "", "", "", "ReduceMax"},
    {Opcode::reduce_min, "", "", "", "ReduceMin"}};
constexpr std::string_view kRounding[] = {"kEven", "kFloor", "kCeil", "kTruncate", "kAway"};
constexpr std::string_view kRelation[] = {"kLess",     "kLessEqual",    "kEqual",
                                          "kNotEqual", "kGreaterEqual", "kGreater"};

const VectorForm* form_of(Opcode op) {
  const auto* found = std::ranges::find(kVector, op, &VectorForm::op);
  return found == std::end(kVector) ? nullptr : found;
}

// Queues that a body gives something to.
void add_queues(const std::vector<Statement>& body, std::set<int>& queues) {
  for (const Statement& s : body)
    if (const auto* loop = std::get_if<Loop>(&s))
      add_queues(loop->body, queues);
    else if (const auto& i = std::get<Instruction>(s); isa::info(i.op).kind != OpcodeClass::order)
      queues.insert(i.queue);
}

bool has_barrier(const std::vector<Statement>& body) {
  return std::ranges::any_of(body, [](const Statement& s) {
    const auto* loop = std::get_if<Loop>(&s);
    return loop != nullptr ? has_barrier(loop->body)
                           : std::get<Instruction>(s).op == Opcode::barrier;
  });
}

// Whether tasks that have nothing to do know how often the others meet.
bool has_known_barriers(const std::vector<Statement>& body) {
  return std::ranges::all_of(body, [](const Statement& s) {
    const auto* loop = std::get_if<Loop>(&s);
    return loop == nullptr || !has_barrier(loop->body) ||
           (loop->count.is_number() && has_known_barriers(loop->body));
  });
}

class BangWriter : public KernelWriter {
 public:
  using KernelWriter::KernelWriter;

 protected:
  std::string place_name(const Place& place) const override {
    return place.name + "_" + std::string(memory_name(place.memory));
  }
  std::string place_bytes_name(int memory) const override {
    return std::string(memory_name(memory)) + "_bytes";
  }
  void open_function(const Kernel& kernel) override;
  void close_function(const Kernel& kernel) override;
  Status instruction(const Instruction& i) override;
  // "x_nram + slot * 24 + r * 24".
  std::string operand(const View& view, const Nest& nest, size_t operand,
                      const std::vector<std::string>& variables) const override {
    const std::string at = index(view, nest, operand, variables);
    return at == "0" ? tensor_name(view) : fmt::format("{} + {}", tensor_name(view), at);
  }
  void enter_loop(const Loop& loop) override {
    before_.push_back(busy_);
    add_queues(loop.body, busy_);
  }
  void leave_loop(const Loop&) override {
    busy_.insert(before_.back().begin(), before_.back().end());
    before_.pop_back();
  }

 private:
  std::string tensor_name(const View& view) const;
  std::string bytes(const std::string& count, DType dtype) const {
    return count == "1" ? fmt::format("sizeof({})", type_name(dtype))
                        : fmt::format("{} * sizeof({})", count, type_name(dtype));
  }

  Status order(const Instruction& i);
  // The meetings alone, for tasks that have nothing else to do.
  void meet(const std::vector<Statement>& body) {
    for (const Statement& s : body) {
      if (const auto* loop = std::get_if<Loop>(&s)) {
        if (!has_barrier(loop->body)) continue;
        line("for (int32_t i{0} = 0; i{0} < {1}; ++i{0}) {{", loop->variable, text(loop->count));
        meet(loop->body);
        close_axes(1);
      } else if (std::get<Instruction>(s).op == Opcode::barrier) {
        add("__sync_all();");
      }
    }
  }
  void wait(std::string_view queue, int index);
  Status copy(const Instruction& i);
  Status convolve(const Instruction& i);
  Status vector(const Instruction& i);
  Status reduce(const Instruction& i);
  bool cycle(const Instruction& i, const Nest& nest);
  std::string plain_call(const Instruction& i, const std::vector<std::string>& o,
                         const std::string& n) const;
  std::string tile_call(const Instruction& i, const std::vector<std::string>& o,
                        const std::string& n) const;

  std::set<int> busy_;                 // queues with something that nobody has waited for
  std::vector<std::set<int>> before_;  // the loops around
};

std::string BangWriter::tensor_name(const View& view) const {
  if (view.memory == 0) return base(view);
  const Place& place = places_.all()[places_.position(view).place];
  if (place.dtypes.empty() || place.dtypes[0] == view.dtype) return place_name(place);
  return fmt::format("{}_{}", place_name(place), dtype_name(view.dtype));
}

void BangWriter::open_function(const Kernel& kernel) {
  std::string list;
  for (size_t i = 0; i < buffers_.size(); ++i)
    list += fmt::format("{}* {}, ", type_name(program_.buffers[i].dtype), buffers_[i]);
  line("__mlu_entry__ void {}({}{} tiling) {{", kernel.name, list, kernel.tiling);
  constexpr std::pair<std::string_view, std::string_view> kQualifiers[] = {
      {"nram", "__nram__"}, {"wram", "__wram__"}, {"sram", "__mlu_shared__"}};
  for (const auto& [memory, qualifier] : kQualifiers) {
    const auto m = architecture_.memory(memory);
    int64_t end = 0;
    for (const Place& p : places_.all())
      if (m && p.memory == *m) end = std::max(end, p.offset + p.bytes);
    if (end == 0) continue;
    constexpr int64_t kAlign = 128;
    line("{} int8_t {}[{}];", qualifier, memory,
         std::min((end + kAlign - 1) / kAlign * kAlign,
                  architecture_.memories[static_cast<size_t>(*m)].bytes));
    for (const Place& p : places_.all()) {
      if (p.memory != *m) continue;
      for (const DType dtype : p.dtypes)
        line("{}* {}{} = ({}*)({} + tiling.{});", type_name(dtype), place_name(p),
             dtype == p.dtypes[0] ? "" : fmt::format("_{}", dtype_name(dtype)), type_name(dtype),
             memory, place_name(p));
    }
  }
  add("const int32_t block = taskId;");
  if (has_barrier(program_.body)) {
    add("if (block >= tiling.blocks) {");
    add("// Clusters have four cores, and all of them meet.");
    meet(program_.body);
    add("return;");
    close_axes(1);
  }
  add("");
}

void BangWriter::close_function(const Kernel& kernel) {
  std::string parameters, arguments;
  for (size_t i = 0; i < buffers_.size(); ++i) {
    parameters += fmt::format("uint8_t* {}, ", buffers_[i]);
    arguments += fmt::format("({}*){}, ", type_name(program_.buffers[i].dtype), buffers_[i]);
  }
  const bool meets = has_barrier(program_.body);
  add("");
  line("void launch_{}({}cnrtQueue_t queue) {{", kernel.name, parameters);
  line("const {} tiling;", kernel.tiling);
  if (meets) {
    add("const tile::Union cores = tile::UnionOf(tiling.blocks);");
    line("TENON_LAUNCH({}, cores.dim, cores.type, queue)({}tiling);", kernel.name, arguments);
  } else {
    add("const cnrtDim3_t dim = {static_cast<uint32_t>(tiling.blocks), 1, 1};");
    line("TENON_LAUNCH({}, dim, cnrtFuncTypeBlock, queue)({}tiling);", kernel.name, arguments);
  }
  close_axes(1);
}

Status BangWriter::instruction(const Instruction& i) {
  const OpcodeClass kind = isa::info(i.op).kind;
  if (kind == OpcodeClass::order) return order(i);
  busy_.insert(i.queue);
  switch (kind) {
    case OpcodeClass::reduce:
      return reduce(i);
    case OpcodeClass::product:
      if (i.op == Opcode::conv) return convolve(i);
      break;
    case OpcodeClass::move:
      if (i.op == Opcode::gather) return gather(i);
      if (i.op == Opcode::copy && i.views[0].dtype == i.views[1].dtype) return copy(i);
      if (i.op == Opcode::copy || i.op == Opcode::fill) return vector(i);
      break;
    default:
      return vector(i);
  }
  return no_form(i, "the emitter has no BANG C for this instruction");
}

// BANG C has no flags between queues: who waits for a flag waits for the whole queue.
void BangWriter::wait(std::string_view queue, int index) {
  if (busy_.erase(index) > 0) line("__sync_{}();", queue);
}

Status BangWriter::order(const Instruction& i) {
  switch (i.op) {
    case Opcode::set_flag:
      return {};
    case Opcode::wait_flag:
      wait(queue_name(i.numbers[0]), static_cast<int>(i.numbers[0].value()));
      return {};
    case Opcode::barrier:
      if (!has_known_barriers(program_.body))
        return no_form(i, "blocks that meet as often as data or the block say have no BANG C here");
      add("__sync_all();");
      busy_.clear();
      return {};
    case Opcode::sync:
      if (i.numbers[0] == Expr(-1)) {
        add("__sync();");
        busy_.clear();
      } else {
        wait(queue_name(i.numbers[0]), static_cast<int>(i.numbers[0].value()));
      }
      return {};
    default:
      return no_form(i, "the emitter has no BANG C for this instruction");
  }
}

Status BangWriter::copy(const Instruction& i) {
  const auto short_name = [&](const View& v) {
    std::string name(memory_name(v.memory));
    for (char& c : name) c = static_cast<char>(c - 'a' + 'A');
    return name;
  };
  const std::string way = short_name(i.views[1]) + "2" + short_name(i.views[0]);
  const std::string_view call = way == "NRAM2NRAM" ? "__memcpy" : "__memcpy_async";
  const Nest nest(i.views);
  const size_t rank = nest.rank();
  const DType dtype = i.views[0].dtype;
  const bool dense =
      rank == 0 || (nest.stride[0].back() == Expr(1) && nest.stride[1].back() == Expr(1));
  const size_t inner = rank == 0 ? 0 : dense ? std::min<size_t>(rank, 2) : 1;
  const bool has_rows = inner == 2 || !dense;
  const size_t row = rank - inner;
  const auto variables = open_axes(nest, row);
  const std::string to = operand(i.views[0], nest, 0, variables),
                    from = operand(i.views[1], nest, 1, variables);
  const std::string size = bytes(rank == 0 || !dense ? "1" : factor(nest.size.back()), dtype);
  if (!has_rows) {
    line("{}({}, {}, {}, {});", call, to, from, size, way);
  } else {
    // The vendor counts the rows after the first.
    const bool guarded = !is_positive(nest.size[row]);
    if (guarded) line("if ({} > 0) {{", text(nest.size[row]));
    line("{}({}, {}, {}, {}, {}, {}, {});", call, to, from, size, way,
         bytes(factor(nest.stride[0][row]), dtype), bytes(factor(nest.stride[1][row]), dtype),
         text(nest.size[row] - 1));
    if (guarded) close_axes(1);
  }
  close_axes(row);
  return {};
}

Status BangWriter::convolve(const Instruction& i) {
  const auto &dst = i.views[0].axes, &x = i.views[1].axes, &w = i.views[2].axes;
  const auto& n = i.numbers;  // kernel, stride, dilation, pads, accumulate
  const bool packed = x[2].stride == Expr(1) && x[1].stride == x[2].size &&
                      x[0].stride == x[1].size * x[2].size && w[3].stride == Expr(1) &&
                      w[2].stride == x[2].size && dst[2].stride == Expr(1) &&
                      dst[0].stride == dst[1].size * dst[1].stride;
  const bool taps = w[1].stride == n[1] * x[2].size && w[0].stride == n[0] * n[1] * x[2].size;
  const bool simple =
      n[4] == Expr(1) && n[5] == Expr(1) && n[6] == Expr(0) && n[7] == Expr(0) && n[8] == Expr(0);
  if (packed && taps && simple) {
    // Pixels may be further apart than they have channels: the rest is computed, too.
    line("__bang_conv({}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {});", whole(i.views[0]),
         whole(i.views[1]), whole(i.views[2]), text(x[2].size), text(x[0].size), text(x[1].size),
         text(n[0]), text(n[1]), text(n[3]), text(n[2]), text(dst[1].stride));
    return {};
  }
  line("tile::Conv({}, tile::Tile3{{{}, {}, {}, {}, {}}},", whole(i.views[0]), text(dst[0].size),
       text(dst[1].size), text(dst[2].size), text(dst[0].stride), text(dst[1].stride));
  line("           {}, tile::Tile3{{{}, {}, {}, {}, {}}},", whole(i.views[1]), text(x[0].size),
       text(x[1].size), text(x[2].size), text(x[0].stride), text(x[1].stride));
  line("           {}, tile::Filter{{{}, {}, {}}},", whole(i.views[2]), text(w[0].stride),
       text(w[1].stride), text(w[2].stride));
  line("           tile::Window{{{}, {}, {}, {}, {}, {}, {}, {}}}, {});", text(n[0]), text(n[1]),
       text(n[2]), text(n[3]), text(n[4]), text(n[5]), text(n[6]), text(n[7]),
       n[8] == Expr(0)   ? "false"
       : n[8] == Expr(1) ? "true"
                         : text(n[8]) + " != 0");
  return {};
}

std::string BangWriter::plain_call(const Instruction& i, const std::vector<std::string>& o,
                                   const std::string& n) const {
  const DType to = i.views[0].dtype, from = i.views.size() > 1 ? i.views[1].dtype : to;
  if (i.op == Opcode::fill)
    return fmt::format("__bang_write_value({}, {}, {});", o[0], n, scalar_text(i.scalar, to));
  if (i.op == Opcode::convert || i.op == Opcode::copy) {
    if (to == DType::f32 && from == DType::f16)
      return fmt::format("__bang_half2float({}, {}, {});", o[0], o[1], n);
    if (to == DType::f16 && from == DType::f32)
      return fmt::format("__bang_float2half_rn({}, {}, {});", o[0], o[1], n);
    return {};
  }
  const VectorForm* form = form_of(i.op);
  const bool real = to == DType::f16 || to == DType::f32;
  if (form == nullptr || form->bang.empty() || !real) return {};
  std::string list;
  for (const std::string& operand : o) list += operand + ", ";
  if (isa::info(i.op).has_scalar) list += scalar_text(i.scalar, to) + ", ";
  return fmt::format("{}({}{});", form->bang, list, n);
}

std::string BangWriter::tile_call(const Instruction& i, const std::vector<std::string>& o,
                                  const std::string& n) const {
  const DType to = i.views[0].dtype;
  std::string list;
  for (const std::string& operand : o) list += operand + ", ";
  if (i.op == Opcode::fill)
    return fmt::format("tile::Fill({}{}, {});", list, scalar_text(i.scalar, to), n);
  if (i.op == Opcode::copy) return fmt::format("tile::Convert({}tile::kEven, {});", list, n);
  if (i.op == Opcode::convert && to == DType::boolean)
    return fmt::format("tile::ToBool({}{});", list, n);
  if (i.op == Opcode::convert)
    return fmt::format("tile::Convert({}tile::{}, {});", list,
                       kRounding[static_cast<size_t>(i.numbers[0].value())], n);
  if (i.op == Opcode::compare)
    return fmt::format("tile::Compare({}tile::{}, {});", list,
                       kRelation[static_cast<size_t>(i.numbers[0].value())], n);
  if (i.op == Opcode::select) return fmt::format("tile::Select({}{});", list, n);
  const VectorForm* form = form_of(i.op);
  if (form == nullptr) return {};
  if (isa::info(i.op).has_scalar) list += scalar_text(i.scalar, to) + ", ";
  return fmt::format("tile::{}({}{});", form->tile, list, n);
}

// The second operand again and again for the rows of the first: one call.
bool BangWriter::cycle(const Instruction& i, const Nest& nest) {
  const VectorForm* form = form_of(i.op);
  if (form == nullptr || form->cycle.empty() || nest.rank() < 2 || !is_float(i.views[0].dtype))
    return false;
  const size_t row = nest.rank() - 2;
  const Expr& n = nest.size.back();
  const auto is = [&](size_t v, const Expr& stride) {
    return nest.stride[v].back() == Expr(1) && nest.stride[v][row] == stride;
  };
  if (!is(0, n) || !is(1, n) || !is(2, 0)) return false;
  const auto variables = open_axes(nest, row);
  line("{}({}, {}, {}, {}, {});", form->cycle, operand(i.views[0], nest, 0, variables),
       operand(i.views[1], nest, 1, variables), operand(i.views[2], nest, 2, variables),
       text(nest.size[row] * n), text(n));
  close_axes(row);
  return true;
}

Status BangWriter::vector(const Instruction& i) {
  const Nest nest(i.views);
  if (cycle(i, nest)) return {};
  const size_t outer = nest.rank() == 0 ? 0 : nest.rank() - 1;
  const auto inner = [&](size_t v) { return nest.rank() == 0 ? Expr(1) : nest.stride[v].back(); };
  bool plain = true;
  for (size_t v = 0; v < i.views.size(); ++v) plain = plain && inner(v) == Expr(1);
  const VectorForm* form = form_of(i.op);
  const bool one_for_all = form != nullptr && !form->scalar.empty() && i.views.size() == 3 &&
                           inner(0) == Expr(1) && inner(1) == Expr(1) && inner(2) == Expr(0) &&
                           is_float(i.views[0].dtype);
  const auto variables = open_axes(nest, outer);
  const std::string n = nest.rank() == 0 ? "1" : text(nest.size.back());
  std::vector<std::string> operands;
  for (size_t v = 0; v < i.views.size(); ++v)
    operands.push_back(operand(i.views[v], nest, v, variables));
  std::string call;
  if (one_for_all)
    call = fmt::format("{}({}, {}, {}[{}], {});", form->scalar, operands[0], operands[1],
                       tensor_name(i.views[2]), index(i.views[2], nest, 2, variables), n);
  else if (plain)
    call = plain_call(i, operands, n);
  if (call.empty()) {
    for (size_t v = 0; v < i.views.size(); ++v)
      if (inner(v) != Expr(1))
        operands[v] = fmt::format("tile::Every({}, {})", operands[v], text(inner(v)));
    call = tile_call(i, operands, n);
  }
  if (call.empty()) return no_form(i, "the emitter has no BANG C for this instruction");
  add(call);
  close_axes(outer);
  return {};
}

// Row by row: one result a row.
Status BangWriter::reduce(const Instruction& i) {
  const Nest nest(i.views, 1);
  const size_t inner = std::min<size_t>(nest.rank(), 2);
  const bool has_rows = inner == 2;
  const size_t row = nest.rank() - inner;
  const auto variables = open_axes(nest, row);
  line("tile::{}({}, {}, {}, {}, {}, {}, {});", form_of(i.op)->tile,
       operand(i.views[0], nest, 0, variables), has_rows ? text(nest.stride[0][row]) : "0",
       operand(i.views[1], nest, 1, variables), has_rows ? text(nest.stride[1][row]) : "0",
       text(i.views[1].axes.back().stride), has_rows ? text(nest.size[row]) : "1",
       text(i.views[1].axes.back().size));
  close_axes(row);
  return {};
}

}  // namespace

Result<Kernel> bang_c_kernel(const isa::Program& program, const isa::Architecture& architecture,
                             std::string name) {
  return BangWriter(program, architecture, std::move(name)).write();
}

}  // namespace tenon::emit
