// Sums, means and extremes over axes: chunks of what is reduced come in one by one, and what they
// give is gathered on the core.
#include "lower/reduce.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "lower/vector_code.h"
#include "lower/vector_core.h"
#include "ops/reduce.h"

namespace tenon::lower {
namespace {

// The kernel of one reduction.
class Kernel {
 public:
  Kernel(Lowering& lowering, const Node& node, const Reduction& r)
      : lowering_(lowering),
        node_(node),
        r_(r),
        core_(lowering.architecture()),
        from_(lowering.tensor(r.from).dtype),
        to_(lowering.tensor(r.to).dtype),
        by_rows_(r.inner == 1),
        work_(is_int(from_) ? DType::i32 : DType::f32),
        prepares_(r.centre >= 0 || r.square || from_ == DType::boolean ||
                  (is_int(from_) && from_ != work_)),
        b_(lowering, r.layer, "reduce") {}

  Status run() {
    cut();
    const isa::Architecture& a = lowering_.architecture();
    const int64_t tiles = parts_ * others_, chunks = (r_.reduced + chunk_ - 1) / chunk_;
    b_.set_blocks(std::min(a.vector_cores, tiles));
    using Role = isa::Buffer::Role;
    x_ = b_.bind("x", Role::input, r_.from, from_, r_.outer * r_.reduced * r_.inner);
    if (r_.centre >= 0) {
      centre_ = b_.bind("centre", Role::input, r_.centre, DType::f32, r_.outer * r_.inner);
      centres_ = b_.ring(core_.memory, kept_ * 4, 2, {core_.load, core_.compute});
    }
    y_ = b_.bind("y", Role::output, r_.to, to_, r_.outer * r_.inner);
    in_ = b_.ring(core_.memory, kept_ * chunk_ * bytes_of(from_), 2, {core_.load, core_.compute});
    out_ = b_.ring(core_.memory, kept_ * bytes_of(to_), 2, {core_.compute, core_.store});
    VectorCode code(b_, core_.memory, kept_ * 4, work_);
    VectorCode wide(b_, core_.memory, kept_ * chunk_ * 4, work_);
    b_.loop(turns(b_, tiles), [&](const Expr& turn) {
      const Expr tile = b_.block() + turn * b_.blocks();
      part_ = tile % parts_ * kept_, other_ = tile / parts_;
      n_ = kept_all_ % kept_ == 0 ? Expr(kept_) : min(kept_, Expr(kept_all_) - part_);
      code.set_tile({{n_, 1}, {1, 1}});
      load_centres(turn);
      const Register sum = code.temporary(work_);
      code.emit_fill(sum, identity());
      b_.loop(chunks, [&](const Expr& c) { chunk(code, wide, sum, c, turn * chunks + c); });
      finish(code, sum, turn);
      if (centre_ >= 0) centres_.leave(1, turn);
    });
    return lowering_.add(node_, b_);
  }

 private:
  double identity() const {
    constexpr double kLargest = std::numeric_limits<double>::infinity();
    if (r_.kind == Reduction::Kind::sum) return 0;
    return r_.kind == Reduction::Kind::max ? -kLargest : kLargest;
  }
  Opcode within() const {
    if (r_.kind == Reduction::Kind::sum) return Opcode::reduce_sum;
    return r_.kind == Reduction::Kind::max ? Opcode::reduce_max : Opcode::reduce_min;
  }
  Opcode across() const {
    if (r_.kind == Reduction::Kind::sum) return Opcode::add;
    return r_.kind == Reduction::Kind::max ? Opcode::max : Opcode::min;
  }

  // What is kept side by side in a tile: rows where nothing is inside, else a part of the inside.
  void cut() {
    const int64_t cores = lowering_.architecture().vector_cores;
    kept_all_ = by_rows_ ? r_.outer : r_.inner;
    others_ = by_rows_ ? 1 : r_.outer;
    const int64_t element = bytes_of(from_) * 4 + (prepares_ ? 12 : 0);
    const int64_t most = std::min<int64_t>(16384, b_.free_bytes(core_.memory) / element);
    const int64_t share = std::max<int64_t>(1, kept_all_ * others_ / cores);
    chunk_ = std::min<int64_t>(
        r_.reduced,
        by_rows_ ? most : std::max<int64_t>(1, most / std::min<int64_t>(kept_all_, 512)));
    kept_ = std::clamp<int64_t>(most / chunk_, 1,
                                std::min<int64_t>({kept_all_, std::max<int64_t>(share, 16), 2048}));
    parts_ = (kept_all_ + kept_ - 1) / kept_;
  }

