// Winograd's convolutions on Ascend chips whose cube and vector unit are cores of their own, in
// three kernels: the vector unit transforms all tiles to the global memory, the cube multiplies a
// matrix per position, the vector unit transforms back.
#include <fmt/format.h>

#include <algorithm>

#include "base/numbers.h"
#include "lower/pack.h"
#include "lower/vector_code.h"
#include "lower/vector_core.h"
#include "lower/winograd.h"

namespace tenon::lower {
namespace {

// What one of the kernels of the vector unit does at once: tiles of an image, some channels.
struct VectorTiling {
  int64_t rows = 1, columns = 1, channels = 16;
  double cost = 0;
};

// What both kernels of the vector unit share: how the tiles of all images are cut.
class WinogradKernel {
 public:
  WinogradKernel(Lowering& lowering, const Node& node, const Product& p, int64_t m, bool input)
      : lowering_(lowering),
        node_(node),
        p_(p),
        w_(*p.windows),
        m_(m),
        positions_(winograd_reach(m) * winograd_reach(m)),
        channels_(input ? w_.channels : p.columns),
        real_(lowering.real()),
        size_(bytes_of(real_)),
        core_(lowering.architecture()),
        builder_(lowering, p.layer, fmt::format("winograd_f{}", m)),
        input_(input) {}

 protected:
  int64_t tile_rows() const { return w_.out_height / m_; }
  int64_t tile_columns() const { return w_.out_width / m_; }
  int64_t tiles() const { return p_.batch[0].size * tile_rows() * tile_columns(); }
  WinogradTiles of(const VectorTiling& t) const {
    return {m_, t.rows, t.columns, t.rows, 1, t.channels, 1, t.channels, core_.memory, real_};
  }
  int64_t scratch_elements(const WinogradTiles& t) const {
    const auto transform = input_ ? input_transform(m_) : output_transform(m_);
    return transform.temporaries * t.temporary_elements(input_);
  }

  // The most that fits, of which every core has something; `pixels` and `positions` say how many
  // places those have.
  Status cut(int64_t pixels, int64_t positions) {
    const int64_t align =
        lowering_.architecture().memories[static_cast<size_t>(core_.memory)].align;
    const int64_t unit = std::max<int64_t>(16, align / size_),
                  room = builder_.free_bytes(core_.memory) - 8192,
                  cores = lowering_.architecture().vector_cores;
    bool found = false;
    for (int64_t rows = tile_rows();; rows = ceil_div(rows, 2)) {
      for (int64_t columns = tile_columns(); columns >= 1; --columns) {
        if (tile_columns() % columns != 0) continue;
        for (int64_t channels = ceil_div(channels_, unit) * unit;;
             channels = ceil_div(ceil_div(channels, 2), unit) * unit) {
          VectorTiling t{rows, columns, channels, 0};
          const WinogradTiles w = of(t);
          const int64_t bytes =
              size_ * (pixels * (input_ ? w.in_elements() : w.out_elements()) +
                       positions * w.positions_elements() + w.work_elements(input_) +
                       scratch_elements(w) + (input_ ? 0 : 2 * channels));
          if (bytes <= room) {
            const int64_t all = p_.batch[0].size * ceil_div(tile_rows(), rows) *
                                (tile_columns() / columns) * ceil_div(channels_, channels);
            // Elements and the start of the instructions, of the core that has most.
            t.cost = static_cast<double>(ceil_div(all, cores)) *
                     (static_cast<double>(w.in_elements() + 2 * w.positions_elements()) +
                      (channels * size_ < 512 && channels < channels_ ? 1.2 : 1.0) * 16384);
            if (!found || t.cost < t_.cost) t_ = t, found = true;
          }
          if (channels <= unit) break;
        }
      }
      if (rows == 1) break;
    }
    if (!found)
      return unsupported(
          fmt::format("not even one tile fits into the vector unit's {} bytes", room));
    return {};
  }

  int64_t parts() const { return ceil_div(channels_, t_.channels); }
  int64_t across() const { return tile_columns() / t_.columns; }
  int64_t down() const { return ceil_div(tile_rows(), t_.rows); }
  int64_t turns_of_all() const { return p_.batch[0].size * down() * across() * parts(); }

  // The tiles and channels at number `index` of all.
  void locate(const Expr& index) {
    const Expr at = index / parts();
    first_channel_ = index % parts() * t_.channels;
    n_channels_ = channels_ % t_.channels == 0 ? Expr(t_.channels)
                                               : min(t_.channels, Expr(channels_) - first_channel_);
    tile_column_ = at % across() * t_.columns;
    tile_row_ = at / across() % down() * t_.rows;
    image_ = at / (across() * down());
    n_rows_ =
        tile_rows() % t_.rows == 0 ? Expr(t_.rows) : min(t_.rows, Expr(tile_rows()) - tile_row_);
  }
  WinogradTiles here() const {
    WinogradTiles t = of(t_);
    t.n_rows = n_rows_, t.count = n_channels_;
    return t;
  }

