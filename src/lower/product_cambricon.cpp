// Products on Cambricon cores: inputs in NRAM, filters in WRAM, a convolution instruction over
// both, and the vector unit on the result where it lies.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/numbers.h"
#include "lower/pack.h"
#include "lower/product.h"
#include "lower/vector_code.h"
#include "lower/vector_core.h"
#include "simulate/cost.h"

namespace tenon::lower {
namespace {

// How the result is cut: output rows (or rows of a matrix) by columns, and k in chunks of channels.
struct CambriconTiling {
  int64_t rows = 1, columns = 64, channels = 64;
  int64_t grid_m = 1, grid_n = 1;
  double seconds = 0;
};

class CambriconProduct {
 public:
  CambriconProduct(Lowering& lowering, const Node& node, const Product& p)
      : lowering_(lowering),
        node_(node),
        p_(p),
        chip_(std::get<CambriconChip>(lowering.machine().chip)),
        real_(p.operand_dtype(lowering.real())),
        work_(p.work_dtype(lowering.real())),
        added_(p.added_dtype(lowering.real())),
        out_dtype_(lowering.tensor(p.y).dtype),
        size_(bytes_of(real_)),
        work_size_(bytes_of(work_)),
        core_(lowering.architecture()),
        builder_(lowering, p.layer, p.windows ? "conv" : "matmul") {
    if (p.windows) {
      w_ = *p.windows;
    } else {
      // A matrix is an image of one row.
      w_.width = w_.out_width = p.rows;
      w_.channels = p.k;
    }
  }

  Status run() {
    if (p_.b_constant == nullptr && p_.b_transposed == false && p_.b_row == 0)
      return unsupported("its right operand");
    measure();
    TRY(tile());
    set_buffers();
    build();
    return lowering_.add(
        node_, builder_,
        fmt::format("{} rows, {} columns, {} channels at once, cores {}x{}{}", t_.rows, t_.columns,
                    t_.channels, t_.grid_m, t_.grid_n, kept_ ? ", weights stay in WRAM" : ""));
  }

 private:
  // Rows of the result are output rows of an image, or rows of the matrix.
  int64_t all_rows() const { return p_.windows ? w_.out_height : p_.rows; }
  int64_t row_pixels() const { return p_.windows ? w_.out_width : 1; }
  int64_t in_rows(int64_t rows) const {
    if (!p_.windows) return rows;
    return std::min(w_.height, (rows - 1) * w_.stride[1] + (w_.kernel[1] - 1) * w_.dilation[1] + 1);
  }
  int64_t in_elements(int64_t rows, int64_t channels) const {
    return in_rows(rows) * (p_.windows ? w_.width : 1) * channels;
  }
  int64_t taps() const { return w_.kernel[1] * w_.kernel[2]; }

  void measure() {
    const FinishCost finish = measure_finish(lowering_, core_.memory, work_, added_, p_);
    temporaries_ = finish.temporaries, passes_ = 1 + finish.instructions;
  }

  double seconds(const CambriconTiling& t) const {
    const int64_t planes = w_.kernel[0];
    const int64_t tm = ceil_div(all_rows(), t.rows) * p_.problems(),
                  tn = ceil_div(p_.columns, t.columns);
    const auto tiles = static_cast<double>(ceil_div(tm, t.grid_m) * ceil_div(tn, t.grid_n));
    const double macs = simulate::product_macs(chip_, size_ == 1 ? DType::i8 : real_);
    const auto pixels = static_cast<double>(t.rows * row_pixels());
    const double compute = pixels *
                           static_cast<double>(ceil_div(std::min(t.columns, p_.columns), 64) * 64 *
                                               taps() * ceil_div(w_.channels, 32) * 32 * planes) /
                           macs / chip_.clock;
    // Rows of columns in whole words of the vector unit.
    const double words =
        pixels * static_cast<double>(ceil_div(std::min(t.columns, p_.columns) * size_,
                                              static_cast<int64_t>(chip_.vector_bytes)));
    const double vector =
        static_cast<double>(passes_) * (words + chip_.compute_start) / chip_.clock;
    const auto x = static_cast<double>(in_elements(t.rows, w_.channels) * planes * size_);
    const auto w = static_cast<double>(t.columns * taps() * w_.channels * planes * size_);
    const double chunks = static_cast<double>(ceil_div(w_.channels, t.channels) * planes);
    const double w_share = keeps(t) ? 1 / static_cast<double>(ceil_div(tm, t.grid_m)) : 1;
    const double out = pixels * static_cast<double>(t.columns * size_) * (p_.residual >= 0 ? 2 : 1);
    const double bytes = x + w * w_share + out;
    const auto cores = static_cast<double>(t.grid_m * t.grid_n);
    const double rate = std::min(chip_.io_bytes * chip_.clock, chip_.memory_bandwidth / cores);
    const double io = bytes / rate + (chunks * (1 + w_share) + 3) * chip_.copy_start / chip_.clock;
    const double work = compute + vector;
    // Latency shows where a tile's copies are short.
    const double latency = 2 * chip_.memory_latency / chip_.clock;
    const double tile = std::max({work, io, latency}) + 0.15 * std::min(work, io);
    return tiles * tile + bytes / rate + latency;
  }

