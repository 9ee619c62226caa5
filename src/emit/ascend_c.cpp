#include "emit/ascend_c.h"

#include <algorithm>

#include "emit/ascend_writer.h"

namespace tenon::emit {
namespace {

using isa::Expr;
using isa::Instruction;
using isa::Opcode;
using isa::OpcodeClass;
using isa::View;

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return out;
}

}  // namespace

std::string AscendWriter::tensor_name(const View& view) const {
  if (view.memory == 0) return base(view) + "Gm";
  const Place& place = places_.all()[places_.position(view).place];
  if (place.dtypes.empty() || place.dtypes[0] == view.dtype) return place_name(place);
  return place_name(place) + upper(dtype_name(view.dtype));
}

std::string AscendWriter::operand(const View& view, const Nest& nest, size_t operand,
                                  const std::vector<std::string>& variables) const {
  const std::string at = index(view, nest, operand, variables);
  return at == "0" ? tensor_name(view) : fmt::format("{}[{}]", tensor_name(view), at);
}

void AscendWriter::open_function(const Kernel& kernel) {
  std::string list;
  for (const std::string& b : buffers_) list += fmt::format("GM_ADDR {}, ", b);
  // On chips whose cube and vector cores are apart, a kernel is one's or the other's.
  const bool split = architecture_.queue("fix").has_value();
  const auto cube = architecture_.memory("l0c");
  const bool products =
      std::ranges::any_of(places_.all(), [&](const Place& p) { return cube && p.memory == *cube; });
  line("extern \"C\" __global__ {} void {}({}{} tiling) {{",
       !split     ? "__aicore__"
       : products ? "__cube__"
                  : "__vector__",
       kernel.name, list, kernel.tiling);
  for (size_t i = 0; i < buffers_.size(); ++i) {
    const auto type = type_name(program_.buffers[i].dtype);
    line("GlobalTensor<{}> {}Gm;", type, buffers_[i]);
    line("{}Gm.SetGlobalBuffer((__gm__ {}*){});", buffers_[i], type, buffers_[i]);
  }
  add("TPipe pipe;");
  constexpr std::pair<std::string_view, std::string_view> kPositions[] = {
      {"l1", "A1"}, {"l0a", "A2"}, {"l0b", "B2"}, {"l0c", "CO1"}, {"ub", "VECCALC"}};
  for (const auto& [memory, position] : kPositions) {
    const auto m = architecture_.memory(memory);
    const bool used =
        m && std::ranges::any_of(places_.all(), [&](const Place& p) { return p.memory == *m; });
    if (!used) continue;
    line("TBuf<TPosition::{}> {};", position, memory);
    line("pipe.InitBuffer({}, tiling.{});", memory, place_bytes_name(*m));
    for (const Place& p : places_.all()) {
      if (p.memory != *m) continue;
      for (const DType dtype : p.dtypes)
        line("LocalTensor<{}> {}{} = {}.GetWithOffset<{}>({}, tiling.{});", type_name(dtype),
             place_name(p), dtype == p.dtypes[0] ? "" : upper(dtype_name(dtype)), memory,
             type_name(dtype), p.bytes / static_cast<int64_t>(dtype_size(dtype)), place_name(p));
    }
  }
  add("const int32_t block = GetBlockIdx();");
  add("");
}

void AscendWriter::close_function(const Kernel& kernel) {
  std::string parameters, arguments;
  for (const std::string& b : buffers_) {
    parameters += fmt::format("GM_ADDR {}, ", b);
    arguments += b + ", ";
  }
  add("");
  line("void launch_{}({}void* stream) {{", kernel.name, parameters);
  line("const {} tiling;", kernel.tiling);
  line("TENON_LAUNCH({}, tiling.blocks, stream)({}tiling);", kernel.name, arguments);
  close_axes(1);
}

Status AscendWriter::instruction(const Instruction& i) {
  switch (isa::info(i.op).kind) {
    case OpcodeClass::order:
      return order(i);
    case OpcodeClass::move:
      return move(i);
    case OpcodeClass::reduce:
      return reduce(i);
    case OpcodeClass::product:
      if (i.op == Opcode::mmad) return multiply(i);
      break;
    default:
      return vector(i);
  }
  return no_form(i, "the emitter has no Ascend C for this instruction");
}

