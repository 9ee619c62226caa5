// Winograd's convolutions on Ascend cores that have cube and vector unit: tiles are transformed in
// UB and multiplied from L1, sums are transformed back in UB, each queue working on another tile.
#include "lower/winograd_cube.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/numbers.h"
#include "lower/pack.h"
#include "lower/vector_code.h"
#include "lower/vector_core.h"

namespace tenon::lower {
namespace {

constexpr int64_t kN0 = CubeProblem::kN0;

class CubeWinograd {
 public:
  CubeWinograd(Lowering& lowering, const Node& node, const Product& p, int64_t m)
      : lowering_(lowering),
        node_(node),
        p_(p),
        w_(*p.windows),
        m_(m),
        positions_(winograd_reach(m) * winograd_reach(m)),
        real_(lowering.real()),
        size_(bytes_of(real_)),
        c0_(32 / size_),
        c1_(ceil_div(w_.channels, c0_)),
        builder_(lowering, p.layer, fmt::format("winograd_f{}", m)),
        ub_(builder_.memory("ub")),
        s_{p, std::get<AscendChip>(lowering.machine().chip), m, real_, ub_} {}

  Status run() {
    if (real_ == DType::f32 && s_.chip.macs_f32 == 0)
      return unsupported("the chip has no products of f32");
    measure();
    t_ = TRY(s_.tile());
    piece_ = s_.piece_of(t_);
    set_buffers();
    set_places();
    build();
    return lowering_.add(
        node_, builder_,
        fmt::format("{}x{} tiles, {} channels and {} outputs at once, k {} in L0, cores {}x{}{}",
                    t_.rows, t_.columns, t_.blocks * c0_, t_.outputs, t_.step, t_.grid_m, t_.grid_n,
                    t_.kept ? ", weights stay in L1" : ""));
  }

 private:
  void measure() {
    const FinishCost finish = measure_finish(lowering_, ub_, real_, real_, p_);
    s_.temporaries = finish.temporaries, s_.passes = finish.instructions;
  }

  void set_buffers() {
    using Role = isa::Buffer::Role;
    x_ = builder_.bind("x", Role::input, p_.a);
    FractalShape f;
    f.channels = w_.channels, f.columns = p_.columns, f.k0 = c0_, f.n0 = kN0;
    part_ = f.elements();
    const int tensor =
        lowering_.constant(fmt::format("{}.winograd{}", p_.layer, m_), real_, positions_ * part_,
                           Recipe{Recipe::Kind::fractals, *p_.b_constant, f, 1, positions_, m_});
    filter_ = builder_.bind("w", Role::constant, tensor);
    if (p_.bias >= 0) bias_ = builder_.bind("bias", Role::constant, p_.bias);
    if (p_.residual >= 0) residual_ = builder_.bind("residual", Role::input, p_.residual);
    y_ = builder_.bind("y", Role::output, p_.y);
  }

  int64_t allocate(int64_t elements) { return builder_.allocate(ub_, elements * size_); }
  Ring ring(int64_t elements, std::vector<int> queues) {
    return builder_.ring(ub_, elements * size_, 2, std::move(queues));
  }

  void set_places() {
    const auto q = [&](std::string_view name) { return builder_.queue(name); };
    const int l1 = builder_.memory("l1");
    const WinogradTiles in = s_.input(t_), out = s_.output(t_, piece_);
    in_ = ring(in.in_elements(), {q("v"), q("mte2"), q("v")});
    to_l1_ = ring(in.positions_elements(), {q("v"), q("mte3")});
    v_ = builder_.ring(l1, s_.v_bytes(t_), t_.v_depth, {q("mte3"), q("mte1")});
    weights_ = builder_.ring(l1, s_.filter_bytes(t_) * (t_.kept ? positions_ : 1), t_.kept ? 1 : 2,
                             {q("mte2"), q("mte1")});
    a0_ = builder_.ring(builder_.memory("l0a"), t_.padded() * t_.step * size_, 2,
                        {q("mte1"), q("m")});
    b0_ =
        builder_.ring(builder_.memory("l0b"), t_.outputs * t_.step * size_, 2, {q("mte1"), q("m")});
    acc_ = builder_.ring(builder_.memory("l0c"), s_.sums_bytes(t_), t_.c_depth, {q("m"), q("v")});
    sums_ = allocate(out.positions_elements());
    work_ = allocate(std::max(in.work_elements(true), out.work_elements(false)));
    scratch_ = allocate(std::max(input_transform(m_).temporaries * in.temporary_elements(true),
                                 output_transform(m_).temporaries * out.temporary_elements(false)));
    out_ = ring(out.out_elements(), {q("v"), q("mte3")});
    if (bias_ >= 0) bias_ring_ = ring(t_.outputs, {q("mte2"), q("v")});
    if (residual_ >= 0) residual_ring_ = ring(out.out_elements(), {q("mte2"), q("v")});
  }

