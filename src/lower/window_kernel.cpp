// Windows on the vector unit: an input tile with its border is in the unit's memory, and every
// position of the window is one instruction over strided views of it.
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "lower/pack.h"
#include "lower/product.h"
#include "lower/vector_code.h"
#include "lower/vector_core.h"
#include "lower/window.h"

namespace tenon::lower {
namespace {

// Of no window the maximum.
constexpr double kLeast = -std::numeric_limits<double>::infinity();

// A tile: output rows of one plane, some channels.
struct WindowTile {
  int64_t rows = 1, channels = 16;
  int64_t in_rows = 1, in_width = 1;
  int64_t in_elements() const { return in_rows * in_width * channels; }
};

class WindowKernel {
 public:
  WindowKernel(Lowering& lowering, const Node& node, const Window& window)
      : lowering_(lowering),
        node_(node),
        p_(window),
        w_(window.w),
        core_(lowering.architecture()),
        real_(lowering.device_dtype(node.output()->dtype())),
        work_(computed_dtype(real_)),
        builder_(lowering, layer_of(node),
                 window.kind == WindowKind::depthwise ? "depthwise" : "window") {}

  Status run() {
    const isa::Architecture& a = lowering_.architecture();
    TRY(choose_tile(a));
    const int64_t row_tiles = (w_.out_height + t_.rows - 1) / t_.rows,
                  parts = (w_.channels + t_.channels - 1) / t_.channels;
    const int64_t tiles = parts * p_.images * w_.out_depth * row_tiles;
    builder_.set_blocks(std::min(a.vector_cores, tiles));
    set_buffers();
    VectorCode code(builder_, core_.memory, t_.rows * w_.out_width * t_.channels * bytes_of(work_),
                    work_);
    Status status;
    builder_.loop(turns(builder_, tiles), [&](const Expr& turn) {
      const Expr tile = builder_.block() + turn * builder_.blocks();
      row_ = tile % row_tiles * t_.rows;
      const Expr rest = tile / row_tiles;
      plane_ = rest % w_.out_depth;
      image_ = rest / w_.out_depth % p_.images;
      channel_ = rest / (w_.out_depth * p_.images) * t_.channels;
      n_rows_ =
          w_.out_height % t_.rows == 0 ? Expr(t_.rows) : min(t_.rows, Expr(w_.out_height) - row_);
      n_channels_ = w_.channels % t_.channels == 0 ? Expr(t_.channels)
                                                   : min(t_.channels, Expr(w_.channels) - channel_);
      Status s = compute(code, turn);
      if (status.ok()) status = std::move(s);
    });
    TRY(std::move(status));
    return lowering_.add(node_, builder_);
  }

 private:
  Status choose_tile(const isa::Architecture& a) {
    const int64_t room = a.memories[static_cast<size_t>(core_.memory)].bytes - 16384;
    const int64_t taps = w_.kernel[0] * w_.kernel[1] * w_.kernel[2];
    t_.in_width = (w_.out_width - 1) * w_.stride[2] + (w_.kernel[2] - 1) * w_.dilation[2] + 1;
    const int64_t outputs = 2 + (p_.finish.residual >= 0 ? 2 : 0), computed = temporaries();
    // Pixels begin where the memory lets views begin.
    const int64_t align = a.memories[static_cast<size_t>(core_.memory)].align;
    const int64_t unit = std::max<int64_t>(16, align / bytes_of(real_));
    const auto whole = [unit](int64_t n) { return (n + unit - 1) / unit * unit; };
    bool found = false;
    double best = 0;
    for (int64_t channels = whole(w_.channels);; channels = whole(channels / 2)) {
      for (int64_t rows = w_.out_height; rows >= 1; rows = rows == 1 ? 0 : (rows + 1) / 2) {
        WindowTile t = t_;
        t.rows = rows, t.channels = channels;
        t.in_rows = (rows - 1) * w_.stride[1] + (w_.kernel[1] - 1) * w_.dilation[1] + 1;
        const int64_t out = rows * w_.out_width * channels;
        const int64_t bytes = (2 * t.in_elements() + out * outputs +
                               (p_.filter != nullptr ? 2 * taps * channels : 0)) *
                                  bytes_of(real_) +
                              out * computed * bytes_of(work_);
        if (bytes > room) continue;
        // Tiles per core, each with what its border reads again and the start of its instructions.
        const int64_t tiles = ((w_.out_height + rows - 1) / rows) *
                              ((w_.channels + channels - 1) / channels) * p_.images * w_.out_depth;
        const int64_t turns = (tiles + a.vector_cores - 1) / a.vector_cores;
        const auto per_core = static_cast<double>(turns);
        const double cost = per_core * (static_cast<double>(t.in_elements()) * 2 +
                                        static_cast<double>(rows * w_.out_width * channels * taps) +
                                        static_cast<double>(taps) * 2048 + 8192);
        if (!found || cost < best) t_ = t, best = cost, found = true;
      }
      if (channels <= unit) break;
    }
    if (!found)
      return unsupported(fmt::format("one row of {} pixels does not fit on a core", t_.in_width));
    return {};
  }