Status AscendWriter::order(const Instruction& i) {
  const auto event = [&] {
    return fmt::format("HardEvent::{}_{}", upper(queue_name(i.numbers[0])),
                       upper(queue_name(i.numbers[1])));
  };
  switch (i.op) {
    case Opcode::set_flag:
      line("SetFlag<{}>({});", event(), text(i.numbers[2]));
      return {};
    case Opcode::wait_flag:
      line("WaitFlag<{}>({});", event(), text(i.numbers[2]));
      return {};
    case Opcode::barrier:
      add("PipeBarrier<PIPE_ALL>();");
      add("SyncAll();");
      return {};
    case Opcode::sync: {
      // No event leads from MTE1 to the scalar unit.
      const bool all = i.numbers[0] == Expr(-1) || queue_name(i.numbers[0]) == "mte1";
      if (all)
        add("PipeBarrier<PIPE_ALL>();");
      else
        line("tile::WaitFor<HardEvent::{}_S>();", upper(queue_name(i.numbers[0])));
      return {};
    }
    default:
      return no_form(i, "the emitter has no Ascend C for this instruction");
  }
}

Status AscendWriter::move(const Instruction& i) {
  switch (i.op) {
    case Opcode::img2col:
      return img2col(i);
    case Opcode::gather:
      return gather(i);
    case Opcode::scatter:
      return scatter(i);
    case Opcode::fill: {
      if (memory_name(i.views[0].memory) == "ub") return vector(i);
      const Nest nest(i.views);
      const size_t inner = nest.rank() == 0 ? 0 : 1;
      if (inner == 1 && nest.stride[0].back() != Expr(1))
        return no_form(i, "L1 is filled in whole rows only");
      const auto variables = open_axes(nest, nest.rank() - inner);
      line("tile::FillL1({}, {}, {});", operand(i.views[0], nest, 0, variables),
           inner == 0 ? "1" : text(nest.size.back()), scalar_text(i.scalar, i.views[0].dtype));
      close_axes(nest.rank() - inner);
      return {};
    }
    case Opcode::copy:
      return copy(i);
    default:
      return no_form(i, "the emitter has no Ascend C for this instruction");
  }
}

Status AscendWriter::copy(const Instruction& i) {
  const std::string_view to = memory_name(i.views[0].memory), from = memory_name(i.views[1].memory);
  if (to == "ub" && from == "ub") return vector(i);
  if (to == "l0a" || to == "l0b") return fractals(i);
  if (from == "l0c") return results(i);
  if (to == "gm") return rows(i, "Store");
  if (from == "gm") return rows(i, to == "l1" ? "LoadL1" : "Load");
  return rows(i, "Move");
}

// Rows of so many elements, so far apart: what DMA moves at once.
Status AscendWriter::rows(const Instruction& i, std::string_view call) {
  const Nest nest(i.views);
  const size_t rank = nest.rank();
  const bool dense =
      rank == 0 || (nest.stride[0].back() == Expr(1) && nest.stride[1].back() == Expr(1));
  const auto bytes = static_cast<int64_t>(dtype_size(i.views[0].dtype));
  const bool is_local_global = call == "Store" || call == "Load";
  if (rank == 1 && dense && is_local_global && is_multiple(nest.size[0] * bytes, kAscendBlock) &&
      is_positive(nest.size[0])) {
    line("DataCopy({}, {}, {});", operand(i.views[0], nest, 0, {}),
         operand(i.views[1], nest, 1, {}), text(nest.size[0]));
    return {};
  }
  // The axes of one call: rows, and what a row has.
  const size_t inner = rank == 0 ? 0 : dense ? std::min<size_t>(rank, 2) : 1;
  const bool has_rows = inner == 2 || !dense;
  const auto variables = open_axes(nest, rank - inner);
  const size_t row = rank - inner;
  const auto stride = [&](size_t v) { return has_rows ? text(nest.stride[v][row]) : "0"; };
  line("tile::{}({}, {}, {}, {}, {}, {});", call, operand(i.views[0], nest, 0, variables),
       stride(0), operand(i.views[1], nest, 1, variables), stride(1),
       has_rows ? text(nest.size[row]) : "1", rank == 0 || !dense ? "1" : text(nest.size.back()));
  close_axes(rank - inner);
  return {};
}

// Fractals of 16 rows from L1, as they are or turned.
Status AscendWriter::fractals(const Instruction& i) {
  const auto& dst = i.views[0].axes;
  const auto& src = i.views[1].axes;
  const auto c0 = kAscendBlock / static_cast<int64_t>(dtype_size(i.views[0].dtype));
  const auto inner = [&](const std::vector<isa::Axis>& a, const Expr& row, const Expr& column) {
    return a.size() == 4 && a[2].size == Expr(16) && a[3].size == Expr(c0) && a[2].stride == row &&
           a[3].stride == column;
  };
  const bool plain = inner(src, c0, 1), turned = inner(src, 1, 16);
  if (!inner(dst, c0, 1) || (!plain && !turned))
    return no_form(i, "L0 is loaded in whole fractals only");
  line("tile::{}({}, {}, {}, {}, {}, {}, {}, {});", plain ? "LoadFractals" : "LoadTurned",
       whole(i.views[0]), text(dst[0].stride), text(dst[1].stride), whole(i.views[1]),
       text(src[0].stride), text(src[1].stride), text(dst[0].size), text(dst[1].size));
  return {};
}