  // What no copy writes is read with its fractal: it holds zeros.
  void clear_places() {
    const auto clear = [&](const Ring& ring, int64_t depth) {
      for (int64_t i = 0; i < depth; ++i)
        builder_.emit(Opcode::fill, {builder_.local(ring.memory(), ring.place(i), real_,
                                                    {{ring.bytes() / size_, 1}})});
    };
    if (p_.columns % kN0 != 0) {
      if (bias_ >= 0) clear(bias_ring_, 2);
      if (residual_ >= 0) clear(residual_ring_, 2);
      builder_.sync(builder_.queue("v"));
    }
    if (t_.tiles() % kN0 == 0 && s_.tile_rows() % t_.rows == 0) return;
    clear(v_, t_.v_depth);
    builder_.sync(builder_.queue("mte2"));
  }

  // The tiles at number `index` of all.
  void locate(const Expr& index) {
    const int64_t across = s_.tile_columns() / t_.columns, down = ceil_div(s_.tile_rows(), t_.rows);
    const Expr first = index / across % down * t_.rows;
    column_ = index % across * (t_.columns * m_);
    row_ = first * m_;
    image_ = index / (across * down);
    n_rows_ =
        s_.tile_rows() % t_.rows == 0 ? Expr(t_.rows) : min(t_.rows, Expr(s_.tile_rows()) - first);
  }
  void take_outputs(const Expr& index) {
    output_index_ = index;
    n_ = p_.columns % t_.outputs == 0 ? Expr(t_.outputs)
                                      : min(t_.outputs, Expr(p_.columns) - index * t_.outputs);
  }

  void build() {
    builder_.set_blocks(t_.grid_m * t_.grid_n);
    const Expr row = builder_.block() / t_.grid_n, column = builder_.block() % t_.grid_n;
    const Expr own_m = (Expr(s_.all_m(t_) + t_.grid_m - 1) - row) / t_.grid_m;
    const Expr own_n =
        (Expr(ceil_div(p_.columns, t_.outputs) + t_.grid_n - 1) - column) / t_.grid_n;
    code_.emplace(builder_, ub_, s_.output(t_, piece_).out_elements() * size_, real_);
    clear_places();
    const auto over_outputs = [&](const std::function<void(const Expr&)>& body) {
      builder_.loop(own_n, [&](const Expr& l) {
        take_outputs(column + l * t_.grid_n);
        body(l);
      });
    };
    // With two places, the next tiles are transformed before the vector unit waits for these.
    const auto over_tiles = [&](const Expr& first, const std::function<void(const Expr&)>& body) {
      const auto enter = [&](const Expr& j) {
        locate(row + j * t_.grid_m);
        transform(first + j);
      };
      if (t_.v_depth > 1) enter(0);
      builder_.loop(own_m, [&](const Expr& j) {
        if (t_.v_depth > 1)
          builder_.loop(min(own_m - j - 1, 1), [&](const Expr&) { enter(j + 1); });
        else
          enter(j);
        locate(row + j * t_.grid_m);
        v_.enter(1, first + j);
        body(j);
        v_.leave(1, first + j);
      });
    };
    if (t_.kept)
      over_outputs([&](const Expr& l) {
        load_weights(0, positions_, l);
        over_tiles(l * own_m, [&](const Expr& j) { compute(l * own_m + j, l * own_m + j, l); });
        weights_.leave(1, l);
      });
    else
      over_tiles(0, [&](const Expr& j) {
        over_outputs([&](const Expr& l) { compute(j * own_n + l, j, 0); });
      });
  }

