// Softmax and norms: rows that are in the vector unit's memory whole, where they fit.
#include "lower/rows.h"

#include <fmt/format.h>

#include <limits>

#include "lower/long_rows.h"
#include "lower/movement.h"
#include "lower/vector_code.h"
#include "lower/vector_core.h"
#include "ops/norm.h"
#include "ops/softmax.h"

namespace tenon::lower {
namespace {

enum class RowKind : uint8_t { softmax, log_softmax, layer_norm, rms_norm };

// Rows of one width, and parameters [width] that are the same for each: scale, then offset.
struct RowTensors {
  int from, to;
  int64_t count, width;
  std::vector<int> parameters;  // -1: none
  bool hides = false;           // of softmax: a row may be -inf throughout, and gives zeros then
};

class Rows {
 public:
  Rows(Lowering& lowering, const Node& node, std::string layer, RowKind kind, double epsilon,
       RowTensors tensors)
      : lowering_(lowering),
        node_(node),
        layer_(std::move(layer)),
        kind_(kind),
        epsilon_(epsilon),
        t_(std::move(tensors)),
        width_(t_.width),
        count_(t_.count) {}

  Status run() {
    const isa::Architecture& a = lowering_.architecture();
    const VectorCore core(a);
    const DType real = lowering_.real();
    ProgramBuilder scratch(a, "", "");
    VectorCode trial(scratch, core.memory, 32, DType::f32);
    std::vector<Register> none(1 + t_.parameters.size());
    for (size_t i = 0; i < none.size(); ++i)
      none[i].view = scratch.local(core.memory, 0, real, {{1, 1}, {1, 1}});
    rows_ = 1;
    TRY(compute(trial, none));
    const auto parameters = static_cast<int64_t>(t_.parameters.size());
    const int64_t row = width_ * (trial.slots() * 4 + 4 * bytes_of(real)),
                  fixed = parameters * (width_ * bytes_of(real) + 32);
    const int64_t room =
        scratch.architecture().memories[static_cast<size_t>(core.memory)].bytes - 8192 - fixed;
    if (row > room) return run_long();
    rows_ = std::min<int64_t>({room / row, (count_ + a.vector_cores - 1) / a.vector_cores,
                               std::max<int64_t>(1, 16384 / width_)});
    return emit(core);
  }

 private:
  Status run_long() {
    const LongRows rows{layer_, t_.from, t_.to, count_, width_};
    if (kind_ == RowKind::softmax || kind_ == RowKind::log_softmax)
      return softmax_of_long_rows(lowering_, node_, rows, kind_ == RowKind::log_softmax, t_.hides);
    const auto parameter = [&](size_t i) {
      return i < t_.parameters.size() ? t_.parameters[i] : -1;
    };
    return norm_of_long_rows(lowering_, node_, rows,
                             {kind_ == RowKind::layer_norm, epsilon_, parameter(0), parameter(1)});
  }

