#include "simulate/cost.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace tenon::simulate {

using isa::Instruction;
using isa::Opcode;
using isa::OpcodeClass;
using isa::View;

Extent extent_of(const View& view, std::span<const int64_t> variables) {
  constexpr size_t kMost = 16;                          // axes of a view
  std::array<std::pair<int64_t, int64_t>, kMost> axes;  // stride, size
  size_t n = 0;
  Extent e;
  for (const isa::Axis& axis : view.axes) {
    const int64_t size = axis.size.at(variables), stride = axis.stride.at(variables);
    e.elements *= std::max<int64_t>(size, 0);
    if (size == 1 || stride == 0) continue;
    e.distinct *= std::max<int64_t>(size, 0);
    // Backwards, what lies side by side is no run.
    if (n < kMost && stride > 0) axes[n++] = {stride, size};
  }
  if (e.elements == 0) e.distinct = 0;
  std::sort(axes.begin(), axes.begin() + static_cast<int64_t>(n));
  for (size_t i = 0; i < n && axes[i].first <= e.run; ++i) e.run *= axes[i].second;
  return e;
}

namespace {

double up(double a, double b) {
  return std::ceil(a / b);
}

double bytes_of(const View& v) {
  return static_cast<double>(dtype_size(v.dtype));
}

// Bytes that the global memory moves for a view: whole transactions per run.
void through_memory(const View& v, std::span<const int64_t> variables, int64_t transaction,
                    double full_run, double short_rate, Cost& cost) {
  const Extent e = extent_of(v, variables);
  const auto size = static_cast<int64_t>(dtype_size(v.dtype));
  if (e.distinct == 0) return;
  const int64_t run = std::min(e.run, e.distinct) * size, runs = e.distinct * size / run;
  cost.bytes = runs * ((run + transaction - 1) / transaction * transaction);
  cost.efficiency = static_cast<double>(run) >= full_run ? 1 : short_rate;
}

// What a product on the cube counts: whole fractals.
void cube(const AscendChip& chip, const Instruction& i, std::span<const int64_t> v, Cost& cost) {
  const double m = static_cast<double>(i.numbers[0].at(v)),
               k = static_cast<double>(i.numbers[1].at(v)),
               n = static_cast<double>(i.numbers[2].at(v));
  if (m <= 0 || k <= 0 || n <= 0) return;
  cost.operations = 2 * m * k * n;
  const DType dtype = i.views[1].dtype;
  const double macs = dtype == DType::i8 || dtype == DType::u8 ? chip.macs_i8
                      : dtype == DType::f32                    ? chip.macs_f32
                                                               : chip.macs_f16;
  const double k0 = 32 / bytes_of(i.views[1]);
  const double fractals = up(m, 16) * up(n, 16) * up(k, k0);
  cost.cause = Cause::product;
  cost.start = chip.cube_start / chip.cube_clock;
  cost.seconds = fractals * 256 * k0 / std::max(macs, 1.0) / chip.product_rate / chip.cube_clock;
}

double slope(const AscendChip& chip, const Instruction& i) {
  switch (i.op) {
    case Opcode::exp:
    case Opcode::ln:
      return chip.slope_exp;
    case Opcode::sqrt:
      return chip.slope_sqrt;
    case Opcode::rsqrt:
    case Opcode::abs:
    case Opcode::relu:
    case Opcode::copy:
    case Opcode::fill:
      return chip.slope_unary;
    case Opcode::reciprocal:
    case Opcode::div:
      return chip.slope_divide;
    case Opcode::convert:
      return chip.slope_convert;
    case Opcode::compare:
    case Opcode::select:
      return chip.slope_select;
    case Opcode::reduce_sum:
    case Opcode::reduce_max:
    case Opcode::reduce_min:
      return chip.slope_reduce;
    default:
      return isa::info(i.op).kind == OpcodeClass::scalar ? chip.slope_scalar : chip.slope_binary;
  }
}

// The repeats of the vector unit that a view takes: its runs in whole blocks, scattered elements
// one by one.
double repeats(const View& v, std::span<const int64_t> variables, double width, double block) {
  const Extent e = extent_of(v, variables);
  if (e.elements == 0) return 0;
  // Vector units have no arithmetic of single bytes: these take lanes of two.
  const double size = std::max(bytes_of(v), 2.0);
  const double elements = static_cast<double>(e.elements);
  // What is repeated is spread over whole words once; then it comes as what lies side by side.
  const double run = e.distinct < e.elements ? elements : static_cast<double>(e.run);
  // The hardware takes eight blocks a repeat from anywhere; shorter runs leave lanes empty.
  const double blocks = elements / run * up(run * size, block);
  return std::max(up(blocks * block, width), 1.0);
}

void vector_ascend(const AscendChip& chip, const Instruction& i, std::span<const int64_t> v,
                   Cost& cost) {
  const bool reduces = isa::info(i.op).kind == OpcodeClass::reduce;
  double n = 0;
  for (const View& view : i.views) n = std::max(n, repeats(view, v, chip.vector_bytes, chip.block));
  if (n == 0) return;
  double per = slope(chip, i);
  // Reducing across rows is adding them: only within a repeat it takes more.
  const bool across =
      reduces && !i.views[1].axes.empty() && i.views[1].axes.back().stride.at(v) != 1;
  if (across) per = chip.slope_binary;
  const double instructions = up(n, chip.vector_repeats);
  cost.start = chip.vector_start / chip.vector_clock;
  const bool within = reduces && !across;
  if (within) cost.cause = Cause::reduce;
  const double rate = within ? chip.reduce_rate : chip.vector_rate;
  cost.seconds = (instructions + per * n) / rate / chip.vector_clock;
}

double factor(const CambriconChip& chip, const Instruction& i) {
  switch (i.op) {
    case Opcode::exp:
    case Opcode::ln:
    case Opcode::sqrt:
    case Opcode::rsqrt:
    case Opcode::sigmoid:
    case Opcode::tanh:
    case Opcode::reciprocal:
      return chip.cost_transcendental;
    case Opcode::div:
      return i.views[0].dtype == DType::f32 ? chip.cost_divide_f32 : chip.cost_divide_f16;
    default:
      return 1;
  }
}

void vector_cambricon(const CambriconChip& chip, const Instruction& i, std::span<const int64_t> v,
                      Cost& cost) {
  double n = 0;
  for (const View& view : i.views)
    n = std::max(n, repeats(view, v, chip.vector_bytes, chip.vector_bytes));
  if (n == 0) return;
  cost.start = chip.compute_start / chip.clock;
  cost.seconds = factor(chip, i) * n / chip.vector_rate / chip.clock;
}

}  // namespace