  void load_centres(const Expr& turn) {
    if (centre_ < 0) return;
    centres_.enter(0, turn);
    b_.emit(Opcode::copy, {b_.local(core_.memory, centres_.place(turn), DType::f32, {{n_, 1}}),
                           b_.global(centre_, other_ * r_.inner + part_, {{n_, 1}})});
    centres_.leave(0, turn);
    centres_.enter(1, turn);
    centre_tile_.view = b_.local(core_.memory, centres_.place(turn), DType::f32, {});
  }

  void chunk(VectorCode& code, VectorCode& wide, const Register& sum, const Expr& c,
             const Expr& at) {
    const Expr m =
        r_.reduced % chunk_ == 0 ? Expr(chunk_) : min(chunk_, Expr(r_.reduced) - c * chunk_);
    in_.enter(0, at);
    const Expr from = by_rows_ ? part_ * r_.reduced + c * chunk_
                               : (other_ * r_.reduced + c * chunk_) * r_.inner + part_;
    // In memory as in the tensor, what lies side by side innermost.
    const std::vector<Axis> local =
        by_rows_ ? std::vector<Axis>{{n_, chunk_}, {m, 1}} : std::vector<Axis>{{n_, 1}, {m, kept_}};
    const std::vector<Axis> global = by_rows_ ? std::vector<Axis>{{n_, r_.reduced}, {m, 1}}
                                              : std::vector<Axis>{{n_, 1}, {m, r_.inner}};
    Register x;
    x.view = b_.local(core_.memory, in_.place(at), from_, local);
    b_.emit(Opcode::copy, {x.view, b_.global(x_, from, global)});
    in_.leave(0, at);
    in_.enter(1, at);
    if (prepares_) {
      wide.set_tile(local);
      x = wide.tile(x, work_);
      if (centre_ >= 0) {
        centre_tile_.view.axes = {{n_, 1}, {m, 0}};
        x = wide.binary(Opcode::sub, x, centre_tile_);
      }
      if (r_.square) x = wide.binary(Opcode::mul, x, x);
      if (r_.exponential) x = wide.unary(Opcode::exp, x);
    }
    const Register of_chunk = code.temporary(work_);
    b_.emit(within(), {of_chunk.view, x.view});
    in_.leave(1, at);
    b_.emit(across(), {sum.view, sum.view, of_chunk.view});
  }

  void finish(VectorCode& code, const Register& sum, const Expr& turn) {
    Register result = sum;
    if (r_.exponential) {
      centre_tile_.view.axes = {{n_, 1}, {1, 1}};
      result = code.binary(Opcode::add, code.unary(Opcode::ln, result), centre_tile_);
    }
    if (r_.finite) {
      constexpr double kLargest = std::numeric_limits<float>::max();
      result = code.clip(result, -kLargest, kLargest);
    }
    if (to_ == DType::boolean)
      result = code.compare(isa::Relation::not_equal, result, {{}, 0, nullptr});
    if (r_.scale != 1) result = code.binary(Opcode::mul, result, {{}, r_.scale, nullptr});
    if (r_.rsqrt_epsilon)
      result = code.unary(Opcode::rsqrt,
                          code.binary(Opcode::add, result, {{}, *r_.rsqrt_epsilon, nullptr}));
    out_.enter(0, turn);
    code.store(result, b_.local(core_.memory, out_.place(turn), to_, {{n_, 1}, {1, 1}}));
    out_.leave(0, turn);
    out_.enter(1, turn);
    b_.emit(Opcode::copy, {b_.global(y_, other_ * r_.inner + part_, {{n_, 1}}),
                           b_.local(core_.memory, out_.place(turn), to_, {{n_, 1}})});
    out_.leave(1, turn);
  }