  Status emit(const VectorCore& core) {
    const isa::Architecture& a = lowering_.architecture();
    const DType real = lowering_.real();
    KernelBuilder b(lowering_, layer_, "rows");
    const int64_t tiles = (count_ + rows_ - 1) / rows_, bytes = rows_ * width_ * bytes_of(real);
    b.set_blocks(std::min(a.vector_cores, tiles));
    const int x = b.bind("x", isa::Buffer::Role::input, t_.from, real, count_ * width_);
    const Ring in = b.ring(core.memory, bytes, 2, {core.load, core.compute});
    const Ring out = b.ring(core.memory, bytes, 2, {core.compute, core.store});
    std::vector<Register> operands(1);
    std::vector<Ring> parameters;
    for (size_t i = 0; i < t_.parameters.size(); ++i) {
      operands.emplace_back();
      if (t_.parameters[i] < 0) continue;
      const int p = b.bind(fmt::format("p{}", i), isa::Buffer::Role::constant, t_.parameters[i],
                           real, width_);
      parameters.push_back(
          b.ring(core.memory, width_ * bytes_of(real), 1, {core.load, core.compute}));
      const Ring& ring = parameters.back();
      ring.enter(0, 0);
      b.emit(Opcode::copy, {b.local(core.memory, ring.place(0), real, {{width_, 1}}),
                            b.global(p, 0, {{width_, 1}})});
      ring.leave(0, 0);
      ring.enter(1, 0);
      operands.back().view = b.local(core.memory, ring.place(0), real, {});
    }
    const int y = b.bind("y", isa::Buffer::Role::output, t_.to, real, count_ * width_);
    VectorCode code(b, core.memory, rows_ * width_ * 4, DType::f32);
    Status status;
    b.loop(turns(b, tiles), [&](const Expr& turn) {
      const Expr tile = b.block() + turn * b.blocks();
      n_ = count_ % rows_ == 0 ? Expr(rows_) : min(rows_, Expr(count_) - tile * rows_);
      const std::vector<Axis> axes{{n_, width_}, {width_, 1}};
      in.enter(0, turn);
      b.emit(Opcode::copy, {b.local(core.memory, in.place(turn), real, axes),
                            b.global(x, tile * (rows_ * width_), axes)});
      in.leave(0, turn);
      in.enter(1, turn);
      operands[0].view = b.local(core.memory, in.place(turn), real, axes);
      for (size_t i = 1; i < operands.size(); ++i) operands[i].view.axes = {{n_, 0}, {width_, 1}};
      auto result = compute(code, operands);
      if (!result.ok()) {
        status = std::move(result).error();
        return;
      }
      out.enter(0, turn);
      code.store(*result, b.local(core.memory, out.place(turn), real, axes));
      out.leave(0, turn);
      in.leave(1, turn);
      out.enter(1, turn);
      b.emit(Opcode::copy, {b.global(y, tile * (rows_ * width_), axes),
                            b.local(core.memory, out.place(turn), real, axes)});
      out.leave(1, turn);
    });
    TRY(std::move(status));
    for (const Ring& ring : parameters) ring.leave(1, 0);
    return lowering_.add(node_, b);
  }

  // One value per row: of the reduction, or of what is done to it.
  Register reduced(VectorCode& code, Opcode op, const Register& x) {
    code.set_tile({{n_, 1}, {1, 1}});
    Register r = code.temporary(DType::f32);
    code.emit(op, r, x);
    return r;
  }
  // It again as an operand for whole rows.
  Register broadcast(VectorCode& code, Register r) const {
    code.set_tile({{n_, width_}, {width_, 1}});
    r.view.axes = {{n_, 1}, {width_, 0}};
    return r;
  }
  static Register number(double x) { return {{}, x, nullptr}; }

  Result<Register> compute(VectorCode& code, const std::vector<Register>& in) {
    code.set_tile({{n_, width_}, {width_, 1}});
    const Register x = code.tile(in[0], DType::f32);
    if (kind_ == RowKind::softmax || kind_ == RowKind::log_softmax) {
      constexpr double kLowest = std::numeric_limits<float>::lowest();
      Register most = reduced(code, Opcode::reduce_max, x);
      if (t_.hides) most = code.binary(Opcode::max, most, number(kLowest));
      const Register d = code.binary(Opcode::sub, x, broadcast(code, std::move(most)));
      const Register e = code.unary(Opcode::exp, d);
      Register sum = reduced(code, Opcode::reduce_sum, e);
      // The largest of a row adds 1.
      if (t_.hides) sum = code.binary(Opcode::max, sum, number(1));
      if (kind_ == RowKind::log_softmax)
        return code.binary(Opcode::sub, d, broadcast(code, code.unary(Opcode::ln, sum)));
      return code.binary(Opcode::mul, e, broadcast(code, code.unary(Opcode::reciprocal, sum)));
    }
    const double share = 1.0 / static_cast<double>(width_);
    Register d = x;
    if (kind_ == RowKind::layer_norm) {
      const Register mean =
          code.binary(Opcode::mul, reduced(code, Opcode::reduce_sum, x), number(share));
      d = code.binary(Opcode::sub, x, broadcast(code, mean));
    }
    const Register square = code.binary(Opcode::mul, d, d);
    Register scale =
        code.binary(Opcode::mul, reduced(code, Opcode::reduce_sum, square), number(share));
    scale = code.unary(Opcode::rsqrt, code.binary(Opcode::add, scale, number(epsilon_)));
    Register y = code.binary(Opcode::mul, d, broadcast(code, scale));
    for (size_t i = 1; i < in.size(); ++i) {
      if (t_.parameters[i - 1] < 0) continue;
      y = code.binary(i == 1 ? Opcode::mul : Opcode::add, y, code.tile(in[i], DType::f32));
    }
    return y;
  }

