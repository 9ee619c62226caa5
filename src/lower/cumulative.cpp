// Running sums and products along an axis. What is summed side by side lies innermost in the vector
// unit's memory, so that a step along the axis is one of whole rows: after steps of 1, 2, 4 … each
// row of a chunk is the sum of those before it, and what chunks before came to is added.
#include "ops/cumulative.h"

#include <algorithm>

#include "lower/vector_code.h"
#include "lower/vector_core.h"
#include "ops/axis.h"

namespace tenon::lower {
namespace {

// What is done along the axis.
struct Scan {
  int64_t axis = 0;
  bool exclusive = false, reverse = false;
  Opcode combine = Opcode::add;
  double neutral = 0;
};

template <CumulativeKind K>
bool reads_as(const Node& node, Opcode combine, double neutral, Scan& scan) {
  const auto* op = node.as<Cumulative<K>>();
  if (op == nullptr) return false;
  scan = {op->axis, op->exclusive, op->reverse, combine, neutral};
  return true;
}

class Kernel {
 public:
  Kernel(Lowering& lowering, const Node& node, const Scan& op)
      : lowering_(lowering),
        node_(node),
        op_(op),
        view_(axis_view(dims_of(node.input(0)), op.axis)),
        core_(lowering.architecture()),
        dtype_(lowering.tensor(lowering.tensor_of(node.output())).dtype),
        sums_in_(dtype_ == DType::i32 ? DType::i32 : DType::f32),
        by_rows_(view_.inner == 1),
        b_(lowering, layer_of(node), "scan") {}

  Status run() {
    cut();
    const isa::Architecture& a = lowering_.architecture();
    const int64_t tiles = parts_ * others_, full = view_.size / chunk_, rest = view_.size % chunk_;
    const int64_t chunks = full + (rest > 0);
    b_.set_blocks(std::min(a.vector_cores, tiles));
    using Role = isa::Buffer::Role;
    x_ = b_.bind("x", Role::input, lowering_.tensor_of(node_.input(0)));
    y_ = b_.bind("y", Role::output, lowering_.tensor_of(node_.output()));
    const int64_t bytes = lanes_ * chunk_ * bytes_of(dtype_);
    in_ = b_.ring(core_.memory, bytes, 2, {core_.load, core_.compute});
    out_ = b_.ring(core_.memory, bytes, 2, {core_.compute, core_.store});
    VectorCode one(b_, core_.memory, lanes_ * 4, DType::f32);
    VectorCode code(b_, core_.memory, lanes_ * chunk_ * 4, DType::f32);
    b_.loop(turns(b_, tiles), [&](const Expr& turn) {
      const Expr tile = b_.block() + turn * b_.blocks();
      part_ = tile % parts_ * kept_, other_ = tile / parts_;
      n_ = kept_all_ % kept_ == 0 ? Expr(kept_) : min(kept_, Expr(kept_all_) - part_);
      one.set_tile({{1, lanes_}, {n_, 1}});
      sum_ = one.temporary(sums_in_);
      one.emit_fill(sum_, op_.neutral);
      const auto at = [&](const Expr& c, int64_t count) {
        return op_.reverse ? Expr(view_.size - count) - c * chunk_ : c * chunk_;
      };
      b_.loop(full, [&](const Expr& c) { chunk(code, chunk_, at(c, chunk_), turn * chunks + c); });
      if (rest > 0) chunk(code, rest, at(full, rest), turn * chunks + full);
    });
    return lowering_.add(node_, b_);
  }

 private:
  // A tile is `chunk_` of the axis times `kept_` of what is side by side: rows where nothing is
  // inside, else a part of the inside.
  void cut() {
    constexpr int64_t kTile = 4096, kMostKept = 512;
    const isa::Architecture& a = lowering_.architecture();
    const int64_t unit =
        std::max<int64_t>(1, a.memories[static_cast<size_t>(core_.memory)].align / 4);
    const auto whole_units = [&](int64_t n) { return (n + unit - 1) / unit * unit; };
    kept_all_ = by_rows_ ? view_.outer : view_.inner;
    others_ = by_rows_ ? 1 : view_.outer;
    const int64_t share = (kept_all_ * others_ + a.vector_cores - 1) / a.vector_cores;
    kept_ = std::min({kept_all_, kMostKept, share});
    lanes_ = whole_units(kept_);
    parts_ = (kept_all_ + kept_ - 1) / kept_;
    // Two places each of what comes and goes, and temporaries.
    const int64_t element = bytes_of(dtype_) * 4 + 20;
    const int64_t most = std::min(kTile, b_.free_bytes(core_.memory) / element);
    chunk_ = std::clamp<int64_t>(most / lanes_, 1, view_.size);
  }