  int64_t allocate(int64_t elements) { return builder_.allocate(core_.memory, elements * size_); }
  Ring ring(int64_t elements, std::vector<int> queues) {
    return builder_.ring(core_.memory, elements * size_, 2, std::move(queues));
  }
  View local(const Expr& place, std::vector<Axis> axes) const {
    return builder_.local(core_.memory, place, real_, std::move(axes));
  }
  // The positions of the tiles in the global memory and on the core.
  View positions_in(int buffer) const {
    const Expr tile = (image_ * tile_rows() + tile_row_) * tile_columns() + tile_column_;
    return builder_.global(buffer, tile * channels_ + first_channel_,
                           {{positions_, tiles() * channels_},
                            {n_rows_, tile_columns() * channels_},
                            {t_.columns, channels_},
                            {n_channels_, 1}});
  }
  View positions_at(const Expr& place) const {
    const int64_t row = t_.columns * t_.channels;
    return local(
        place,
        {{positions_, t_.rows * row}, {n_rows_, row}, {t_.columns, t_.channels}, {n_channels_, 1}});
  }
  Positions strides_at(const Expr& place) const {
    return {place, t_.rows * t_.columns * t_.channels, 0, t_.channels};
  }
  std::string tiling() const {
    return fmt::format("{}x{} tiles, {} channels at once", t_.rows, t_.columns, t_.channels);
  }

  Lowering& lowering_;
  const Node& node_;
  const Product& p_;
  const Windows& w_;
  int64_t m_, positions_, channels_;
  DType real_;
  int64_t size_;
  VectorCore core_;
  KernelBuilder builder_;
  bool input_;
  VectorTiling t_;
  Expr tile_row_, tile_column_, image_, n_rows_, first_channel_, n_channels_;
};

class InputTransform : WinogradKernel {
 public:
  InputTransform(Lowering& lowering, const Node& node, const Product& p, int64_t m)
      : WinogradKernel(lowering, node, p, m, true) {}

  Status run(int positions) {
    TRY(cut(2, 2));
    const WinogradTiles t = of(t_);
    x_ = builder_.bind("x", isa::Buffer::Role::input, p_.a);
    const int out = builder_.bind("v", isa::Buffer::Role::output, positions);
    in_ = ring(t.in_elements(), {core_.compute, core_.load, core_.compute});
    const Ring to = ring(t.positions_elements(), {core_.compute, core_.store});
    const int64_t work = allocate(t.work_elements(true)), scratch = allocate(scratch_elements(t));
    builder_.set_blocks(std::min(lowering_.architecture().vector_cores, turns_of_all()));
    builder_.loop(turns(builder_, turns_of_all()), [&](const Expr& turn) {
      locate(builder_.block() + turn * builder_.blocks());
      load(turn);
      to.enter(0, turn);
      emit_input_transform(builder_, here(), {in_.place(turn), work, scratch},
                           strides_at(to.place(turn)));
      to.leave(0, turn);
      in_.leave(2, turn);
      to.enter(1, turn);
      builder_.emit(Opcode::copy, {positions_in(out), positions_at(to.place(turn))});
      to.leave(1, turn);
    });
    return lowering_.add(node_, builder_, tiling());
  }

 private:
  void load(const Expr& turn) {
    const WinogradTiles t = here();
    const int64_t width = t.in_width() * t_.channels;
    in_.enter(0, turn);
    builder_.emit(Opcode::fill, {local(in_.place(turn), {{t.in_elements(), 1}})});
    in_.leave(0, turn);
    in_.enter(1, turn);
    const Expr top = tile_row_ * m_ - w_.pad[1], left = tile_column_ * m_ - w_.pad[2];
    const Expr from_row = max(top, 0), from_column = max(left, 0);
    const Expr rows = max(min(top + (n_rows_ * m_ + 2), w_.height) - from_row, 0);
    const Expr columns = max(min(left + t.in_width(), w_.width) - from_column, 0);
    const Expr skipped = (from_row - top) * width + (from_column - left) * t_.channels;
    const Expr from = batch_offset(p_, image_, &BatchDim::a) +
                      (from_row * w_.row_pixels() + from_column) * p_.a_row + first_channel_;
    builder_.emit(
        Opcode::copy,
        {local(in_.place(turn) + skipped * size_,
               {{rows, width}, {columns, t_.channels}, {n_channels_, 1}}),
         builder_.global(
             x_, from,
             {{rows, w_.row_pixels() * p_.a_row}, {columns, p_.a_row}, {n_channels_, 1}})});
    in_.leave(1, turn);
    in_.enter(2, turn);
  }

  int x_ = -1;
  Ring in_;
};

class OutputTransform : WinogradKernel {
 public:
  OutputTransform(Lowering& lowering, const Node& node, const Product& p, int64_t m)
      : WinogradKernel(lowering, node, p, m, false) {}

