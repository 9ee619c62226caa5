// The k largest or smallest of every row, in order: round by round the best of those that are left,
// and which it was. Rows are in the vector unit's memory whole.
#include "ops/top_k.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "lower/choose.h"
#include "lower/select_rows.h"
#include "lower/vector_core.h"

namespace tenon::lower {
namespace {

// Of `count` rows. Results are [count, k].
struct Selection {
  int from = -1, values = -1, numbers = -1;  // tensors
  int64_t count = 1, width = 1, k = 1;
  bool largest = true;
};

class Kernel {
 public:
  Kernel(Lowering& lowering, const Node& node, const Selection& s)
      : lowering_(lowering),
        node_(node),
        s_(s),
        core_(lowering.architecture()),
        dtype_(lowering.tensor(s.from).dtype),
        work_(is_float(dtype_) ? computed_dtype(dtype_) : DType::i32),
        b_(lowering, layer_of(node), "rounds") {}

  Status run() {
    const isa::Architecture& a = lowering_.architecture();
    constexpr int64_t kSlots = 8;        // whole tiles of 4 bytes between operands and results
    constexpr int64_t kMostRounds = 16;  // before results go to memory
    chunk_ = std::min(s_.k, kMostRounds);
    const int64_t row = s_.width * (2 * bytes_of(dtype_) + kSlots * 4) +
                        chunk_ * 2 * (bytes_of(value_dtype()) + 4),
                  fixed = s_.width * 4 + chunk_ * 4 * align() + 8192,
                  room = b_.free_bytes(core_.memory) - fixed;
    if (row > room)
      return unsupported(fmt::format("the {} of {} elements do not fit on a core", s_.k, s_.width));
    rows_ = std::min<int64_t>({room / row, (s_.count + a.vector_cores - 1) / a.vector_cores,
                               std::max<int64_t>(1, 16384 / s_.width)});
    const int64_t tiles = (s_.count + rows_ - 1) / rows_;
    b_.set_blocks(std::min(a.vector_cores, tiles));
    bind();
    VectorCode code(b_, core_.memory, rows_ * s_.width * 4, work_);
    load_numbers();
    b_.loop(turns(b_, tiles), [&](const Expr& turn) {
      const Expr first = (b_.block() + turn * b_.blocks()) * rows_;
      n_ = s_.count % rows_ == 0 ? Expr(rows_) : min(rows_, Expr(s_.count) - first);
      tile(code, first, turn);
    });
    counted_.leave(1, 0);
    return lowering_.add(node_, b_);
  }

 private:
  DType value_dtype() const { return lowering_.tensor(s_.values).dtype; }
  int64_t align() const {
    return b_.architecture().memories[static_cast<size_t>(core_.memory)].align;
  }
  // Bytes of one round's results: they begin where the unit may write.
  int64_t round_bytes(DType dtype) const {
    return (rows_ * bytes_of(dtype) + align() - 1) / align() * align();
  }

  void bind() {
    using Role = isa::Buffer::Role;
    x_ = b_.bind("x", Role::input, s_.from);
    all_ = b_.bind("numbers", Role::constant,
                   count_up(lowering_, layer_of(node_) + ".numbers", DType::f32, s_.width));
    values_ = b_.bind("values", Role::output, s_.values);
    places_ = b_.bind("places", Role::output, s_.numbers);
    counted_ = b_.ring(core_.memory, s_.width * 4, 1, {core_.load, core_.compute});
    in_ =
        b_.ring(core_.memory, rows_ * s_.width * bytes_of(dtype_), 2, {core_.load, core_.compute});
    value_bytes_ = round_bytes(value_dtype());
    place_bytes_ = round_bytes(DType::i32);
    out_ = b_.ring(core_.memory, chunk_ * (value_bytes_ + place_bytes_), 1,
                   {core_.compute, core_.store});
  }

