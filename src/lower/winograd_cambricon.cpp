// Winograd's convolutions on Cambricon cores: tiles are transformed in NRAM, where the products
// with the filter in WRAM and the transform back find them.
#include <fmt/format.h>

#include <algorithm>

#include "base/numbers.h"
#include "lower/pack.h"
#include "lower/vector_code.h"
#include "lower/vector_core.h"
#include "lower/winograd.h"
#include "simulate/cost.h"

namespace tenon::lower {
namespace {

struct WinogradTiling {
  int64_t rows = 1, columns = 1;  // tiles of an image at once
  int64_t channels = 64;          // that are transformed at once
  int64_t outputs = 64;           // channels of the result at once
  int64_t grid_m = 1, grid_n = 1;
  bool kept = false;  // the filter of `outputs` stays in WRAM, and tiles are transformed for each
  double seconds = 0;
};

class CambriconWinograd {
 public:
  CambriconWinograd(Lowering& lowering, const Node& node, const Product& p, int64_t m)
      : lowering_(lowering),
        node_(node),
        p_(p),
        w_(*p.windows),
        chip_(std::get<CambriconChip>(lowering.machine().chip)),
        m_(m),
        reach_(winograd_reach(m)),
        positions_(reach_ * reach_),
        real_(lowering.real()),
        size_(bytes_of(real_)),
        core_(lowering.architecture()),
        unit_(lowering.architecture().memories[static_cast<size_t>(core_.memory)].align / size_),
        whole_(ceil_div(w_.channels, unit_) * unit_),
        builder_(lowering, p.layer, fmt::format("winograd_f{}", m)) {}

  Status run() {
    measure();
    TRY(tile());
    set_buffers();
    build();
    return lowering_.add(
        node_, builder_,
        fmt::format("{}x{} tiles, {} channels and {} outputs at once, cores {}x{}{}", t_.rows,
                    t_.columns, t_.channels, t_.outputs, t_.grid_m, t_.grid_n,
                    t_.kept ? ", weights stay in WRAM" : ""));
  }

 private:
  int64_t tile_rows() const { return w_.out_height / m_; }
  int64_t tile_columns() const { return w_.out_width / m_; }
  int64_t images() const { return p_.batch[0].size; }
  int64_t blocks(const WinogradTiling& t) const {
    return images() * ceil_div(tile_rows(), t.rows) * (tile_columns() / t.columns);
  }

  WinogradTiles input(const WinogradTiling& t) const {
    return {m_, t.rows, t.columns, t.rows, 1, t.channels, 1, t.channels, core_.memory, real_};
  }
  WinogradTiles output(const WinogradTiling& t) const {
    return {m_, t.rows, t.columns, t.rows, 1, t.outputs, 1, t.outputs, core_.memory, real_};
  }

  void measure() {
    const FinishCost finish = measure_finish(lowering_, core_.memory, real_, real_, p_);
    temporaries_ = finish.temporaries, passes_ = finish.instructions;
  }

  int64_t nram_bytes(const WinogradTiling& t) const {
    const WinogradTiles in = input(t), out = output(t);
    const int64_t elements =
        2 * in.in_elements() + positions_ * t.rows * t.columns * whole_ + out.positions_elements() +
        std::max(in.work_elements(true), out.work_elements(false)) +
        std::max(input_transform(m_).temporaries * in.temporary_elements(true),
                 output_transform(m_).temporaries * out.temporary_elements(false)) +
        out.out_elements() * (2 + temporaries_ + (p_.residual >= 0 ? 2 : 0)) + 2 * t.outputs;
    return elements * size_;
  }
  int64_t wram_bytes(const WinogradTiling& t) const {
    return t.outputs * whole_ * size_ * (t.kept ? positions_ : 2);
  }