// Out of the accumulators: [n1, m, 16] there, rows of the matrix in the global memory.
Status AscendWriter::results(const Instruction& i) {
  const auto& dst = i.views[0].axes;
  const auto& src = i.views[1].axes;
  if (memory_name(i.views[0].memory) == "ub") {
    const Nest nest(i.views);
    const size_t inner = nest.rank() == 0 ? 0 : 1;
    if (inner == 1 && (nest.stride[0].back() != Expr(1) || nest.stride[1].back() != Expr(1)))
      return no_form(i, "accumulators are copied in whole rows only");
    const auto variables = open_axes(nest, nest.rank() - inner);
    line("tile::FromAcc({}, {}, {});", operand(i.views[0], nest, 0, variables),
         operand(i.views[1], nest, 1, variables), inner == 0 ? "1" : text(nest.size.back()));
    close_axes(nest.rank() - inner);
    return {};
  }
  const bool fits =
      dst.size() == 3 && src[1].stride == Expr(16) && src[2].stride == Expr(1) &&
      dst[2].stride == Expr(1) &&
      (dst[0].size == Expr(1) || (dst[0].stride == Expr(16) && dst[2].size == Expr(16)));
  if (!fits) return no_form(i, "accumulators are stored as rows of a matrix only");
  line("tile::StoreAcc({}, {}, {}, {}, {}, {});", whole(i.views[0]), text(dst[1].stride),
       whole(i.views[1]), text(src[0].stride), text(dst[1].size),
       text(dst[0].size == Expr(1) ? dst[2].size : dst[0].size * 16));
  return {};
}

Status AscendWriter::img2col(const Instruction& i) {
  const auto& dst = i.views[0].axes;
  const auto& src = i.views[1].axes;
  const auto c0 = kAscendBlock / static_cast<int64_t>(dtype_size(i.views[0].dtype));
  const auto is = [](const isa::Axis& a, const Expr& size, const Expr& stride) {
    return a.size == size && a.stride == stride;
  };
  if (!is(dst[2], 16, c0) || !is(dst[3], c0, 1) || dst[1].stride != Expr(16 * c0) ||
      !is(src[3], c0, 1) || src[2].stride != Expr(c0) || src[1].stride != src[2].size * c0)
    return no_form(i, "img2col is from C1HWC0 to fractals only");
  const auto n = [&](size_t k) { return text(i.numbers[k]); };
  line("tile::Img2Col({}, {}, {}, {},", whole(i.views[0]), text(dst[0].stride), whole(i.views[1]),
       text(src[0].stride));
  line("              tile::Image{{{}, {}, {}}},", text(src[0].size), text(src[1].size),
       text(src[2].size));
  line("              tile::Window{{{}, {}, {}, {}, {}, {}, {}, {}, {}}},", n(0), n(1), n(2), n(3),
       n(4), n(5), n(6), n(7), n(8));
  line("              {}, {}, {}, {}, {});", n(9), text(dst[0].size * 16), n(10),
       text(dst[1].size * c0), scalar_text(i.scalar, i.views[0].dtype));
  return {};
}

Status AscendWriter::multiply(const Instruction& i) {
  const auto &acc = i.views[0].axes, &a = i.views[1].axes, &b = i.views[2].axes;
  const auto c0 = kAscendBlock / static_cast<int64_t>(dtype_size(i.views[1].dtype));
  const auto is = [](const std::vector<isa::Axis>& x, int64_t columns) {
    return x[2].size == Expr(16) && x[3].size == Expr(columns) && x[2].stride == Expr(columns) &&
           x[3].stride == Expr(1);
  };
  if (!is(acc, 16) || !is(a, c0) || !is(b, c0) || acc[1].stride != Expr(256) ||
      a[1].stride != Expr(16 * c0) || b[1].stride != Expr(16 * c0))
    return no_form(i, "products are of whole fractals only");
  const Expr& accumulate = i.numbers[3];
  line("tile::Multiply({}, {}, {}, {}, {}, {}, {}, {}, {}, {});", whole(i.views[0]),
       text(acc[0].stride), whole(i.views[1]), text(a[0].stride), whole(i.views[2]),
       text(b[0].stride), text(i.numbers[0]), text(i.numbers[1]), text(i.numbers[2]),
       accumulate == Expr(0)   ? "false"
       : accumulate == Expr(1) ? "true"
                               : text(accumulate) + " != 0");
  return {};
}

Result<Kernel> ascend_c_kernel(const isa::Program& program, const isa::Architecture& architecture,
                               std::string name) {
  return AscendWriter(program, architecture, std::move(name)).write();
}

}  // namespace tenon::emit