  // Temporary tiles of the accumulation and the activation.
  int64_t temporaries() const {
    ProgramBuilder scratch(lowering_.architecture(), "", "");
    VectorCode code(scratch, core_.memory, 32, work_);
    Register sum = code.temporary(work_);
    Register other = code.temporary(work_);
    other.view.dtype = real_;
    (void)finish_product(code, p_.finish, sum, p_.finish.bias >= 0 ? &other : nullptr,
                         p_.finish.residual >= 0 ? &other : nullptr);
    return code.slots() + 1;
  }

  Ring ring(int64_t elements, std::vector<int> queues) {
    return builder_.ring(core_.memory, elements * bytes_of(real_), 2, std::move(queues));
  }

  void set_buffers() {
    using Role = isa::Buffer::Role;
    const int64_t out = t_.rows * w_.out_width * t_.channels;
    x_ = builder_.bind("x", Role::input, lowering_.tensor_of(node_.input(0)));
    padded_ = w_.pad[1] > 0 || w_.pad[2] > 0 || hangs_over();
    in_ = padded_ ? ring(t_.in_elements(), {core_.compute, core_.load, core_.compute})
                  : ring(t_.in_elements(), {core_.load, core_.compute});
    if (p_.filter != nullptr) {
      const int64_t taps = w_.kernel[0] * w_.kernel[1] * w_.kernel[2];
      const int tensor = lowering_.constant(layer_of(node_) + ".weights", real_, taps * w_.channels,
                                            Recipe{.source = *p_.filter});
      filter_ = builder_.bind("w", Role::constant, tensor);
      filter_ring_ = ring(taps * t_.channels, {core_.load, core_.compute});
    }
    if (p_.kind == WindowKind::average && !p_.count_pads && padded_) set_counts();
    if (p_.finish.bias >= 0) {
      bias_ = builder_.bind("bias", Role::constant, p_.finish.bias);
      bias_ring_ = ring(t_.channels, {core_.load, core_.compute});
    }
    if (p_.finish.residual >= 0) {
      residual_ = builder_.bind("residual", Role::input, p_.finish.residual);
      residual_ring_ = ring(out, {core_.load, core_.compute});
    }
    y_ = builder_.bind("y", Role::output, lowering_.tensor_of(node_.output()));
    out_ = ring(out, {core_.compute, core_.store});
  }

  // Whether windows meet several planes, or planes that are pads alone.
  bool deep() const {
    return w_.kernel[0] > 1 || w_.pad[0] > 0 ||
           (w_.out_depth - 1) * w_.stride[0] - w_.pad[0] >= w_.depth;
  }
  // Whether the last windows reach beyond the input.
  bool hangs_over() const {
    const auto over = [&](size_t i, int64_t in, int64_t out) {
      return (out - 1) * w_.stride[i] + (w_.kernel[i] - 1) * w_.dilation[i] + 1 - w_.pad[i] > in;
    };
    return over(0, w_.depth, w_.out_depth) || over(1, w_.height, w_.out_height) ||
           over(2, w_.width, w_.out_width);
  }

  // 1 / how many elements each window covers, where that differs.
  void set_counts() {
    const auto inside = [](int64_t at, int64_t in, int64_t kernel, int64_t dilation) {
      int64_t n = 0;
      for (int64_t k = 0; k < kernel; ++k) n += at + k * dilation >= 0 && at + k * dilation < in;
      return n;
    };
    std::vector<float> shares;
    for (int64_t d = 0; d < w_.out_depth; ++d)
      for (int64_t h = 0; h < w_.out_height; ++h)
        for (int64_t x = 0; x < w_.out_width; ++x) {
          const int64_t n =
              inside(d * w_.stride[0] - w_.pad[0], w_.depth, w_.kernel[0], w_.dilation[0]) *
              inside(h * w_.stride[1] - w_.pad[1], w_.height, w_.kernel[1], w_.dilation[1]) *
              inside(x * w_.stride[2] - w_.pad[2], w_.width, w_.kernel[2], w_.dilation[2]);
          shares.push_back(1 / static_cast<float>(std::max<int64_t>(n, 1)));
        }
    const auto n = static_cast<int64_t>(shares.size());
    const int tensor = lowering_.constant(
        layer_of(node_) + ".counts", real_, n,
        [t = Tensor::vector(shares), real = real_] { return converted(t, real); });
    counts_ = builder_.bind("counts", isa::Buffer::Role::constant, tensor);
    counts_ring_ = ring(t_.rows * w_.out_width, {core_.load, core_.compute});
  }