  void load_numbers() {
    const std::vector<Axis> axes{{s_.width, 1}};
    counted_.enter(0, 0);
    b_.emit(Opcode::copy, {b_.local(core_.memory, counted_.place(0), DType::f32, axes),
                           b_.global(all_, 0, axes)});
    counted_.leave(0, 0);
    counted_.enter(1, 0);
  }

  void whole(VectorCode& code) const { code.set_tile({{n_, s_.width}, {s_.width, 1}}); }
  // A number for whole rows.
  Register spread(VectorCode& code, DType dtype, double value) const {
    code.set_tile({{n_, 1}, {1, 1}});
    Register r = code.temporary(dtype);
    code.emit_fill(r, value);
    r.view.axes = {{n_, 1}, {s_.width, 0}};
    whole(code);
    return r;
  }
  static Register number(double x) { return {{}, x, nullptr}; }

  // to = taken ? gone : to
  void take(const Register& taken, const Register& gone, const Register& to) {
    b_.emit(Opcode::select, {to.view, taken.view, gone.view, to.view});
  }

  void tile(VectorCode& code, const Expr& first, const Expr& turn) {
    const std::vector<Axis> axes{{n_, s_.width}, {s_.width, 1}};
    in_.enter(0, turn);
    Register x;
    x.view = b_.local(core_.memory, in_.place(turn), dtype_, axes);
    b_.emit(Opcode::copy, {x.view, b_.global(x_, first * s_.width, axes)});
    in_.leave(0, turn);
    in_.enter(1, turn);
    whole(code);
    Register counted;
    counted.view = b_.local(core_.memory, counted_.place(0), DType::f32, {{n_, 0}, {s_.width, 1}});
    // What is left of both.
    const Register left = dtype_ == work_ ? code.binary(Opcode::add, x, number(0))
                                          : code.tile(x, work_),
                   numbers = code.binary(Opcode::add, counted, number(0));
    in_.leave(1, turn);
    constexpr double kLargest = std::numeric_limits<double>::infinity();
    const Register none = spread(code, DType::f32, kNoElement),
                   least = spread(code, work_, s_.largest ? -kLargest : kLargest);
    const int64_t chunks = (s_.k + chunk_ - 1) / chunk_;
    b_.loop(chunks, [&](const Expr& chunk) {
      const Expr rounds =
          s_.k % chunk_ == 0 ? Expr(chunk_) : min(chunk_, Expr(s_.k) - chunk * chunk_);
      take_rounds(code, {left, numbers, none, least}, rounds, turn * chunks + chunk);
      give(values(), first, chunk * chunk_, rounds, turn * chunks + chunk);
      give(places(), first, chunk * chunk_, rounds, turn * chunks + chunk);
      out_.leave(1, turn * chunks + chunk);
    });
  }

  struct Tiles {
    Register left, numbers, none, least;
  };

  void take_rounds(VectorCode& code, const Tiles& tiles, const Expr& rounds, const Expr& turn) {
    const auto& [left, numbers, none, least] = tiles;
    out_.enter(0, turn);
    b_.loop(rounds, [&](const Expr& round) {
      const RowValue best = reduced(code, s_.largest ? Opcode::reduce_max : Opcode::reduce_min,
                                    left, n_, s_.width, work_);
      const RowValue at = first_of(code, best, left, numbers, none);
      const Register taken = code.compare(isa::Relation::equal, numbers, at.spread);
      take(taken, least, left);
      take(taken, none, numbers);
      code.set_tile({{n_, 1}, {1, 1}});
      code.store(best.kept, result(values(), turn, round));
      code.store(at.kept, result(places(), turn, round));
      whole(code);
    });
    out_.leave(0, turn);
    out_.enter(1, turn);
  }

  // The lowest number among those that have the best value and are left.
  RowValue first_of(VectorCode& code, const RowValue& best, const Register& left,
                    const Register& numbers, const Register& none) const {
    return reduced(code, Opcode::reduce_min,
                   numbers_of_best(code, s_.largest, left, best.spread, numbers, none), n_,
                   s_.width, DType::f32);
  }