  Lowering& lowering_;
  const Node& node_;
  const Reduction& r_;
  VectorCore core_;
  DType from_, to_;
  bool by_rows_;
  DType work_;  // of sums: whole numbers stay whole
  bool prepares_;
  KernelBuilder b_;
  int64_t kept_all_ = 1, others_ = 1, kept_ = 1, chunk_ = 1, parts_ = 1;
  int x_ = -1, centre_ = -1, y_ = -1;
  Ring in_, out_, centres_;
  Register centre_tile_;
  Expr part_, other_, n_;
};

// Axes that are reduced, in runs of adjacent ones: the last of each run's first and last.
std::vector<std::pair<size_t, size_t>> runs_of(const std::vector<int64_t>& dims,
                                               std::vector<int64_t> axes) {
  const auto rank = static_cast<int64_t>(dims.size());
  std::vector<bool> reduced(dims.size(), axes.empty());
  for (const int64_t a : axes) reduced[static_cast<size_t>(a < 0 ? a + rank : a)] = true;
  // Axes of size 1 go with those around them.
  for (size_t i = 1; i + 1 < dims.size(); ++i)
    if (dims[i] == 1) reduced[i] = reduced[i] || reduced[i - 1];
  std::vector<std::pair<size_t, size_t>> runs;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (!reduced[i]) continue;
    if (!runs.empty() && runs.back().second == i)
      ++runs.back().second;
    else
      runs.emplace_back(i, i + 1);
  }
  return runs;
}

struct Kind {
  Reduction::Kind kind = Reduction::Kind::sum;
  bool mean = false, square = false;
  bool log_sum_exp = false;
};

// One kernel per run of axes, the last axes first. What exponentials are summed of has its largest
// taken off, by a kernel before.
Status reduce(Lowering& lowering, const Node& node, const std::vector<int64_t>& axes,
              const Kind& kind) {
  auto dims = dims_of(node.input(0));
  auto runs = runs_of(dims, axes);
  if (runs.empty()) return unsupported("it reduces nothing");
  int from = lowering.tensor_of(node.input(0));
  double share = 1;
  for (const auto& [first, last] : runs)
    for (size_t i = first; i < last; ++i) share /= static_cast<double>(dims[i]);
  for (size_t k = runs.size(); k-- > 0;) {
    const auto [first, last] = runs[k];
    Reduction r;
    r.kind = kind.kind;
    r.layer = layer_of(node) + (k > 0 ? fmt::format(".axis{}", first) : "");
    r.outer = count_of(std::span(dims).first(first));
    r.reduced = count_of(std::span(dims).subspan(first, last - first));
    r.inner = count_of(std::span(dims).subspan(last));
    r.square = kind.square && k + 1 == runs.size();
    if (kind.mean && k == 0) r.scale = share;
    r.from = from;
    if (kind.log_sum_exp) {
      Reduction largest = r;
      largest.kind = Reduction::Kind::max;
      largest.layer += ".max";
      largest.finite = true;
      largest.to = r.centre = lowering.scratch(largest.layer, DType::f32, r.outer * r.inner);
      TRY(add_reduction(lowering, node, largest));
      r.exponential = true;
    }
    r.to = k == 0 ? lowering.tensor_of(node.output())
                  : lowering.scratch(r.layer,
                                     is_int(lowering.tensor(from).dtype) ? DType::i32 : DType::f32,
                                     r.outer * r.inner);
    TRY(add_reduction(lowering, node, r));
    from = r.to;
    dims.erase(dims.begin() + static_cast<int64_t>(first),
               dims.begin() + static_cast<int64_t>(last));
  }
  return {};
}

}  // namespace

Status add_reduction(Lowering& lowering, const Node& node, const Reduction& r) {
  return Kernel(lowering, node, r).run();
}

Status lower_reduce(Lowering& lowering, const Node& node) {
  if (count_of(dims_of(node.input(0))) == 0) return unsupported("it has no elements");
  using K = Reduction::Kind;
  if (const auto* op = node.as<Reduce<ReduceKind::any>>())
    return reduce(lowering, node, op->axes, {.kind = K::max});
  if (const auto* op = node.as<Reduce<ReduceKind::all>>())
    return reduce(lowering, node, op->axes, {.kind = K::min});
  const DType dtype = node.output()->dtype();
  if (const auto* op = node.as<Reduce<ReduceKind::max>>())
    return reduce(lowering, node, op->axes, {.kind = K::max});
  if (const auto* op = node.as<Reduce<ReduceKind::min>>())
    return reduce(lowering, node, op->axes, {.kind = K::min});
  if (const auto* op = node.as<Reduce<ReduceKind::sum>>()) {
    if (is_int(dtype) && dtype_size(dtype) < 4)
      return unsupported("the vector unit saturates where whole numbers are to wrap");
    if (is_int(dtype) && dtype != DType::i32 && !lowering.ranges().fits_i32(node.output()))
      return unsupported("its whole numbers may take more than 32 bits");
    return reduce(lowering, node, op->axes, {});
  }
  if (!is_float(dtype)) return unsupported("it is not of reals");
  if (const auto* op = node.as<Reduce<ReduceKind::mean>>())
    return reduce(lowering, node, op->axes, {.mean = true});
  if (const auto* op = node.as<Reduce<ReduceKind::sum_square>>())
    return reduce(lowering, node, op->axes, {.square = true});
  if (const auto* op = node.as<Reduce<ReduceKind::log_sum_exp>>())
    return reduce(lowering, node, op->axes, {.log_sum_exp = true});
  return unsupported(fmt::format("chips have no '{}'", node.def().name));
}

}  // namespace tenon::lower