  // Whether the filter of a tile's columns stays in WRAM.
  bool keeps(const CambriconTiling& t) const {
    return t.channels >= w_.channels && w_.kernel[0] == 1;
  }

  Status tile() {
    const isa::Architecture& a = lowering_.architecture();
    const int64_t nram = builder_.free_bytes(core_.memory) - 8192,
                  wram = a.memories[static_cast<size_t>(*a.memory("wram"))].bytes;
    bool found = false;
    const auto consider = [&](CambriconTiling t) {
      const int64_t out = t.rows * row_pixels() * t.columns;
      const int64_t bytes = 2 * in_elements(t.rows, t.channels) * size_ + out * 4 +
                            out * work_size_ * (2 + temporaries_ + (p_.residual >= 0 ? 2 : 0)) +
                            4 * t.columns * work_size_;
      if (bytes > nram || 2 * t.columns * taps() * t.channels * size_ > wram) return;
      const int64_t tn = ceil_div(p_.columns, t.columns),
                    tm = ceil_div(all_rows(), t.rows) * p_.problems();
      for (int64_t gn = 1; gn <= std::min(a.cores, tn); ++gn) {
        t.grid_n = gn, t.grid_m = std::min(a.cores / gn, tm);
        t.seconds = seconds(t);
        if (!found || t.seconds < t_.seconds) t_ = t, found = true;
      }
    };
    for (int64_t rows = all_rows();; rows = ceil_div(rows, 2)) {
      for (const int64_t columns : {16, 32, 64, 128, 192, 256, 512, 1024}) {
        if (columns >= 2 * p_.columns && columns > 16) break;
        for (int64_t channels = w_.channels;;
             channels = channels > 64 ? ceil_div(ceil_div(channels, 2), 64) * 64
                                      : ceil_div(ceil_div(channels, 2), 16) * 16) {
          consider({rows, columns, channels, 1, 1, 0});
          if (channels <= 16) break;
        }
      }
      if (rows == 1) break;
    }
    if (!found)
      return unsupported(fmt::format("no tile of it fits into NRAM ({} bytes) and WRAM", nram));
    return {};
  }

  void set_buffers() {
    using Role = isa::Buffer::Role;
    x_ = builder_.bind("x", Role::input, p_.a);
    if (p_.b_constant != nullptr) {
      FractalShape f;
      f.kernel_h = w_.kernel[1], f.kernel_w = w_.kernel[2];
      f.channels = w_.channels, f.columns = p_.columns, f.transposed = p_.b_transposed;
      part_ = p_.columns * taps() * w_.channels;
      const int tensor = lowering_.constant(
          p_.layer + ".weights", real_, part_ * p_.groups * w_.kernel[0],
          Recipe{Recipe::Kind::rows, *p_.b_constant, f, p_.groups, w_.kernel[0]});
      filter_ = builder_.bind("w", Role::constant, tensor);
    } else {
      filter_ = builder_.bind("w", Role::input, p_.b);
    }
    if (p_.bias >= 0) bias_ = builder_.bind("bias", Role::constant, p_.bias);
    if (p_.column_scale >= 0) scale_ = builder_.bind("scale", Role::constant, p_.column_scale);
    if (p_.residual >= 0) residual_ = builder_.bind("residual", Role::input, p_.residual);
    y_ = builder_.bind("y", Role::output, p_.y);
    const int wram = builder_.memory("wram");
    in_ = builder_.ring(core_.memory, in_elements(t_.rows, t_.channels) * size_, 2,
                        {core_.load, core_.compute});
    weights_ = builder_.ring(wram, t_.columns * taps() * t_.channels * size_, 2,
                             {core_.load, core_.compute});
    const int64_t out = t_.rows * row_pixels() * t_.columns;
    sum_ = builder_.allocate(core_.memory, out * 4);
    out_ = builder_.ring(core_.memory, out * bytes_of(out_dtype_), 2, {core_.compute, core_.store});
    scale_at_ = (t_.columns * work_size_ + 127) / 128 * 128;
    if (bias_ >= 0 || scale_ >= 0)
      bias_ring_ = builder_.ring(core_.memory, 2 * scale_at_, 2, {core_.load, core_.compute});
    if (residual_ >= 0)
      residual_ring_ =
          builder_.ring(core_.memory, out * work_size_, 2, {core_.load, core_.compute});
  }