  double seconds(const WinogradTiling& t) const {
    const auto real = [](int64_t n) { return static_cast<double>(n); };
    const WinogradTiles in = input(t), out = output(t);
    const int64_t all_m = blocks(t), all_n = ceil_div(p_.columns, t.outputs),
                  chunks = ceil_div(w_.channels, t.channels);
    const auto own_m = real(ceil_div(all_m, t.grid_m)), own_n = real(ceil_div(all_n, t.grid_n));
    const double clock = chip_.clock, macs = simulate::product_macs(chip_, real_);
    const double lanes = chip_.vector_bytes / real(size_);
    const auto vector = [&](double instructions, double elements) {
      return (instructions * chip_.compute_start + elements / lanes) / clock;
    };
    const auto in_steps = real(std::ssize(input_transform(m_).steps)),
               out_steps = real(std::ssize(output_transform(m_).steps));
    const double transform =
        real(chunks) *
        vector(2 * in_steps + 1, in_steps * real(in.work_elements(true) / reach_ +
                                                 reach_ * t.rows * t.columns * t.channels) +
                                     real(in.in_elements()));
    const double back = vector(2 * out_steps + real(passes_),
                               out_steps * real((reach_ + m_) * t.rows * t.columns * t.outputs) +
                                   real(passes_ * out.out_elements()));
    const double product =
        real(positions_) *
        (chip_.compute_start +
         real(t.rows * t.columns * ceil_div(t.outputs, 64) * 64 * whole_) / macs) /
        clock;
    const double x = real(in.in_elements() * chunks * size_),
                 w = real(positions_ * t.outputs * w_.channels * size_),
                 y = real(out.out_elements() * size_) * (p_.residual >= 0 ? 2 : 1);
    const auto cores = real(t.grid_m * t.grid_n);
    const double rate = std::min(chip_.io_bytes * clock, chip_.memory_bandwidth / cores);
    const double times_in = t.kept ? own_m * own_n : own_m, times_out = own_m * own_n;
    const double work = times_in * transform + times_out * (product + back);
    const double copies =
        times_in * real(chunks) + times_out * 3 + (t.kept ? own_n : times_out * real(positions_));
    const double io = (times_in * x + (t.kept ? own_n : times_out) * w + times_out * y) / rate +
                      copies * chip_.copy_start / clock;
    return std::max(work, io) + 0.15 * std::min(work, io) + (x + y) / rate +
           2 * chip_.memory_latency / clock;
  }

  Status tile() {
    const isa::Architecture& a = lowering_.architecture();
    const int64_t nram = builder_.free_bytes(core_.memory) - 8192,
                  wram = a.memories[static_cast<size_t>(*a.memory("wram"))].bytes;
    bool found = false;
    const auto consider = [&](WinogradTiling t) {
      if (nram_bytes(t) > nram) return;
      for (const bool kept : {false, true}) {
        t.kept = kept;
        if (wram_bytes(t) > wram) continue;
        const int64_t all_n = ceil_div(p_.columns, t.outputs);
        for (int64_t gn = 1; gn <= std::min(a.cores, all_n); ++gn) {
          t.grid_n = gn, t.grid_m = std::min(a.cores / gn, blocks(t));
          t.seconds = seconds(t);
          if (!found || t.seconds < t_.seconds) t_ = t, found = true;
        }
      }
    };
    for (int64_t rows = tile_rows();; rows = ceil_div(rows, 2)) {
      for (int64_t columns = tile_columns(); columns >= 1; --columns) {
        if (tile_columns() % columns != 0) continue;
        for (int64_t channels = whole_;;
             channels = ceil_div(ceil_div(channels, 2), unit_) * unit_) {
          for (int64_t outputs = unit_; outputs < p_.columns + unit_ && outputs <= 512;
               outputs *= 2)
            consider({rows, columns, channels, outputs, 1, 1, false, 0});
          if (channels <= unit_) break;
        }
      }
      if (rows == 1) break;
    }
    if (!found)
      return unsupported(fmt::format("no tile of it fits into NRAM ({} bytes) and WRAM", nram));
    return {};
  }