double product_macs(const CambriconChip& chip, DType dtype) {
  switch (dtype) {
    case DType::i8:
    case DType::u8:
      return chip.macs_i8;
    case DType::f32:
      return chip.macs_f32 > 0 ? chip.macs_f32 : chip.macs_i16 / 4;
    case DType::bf16:
      return chip.macs_bf16 > 0 ? chip.macs_bf16 : product_macs(chip, DType::f16);
    default:
      return chip.macs_f16 > 0 ? chip.macs_f16 : chip.macs_i16;
  }
}

namespace {

// A convolution in NRAM and WRAM: output channels in whole rounds of the local tables.
void conv_cambricon(const CambriconChip& chip, const Instruction& i, std::span<const int64_t> v,
                    Cost& cost) {
  const auto size = [&](const View& view, size_t axis) {
    return static_cast<double>(view.axes[axis].size.at(v));
  };
  const View &y = i.views[0], &w = i.views[2];
  const double pixels = size(y, 0) * size(y, 1), columns = size(w, 0),
               taps = size(w, 1) * size(w, 2), channels = size(w, 3);
  if (pixels <= 0 || columns <= 0 || channels <= 0) return;
  cost.cause = Cause::product;
  cost.operations = 2 * pixels * columns * taps * channels;
  const double macs = product_macs(chip, i.views[1].dtype);
  const double per_table = std::max(macs / chip.local_tables, 1.0);
  const double rounds = up(columns, chip.local_tables);
  const double depth =
      up(channels * bytes_of(w) * taps, chip.wram_align) * chip.wram_align / bytes_of(w);
  cost.start = chip.compute_start / chip.clock;
  const double share = bytes_of(w) >= 2 ? chip.product_rate_f16 : chip.product_rate;
  cost.seconds = pixels * rounds * depth / per_table / share / chip.clock;
}

}  // namespace