  void build() {
    builder_.set_blocks(t_.grid_m * t_.grid_n);
    tiles_m_ = ceil_div(all_rows(), t_.rows);
    chunks_ = ceil_div(w_.channels, t_.channels);
    const int64_t all = tiles_m_ * p_.problems(), tiles_n = ceil_div(p_.columns, t_.columns);
    const Expr row = builder_.block() / t_.grid_n, column = builder_.block() % t_.grid_n;
    const Expr own_m = (Expr(all + t_.grid_m - 1) - row) / t_.grid_m;
    const Expr own_n = (Expr(tiles_n + t_.grid_n - 1) - column) / t_.grid_n;
    VectorCode code(builder_, core_.memory, t_.rows * row_pixels() * t_.columns * work_size_,
                    work_);
    // Groups and batches of matrices have filters of their own.
    const bool shared = std::ranges::all_of(p_.batch, [](const BatchDim& d) { return d.b == 0; });
    kept_ = keeps(t_) && shared;
    builder_.loop(own_n, [&](const Expr& l) {
      n_index_ = column + l * t_.grid_n;
      n_ = p_.columns % t_.columns == 0 ? Expr(t_.columns)
                                        : min(t_.columns, Expr(p_.columns) - n_index_ * t_.columns);
      if (kept_) load_weights(0, 0, 0, l);
      builder_.loop(own_m, [&](const Expr& j) {
        m_index_ = row + j * t_.grid_m;
        first_ = m_index_ % tiles_m_ * t_.rows;
        rows_ = all_rows() % t_.rows == 0 ? Expr(t_.rows) : min(t_.rows, Expr(all_rows()) - first_);
        compute(code, l * own_m + j, l);
      });
      if (kept_) weights_.leave(1, l);
    });
  }

  void load_weights(const Expr& problem, const Expr& kd, const Expr& c, const Expr& turn) {
    const Expr base = batch_offset(p_, problem, &BatchDim::b);
    const Expr channels = chunk(c);
    weights_.enter(0, turn);
    const auto local = [&](std::vector<Axis> axes) {
      return builder_.local(weights_.memory(), weights_.place(turn), real_, std::move(axes));
    };
    if (p_.b_constant != nullptr) {
      const Expr from = (base * w_.kernel[0] + kd) * part_ +
                        n_index_ * (t_.columns * taps() * w_.channels) + c * t_.channels;
      builder_.emit(
          Opcode::copy,
          {local({{n_, taps() * t_.channels}, {taps(), t_.channels}, {channels, 1}}),
           builder_.global(filter_, from,
                           {{n_, taps() * w_.channels}, {taps(), w_.channels}, {channels, 1}})});
    } else {
      // Columns of a matrix in memory; of a transposed one its rows.
      const int64_t column = p_.b_transposed ? p_.b_row : 1, k = p_.b_transposed ? 1 : p_.b_row;
      const Expr from = base + n_index_ * (t_.columns * column) + c * (t_.channels * k);
      builder_.emit(Opcode::copy, {local({{n_, t_.channels}, {channels, 1}}),
                                   builder_.global(filter_, from, {{n_, column}, {channels, k}})});
    }
    weights_.leave(0, turn);
    weights_.enter(1, turn);
  }