  // The filter of `count` positions from `first` on.
  void load_weights(const Expr& first, int64_t count, const Expr& turn) {
    const int64_t fractal = kN0 * c0_, all_n1 = ceil_div(p_.columns, kN0);
    const Expr run = ceil_div(n_, kN0) * fractal;
    weights_.enter(0, turn);
    builder_.emit(
        Opcode::copy,
        {builder_.local(weights_.memory(), weights_.place(turn), real_,
                        {{count, c1_ * t_.outputs * c0_}, {c1_, t_.outputs * c0_}, {run, 1}}),
         builder_.global(filter_, first * part_ + output_index_ * (t_.outputs * c0_),
                         {{count, part_}, {c1_, all_n1 * fractal}, {run, 1}})});
    weights_.leave(0, turn);
    weights_.enter(1, turn);
  }

  void transform(const Expr& turn) {
    const int64_t chunks = ceil_div(c1_, t_.blocks);
    v_.enter(0, turn);
    const auto one = [&](const Expr& c) {
      WinogradTiles in = s_.input(t_);
      in.n_rows = n_rows_;
      in.n_blocks =
          c1_ % t_.blocks == 0 ? Expr(t_.blocks) : min(t_.blocks, Expr(c1_) - c * t_.blocks);
      const Expr in_turn = turn * chunks + c;
      load_input(in, c, in_turn);
      to_l1_.enter(0, in_turn);
      emit_input_transform(
          builder_, in, {in_.place(in_turn), work_, scratch_},
          {to_l1_.place(in_turn), t_.blocks * t_.tiles() * c0_, t_.tiles() * c0_, c0_});
      to_l1_.leave(0, in_turn);
      in_.leave(2, in_turn);
      to_l1_.enter(1, in_turn);
      const Expr run = n_rows_ * (t_.columns * c0_);
      builder_.emit(
          Opcode::copy,
          {builder_.local(
               v_.memory(), v_.place(turn) + c * (t_.blocks * t_.padded() * c0_ * size_), real_,
               {{positions_, c1_ * t_.padded() * c0_}, {in.n_blocks, t_.padded() * c0_}, {run, 1}}),
           builder_.local(ub_, to_l1_.place(in_turn), real_,
                          {{positions_, t_.blocks * t_.tiles() * c0_},
                           {in.n_blocks, t_.tiles() * c0_},
                           {run, 1}})});
      to_l1_.leave(1, in_turn);
    };
    if (chunks == 1)
      one(0);
    else
      builder_.loop(chunks, one);
    v_.leave(0, turn);
  }

  void load_input(const WinogradTiles& in, const Expr& c, const Expr& turn) {
    const int64_t width = in.in_width() * c0_, block = in.in_rows() * width;
    in_.enter(0, turn);
    builder_.emit(Opcode::fill,
                  {builder_.local(ub_, in_.place(turn), real_, {{in.in_elements(), 1}})});
    in_.leave(0, turn);
    in_.enter(1, turn);
    const Expr top = row_ - w_.pad[1], left = column_ - w_.pad[2];
    const Expr from_row = max(top, 0), from_column = max(left, 0);
    const Expr rows = max(min(top + (n_rows_ * m_ + 2), w_.height) - from_row, 0);
    const Expr columns = max(min(left + in.in_width(), w_.width) - from_column, 0);
    const Expr skipped = (from_row - top) * width + (from_column - left) * c0_;
    const Expr from = batch_offset(p_, image_, &BatchDim::a) +
                      (from_row * w_.row_pixels() + from_column) * p_.a_row + c * (t_.blocks * c0_);
    const auto copy = [&](const Expr& blocks, const Expr& first, const Expr& count) {
      builder_.emit(Opcode::copy,
                    {builder_.local(ub_, in_.place(turn) + (skipped + first * block) * size_, real_,
                                    {{blocks, block}, {rows, width}, {columns, c0_}, {count, 1}}),
                     builder_.global(x_, from + first * c0_,
                                     {{blocks, c0_},
                                      {rows, w_.row_pixels() * p_.a_row},
                                      {columns, p_.a_row},
                                      {count, 1}})});
    };
    const Expr channels = min(t_.blocks * c0_, Expr(w_.channels) - c * (t_.blocks * c0_));
    copy(channels / c0_, 0, c0_);
    if (w_.channels % c0_ != 0)
      builder_.loop(min(channels % c0_, 1),
                    [&](const Expr&) { copy(1, channels / c0_, channels % c0_); });
    in_.leave(1, turn);
    in_.enter(2, turn);
  }