bool CostModel::is_fixed(const Instruction& i) {
  constexpr size_t kSizes = 3;  // of a product; what follows is whether it adds to a sum
  const size_t numbers = isa::info(i.op).kind == OpcodeClass::product ? kSizes : 0;
  const auto is_number = [](const isa::Axis& axis) {
    return axis.size.is_number() && axis.stride.is_number();
  };
  return std::ranges::all_of(
             i.views, [&](const View& v) { return std::ranges::all_of(v.axes, is_number); }) &&
         std::all_of(i.numbers.begin(), i.numbers.begin() + std::min(numbers, i.numbers.size()),
                     [](const isa::Expr& e) { return e.is_number(); });
}

Cost CostModel::of(const Instruction& i, std::span<const int64_t> v) const {
  Cost cost;
  const auto* ascend = std::get_if<AscendChip>(&machine_.chip);
  const auto* cambricon = std::get_if<CambriconChip>(&machine_.chip);
  const OpcodeClass kind = isa::info(i.op).kind;
  if (kind == OpcodeClass::order) return cost;
  const isa::Route* route = architecture_.route(i.op, i.views);
  const bool vector =
      kind != OpcodeClass::product && (route == nullptr || route->bytes_per_cycle == 0);
  if (kind == OpcodeClass::product) {
    if (ascend != nullptr)
      cube(*ascend, i, v, cost);
    else
      conv_cambricon(*cambricon, i, v, cost);
    return cost;
  }
  if (vector) {
    if (ascend != nullptr)
      vector_ascend(*ascend, i, v, cost);
    else
      vector_cambricon(*cambricon, i, v, cost);
    return cost;
  }
  for (const View& view : i.views) {
    if (view.memory != 0) continue;
    cost.writes = &view == &i.views[0];
    if (ascend != nullptr)
      through_memory(view, v, static_cast<int64_t>(ascend->block), ascend->l2_line,
                     ascend->unaligned_rate, cost);
    else
      through_memory(view, v, static_cast<int64_t>(cambricon->transaction), 0, 1, cost);
  }
  // A gather moves what it writes, not its table.
  const View& to = i.views[0];
  const double moved = static_cast<double>(extent_of(to, v).elements) * bytes_of(to);
  if (i.op == Opcode::gather) cost.bytes = static_cast<int64_t>(moved);
  // A scatter copies row by row. Which rows are there is not known before: as many as are given, or
  // as the table has.
  const int64_t rows = i.op == Opcode::scatter ? to.axes[0].size.at(v) : 0;
  if (rows > 0) {
    const int64_t unit =
        static_cast<int64_t>(ascend != nullptr ? ascend->block : cambricon->transaction);
    const int64_t row = static_cast<int64_t>(moved) / rows;
    cost.copies = std::min(extent_of(i.views[2], v).elements, rows);
    cost.bytes = cost.copies * ((row + unit - 1) / unit * unit);
  }
  cost.cause = Cause::move;
  if (cost.bytes == 0)
    cost.seconds = moved / (route->bytes_per_cycle * architecture_.clock) /
                   (ascend != nullptr ? ascend->move_rate : 1);
  return cost;
}

}  // namespace tenon::simulate
