#include "emit/kernel.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "isa/check_program.h"
#include "isa/text.h"

namespace tenon::emit {
namespace {

using isa::Expr;
using isa::Instruction;
using isa::Loop;
using isa::Opcode;
using isa::OpcodeClass;
using isa::Statement;
using isa::View;

constexpr const char* kAxes[] = {"r", "s", "t", "u", "v"};

// What a kernel has of its own.
Names reserved(const isa::Program& program, const std::string& kernel) {
  Names names;
  for (const char* word : {"id", "ub", "l1", "l0a", "l0b", "l0c", "nram", "wram", "sram"})
    names.unique(word);
  for (const char* word : kAxes) names.unique(word);
  for (int i = 0; i < program.variables; ++i) names.unique(fmt::format("i{}", i));
  names.unique(kernel);
  return names;
}

// Saturated, as the chips' units do: -inf is the least of a maximum over bytes, too.
std::string integer_text(double value, DType dtype) {
  const bool is_unsigned = dtype == DType::u8 || dtype == DType::boolean;
  const int bits = static_cast<int>(dtype_size(dtype)) * 8 - (is_unsigned ? 0 : 1);
  const double end = std::ldexp(1.0, bits);
  if (std::isnan(value)) value = 0;
  if (value >= end) return fmt::format("{}", bits == 63 ? INT64_MAX : (int64_t{1} << bits) - 1);
  if (value < (is_unsigned ? 0 : -end)) value = is_unsigned ? 0 : -end;
  // The least of 64 bits is no literal.
  if (bits == 63 && value <= -end) return "-9223372036854775807 - 1";
  return fmt::format("{}", static_cast<int64_t>(value));
}

std::vector<std::string> identifiers(const isa::Program& program, Names& names) {
  std::vector<std::string> out;
  for (const isa::Buffer& b : program.buffers) out.push_back(names.unique(b.name));
  return out;
}

}  // namespace

std::string_view type_name(DType dtype) {
  switch (dtype) {
    case DType::f16:
      return "half";
    case DType::bf16:
      return "bfloat16_t";
    case DType::f32:
      return "float";
    case DType::i8:
      return "int8_t";
    case DType::i16:
      return "int16_t";
    case DType::i32:
      return "int32_t";
    case DType::i64:
      return "int64_t";
    default:
      return "uint8_t";
  }
}

std::string scalar_text(double value, DType dtype) {
  if (!is_float(dtype)) {
    const std::string text = integer_text(value, dtype);
    return dtype == DType::i32 ? text : fmt::format("{}({})", type_name(dtype), text);
  }
  std::string text = std::isnan(value)   ? "tile::kNan"
                     : std::isinf(value) ? (value < 0 ? "-tile::kInfinity" : "tile::kInfinity")
                                         : fmt::format("{}", static_cast<float>(value));
  if (std::isfinite(value)) {
    if (text.find_first_of(".e") == std::string::npos) text += ".0";
    text += "f";
  }
  return dtype == DType::f32 ? text : fmt::format("{}({})", type_name(dtype), text);
}

std::string camel_case(std::string_view name) {
  std::string out;
  bool up = true;
  for (const char c : name) {
    if (c == '_') {
      up = true;
      continue;
    }
    out += up && c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    up = false;
  }
  return out;
}

KernelWriter::KernelWriter(const isa::Program& program, const isa::Architecture& architecture,
                           std::string name)
    : architecture_(architecture),
      name_(std::move(name)),
      program_(simplified(program)),
      places_(program, program_, architecture),
      ranges_(ranges_of(program_)),
      names_(reserved(program_, name_)),
      buffers_(identifiers(program_, names_)),
      expressions_(program_, places_, names_) {}

// Long lines are broken after commas, arguments below arguments.
void KernelWriter::add(const std::string& text) {
  constexpr size_t kMost = 100;
  std::string rest = text, indent(text.empty() ? 0 : static_cast<size_t>(depth_) * 2, ' ');
  const size_t bracket = text.find('(');
  const std::string below(bracket == std::string::npos || bracket > 30
                              ? indent.size() + 4
                              : indent.size() + bracket + 1,
                          ' ');
  while (indent.size() + rest.size() > kMost && !text.starts_with("//")) {
    const size_t comma = rest.rfind(", ", kMost - indent.size() - 1);
    if (comma == std::string::npos || comma <= bracket || bracket == std::string::npos) break;
    out_ += indent + rest.substr(0, comma + 1) + "\n";
    rest.erase(0, comma + 2);
    indent = below;
  }
  out_ += indent + rest + "\n";
  if (text.ends_with('{')) ++depth_;
}

Error KernelWriter::no_form(const Instruction& i, std::string_view what) const {
  return isa::at_instruction(unsupported(fmt::format("'{}': {}", program_.name, what)), i, program_,
                             architecture_);
}

std::string KernelWriter::base(const isa::View& view) const {
  if (view.memory == 0) return buffers_[static_cast<size_t>(view.buffer)];
  return place_name(places_.all()[places_.position(view).place]);
}

bool KernelWriter::is_multiple(const Expr& e, int64_t of) const {
  const int64_t step = range_of(e, ranges_).step;
  return step % of == 0;
}

std::vector<std::string> KernelWriter::open_axes(const Nest& nest, size_t count) {
  std::vector<std::string> variables;
  for (size_t i = 0; i < count; ++i) {
    variables.emplace_back(i < std::size(kAxes) ? kAxes[i] : fmt::format("r{}", i));
    line("for ({} {} = 0; {} < {}; ++{}) {{", expressions_.type(), variables[i], variables[i],
         text(nest.size[i]), variables[i]);
  }
  return variables;
}

void KernelWriter::close_axes(size_t count) {
  for (size_t i = 0; i < count; ++i) {
    --depth_;
    add("}");
  }
}

std::string KernelWriter::index(const isa::View& view, const Nest& nest, size_t operand,
                                const std::vector<std::string>& variables) const {
  const Expr offset = view.memory == 0
                          ? divided(view.offset, static_cast<int64_t>(dtype_size(view.dtype)))
                          : places_.position(view).offset;
  std::string out = offset == Expr(0) ? "" : text(offset);
  for (size_t i = 0; i < variables.size(); ++i) {
    const Expr& stride = nest.stride[operand][i];
    if (stride == Expr(0)) continue;
    if (!out.empty()) out += " + ";
    out += stride == Expr(1) ? variables[i]
                             : fmt::format("{} * {}", variables[i], expressions_.factor(stride));
  }
  return out.empty() ? "0" : out;
}

std::string KernelWriter::tiling_struct(const Kernel& kernel) const {
  std::string out = fmt::format(
      "// How the layer is cut: the cores that run it, and where its tiles lie in their memories, "
      "in "
      "bytes.\nstruct {} {{\n  int32_t blocks = {};\n",
      kernel.tiling, program_.blocks);
  for (size_t m = 1; m < architecture_.memories.size(); ++m) {
    int64_t end = 0;
    for (const Place& p : places_.all())
      if (p.memory == static_cast<int>(m)) end = std::max(end, p.offset + p.bytes);
    if (end == 0) continue;
    const int64_t align = std::max<int64_t>(architecture_.memories[m].align, 32);
    end = std::min((end + align - 1) / align * align, architecture_.memories[m].bytes);
    out += fmt::format("  int32_t {} = {};\n", place_bytes_name(static_cast<int>(m)), end);
    for (const Place& p : places_.all())
      if (p.memory == static_cast<int>(m) && !p.dtypes.empty())
        out += fmt::format("  int32_t {} = {};\n", place_name(p), p.offset);
  }
  return out + "};\n";
}

// A line that says what follows on one queue, as far as no loop or other queue comes between.
void KernelWriter::comment(const std::vector<Statement>& body, size_t first, bool top) {
  const auto& start = std::get<Instruction>(body[first]);
  const OpcodeClass kind = isa::info(start.op).kind;
  if (kind == OpcodeClass::order) {
    const bool after = first > 0 && !std::holds_alternative<Loop>(body[first - 1]);
    if (!top || after || architecture_.family != AscendChip::family) return;
    if (first == 0 && start.op == Opcode::set_flag) add("// All places are free at first.");
    if (first > 0 && start.op == Opcode::wait_flag) add("// Until all is done.");
    return;
  }
  if (start.queue == last_queue_) return;
  last_queue_ = start.queue;
  std::vector<std::string> parts;
  for (size_t k = first; k < body.size(); ++k) {
    const auto* i = std::get_if<Instruction>(&body[k]);
    if (i == nullptr) break;
    if (isa::info(i->op).kind == OpcodeClass::order) continue;
    if (i->queue != start.queue) break;
    std::string part(isa::info(i->op).name);
    if (i->op == Opcode::copy && i->views[1].memory == 0)
      part = "load " + program_.buffers[static_cast<size_t>(i->views[1].buffer)].name;
    if (i->op == Opcode::copy && i->views[0].memory == 0)
      part = "store " + program_.buffers[static_cast<size_t>(i->views[0].buffer)].name;
    if (parts.empty() || parts.back() != part) parts.push_back(comment_text(part));
  }
  std::string list;
  for (size_t k = 0; k < parts.size(); ++k) list += (k == 0 ? "" : ", ") + parts[k];
  line("// {}: {}", architecture_.queues[static_cast<size_t>(start.queue)], list);
}

Status KernelWriter::write_body(const std::vector<Statement>& body, bool top) {
  for (size_t k = 0; k < body.size(); ++k) {
    if (const auto* loop = std::get_if<Loop>(&body[k])) {
      TRY(write_loop(*loop));
      continue;
    }
    comment(body, k, top);
    TRY(instruction(std::get<Instruction>(body[k])));
  }
  return {};
}

Status KernelWriter::write_loop(const Loop& loop) {
  last_queue_ = -1;
  if (range_of(loop.count, ranges_).high <= 1) {
    // A condition: what is counted to is min(x, 1).
    const bool bounded = loop.count.kind() == Expr::Kind::min && loop.count.right() == Expr(1);
    line("if ({} > 0) {{", text(bounded ? Expr(loop.count.left()) : loop.count));
  } else {
    const std::string i = expressions_.variable(loop.variable);
    line("for ({} {} = 0; {} < {}; ++{}) {{", expressions_.type(), i, i, text(loop.count), i);
    for (const std::string& d : expressions_.declarations(loop.variable)) add(d);
  }
  enter_loop(loop);
  TRY(write_body(loop.body, false));
  leave_loop(loop);
  --depth_;
  add("}");
  last_queue_ = -1;
  return {};
}

Status KernelWriter::rows_by_index(const Instruction& i, const View& tile, const View& table) {
  const View& indices = i.views[2];
  const auto lead = static_cast<int64_t>(indices.axes.size());
  View leading = tile, part = tile, row = table;
  leading.axes.assign(tile.axes.begin(), tile.axes.begin() + lead);
  part.axes.erase(part.axes.begin(), part.axes.begin() + lead);
  row.axes.erase(row.axes.begin());
  const Nest outer({indices, leading}), inner({part, row});
  const bool dense =
      inner.rank() == 0 || (inner.stride[0].back() == Expr(1) && inner.stride[1].back() == Expr(1));
  if (inner.rank() > 1 || !dense) return no_form(i, "rows of a table are whole only");
  const auto variables = open_axes(outer, outer.rank());
  const std::string at = operand(tile, outer, 1, variables),
                    index = operand(indices, outer, 0, variables),
                    n = inner.rank() == 0 ? "1" : text(inner.size[0]),
                    stride = text(table.axes[0].stride), size = text(table.axes[0].size);
  if (i.op == isa::Opcode::gather)
    line("tile::GatherRow({}, {}, {}, {}, {}, {});", at, whole(table), stride, size, index, n);
  else
    line("tile::ScatterRow({}, {}, {}, {}, {}, {}, {}, {});", whole(table), stride, size,
         text(i.numbers[0]), index, at, n, i.numbers[1] == Expr(0) ? "false" : "true");
  close_axes(outer.rank());
  return {};
}

Status KernelWriter::gather(const Instruction& i) {
  return rows_by_index(i, i.views[0], i.views[1]);
}

Status KernelWriter::scatter(const Instruction& i) {
  return rows_by_index(i, i.views[1], i.views[0]);
}

Result<Kernel> KernelWriter::write() {
  Kernel kernel;
  kernel.name = name_;
  kernel.tiling = camel_case(name_) + "Tiling";
  kernel.parameters = buffers_;
  add(tiling_struct(kernel));
  open_function(kernel);
  for (const std::string& d : expressions_.declarations(0)) add(d);
  TRY(write_body(program_.body, true));
  --depth_;
  add("}");
  close_function(kernel);
  kernel.text = std::move(out_);
  return kernel;
}

}  // namespace tenon::emit