  Expr chunk(const Expr& c) const {
    return w_.channels % t_.channels == 0 ? Expr(t_.channels)
                                          : min(t_.channels, Expr(w_.channels) - c * t_.channels);
  }
  Expr problem() const { return m_index_ / tiles_m_; }
  Expr plane() const {
    if (w_.out_depth == 1) return 0;
    Expr rest = problem();
    if (p_.groups > 1) rest = rest / p_.groups;
    return rest % w_.out_depth * w_.stride[0];
  }

  // The rows of x that the tile reads: the first, and how many.
  Expr in_first() const {
    return p_.windows ? min(max(first_ * w_.stride[1] - w_.pad[1], 0), w_.height) : first_;
  }
  Expr in_count() const {
    if (!p_.windows) return rows_;
    const Expr end =
        (first_ + rows_ - 1) * w_.stride[1] - w_.pad[1] + ((w_.kernel[1] - 1) * w_.dilation[1] + 1);
    return max(min(end, w_.height) - in_first(), 0);
  }

  void load_input(const Expr& kd, const Expr& c, const Expr& turn) {
    const Expr base = batch_offset(p_, problem(), &BatchDim::a), channels = chunk(c);
    const int64_t width = p_.windows ? w_.width : 1;
    const Expr depth = p_.windows ? plane() + kd * w_.dilation[0] - w_.pad[0] : Expr(0);
    const int64_t row = (p_.windows ? w_.row_pixels() : 1) * p_.a_row;
    const Expr from = base + (depth * w_.height + in_first()) * row + c * t_.channels;
    in_.enter(0, turn);
    builder_.emit(
        Opcode::copy,
        {builder_.local(core_.memory, in_.place(turn), real_,
                        {{in_count(), width * t_.channels}, {width, t_.channels}, {channels, 1}}),
         builder_.global(x_, from, {{in_count(), row}, {width, p_.a_row}, {channels, 1}})});
    in_.leave(0, turn);
    in_.enter(1, turn);
  }

  void convolve(const Expr& c, const Expr& in_turn, const Expr& w_turn, const Expr& accumulate) {
    const Expr channels = chunk(c);
    const View sum = builder_.local(core_.memory, sum_, p_.sum_dtype(), sum_axes());
    const int64_t width = p_.windows ? w_.width : 1;
    const View filter = builder_.local(weights_.memory(), weights_.place(w_turn), real_,
                                       {{n_, taps() * t_.channels},
                                        {w_.kernel[1], w_.kernel[2] * t_.channels},
                                        {w_.kernel[2], t_.channels},
                                        {channels, 1}});
    const View x =
        builder_.local(core_.memory, in_.place(in_turn), real_,
                       {{in_count(), width * t_.channels}, {width, t_.channels}, {channels, 1}});
    builder_.emit(
        Opcode::conv, {sum, x, filter},
        {w_.kernel[1], w_.kernel[2], w_.stride[1], w_.stride[2], w_.dilation[1], w_.dilation[2],
         p_.windows ? in_first() - (first_ * w_.stride[1] - w_.pad[1]) : Expr(0), w_.pad[2],
         accumulate});
  }

  std::vector<Axis> sum_axes() const {
    return {{rows_, row_pixels() * t_.columns}, {row_pixels(), t_.columns}, {n_, 1}};
  }

  void compute(VectorCode& code, const Expr& turn, const Expr& outer) {
    Expr first = 0, planes = 1;
    if (w_.kernel[0] > 1) {
      first = max(ceil_div(Expr(w_.pad[0]) - plane(), w_.dilation[0]), 0);
      planes =
          min(ceil_div(Expr(w_.depth + w_.pad[0]) - plane(), w_.dilation[0]), w_.kernel[0]) - first;
    }
    const auto step = [&](const Expr& d, const Expr& c) {
      const Expr in_turn = (turn * w_.kernel[0] + d) * chunks_ + c;
      load_input(first + d, c, in_turn);
      const Expr w_turn = kept_ ? outer : in_turn;
      if (!kept_) load_weights(problem(), first + d, c, w_turn);
      convolve(c, in_turn, w_turn, min(d * chunks_ + c, 1));
      in_.leave(1, in_turn);
      if (!kept_) weights_.leave(1, w_turn);
    };
    const auto over_chunks = [&](const Expr& d) {
      if (chunks_ == 1)
        step(d, 0);
      else
        builder_.loop(chunks_, [&](const Expr& c) { step(d, c); });
    };
    if (w_.kernel[0] == 1)
      over_chunks(0);
    else
      builder_.loop(planes, over_chunks);
    finish(code, turn);
  }