  View local(const Ring& r, const Expr& turn, std::vector<Axis> axes, const Expr& first = 0) const {
    return builder_.local(r.memory(), r.place(turn) + first * bytes_of(real_), real_,
                          std::move(axes));
  }
  std::vector<Axis> tile() const {
    return {{n_rows_, w_.out_width * t_.channels}, {w_.out_width, t_.channels}, {n_channels_, 1}};
  }
  // Where the tile is in a tensor like the result.
  std::vector<Axis> result_axes() const {
    return {{n_rows_, out_row()}, {w_.out_width, w_.channels}, {n_channels_, 1}};
  }
  Expr result_offset() const {
    const Expr plane = image_ * w_.out_depth + plane_;
    return (plane * w_.out_height + row_) * out_row() + p_.first_out * w_.channels + channel_;
  }
  // Elements of a row of the result.
  int64_t out_row() const {
    return (p_.out_pitch != 0 ? p_.out_pitch : w_.out_width) * w_.channels;
  }

  void load_input(const Expr& depth, const Expr& turn) {
    const size_t load = padded_ ? 1 : 0;
    const double outside = p_.kind == WindowKind::max ? kLeast : 0;
    if (padded_) {
      in_.enter(0, turn);
      builder_.emit(Opcode::fill, {local(in_, turn, {{t_.in_elements(), 1}})}, {}, outside);
      in_.leave(0, turn);
    }
    in_.enter(load, turn);
    const Expr first = row_ * w_.stride[1] - w_.pad[1];
    const Expr from = max(first, 0), skipped = from - first;
    const Expr needed = (n_rows_ - 1) * w_.stride[1] + ((w_.kernel[1] - 1) * w_.dilation[1] + 1);
    const Expr rows = max(min(first + needed, w_.height) - from, 0);
    const int64_t columns = std::min(w_.width, t_.in_width - w_.pad[2]);
    const int64_t row = w_.row_pixels() * w_.channels;
    const Expr at =
        ((image_ * w_.depth + depth) * w_.height + from) * row + p_.first_in * w_.channels;
    builder_.emit(
        Opcode::copy,
        {local(in_, turn,
               {{rows, t_.in_width * t_.channels}, {columns, t_.channels}, {n_channels_, 1}},
               skipped * (t_.in_width * t_.channels) + w_.pad[2] * t_.channels),
         builder_.global(x_, at + channel_,
                         {{rows, row}, {columns, w_.channels}, {n_channels_, 1}})});
    in_.leave(load, turn);
    in_.enter(load + 1, turn);
  }

  template <typename Load>
  void through(const Ring& r, const Expr& turn, const Load& load) {
    r.enter(0, turn);
    load();
    r.leave(0, turn);
    r.enter(1, turn);
  }

  // The positions of the window in one plane, into `sum`.
  void accumulate(VectorCode& code, const Register& sum, const Expr& depth_tap, const Expr& turn,
                  const Expr& outer) {
    for (int64_t kh = 0; kh < w_.kernel[1]; ++kh)
      for (int64_t kw = 0; kw < w_.kernel[2]; ++kw) {
        const int64_t first =
            (kh * w_.dilation[1] * t_.in_width + kw * w_.dilation[2]) * t_.channels;
        Register x;
        x.view = local(in_, turn,
                       {{n_rows_, w_.stride[1] * t_.in_width * t_.channels},
                        {w_.out_width, w_.stride[2] * t_.channels},
                        {n_channels_, 1}},
                       first);
        if (p_.filter != nullptr) {
          Register f;
          f.view = local(
              filter_ring_, outer, {{n_rows_, 0}, {w_.out_width, 0}, {n_channels_, 1}},
              (depth_tap * w_.kernel[1] + kh) * (w_.kernel[2] * t_.channels) + kw * t_.channels);
          x = code.binary(Opcode::mul, x, f);
        }
        builder_.emit(p_.kind == WindowKind::max ? Opcode::max : Opcode::add,
                      {sum.view, sum.view, code.computed(x).view});
      }
  }