  void compute(const Expr& turn, const Expr& v_turn, const Expr& kept_turn) {
    acc_.enter(0, turn);
    builder_.loop(positions_, [&](const Expr& position) {
      const Expr at = turn * positions_ + position;
      if (!t_.kept) load_weights(position, 1, at);
      const Expr filter =
          t_.kept ? weights_.place(kept_turn) + position * s_.filter_bytes(t_) : weights_.place(at);
      const Expr tiles = v_.place(v_turn) + position * (c1_ * t_.padded() * c0_ * size_);
      const int64_t steps = ceil_div(c1_ * c0_, t_.step);
      const auto step = [&](const Expr& s) {
        multiply(tiles, filter, acc_.place(turn) + position * (t_.padded() * t_.outputs * 4), s,
                 at * steps + s);
      };
      if (steps == 1)
        step(0);
      else
        builder_.loop(steps, step);
      if (!t_.kept) weights_.leave(1, at);
    });
    acc_.leave(0, turn);
    acc_.enter(1, turn);
    finish(turn);
    acc_.leave(1, turn);
  }

  void multiply(const Expr& tiles, const Expr& filter, const Expr& sums, const Expr& s,
                const Expr& turn) {
    const int64_t fractal = kN0 * c0_, steps = t_.step / c0_;
    const Expr m = n_rows_ * t_.columns, m1 = ceil_div(m, kN0), n1 = ceil_div(n_, kN0);
    const Expr k1 = c1_ % steps == 0 ? Expr(steps) : min(steps, Expr(c1_) - s * steps);
    a0_.enter(0, turn);
    const View left = builder_.local(a0_.memory(), a0_.place(turn), real_,
                                     {{m1, steps * fractal}, {k1, fractal}, {kN0, c0_}, {c0_, 1}});
    builder_.emit(
        Opcode::copy,
        {left, builder_.local(v_.memory(), tiles + s * (steps * t_.padded() * c0_ * size_), real_,
                              {{m1, fractal}, {k1, t_.padded() * c0_}, {kN0, c0_}, {c0_, 1}})});
    a0_.leave(0, turn);
    b0_.enter(0, turn);
    const int64_t row = t_.outputs * c0_;
    const View right = builder_.local(b0_.memory(), b0_.place(turn), real_,
                                      {{k1, row}, {n1, fractal}, {kN0, c0_}, {c0_, 1}});
    builder_.emit(Opcode::copy,
                  {right, builder_.local(weights_.memory(), filter + s * (steps * row * size_),
                                         real_, {{k1, row}, {n1, fractal}, {kN0, c0_}, {c0_, 1}})});
    b0_.leave(0, turn);
    a0_.enter(1, turn);
    b0_.enter(1, turn);
    builder_.emit(Opcode::mmad,
                  {builder_.local(acc_.memory(), sums, DType::f32,
                                  {{n1, t_.padded() * kN0}, {m1, kN0 * kN0}, {kN0, kN0}, {kN0, 1}}),
                   left, right},
                  {m, k1 * c0_, n_, min(s, 1)});
    a0_.leave(1, turn);
    b0_.leave(1, turn);
  }

  // Sums of a tile back to results, some blocks of columns at a time.
  void finish(const Expr& turn) {
    if (bias_ >= 0) {
      bias_ring_.enter(0, turn);
      builder_.emit(Opcode::copy, {builder_.local(ub_, bias_ring_.place(turn), real_, {{n_, 1}}),
                                   builder_.global(bias_, output_index_ * t_.outputs, {{n_, 1}})});
      bias_ring_.leave(0, turn);
      bias_ring_.enter(1, turn);
    }
    const int64_t pieces = ceil_div(t_.outputs / kN0, piece_);
    const auto one = [&](const Expr& q) { finish_piece(turn, q, turn * pieces + q); };
    if (pieces == 1)
      one(0);
    else
      builder_.loop(ceil_div(ceil_div(n_, kN0), piece_), one);
    if (bias_ >= 0) bias_ring_.leave(1, turn);
  }

