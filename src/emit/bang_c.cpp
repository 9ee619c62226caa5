#include "emit/bang_c.h"

#include <algorithm>

#include "emit/bang_writer.h"

namespace tenon::emit {
namespace {

using isa::Expr;
using isa::Instruction;
using isa::Loop;
using isa::Opcode;
using isa::OpcodeClass;
using isa::Statement;
using isa::View;

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

constexpr int64_t kAlign = 128;
int64_t aligned(int64_t bytes) {
  return (bytes + kAlign - 1) / kAlign * kAlign;
}

// Whether the vendor's call makes as many results of so many pixels: rows and columns of zeros at
// their end are pads, too.
bool makes(const Expr& pixels, const Expr& kernel, const Expr& stride, const Expr& results) {
  if (kernel == Expr(1) && stride == Expr(1)) return pixels == results;
  return pixels.is_number() && kernel.is_number() && stride.is_number() && results.is_number() &&
         (pixels.value() - kernel.value()) / stride.value() + 1 == results.value();
}

// A convolution that is a call of the vendor's over tensors as they lie.
bool is_one_call(const Instruction& i) {
  const auto &dst = i.views[0].axes, &x = i.views[1].axes, &w = i.views[2].axes;
  const auto& n = i.numbers;  // kernel, stride, dilation, pads, accumulate
  const bool dense = w[3].stride == Expr(1) && w[2].stride == x[2].size &&
                     w[1].stride == n[1] * x[2].size && w[0].stride == n[0] * n[1] * x[2].size;
  return dense && makes(x[0].size, n[0], n[2], dst[0].size) &&
         makes(x[1].size, n[1], n[3], dst[1].size) && x[2].stride == Expr(1) &&
         x[1].stride == x[2].size && x[0].stride == x[1].size * x[2].size &&
         dst[2].stride == Expr(1) && dst[0].stride == dst[1].size * dst[1].stride &&
         n[4] == Expr(1) && n[5] == Expr(1) && n[6] == Expr(0) && n[7] == Expr(0) &&
         n[8] == Expr(0);
}

bool gathers_windows(const std::vector<Statement>& body) {
  return std::ranges::any_of(body, [](const Statement& s) {
    if (const auto* loop = std::get_if<Loop>(&s)) return gathers_windows(loop->body);
    const auto& i = std::get<Instruction>(s);
    return i.op == Opcode::conv && !is_one_call(i);
  });
}

}  // namespace

void BangWriter::enter_loop(const Loop& loop) {
  before_.push_back(busy_);
  add_queues(loop.body, busy_);
}

// The meetings alone, for tasks that have nothing else to do.
void BangWriter::meet(const std::vector<Statement>& body) {
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

int64_t BangWriter::used_bytes(int memory) const {
  int64_t end = 0;
  for (const Place& p : places_.all())
    if (p.memory == memory) end = std::max(end, p.offset + p.bytes);
  return std::min(aligned(end), architecture_.memories[static_cast<size_t>(memory)].bytes);
}

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
    const int64_t end = m ? used_bytes(*m) : 0;
    if (end == 0) continue;
    const bool has_room = memory == "nram" && gathers_windows(program_.body);
    line("{} int8_t {}[{}];", qualifier, memory,
         has_room ? architecture_.memories[static_cast<size_t>(*m)].bytes + kWindowRoom : end);
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
      if (i.op == Opcode::scatter) return scatter(i);
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
  if (is_one_call(i)) {
    // Pixels may be further apart than they have channels: the rest is computed, too.
    line("__bang_conv({}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {});", whole(i.views[0]),
         whole(i.views[1]), whole(i.views[2]), text(x[2].size), text(x[0].size), text(x[1].size),
         text(n[0]), text(n[1]), text(n[3]), text(n[2]), text(dst[1].stride));
    return {};
  }
  const int memory = i.views[1].memory;
  const int64_t end = used_bytes(memory);
  const int64_t room =
      architecture_.memories[static_cast<size_t>(memory)].bytes + kWindowRoom - end;
  const int64_t column =
      most(n[0] * n[1] * x[2].size) * static_cast<int64_t>(dtype_size(i.views[1].dtype)) +
      (most(dst[2].size) + 2) * static_cast<int64_t>(dtype_size(i.views[0].dtype));
  if (column + 3 * kAlign > room)
    return no_form(
        i, fmt::format("a window and its sums take {} bytes, and NRAM has {} left", column, room));
  line("tile::Conv({}, tile::Tile3{{{}, {}, {}, {}, {}}},", whole(i.views[0]), text(dst[0].size),
       text(dst[1].size), text(dst[2].size), text(dst[0].stride), text(dst[1].stride));
  line("           {}, tile::Tile3{{{}, {}, {}, {}, {}}},", whole(i.views[1]), text(x[0].size),
       text(x[1].size), text(x[2].size), text(x[0].stride), text(x[1].stride));
  line("           {}, tile::Filter{{{}, {}, {}}},", whole(i.views[2]), text(w[0].stride),
       text(w[1].stride), text(w[2].stride));
  line("           tile::Window{{{}, {}, {}, {}, {}, {}, {}, {}}}, {},", text(n[0]), text(n[1]),
       text(n[2]), text(n[3]), text(n[4]), text(n[5]), text(n[6]), text(n[7]),
       n[8] == Expr(0)   ? "false"
       : n[8] == Expr(1) ? "true"
                         : text(n[8]) + " != 0");
  line("           nram + {}, {});", end, room);
  return {};
}

Result<Kernel> bang_c_kernel(const isa::Program& program, const isa::Architecture& architecture,
                             std::string name) {
  return BangWriter(program, architecture, std::move(name)).write();
}

}  // namespace tenon::emit