  void finish(VectorCode& code, const Expr& turn) {
    const auto axes = sum_axes();
    const auto global = [&](int buffer, const Expr& base, int64_t row) {
      const Expr from = base + first_ * (row_pixels() * row) + n_index_ * t_.columns;
      return builder_.global(buffer, from,
                             {{rows_, row_pixels() * row}, {row_pixels(), row}, {n_, 1}});
    };
    Register bias, scale, residual;
    const bool by_column = bias_ >= 0 || scale_ >= 0;
    if (by_column) {
      bias_ring_.enter(0, turn);
      const Expr from = batch_offset(p_, problem(), &BatchDim::bias) + n_index_ * t_.columns;
      const auto load = [&](int buffer, int64_t at, Register& r) {
        if (buffer < 0) return;
        const auto place = [&](std::vector<Axis> columns) {
          return builder_.local(core_.memory, bias_ring_.place(turn) + at, added_,
                                std::move(columns));
        };
        builder_.emit(Opcode::copy, {place({{n_, 1}}), builder_.global(buffer, from, {{n_, 1}})});
        r.view = place({{rows_, 0}, {row_pixels(), 0}, {n_, 1}});
      };
      load(bias_, 0, bias);
      load(scale_, scale_at_, scale);
      bias_ring_.leave(0, turn);
      bias_ring_.enter(1, turn);
    }
    if (residual_ >= 0) {
      residual_ring_.enter(0, turn);
      residual.view = builder_.local(core_.memory, residual_ring_.place(turn), added_, axes);
      builder_.emit(
          Opcode::copy,
          {residual.view,
           global(residual_, batch_offset(p_, problem(), &BatchDim::residual), p_.residual_row)});
      residual_ring_.leave(0, turn);
      residual_ring_.enter(1, turn);
    }
    code.set_tile(axes);
    Register sum;
    sum.view = builder_.local(core_.memory, sum_, p_.sum_dtype(), axes);
    sum = code.tile(sum, work_);
    const auto y =
        finish_product(code, p_, sum, bias_ >= 0 ? &bias : nullptr,
                       residual_ >= 0 ? &residual : nullptr, scale_ >= 0 ? &scale : nullptr);
    sum.place.reset();
    out_.enter(0, turn);
    const View out = builder_.local(core_.memory, out_.place(turn), out_dtype_, axes);
    if (y.ok()) code.store(*y, out);
    out_.leave(0, turn);
    if (by_column) bias_ring_.leave(1, turn);
    if (residual_ >= 0) residual_ring_.leave(1, turn);
    out_.enter(1, turn);
    builder_.emit(Opcode::copy,
                  {global(y_, batch_offset(p_, problem(), &BatchDim::y), p_.y_row), out});
    out_.leave(1, turn);
  }

  Lowering& lowering_;
  const Node& node_;
  const Product& p_;
  const CambriconChip& chip_;
  // Of operands, on the vector unit, of what is added there, of the result.
  DType real_, work_, added_, out_dtype_;
  int64_t size_, work_size_;
  VectorCore core_;
  KernelBuilder builder_;
  Windows w_;
  CambriconTiling t_;
  int64_t temporaries_ = 0, passes_ = 1, part_ = 0, sum_ = 0, scale_at_ = 0, tiles_m_ = 1,
          chunks_ = 1;
  bool kept_ = false;
  int x_ = -1, filter_ = -1, bias_ = -1, scale_ = -1, residual_ = -1, y_ = -1;
  Ring in_, weights_, out_, bias_ring_, residual_ring_;
  Expr n_index_, n_, m_index_, first_, rows_;
};

}  // namespace

Status lower_product_cambricon(Lowering& lowering, const Node& node, const Product& p) {
  return CambriconProduct(lowering, node, p).run();
}

}  // namespace tenon::lower