  int64_t allocate(int64_t elements) { return builder_.allocate(core_.memory, elements * size_); }
  Ring ring(int64_t elements, std::vector<int> queues) {
    return builder_.ring(core_.memory, elements * size_, 2, std::move(queues));
  }

  void set_buffers() {
    using Role = isa::Buffer::Role;
    const WinogradTiles in = input(t_), out = output(t_);
    x_ = builder_.bind("x", Role::input, p_.a);
    FractalShape f;
    f.channels = w_.channels, f.columns = p_.columns;
    const int tensor = lowering_.constant(
        fmt::format("{}.winograd{}", p_.layer, m_), real_, positions_ * w_.channels * p_.columns,
        Recipe{Recipe::Kind::rows, *p_.b_constant, f, 1, positions_, m_});
    filter_ = builder_.bind("w", Role::constant, tensor);
    if (p_.bias >= 0) bias_ = builder_.bind("bias", Role::constant, p_.bias);
    if (p_.residual >= 0) residual_ = builder_.bind("residual", Role::input, p_.residual);
    y_ = builder_.bind("y", Role::output, p_.y);
    in_ = ring(in.in_elements(), {core_.compute, core_.load, core_.compute});
    weights_ = builder_.ring(builder_.memory("wram"),
                             t_.outputs * whole_ * size_ * (t_.kept ? positions_ : 1),
                             t_.kept ? 1 : 2, {core_.load, core_.compute});
    v_ = allocate(positions_ * t_.rows * t_.columns * whole_);
    sums_ = allocate(out.positions_elements());
    work_ = allocate(std::max(in.work_elements(true), out.work_elements(false)));
    scratch_ = allocate(std::max(input_transform(m_).temporaries * in.temporary_elements(true),
                                 output_transform(m_).temporaries * out.temporary_elements(false)));
    out_ = ring(out.out_elements(), {core_.compute, core_.store});
    if (bias_ >= 0) bias_ring_ = ring(t_.outputs, {core_.load, core_.compute});
    if (residual_ >= 0) residual_ring_ = ring(out.out_elements(), {core_.load, core_.compute});
  }

  // The tiles at number `index` of all.
  void locate(const Expr& index) {
    const int64_t across = tile_columns() / t_.columns, down = ceil_div(tile_rows(), t_.rows);
    const Expr first = index / across % down * t_.rows;
    column_ = index % across * (t_.columns * m_);
    row_ = first * m_;
    image_ = index / (across * down);
    n_rows_ = tile_rows() % t_.rows == 0 ? Expr(t_.rows) : min(t_.rows, Expr(tile_rows()) - first);
  }
  void take_outputs(const Expr& index) {
    first_output_ = index * t_.outputs;
    n_ = p_.columns % t_.outputs == 0 ? Expr(t_.outputs)
                                      : min(t_.outputs, Expr(p_.columns) - first_output_);
  }

  void build() {
    builder_.set_blocks(t_.grid_m * t_.grid_n);
    const int64_t all_m = blocks(t_), all_n = ceil_div(p_.columns, t_.outputs);
    const Expr row = builder_.block() / t_.grid_n, column = builder_.block() % t_.grid_n;
    const Expr own_m = (Expr(all_m + t_.grid_m - 1) - row) / t_.grid_m;
    const Expr own_n = (Expr(all_n + t_.grid_n - 1) - column) / t_.grid_n;
    VectorCode code(builder_, core_.memory, output(t_).out_elements() * size_, real_);
    const auto over_outputs = [&](const std::function<void(const Expr&)>& body) {
      builder_.loop(own_n, [&](const Expr& l) {
        take_outputs(column + l * t_.grid_n);
        body(l);
      });
    };
    const auto over_tiles = [&](const std::function<void(const Expr&)>& body) {
      builder_.loop(own_m, [&](const Expr& j) {
        locate(row + j * t_.grid_m);
        body(j);
      });
    };
    if (t_.kept)
      over_outputs([&](const Expr& l) {
        load_weights(0, positions_, l);
        over_tiles([&](const Expr& j) {
          transform(l * own_m + j);
          multiply(l, 0);
          finish(code, l * own_m + j);
        });
        weights_.leave(1, l);
      });
    else
      over_tiles([&](const Expr& j) {
        transform(j);
        over_outputs([&](const Expr& l) {
          multiply(0, j * own_n + l);
          finish(code, j * own_n + l);
        });
      });
  }

