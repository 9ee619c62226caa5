// A tile of a product on the cube: its steps of k, and the way of the sums to memory.
#include "lower/ascend_product.h"

namespace tenon::lower {

void AscendProduct::multiply(const Expr& mi, const Expr& ni, const Expr& c, const Expr& s,
                             const Expr& turn, const Expr& a_turn, const Expr& b_turn,
                             const Expr& accumulate, const Expr& acc_turn) {
  const int64_t c0 = shape_.c0, size = shape_.size, fractal = kN0 * c0;
  const Expr m = rows(mi), n = columns(ni), m1 = ceil_div(m, kN0), n1 = ceil_div(n, kN0);
  const Expr k = min(t_.step, chunk_k(c) - s * t_.step), k1 = k / c0, first_k1 = s * (t_.step / c0);
  const bool keep_a = t_.keep == AscendTiling::Keep::a, keep_b = t_.keep == AscendTiling::Keep::b;
  const Expr a = a1_.place(a_turn) + (keep_a ? c * a_place_ : Expr(0));
  const Expr b = b1_.place(b_turn) + (keep_b ? c * b_place_ : Expr(0));

  a0_.enter(0, turn);
  const View left =
      builder_.local(a0_.memory(), a0_.place(turn), real_,
                     {{m1, t_.step / c0 * fractal}, {k1, fractal}, {kN0, c0}, {c0, 1}});
  if (p_.windows) {
    const Windows& w = *p_.windows;
    const int64_t block = AscendShape::window_rows(w, t_.m) * w.width * c0;
    const Expr oh = first_output_row(mi), h0 = first_image_row(mi);
    const Expr c1 = chunk_k(c) / shape_.k_unit;
    builder_.emit(
        Opcode::img2col,
        {left,
         builder_.local(a1_.memory(), a, real_,
                        {{c1, block}, {image_rows(mi), w.width * c0}, {w.width, c0}, {c0, 1}})},
        {w.kernel[1], w.kernel[2], w.stride[1], w.stride[2], w.dilation[1], w.dilation[2],
         h0 - (oh * w.stride[1] - w.pad[1]), w.pad[2], w.out_width,
         first_row(mi) - oh * w.out_width, s * t_.step},
        p_.outside);
  } else {
    builder_.emit(Opcode::copy,
                  {left, builder_.local(a1_.memory(), a + first_k1 * (t_.m * c0 * size), real_,
                                        {{m1, fractal}, {k1, t_.m * c0}, {kN0, c0}, {c0, 1}})});
  }
  a0_.leave(0, turn);

  b0_.enter(0, turn);
  const View right =
      builder_.local(b0_.memory(), b0_.place(turn), real_,
                     {{k1, t_.n / kN0 * fractal}, {n1, fractal}, {kN0, c0}, {c0, 1}});
  const auto from_l1 = [&](const Expr& first, std::vector<Axis> axes) {
    builder_.emit(Opcode::copy,
                  {right, builder_.local(b1_.memory(), b + first * size, real_, std::move(axes))});
  };
  if (p_.b_constant != nullptr)
    from_l1(first_k1 * (t_.n / kN0 * fractal),
            {{k1, t_.n / kN0 * fractal}, {n1, fractal}, {kN0, c0}, {c0, 1}});
  else if (p_.b_transposed)
    from_l1(first_k1 * (t_.n * c0), {{k1, t_.n * c0}, {n1, fractal}, {kN0, c0}, {c0, 1}});
  else
    from_l1(first_k1 * (c0 * kN0), {{k1, c0 * kN0}, {n1, t_.chunk * kN0}, {kN0, 1}, {c0, kN0}});
  b0_.leave(0, turn);

  a0_.enter(1, turn);
  b0_.enter(1, turn);
  builder_.emit(Opcode::mmad,
                {builder_.local(acc_.memory(), acc_.place(acc_turn), p_.sum_dtype(),
                                {{n1, t_.m * kN0}, {m1, kN0 * kN0}, {kN0, kN0}, {kN0, 1}}),
                 left, right},
                {m, k, n, accumulate});
  a0_.leave(1, turn);
  b0_.leave(1, turn);
}

void AscendProduct::finish(const Expr& mi, const Expr& ni, const Expr& turn) {
  const int64_t size = added_size(), column = t_.m * kN0;
  const int64_t pieces = (t_.n / kN0 + piece_ - 1) / piece_;
  const Expr m = rows(mi), n = columns(ni), problem = mi / tiles_m_;
  const int ub = out_.memory();
  const bool by_column = bias_ >= 0 || scale_ >= 0;
  const int64_t scale_at = t_.n * size;  // behind the bias
  if (by_column) {
    const Expr from = batch_offset(p_, problem, &BatchDim::bias) + ni * t_.n;
    bias_ring_.enter(0, turn);
    const auto load = [&](int buffer, int64_t at) {
      if (buffer < 0) return;
      builder_.emit(Opcode::copy,
                    {builder_.local(ub, bias_ring_.place(turn) + at, added_, {{n, 1}}),
                     builder_.global(buffer, from, {{n, 1}})});
    };
    load(bias_, 0);
    load(scale_, scale_at);
    bias_ring_.leave(0, turn);
    bias_ring_.enter(1, turn);
  }
  builder_.loop(ceil_div(ceil_div(n, kN0), piece_), [&](const Expr& q) {
    const Expr part = turn * pieces + q;
    const Expr width = min(piece_ * kN0, n - q * (piece_ * kN0)), n1 = ceil_div(width, kN0);
    const std::vector<Axis> tile{{n1, column}, {m, kN0}, {kN0, 1}};
    // To or from memory: whole columns of 16, then what is left.
    const auto transfer = [&](int buffer, const Expr& from, int64_t row, const Expr& place,
                              bool load) {
      const DType dtype = load ? added_ : out_dtype_;
      const int64_t bytes = load ? size : out_size();
      const auto copy = [&](const Expr& blocks, const Expr& first, const Expr& w) {
        const View local = builder_.local(ub, place + first * (column * bytes), dtype,
                                          {{blocks, column}, {m, kN0}, {w, 1}});
        const View global =
            builder_.global(buffer, from + first * kN0, {{blocks, kN0}, {m, row}, {w, 1}});
        if (load)
          builder_.emit(Opcode::copy, {local, global});
        else
          builder_.emit(Opcode::copy, {global, local});
      };
      copy(width / kN0, 0, kN0);
      if (p_.columns % kN0 != 0)
        builder_.loop(min(width % kN0, 1), [&](const Expr&) { copy(1, width / kN0, width % kN0); });
    };
    const Expr first_column = ni * t_.n + q * (piece_ * kN0);
    if (residual_ >= 0) {
      residual_ring_.enter(0, part);
      transfer(residual_,
               batch_offset(p_, problem, &BatchDim::residual) + first_row(mi) * p_.residual_row +
                   first_column,
               p_.residual_row, residual_ring_.place(part), true);
      residual_ring_.leave(0, part);
      residual_ring_.enter(1, part);
    }
    out_.enter(0, part);
    code_->set_tile(tile);
    Register sum = code_->temporary(work_);
    builder_.emit(
        Opcode::copy,
        {sum.view, builder_.local(acc_.memory(), acc_.place(turn) + q * (piece_ * column * 4),
                                  p_.sum_dtype(), tile)});
    Register bias, scale, residual;
    const auto columns = [&](int64_t at) {
      return builder_.local(ub, bias_ring_.place(turn) + q * (piece_ * kN0 * size) + at, added_,
                            {{n1, kN0}, {m, 0}, {kN0, 1}});
    };
    if (bias_ >= 0) bias.view = columns(0);
    if (scale_ >= 0) scale.view = columns(scale_at);
    if (residual_ >= 0)
      residual.view = builder_.local(ub, residual_ring_.place(part), added_, tile);
    // Every activation that products have was tried when the tiles were measured.
    const auto y =
        finish_product(*code_, p_, sum, bias_ >= 0 ? &bias : nullptr,
                       residual_ >= 0 ? &residual : nullptr, scale_ >= 0 ? &scale : nullptr);
    sum.place.reset();
    if (y.ok()) code_->store(*y, builder_.local(ub, out_.place(part), out_dtype_, tile));
    out_.leave(0, part);
    if (residual_ >= 0) residual_ring_.leave(1, part);
    out_.enter(1, part);
    transfer(y_, batch_offset(p_, problem, &BatchDim::y) + first_row(mi) * p_.y_row + first_column,
             p_.y_row, out_.place(part), false);
    out_.leave(1, part);
  });
  if (by_column) bias_ring_.leave(1, turn);
}

void AscendProduct::store_sums(const Expr& mi, const Expr& ni, const Expr& turn) {
  const Expr m = rows(mi), n = columns(ni);
  const int64_t column = t_.m * kN0;
  const Expr from =
      batch_offset(p_, mi / tiles_m_, &BatchDim::y) + first_row(mi) * p_.y_row + ni * t_.n;
  const auto copy = [&](const Expr& blocks, const Expr& first, const Expr& w) {
    builder_.emit(Opcode::copy,
                  {builder_.global(y_, from + first * kN0, {{blocks, kN0}, {m, p_.y_row}, {w, 1}}),
                   builder_.local(acc_.memory(), acc_.place(turn) + first * (column * 4),
                                  p_.sum_dtype(), {{blocks, column}, {m, kN0}, {w, 1}})});
  };
  copy(n / kN0, 0, kN0);
  if (p_.columns % kN0 != 0)
    builder_.loop(min(n % kN0, 1), [&](const Expr&) { copy(1, n / kN0, n % kN0); });
}

}  // namespace tenon::lower