  // One of the two results: where it begins in a place of the ring, and how far rounds are apart.
  struct Part {
    int buffer;
    DType dtype;
    int64_t first, round;
  };
  Part values() const { return {values_, value_dtype(), 0, value_bytes_}; }
  Part places() const { return {places_, DType::i32, chunk_ * value_bytes_, place_bytes_}; }

  isa::View result(const Part& part, const Expr& turn, const Expr& round) {
    return b_.local(core_.memory, out_.place(turn) + part.first + round * part.round, part.dtype,
                    {{n_, 1}, {1, 1}});
  }
  void give(const Part& part, const Expr& first, const Expr& column, const Expr& rounds,
            const Expr& turn) {
    b_.emit(Opcode::copy, {b_.global(part.buffer, first * s_.k + column, {{rounds, 1}, {n_, s_.k}}),
                           b_.local(core_.memory, out_.place(turn) + part.first, part.dtype,
                                    {{rounds, part.round / bytes_of(part.dtype)}, {n_, 1}})});
  }

  Lowering& lowering_;
  const Node& node_;
  const Selection& s_;
  VectorCore core_;
  DType dtype_, work_;
  KernelBuilder b_;
  int64_t rows_ = 1, chunk_ = 1, value_bytes_ = 0, place_bytes_ = 0;
  int x_ = -1, all_ = -1, values_ = -1, places_ = -1;
  Ring counted_, in_, out_;
  Expr n_;
};

}  // namespace

namespace {

Status in_rounds(Lowering& lowering, const Node& node) {
  const auto& op = *node.as<TopK>();
  const Around x = around(dims_of(node.input(0)), op.axis),
               y = around(dims_of(node.output(0)), op.axis);
  Selection s;
  s.from = TRY(axis_last(lowering, node, x));
  s.count = x.outer * x.inner, s.width = x.size, s.k = y.size, s.largest = op.largest;
  const int values = lowering.tensor_of(node.output(0)),
            numbers = lowering.tensor_of(node.output(1));
  const auto sorted = [&](int to, const char* what) {
    if (x.inner == 1) return to;
    return lowering.scratch(fmt::format("{}.{}", layer_of(node), what), lowering.tensor(to).dtype,
                            s.count * s.k);
  };
  s.values = sorted(values, "values"), s.numbers = sorted(numbers, "places");
  TRY(Kernel(lowering, node, s).run());
  if (x.inner == 1) return {};
  TRY(axis_back(lowering, node, y, s.values, values));
  return axis_back(lowering, node, y, s.numbers, numbers);
}

}  // namespace

// Many rounds take a chip longer than a host takes to sort, which this would be there.
Status lower_top_k(Lowering& lowering, const Node& node) {
  constexpr double kMuchLonger = 2;
  const auto axis = node.as<TopK>()->axis;
  const Around x = around(dims_of(node.input(0)), axis), y = around(dims_of(node.output(0)), axis);
  auto draft = TRY(lowering.draft([&] { return in_rounds(lowering, node); }));
  int64_t bytes = 0;
  for (const Value* v :
       {static_cast<const Value*>(node.input(0)), static_cast<const Value*>(node.output(0)),
        static_cast<const Value*>(node.output(1))})
    bytes +=
        count_of(dims_of(v)) * static_cast<int64_t>(dtype_size(lowering.device_dtype(v->dtype())));
  const double here = TRY(seconds_of(lowering, draft)),
               there = host_seconds(lowering.machine(), bytes);
  if (here > kMuchLonger * there)
    return unsupported(fmt::format("picking the {} of {} in rounds would take the chip {:.3f} ms",
                                   y.size, x.size, here * 1e3));
  lowering.accept(std::move(draft));
  return {};
}

}  // namespace tenon::lower