  // `count` rows of a tile from the first on.
  View rows(const Register& tile, int64_t first, int64_t count) const {
    View view = tile.view;
    view.offset = view.offset + first * lanes_ * 4;
    view.axes = {{count, lanes_}, {n_, 1}};
    return view;
  }
  View sums(int64_t count) const {
    View view = sum_.view;
    view.axes = {{count, 0}, {n_, 1}};
    return view;
  }
  void keep(const View& to, const View& from) { b_.emit(Opcode::adds, {to, from}, {}, 0); }

  // The running sums of the chunk alone.
  Register scan(VectorCode& code, Register x, int64_t count) {
    for (int64_t step = 1; step < count; step *= 2) {
      const int64_t summed = count - step;
      const Register next = code.temporary(sums_in_);
      b_.emit(op_.combine, {rows(next, op_.reverse ? 0 : step, summed), rows(x, 0, summed),
                            rows(x, step, summed)});
      const int64_t kept = op_.reverse ? summed : 0;
      keep(rows(next, kept, step), rows(x, kept, step));
      x = next;
    }
    return x;
  }

  void chunk(VectorCode& code, int64_t count, const Expr& first, const Expr& at) {
    const Expr from =
        by_rows_ ? part_ * view_.size + first : (other_ * view_.size + first) * view_.inner + part_;
    const std::vector<Axis> local{{count, lanes_}, {n_, 1}};
    const std::vector<Axis> global = by_rows_ ? std::vector<Axis>{{count, 1}, {n_, view_.size}}
                                              : std::vector<Axis>{{count, view_.inner}, {n_, 1}};
    in_.enter(0, at);
    Register x;
    x.view = b_.local(core_.memory, in_.place(at), dtype_, local);
    b_.emit(Opcode::copy, {x.view, b_.global(x_, from, global)});
    in_.leave(0, at);
    in_.enter(1, at);
    code.set_tile(local);
    const Register scanned = scan(code, code.tile(x, sums_in_), count);
    const Register y = code.temporary(sums_in_);
    if (!op_.exclusive) {
      b_.emit(op_.combine, {y.view, scanned.view, sums(count)});
    } else {
      keep(rows(y, op_.reverse ? count - 1 : 0, 1), sums(1));
      if (count > 1)
        b_.emit(op_.combine, {rows(y, op_.reverse ? 0 : 1, count - 1),
                              rows(scanned, op_.reverse ? 1 : 0, count - 1), sums(count - 1)});
    }
    b_.emit(op_.combine, {sums(1), sums(1), rows(scanned, op_.reverse ? 0 : count - 1, 1)});
    in_.leave(1, at);
    out_.enter(0, at);
    code.store(y, b_.local(core_.memory, out_.place(at), dtype_, local));
    out_.leave(0, at);
    out_.enter(1, at);
    b_.emit(Opcode::copy,
            {b_.global(y_, from, global), b_.local(core_.memory, out_.place(at), dtype_, local)});
    out_.leave(1, at);
  }

  Lowering& lowering_;
  const Node& node_;
  const Scan& op_;
  AxisView view_;
  VectorCore core_;
  DType dtype_, sums_in_;
  bool by_rows_;
  KernelBuilder b_;
  int64_t kept_all_ = 1, others_ = 1, kept_ = 1, lanes_ = 1, chunk_ = 1, parts_ = 1;
  int x_ = -1, y_ = -1;
  Ring in_, out_;
  Register sum_;  // of what is before the chunk
  Expr part_, other_, n_;
};

}  // namespace

Status lower_cumulative(Lowering& lowering, const Node& node) {
  Scan scan;
  if (!reads_as<CumulativeKind::sum>(node, Opcode::add, 0, scan) &&
      !reads_as<CumulativeKind::product>(node, Opcode::mul, 1, scan))
    return unsupported("logarithms of sums are not kept along an axis");
  const DType dtype = node.output()->dtype();
  if (!is_float(dtype) && dtype != DType::i32)
    return unsupported("sums and products are of reals or of i32");
  return Kernel(lowering, node, scan).run();
}

}  // namespace tenon::lower