  Status run(int sums) {
    const int64_t temporaries =
        measure_finish(lowering_, core_.memory, real_, real_, p_).temporaries;
    TRY(cut(2 + temporaries + (p_.residual >= 0 ? 2 : 0), 2));
    using Role = isa::Buffer::Role;
    const WinogradTiles t = of(t_);
    const int in = builder_.bind("sums", Role::input, sums);
    if (p_.bias >= 0) bias_ = builder_.bind("bias", Role::constant, p_.bias);
    if (p_.residual >= 0) residual_ = builder_.bind("residual", Role::input, p_.residual);
    y_ = builder_.bind("y", Role::output, p_.y);
    const Ring from = ring(t.positions_elements(), {core_.load, core_.compute});
    out_ = ring(t.out_elements(), {core_.compute, core_.store});
    if (bias_ >= 0) bias_ring_ = ring(t_.channels, {core_.load, core_.compute});
    if (residual_ >= 0) residual_ring_ = ring(t.out_elements(), {core_.load, core_.compute});
    work_ = allocate(t.work_elements(false)), scratch_ = allocate(scratch_elements(t));
    VectorCode code(builder_, core_.memory, t.out_elements() * size_, real_);
    builder_.set_blocks(std::min(lowering_.architecture().vector_cores, turns_of_all()));
    builder_.loop(turns(builder_, turns_of_all()), [&](const Expr& turn) {
      locate(builder_.block() + turn * builder_.blocks());
      load(from, positions_at(from.place(turn)), positions_in(in), turn);
      finish(code, from, turn);
    });
    return lowering_.add(node_, builder_, tiling());
  }

 private:
  void load(const Ring& r, const View& to, const View& from, const Expr& turn) {
    r.enter(0, turn);
    builder_.emit(Opcode::copy, {to, from});
    r.leave(0, turn);
    r.enter(1, turn);
  }

  void finish(VectorCode& code, const Ring& sums, const Expr& turn) {
    const int64_t pixels = t_.columns * m_;
    const Expr rows = n_rows_ * m_;
    const std::vector<Axis> axes{
        {rows, pixels * t_.channels}, {pixels, t_.channels}, {n_channels_, 1}};
    const auto global = [&](int buffer, int64_t BatchDim::*batch, int64_t row) {
      const Expr from = batch_offset(p_, image_, batch) +
                        (tile_row_ * w_.out_width + tile_column_) * (m_ * row) + first_channel_;
      return builder_.global(buffer, from,
                             {{rows, w_.out_width * row}, {pixels, row}, {n_channels_, 1}});
    };
    Register bias, residual, y;
    if (bias_ >= 0) {
      load(bias_ring_, local(bias_ring_.place(turn), {{n_channels_, 1}}),
           builder_.global(bias_, first_channel_, {{n_channels_, 1}}), turn);
      bias.view = local(bias_ring_.place(turn), {{rows, 0}, {pixels, 0}, {n_channels_, 1}});
    }
    if (residual_ >= 0) {
      residual.view = local(residual_ring_.place(turn), axes);
      load(residual_ring_, residual.view, global(residual_, &BatchDim::residual, p_.residual_row),
           turn);
    }
    out_.enter(0, turn);
    emit_output_transform(builder_, here(), {out_.place(turn), work_, scratch_},
                          strides_at(sums.place(turn)));
    sums.leave(1, turn);
    y.view = local(out_.place(turn), axes);
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

  int bias_ = -1, residual_ = -1, y_ = -1;
  int64_t work_ = 0, scratch_ = 0;
  Ring out_, bias_ring_, residual_ring_;
};

}  // namespace

Status lower_winograd_ascend(Lowering& lowering, const Node& node, const Product& p, int64_t m) {
  TRY(check_winograd(p, m, lowering.real()));
  const auto& chip = std::get<AscendChip>(lowering.machine().chip);
  if (chip.coupling != VectorCoupling::split) return lower_winograd_cube(lowering, node, p, m);
  const Windows& w = *p.windows;
  const int64_t positions = winograd_reach(m) * winograd_reach(m),
                tiles = p.batch[0].size * (w.out_height / m) * (w.out_width / m);
  const DType real = lowering.real();
  const int transformed =
      lowering.scratch(p.layer + ".tiles", real, positions * tiles * w.channels);
  const int sums = lowering.scratch(p.layer + ".sums", real, positions * tiles * p.columns);
  TRY(InputTransform(lowering, node, p, m).run(transformed));
  // A matrix per position.
  Product q;
  q.layer = p.layer;
  q.algorithm = fmt::format("winograd_f{}", m);
  q.rows = tiles, q.columns = p.columns, q.k = w.channels;
  q.batch.push_back({positions, tiles * w.channels, w.channels * p.columns, tiles * p.columns});
  q.a_row = w.channels, q.b_row = q.y_row = p.columns;
  q.a = transformed, q.y = sums;
  q.b = lowering.constant(fmt::format("{}.winograd{}", p.layer, m), real,
                          positions * w.channels * p.columns,
                          Recipe{.source = *p.b_constant, .winograd = m});
  TRY(lower_product_ascend(lowering, node, q));
  return OutputTransform(lowering, node, p, m).run(sums);
}

}  // namespace tenon::lower