  // The filter of `count` positions from `first` on.
  void load_weights(const Expr& first, int64_t count, const Expr& turn) {
    weights_.enter(0, turn);
    builder_.emit(Opcode::copy,
                  {builder_.local(weights_.memory(), weights_.place(turn), real_,
                                  {{count, t_.outputs * whole_}, {n_, whole_}, {w_.channels, 1}}),
                   builder_.global(
                       filter_, (first * p_.columns + first_output_) * w_.channels,
                       {{count, p_.columns * w_.channels}, {n_, w_.channels}, {w_.channels, 1}})});
    weights_.leave(0, turn);
    weights_.enter(1, turn);
  }

  void transform(const Expr& turn) {
    const int64_t chunks = ceil_div(w_.channels, t_.channels);
    const auto one = [&](const Expr& c) {
      WinogradTiles in = input(t_);
      in.n_rows = n_rows_;
      in.count = w_.channels % t_.channels == 0
                     ? Expr(t_.channels)
                     : min(t_.channels, Expr(w_.channels) - c * t_.channels);
      const Expr in_turn = turn * chunks + c;
      load_input(in, c, in_turn);
      emit_input_transform(
          builder_, in, {in_.place(in_turn), work_, scratch_},
          {c * (t_.channels * size_) + v_, t_.rows * t_.columns * whole_, 0, whole_});
      in_.leave(2, in_turn);
    };
    if (chunks == 1)
      one(0);
    else
      builder_.loop(chunks, one);
  }

  void load_input(const WinogradTiles& in, const Expr& c, const Expr& turn) {
    const int64_t width = in.in_width() * t_.channels;
    in_.enter(0, turn);
    builder_.emit(Opcode::fill,
                  {builder_.local(core_.memory, in_.place(turn), real_, {{in.in_elements(), 1}})});
    in_.leave(0, turn);
    in_.enter(1, turn);
    const Expr top = row_ - w_.pad[1], left = column_ - w_.pad[2];
    const Expr from_row = max(top, 0), from_column = max(left, 0);
    const Expr rows = max(min(top + (n_rows_ * m_ + 2), w_.height) - from_row, 0);
    const Expr columns = max(min(left + in.in_width(), w_.width) - from_column, 0);
    const Expr skipped = (from_row - top) * width + (from_column - left) * t_.channels;
    const Expr from = batch_offset(p_, image_, &BatchDim::a) +
                      (from_row * w_.row_pixels() + from_column) * p_.a_row + c * t_.channels;
    builder_.emit(
        Opcode::copy,
        {builder_.local(core_.memory, in_.place(turn) + skipped * size_, real_,
                        {{rows, width}, {columns, t_.channels}, {in.count, 1}}),
         builder_.global(
             x_, from, {{rows, w_.row_pixels() * p_.a_row}, {columns, p_.a_row}, {in.count, 1}})});
    in_.leave(1, turn);
    in_.enter(2, turn);
  }

  void multiply(const Expr& kept_turn, const Expr& turn) {
    const int64_t tiles = t_.rows * t_.columns;
    builder_.loop(positions_, [&](const Expr& position) {
      const Expr w_turn = t_.kept ? kept_turn : turn * positions_ + position;
      if (!t_.kept) load_weights(position, 1, w_turn);
      const Expr filter =
          weights_.place(w_turn) + (t_.kept ? position * (t_.outputs * whole_ * size_) : Expr(0));
      builder_.emit(
          Opcode::conv,
          {builder_.local(core_.memory, position * (tiles * t_.outputs * size_) + sums_, real_,
                          {{n_rows_, t_.columns * t_.outputs}, {t_.columns, t_.outputs}, {n_, 1}}),
           builder_.local(core_.memory, position * (tiles * whole_ * size_) + v_, real_,
                          {{n_rows_, t_.columns * whole_}, {t_.columns, whole_}, {w_.channels, 1}}),
           builder_.local(weights_.memory(), filter, real_,
                          {{n_, whole_}, {1, whole_}, {1, whole_}, {w_.channels, 1}})},
          {1, 1, 1, 1, 1, 1, 0, 0, 0});
      if (!t_.kept) weights_.leave(1, w_turn);
    });
  }