  void finish_piece(const Expr& turn, const Expr& q, const Expr& part) {
    WinogradTiles out = s_.output(t_, piece_);
    const Expr width = min(piece_ * kN0, n_ - q * (piece_ * kN0));
    out.n_rows = n_rows_, out.n_blocks = ceil_div(width, kN0);
    const int64_t pixels = t_.columns * m_, block = t_.rows * m_ * pixels * kN0;
    const Expr rows = n_rows_ * m_;
    const std::vector<Axis> axes{
        {out.n_blocks, block}, {rows, pixels * kN0}, {pixels, kN0}, {kN0, 1}};
    const auto transfer = [&](int buffer, int64_t BatchDim::*batch, int64_t row, const Expr& place,
                              bool load) {
      const Expr from = batch_offset(p_, image_, batch) + (row_ * w_.out_width + column_) * row +
                        output_index_ * t_.outputs + q * (piece_ * kN0);
      const auto copy = [&](const Expr& blocks, const Expr& first, const Expr& count) {
        const View local =
            builder_.local(ub_, place + first * (block * size_), real_,
                           {{blocks, block}, {rows, pixels * kN0}, {pixels, kN0}, {count, 1}});
        const View global =
            builder_.global(buffer, from + first * kN0,
                            {{blocks, kN0}, {rows, w_.out_width * row}, {pixels, row}, {count, 1}});
        if (load)
          builder_.emit(Opcode::copy, {local, global});
        else
          builder_.emit(Opcode::copy, {global, local});
      };
      copy(width / kN0, 0, kN0);
      if (p_.columns % kN0 != 0)
        builder_.loop(min(width % kN0, 1), [&](const Expr&) { copy(1, width / kN0, width % kN0); });
    };
    Register bias, residual, y;
    if (bias_ >= 0)
      bias.view = builder_.local(ub_, bias_ring_.place(turn) + q * (piece_ * kN0 * size_), real_,
                                 {{out.n_blocks, kN0}, {rows, 0}, {pixels, 0}, {kN0, 1}});
    if (residual_ >= 0) {
      residual.view = builder_.local(ub_, residual_ring_.place(part), real_, axes);
      residual_ring_.enter(0, part);
      transfer(residual_, &BatchDim::residual, p_.residual_row, residual_ring_.place(part), true);
      residual_ring_.leave(0, part);
      residual_ring_.enter(1, part);
    }
    const Expr tiles = n_rows_ * t_.columns;
    const int64_t position = piece_ * t_.tiles() * kN0;
    builder_.emit(
        Opcode::copy,
        {builder_.local(
             ub_, sums_, real_,
             {{positions_, position}, {out.n_blocks, t_.tiles() * kN0}, {tiles, kN0}, {kN0, 1}}),
         builder_.local(acc_.memory(), acc_.place(turn) + q * (piece_ * t_.padded() * kN0 * 4),
                        DType::f32,
                        {{positions_, t_.padded() * t_.outputs},
                         {out.n_blocks, t_.padded() * kN0},
                         {tiles, kN0},
                         {kN0, 1}})});
    out_.enter(0, part);
    emit_output_transform(builder_, out, {out_.place(part), work_, scratch_},
                          {sums_, position, t_.tiles() * kN0, kN0});
    y.view = builder_.local(ub_, out_.place(part), real_, axes);
    code_->set_tile(axes);
    finish_in_place(*code_, p_, y, bias_ >= 0 ? &bias : nullptr,
                    residual_ >= 0 ? &residual : nullptr);
    out_.leave(0, part);
    if (residual_ >= 0) residual_ring_.leave(1, part);
    out_.enter(1, part);
    transfer(y_, &BatchDim::y, p_.y_row, out_.place(part), false);
    out_.leave(1, part);
  }

  Lowering& lowering_;
  const Node& node_;
  const Product& p_;
  const Windows& w_;
  int64_t m_, positions_;
  DType real_;
  int64_t size_, c0_, c1_;
  KernelBuilder builder_;
  int ub_;
  CubeProblem s_;
  CubeTiling t_;
  int64_t piece_ = 1, part_ = 0;
  int64_t sums_ = 0, work_ = 0, scratch_ = 0;  // places
  int x_ = -1, filter_ = -1, bias_ = -1, residual_ = -1, y_ = -1;
  Ring in_, to_l1_, v_, weights_, a0_, b0_, acc_, out_, bias_ring_, residual_ring_;
  std::optional<VectorCode> code_;
  Expr row_, column_, image_, n_rows_, output_index_, n_;
};

}  // namespace

Status lower_winograd_cube(Lowering& lowering, const Node& node, const Product& p, int64_t m) {
  TRY(check_winograd(p, m, lowering.real()));
  return CubeWinograd(lowering, node, p, m).run();
}

}  // namespace tenon::lower