  Lowering& lowering_;
  const Node& node_;
  std::string layer_;
  RowKind kind_;
  double epsilon_;
  RowTensors t_;
  int64_t width_, count_, rows_ = 1;
  Expr n_ = 1;  // rows of the tile
};

int64_t width_from(const std::vector<int64_t>& dims, int64_t axis) {
  if (axis < 0) axis += static_cast<int64_t>(dims.size());
  return count_of(std::span(dims).subspan(static_cast<size_t>(std::max<int64_t>(axis, 0))));
}

// Along another axis than the last: with the axis last, and back.
Status along_inner(Lowering& lowering, const Node& node, RowKind kind,
                   const std::vector<int64_t>& dims, int64_t axis) {
  const auto a = static_cast<size_t>(axis);
  const int64_t outer = count_of(std::span(dims).first(a)), size = dims[a],
                inner = count_of(std::span(dims).subspan(a + 1)), all = count_of(dims);
  const std::string layer = layer_of(node);
  const int before = lowering.scratch(layer + ".transposed", lowering.real(), all);
  const int after = lowering.scratch(layer + ".rows", lowering.real(), all);
  // Under [outer, inner, size].
  const std::vector<int64_t> sizes{outer, inner, size}, there{size * inner, 1, inner},
      here{size * inner, size, 1};
  TRY(move_pieces(lowering, node, layer + ".transposed",
                  {{lowering.tensor_of(node.input(0)), before, sizes, there, here}}));
  TRY(Rows(lowering, node, layer + ".rows", kind, 0, {before, after, outer * inner, size, {}})
          .run());
  return move_pieces(lowering, node, layer,
                     {{after, lowering.tensor_of(node.output()), sizes, here, there}});
}

}  // namespace

Status lower_softmax(Lowering& lowering, const Node& node, std::string layer, int from, int to,
                     int64_t count, int64_t width, bool hides) {
  return Rows(lowering, node, std::move(layer), RowKind::softmax, 0,
              {from, to, count, width, {}, hides})
      .run();
}

Status lower_rows(Lowering& lowering, const Node& node) {
  const auto dims = dims_of(node.input(0));
  if (!is_float(node.output()->dtype()) || dims.empty()) return unsupported("it is not of reals");
  if (count_of(dims) == 0) return unsupported("it has no elements");
  int64_t axis = -1;
  RowKind kind = RowKind::softmax;
  double epsilon = 0;
  if (const auto* op = node.as<Softmax>()) axis = op->axis;
  if (const auto* op = node.as<LogSoftmax>()) axis = op->axis, kind = RowKind::log_softmax;
  if (const auto* op = node.as<LayerNorm>())
    axis = op->axis, epsilon = op->epsilon, kind = RowKind::layer_norm;
  if (const auto* op = node.as<RmsNorm>())
    axis = op->axis, epsilon = op->epsilon, kind = RowKind::rms_norm;
  const auto rank = static_cast<int64_t>(dims.size());
  if (kind <= RowKind::log_softmax && axis != -1 && axis != rank - 1)
    return along_inner(lowering, node, kind, dims, axis < 0 ? axis + rank : axis);
  const int64_t width = width_from(dims, axis);
  RowTensors t{lowering.tensor_of(node.input(0)),
               lowering.tensor_of(node.output()),
               count_of(dims) / width,
               width,
               {}};
  for (int i = 1; i < node.input_count(); ++i) {
    const Value* v = node.input(i);
    if (v != nullptr && count_of(dims_of(v)) != width)
      return unsupported("a parameter that is not one row");
    t.parameters.push_back(v == nullptr ? -1 : lowering.tensor_of(v));
  }
  return Rows(lowering, node, layer_of(node), kind, epsilon, std::move(t)).run();
}

}  // namespace tenon::lower