  void finish(VectorCode& code, const Expr& turn) {
    WinogradTiles out = output(t_);
    out.n_rows = n_rows_, out.count = n_;
    const int64_t pixels = t_.columns * m_;
    const std::vector<Axis> axes{
        {n_rows_ * m_, pixels * t_.outputs}, {pixels, t_.outputs}, {n_, 1}};
    const auto global = [&](int buffer, int64_t BatchDim::*batch, int64_t row) {
      const Expr from =
          batch_offset(p_, image_, batch) + (row_ * w_.out_width + column_) * row + first_output_;
      return builder_.global(buffer, from,
                             {{n_rows_ * m_, w_.out_width * row}, {pixels, row}, {n_, 1}});
    };
    const auto load = [&](const Ring& r, const View& to, const View& from) {
      r.enter(0, turn);
      builder_.emit(Opcode::copy, {to, from});
      r.leave(0, turn);
      r.enter(1, turn);
    };
    const auto local = [&](const Ring& r, std::vector<Axis> of) {
      return builder_.local(core_.memory, r.place(turn), real_, std::move(of));
    };
    Register bias, residual, y;
    if (bias_ >= 0) {
      load(bias_ring_, local(bias_ring_, {{n_, 1}}),
           builder_.global(bias_, first_output_, {{n_, 1}}));
      bias.view = local(bias_ring_, {{n_rows_ * m_, 0}, {pixels, 0}, {n_, 1}});
    }
    if (residual_ >= 0) {
      residual.view = local(residual_ring_, axes);
      load(residual_ring_, residual.view, global(residual_, &BatchDim::residual, p_.residual_row));
    }
    out_.enter(0, turn);
    emit_output_transform(builder_, out, {out_.place(turn), work_, scratch_},
                          {sums_, t_.rows * t_.columns * t_.outputs, 0, t_.outputs});
    y.view = local(out_, axes);
    code.set_tile(axes);
    finish_in_place(code, p_, y, bias_ >= 0 ? &bias : nullptr,
                    residual_ >= 0 ? &residual : nullptr);
    out_.leave(0, turn);
    if (bias_ >= 0) bias_ring_.leave(1, turn);
    if (residual_ >= 0) residual_ring_.leave(1, turn);
    out_.enter(1, turn);
    builder_.emit(Opcode::copy, {global(y_, &BatchDim::y, p_.y_row), y.view});
    out_.leave(1, turn);
  }

  Lowering& lowering_;
  const Node& node_;
  const Product& p_;
  const Windows& w_;
  const CambriconChip& chip_;
  int64_t m_, reach_, positions_;
  DType real_;
  int64_t size_;
  VectorCore core_;
  int64_t unit_, whole_;  // channels in whole units of the memory
  KernelBuilder builder_;
  WinogradTiling t_;
  int64_t temporaries_ = 0, passes_ = 0;
  int64_t v_ = 0, sums_ = 0, work_ = 0, scratch_ = 0;  // places
  int x_ = -1, filter_ = -1, bias_ = -1, residual_ = -1, y_ = -1;
  Ring in_, weights_, out_, bias_ring_, residual_ring_;
  Expr row_, column_, image_, n_rows_, first_output_, n_;
};

}  // namespace

Status lower_winograd_cambricon(Lowering& lowering, const Node& node, const Product& p, int64_t m) {
  TRY(check_winograd(p, m, lowering.real()));
  return CambriconWinograd(lowering, node, p, m).run();
}

}  // namespace tenon::lower