  Status compute(VectorCode& code, const Expr& turn) {
    const int64_t taps = w_.kernel[0] * w_.kernel[1] * w_.kernel[2];
    code.set_tile(tile());
    if (p_.filter != nullptr)
      through(filter_ring_, turn, [&] {
        builder_.emit(
            Opcode::copy,
            {local(filter_ring_, turn, {{taps, t_.channels}, {n_channels_, 1}}),
             builder_.global(filter_, channel_, {{taps, w_.channels}, {n_channels_, 1}})});
      });
    Register sum = code.temporary(work_);
    code.emit_fill(sum, p_.kind == WindowKind::max ? kLeast : 0);
    const Expr at = plane_ * w_.stride[0] - w_.pad[0];
    const Expr first = !deep() ? Expr(0) : max(ceil_div(Expr(0) - at, w_.dilation[0]), 0);
    const Expr count =
        !deep() ? Expr(1)
                : min(ceil_div(Expr(w_.depth) - at, w_.dilation[0]), w_.kernel[0]) - first;
    const auto one = [&](const Expr& d) {
      const Expr in_turn = turn * w_.kernel[0] + d;
      load_input(at + (first + d) * w_.dilation[0], in_turn);
      accumulate(code, sum, first + d, in_turn, turn);
      in_.leave(padded_ ? 2 : 1, in_turn);
    };
    if (!deep())
      one(0);
    else
      builder_.loop(count, one);
    if (p_.filter != nullptr) filter_ring_.leave(1, turn);
    Register y = sum;
    if (counts_ >= 0) {
      through(counts_ring_, turn, [&] {
        const Expr from = (plane_ * w_.out_height + row_) * w_.out_width;
        const std::vector<Axis> axes{{n_rows_ * w_.out_width, 1}};
        builder_.emit(Opcode::copy,
                      {local(counts_ring_, turn, axes), builder_.global(counts_, from, axes)});
      });
      Register share;
      share.view =
          local(counts_ring_, turn, {{n_rows_, w_.out_width}, {w_.out_width, 1}, {n_channels_, 0}});
      y = code.binary(Opcode::mul, y, share);
      counts_ring_.leave(1, turn);
    } else if (p_.kind == WindowKind::average) {
      y = code.binary(Opcode::mul, y, {{}, 1.0 / static_cast<double>(taps), nullptr});
    }
    return store(code, std::move(y), std::move(sum), turn);
  }

  Status store(VectorCode& code, Register y, Register sum, const Expr& turn) {
    Register bias, residual;
    if (bias_ >= 0) {
      through(bias_ring_, turn, [&] {
        builder_.emit(Opcode::copy, {local(bias_ring_, turn, {{n_channels_, 1}}),
                                     builder_.global(bias_, channel_, {{n_channels_, 1}})});
      });
      bias.view = local(bias_ring_, turn, {{n_rows_, 0}, {w_.out_width, 0}, {n_channels_, 1}});
    }
    if (residual_ >= 0) {
      through(residual_ring_, turn, [&] {
        builder_.emit(Opcode::copy, {local(residual_ring_, turn, tile()),
                                     builder_.global(residual_, result_offset(), result_axes())});
      });
      residual.view = local(residual_ring_, turn, tile());
    }
    sum.place.reset();
    const Register result = TRY(finish_product(code, p_.finish, y, bias_ >= 0 ? &bias : nullptr,
                                               residual_ >= 0 ? &residual : nullptr));
    y.place.reset();
    out_.enter(0, turn);
    code.store(result, local(out_, turn, tile()));
    out_.leave(0, turn);
    if (bias_ >= 0) bias_ring_.leave(1, turn);
    if (residual_ >= 0) residual_ring_.leave(1, turn);
    out_.enter(1, turn);
    builder_.emit(Opcode::copy,
                  {builder_.global(y_, result_offset(), result_axes()), local(out_, turn, tile())});
    out_.leave(1, turn);
    return {};
  }

  Lowering& lowering_;
  const Node& node_;
  const Window& p_;
  const Windows& w_;
  VectorCore core_;
  DType real_, work_;  // in memory, on the vector unit
  KernelBuilder builder_;
  WindowTile t_;
  int x_ = -1, filter_ = -1, bias_ = -1, residual_ = -1, counts_ = -1, y_ = -1;
  Ring in_, filter_ring_, bias_ring_, residual_ring_, counts_ring_, out_;
  bool padded_ = false;
  Expr row_, plane_, image_, channel_, n_rows_, n_channels_;
};

}  // namespace

Status lower_window_kernel(Lowering& lowering, const Node& node, const Window& window) {
  return WindowKernel(lowering, node, window).run();
}

}  // namespace tenon::lower
