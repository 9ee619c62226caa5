// Products on the cube: tiles go from memory through L1 and L0A, L0B to L0C, where sums grow, and
// through the vector unit out again, each queue working on another tile.
#include "lower/ascend_product.h"

namespace tenon::lower {
namespace {

constexpr int64_t kN0 = AscendProduct::kN0;

}  // namespace

Status AscendProduct::run() {
  const auto& chip = std::get<AscendChip>(lowering_.machine().chip);
  if (real_ == DType::f32 && chip.macs_f32 == 0)
    return unsupported("the chip has no products of f32");
  if (p_.is_exact() && chip.macs_i8 == 0) return unsupported("the chip has no products of bytes");
  measure_epilogue();
  t_ = TRY(tile_ascend(p_, shape_, chip));
  set_sizes();
  set_buffers();
  set_places();
  build();
  TRY(lowering_.add(node_, builder_, t_.to_string()));
  return {};
}

void AscendProduct::measure_epilogue() {
  ProgramBuilder scratch(lowering_.architecture(), "", "");
  const int ub = scratch.memory("ub");
  VectorCode code(scratch, ub, 32, work_);
  Register sum{scratch.local(ub, 0, work_, {}), {}, nullptr}, other = sum;
  other.view.dtype = added_;
  const auto done =
      finish_product(code, p_, sum, p_.bias >= 0 ? &other : nullptr,
                     p_.residual >= 0 ? &other : nullptr, p_.column_scale >= 0 ? &other : nullptr);
  (void)done;
  temporaries_ = code.slots();
  auto program = scratch.take();
  shape_.vector_passes = 1 + (program.ok() ? static_cast<int64_t>(program->body.size()) : 0);
  // In sizes of operands.
  shape_.ub_tiles = (3 + temporaries_ + (p_.residual >= 0 ? 2 : 0)) *
                    std::max<int64_t>(1, work_size() / shape_.size);
}

void AscendProduct::set_sizes() {
  tiles_m_ = (p_.rows + t_.m - 1) / t_.m;
  tiles_n_ = (p_.columns + t_.n - 1) / t_.n;
  chunks_ = (shape_.k_plane + t_.chunk - 1) / t_.chunk;
  steps_ = (t_.chunk + t_.step - 1) / t_.step;
  const Expr block = builder_.block();
  builder_.set_blocks(t_.grid_m * t_.grid_n);
  row_ = block / t_.grid_n, column_ = block % t_.grid_n;
  const int64_t all = tiles_m_ * p_.problems();
  own_m_ = (Expr(all + t_.grid_m - 1) - row_) / t_.grid_m;
  own_n_ = (Expr(tiles_n_ + t_.grid_n - 1) - column_) / t_.grid_n;
}

FractalShape AscendProduct::fractals() const {
  FractalShape f;
  if (p_.windows) {
    f.kernel_h = p_.windows->kernel[1], f.kernel_w = p_.windows->kernel[2];
    f.channels = p_.windows->channels;
  } else {
    f.channels = p_.k;
  }
  f.columns = p_.columns;
  f.transposed = p_.b_transposed;
  f.k0 = shape_.c0;
  return f;
}

void AscendProduct::set_buffers() {
  using Role = isa::Buffer::Role;
  a_ = builder_.bind("x", Role::input, p_.a);
  if (p_.b_constant != nullptr) {
    const FractalShape f = fractals();
    b_block_ = f.elements();
    const int64_t parts = p_.groups * shape_.planes;
    const int tensor = lowering_.constant(p_.layer + ".weights", real_, parts * b_block_,
                                          Recipe{Recipe::Kind::fractals, *p_.b_constant, f,
                                                 p_.groups, shape_.planes, 0, p_.diagonal});
    b_ = builder_.bind("w", Role::constant, tensor);
  } else {
    b_ = builder_.bind("w", Role::input, p_.b);
  }
  if (p_.bias >= 0) bias_ = builder_.bind("bias", Role::constant, p_.bias);
  if (p_.column_scale >= 0) scale_ = builder_.bind("scale", Role::constant, p_.column_scale);
  if (p_.residual >= 0) residual_ = builder_.bind("residual", Role::input, p_.residual);
  y_ = builder_.bind("y", Role::output, p_.y);
}

void AscendProduct::set_places() {
  const auto q = [&](std::string_view name) { return builder_.queue(name); };
  const int l1 = builder_.memory("l1"), ub = builder_.memory("ub");
  const bool keep_a = t_.keep == AscendTiling::Keep::a, keep_b = t_.keep == AscendTiling::Keep::b;
  a_place_ = shape_.a_bytes(p_, t_.m, t_.chunk), b_place_ = shape_.b_bytes(t_.n, t_.chunk);
  a1_ = builder_.ring(l1, a_place_ * (keep_a ? chunks_ : 1), t_.a_depth, {q("mte2"), q("mte1")});
  b1_ = builder_.ring(l1, b_place_ * (keep_b ? chunks_ : 1), t_.b_depth, {q("mte2"), q("mte1")});
  a0_ = builder_.ring(builder_.memory("l0a"), t_.m * t_.step * shape_.size, 2, {q("mte1"), q("m")});
  b0_ = builder_.ring(builder_.memory("l0b"), t_.n * t_.step * shape_.size, 2, {q("mte1"), q("m")});
  const int out = direct_ ? q("v") : q("fix");
  acc_ = builder_.ring(builder_.memory("l0c"), t_.m * t_.n * 4, t_.c_depth, {q("m"), out});
  if (!direct_) return;
  const int64_t column = t_.m * kN0 * shape_.size;
  if (bias_ >= 0 || scale_ >= 0)
    bias_ring_ =
        builder_.ring(ub, t_.n * added_size() * (scale_ >= 0 ? 2 : 1), 2, {q("mte2"), q("v")});
  piece_ = std::min(t_.n / kN0,
                    std::max<int64_t>(1, builder_.free_bytes(ub) / (column * shape_.ub_tiles)));
  const int64_t tile = t_.m * kN0 * piece_;
  out_ = builder_.ring(ub, tile * out_size(), 2, {q("v"), q("mte3")});
  if (residual_ >= 0)
    residual_ring_ = builder_.ring(ub, tile * added_size(), 2, {q("mte2"), q("v")});
}

void AscendProduct::build() {
  code_.emplace(builder_, direct_ ? builder_.memory("ub") : 0, t_.m * kN0 * work_size() * piece_,
                work_);
  clear_places();
  const bool n_outer = t_.keep == AscendTiling::Keep::b;
  const auto tile = [&](const Expr& j, const Expr& l) {
    const Expr turn = n_outer ? l * own_m_ + j : j * own_n_ + l;
    compute(row_ + j * t_.grid_m, column_ + l * t_.grid_n, turn, n_outer ? l : j);
  };
  if (n_outer)
    builder_.loop(own_n_, [&](const Expr& l) {
      load_kept(b1_, l, [&](const Expr& c) { load_b(column_ + l * t_.grid_n, 0, 0, c, l); });
      builder_.loop(own_m_, [&](const Expr& j) { tile(j, l); });
      b1_.leave(1, l);
    });
  else
    builder_.loop(own_m_, [&](const Expr& j) {
      const bool kept = t_.keep == AscendTiling::Keep::a;
      if (kept) load_kept(a1_, j, [&](const Expr& c) { load_a(row_ + j * t_.grid_m, 0, c, j); });
      builder_.loop(own_n_, [&](const Expr& l) { tile(j, l); });
      if (kept) a1_.leave(1, j);
    });
}

void AscendProduct::clear_places() {
  const auto clear_as = [&](DType dtype, const Ring& ring, int64_t depth) {
    const int64_t elements = ring.bytes() / static_cast<int64_t>(dtype_size(dtype));
    for (int64_t i = 0; i < depth; ++i)
      builder_.emit(Opcode::fill,
                    {builder_.local(ring.memory(), ring.place(i), dtype, {{elements, 1}})});
  };
  const auto clear = [&](const Ring& ring, int64_t depth) { clear_as(real_, ring, depth); };
  if (direct_ && p_.columns % kN0 != 0 && (bias_ >= 0 || scale_ >= 0 || residual_ >= 0)) {
    if (bias_ >= 0 || scale_ >= 0) clear_as(added_, bias_ring_, 2);
    if (residual_ >= 0) clear_as(added_, residual_ring_, 2);
    builder_.sync(builder_.queue("v"));
  }
  if (!p_.windows && p_.rows % kN0 != 0) clear(a1_, t_.a_depth);
  if (p_.b_constant == nullptr && (p_.columns % kN0 != 0 || p_.k % shape_.c0 != 0))
    clear(b1_, t_.b_depth);
}

void AscendProduct::load_rows(int buffer, const Expr& from, int64_t row_stride, const Expr& count,
                              int64_t place_rows, const Ring& ring, const Expr& place,
                              const Expr& k) {
  const int64_t c0 = shape_.c0;
  const auto copy = [&](const Expr& k1, const Expr& first, const Expr& width) {
    const Expr to = place + first * place_rows * c0 * shape_.size;
    builder_.emit(
        Opcode::copy,
        {builder_.local(ring.memory(), to, real_, {{k1, place_rows * c0}, {count, c0}, {width, 1}}),
         builder_.global(buffer, from + first * c0, {{k1, c0}, {count, row_stride}, {width, 1}})});
  };
  copy(k / c0, 0, c0);
  if (p_.k % c0 == 0) return;
  builder_.loop(min(k % c0, 1), [&](const Expr&) {
    const Expr first = k / c0;
    builder_.emit(Opcode::fill,
                  {builder_.local(ring.memory(), place + first * place_rows * c0 * shape_.size,
                                  real_, {{count, c0}, {c0, 1}})});
    copy(1, first, k % c0);
  });
}

void AscendProduct::load_a(const Expr& mi, const Expr& kd, const Expr& c, const Expr& turn) {
  const bool kept = t_.keep == AscendTiling::Keep::a;
  const Expr place = a1_.place(turn) + (kept ? c * a_place_ : Expr(0));
  const Expr base = batch_offset(p_, mi / tiles_m_, &BatchDim::a);
  if (!p_.windows) {
    const Expr k = min(t_.chunk, Expr(p_.k) - c * t_.chunk);
    return load_rows(a_, base + first_row(mi) * p_.a_row + c * t_.chunk, p_.a_row, rows(mi), t_.m,
                     a1_, place, k);
  }
  const Windows& w = *p_.windows;
  const int64_t c0 = shape_.c0, per = t_.chunk / shape_.k_unit;
  const int64_t block = AscendShape::window_rows(w, t_.m) * w.width * c0;
  const Expr h0 = first_image_row(mi), h = image_rows(mi);
  const Expr plane = image_plane(mi) + kd * w.dilation[0] - w.pad[0];
  const int64_t row = w.row_pixels() * p_.a_row;
  const Expr from = base + (plane * w.height + h0) * row + c * per * c0;
  const Expr channels = min(per * c0, Expr(w.channels) - c * per * c0);
  const auto copy = [&](const Expr& c1, const Expr& first, const Expr& width) {
    builder_.emit(Opcode::copy,
                  {builder_.local(a1_.memory(), place + first * block * shape_.size, real_,
                                  {{c1, block}, {h, w.width * c0}, {w.width, c0}, {width, 1}}),
                   builder_.global(a_, from + first * c0,
                                   {{c1, c0}, {h, row}, {w.width, p_.a_row}, {width, 1}})});
  };
  copy(channels / c0, 0, c0);
  if (w.channels % c0 == 0) return;
  builder_.loop(min(channels % c0, 1), [&](const Expr&) {
    const Expr first = channels / c0;
    builder_.emit(Opcode::fill, {builder_.local(a1_.memory(), place + first * block * shape_.size,
                                                real_, {{h, w.width * c0}, {w.width * c0, 1}})});
    copy(1, first, channels % c0);
  });
}

Expr AscendProduct::image_plane(const Expr& mi) const {
  const Windows& w = *p_.windows;
  if (w.out_depth == 1) return 0;
  Expr rest = mi / tiles_m_;
  if (p_.groups > 1) rest = rest / p_.groups;
  return rest % w.out_depth * w.stride[0];
}

Expr AscendProduct::first_image_row(const Expr& mi) const {
  const Windows& w = *p_.windows;
  return min(max(first_output_row(mi) * w.stride[1] - w.pad[1], 0), w.height);
}

Expr AscendProduct::image_rows(const Expr& mi) const {
  const Windows& w = *p_.windows;
  const Expr last = (first_row(mi) + rows(mi) - 1) / w.out_width;
  const Expr end =
      min(last * w.stride[1] - w.pad[1] + (w.kernel[1] - 1) * w.dilation[1] + 1, w.height);
  return max(end - first_image_row(mi), 0);
}

void AscendProduct::load_b(const Expr& ni, const Expr& problem, const Expr& kd, const Expr& c,
                           const Expr& turn) {
  const bool kept = t_.keep == AscendTiling::Keep::b;
  const Expr place = b1_.place(turn) + (kept ? c * b_place_ : Expr(0));
  const Expr n = columns(ni), n1 = ceil_div(n, kN0);
  const int64_t fractal = kN0 * shape_.c0;
  const Expr base = batch_offset(p_, problem, &BatchDim::b);
  if (p_.b_constant != nullptr) {
    const int64_t all_n1 = (p_.columns + kN0 - 1) / kN0;
    const Expr k1 = chunk_k(c) / shape_.c0;
    const Expr from = (base * shape_.planes + kd) * b_block_ +
                      (c * (t_.chunk / shape_.c0) * all_n1 + ni * (t_.n / kN0)) * fractal;
    builder_.emit(Opcode::copy,
                  {builder_.local(b1_.memory(), place, real_,
                                  {{k1, t_.n / kN0 * fractal}, {n1 * fractal, 1}}),
                   builder_.global(b_, from, {{k1, all_n1 * fractal}, {n1 * fractal, 1}})});
    return;
  }
  const Expr k = min(t_.chunk, Expr(p_.k) - c * t_.chunk);
  if (p_.b_transposed)
    return load_rows(b_, base + ni * t_.n * p_.b_row + c * t_.chunk, p_.b_row, n, t_.n, b1_, place,
                     k);
  // Columns in blocks of 16: [n1][k][n0].
  const auto copy = [&](const Expr& blocks, const Expr& first, const Expr& width) {
    builder_.emit(Opcode::copy,
                  {builder_.local(b1_.memory(), place + first * t_.chunk * kN0 * shape_.size, real_,
                                  {{blocks, t_.chunk * kN0}, {k, kN0}, {width, 1}}),
                   builder_.global(b_, base + c * t_.chunk * p_.b_row + ni * t_.n + first * kN0,
                                   {{blocks, kN0}, {k, p_.b_row}, {width, 1}})});
  };
  copy(n / kN0, 0, kN0);
  if (p_.columns % kN0 != 0)
    builder_.loop(min(n % kN0, 1), [&](const Expr&) { copy(1, n / kN0, n % kN0); });
  if (p_.k % shape_.c0 != 0)
    builder_.loop(min(k % shape_.c0, 1), [&](const Expr&) {
      builder_.emit(
          Opcode::fill,
          {builder_.local(b1_.memory(), place + k * kN0 * shape_.size, real_,
                          {{n1, t_.chunk * kN0}, {(round_up(k, shape_.c0) - k) * kN0, 1}})});
    });
}

void AscendProduct::compute(const Expr& mi, const Expr& ni, const Expr& turn, const Expr& outer) {
  acc_.enter(0, turn);
  Expr first = 0, planes = 1;
  if (shape_.planes > 1) {
    // Planes of the kernel that meet the image.
    const Windows& w = *p_.windows;
    const Expr at = image_plane(mi);
    first = max(ceil_div(Expr(w.pad[0]) - at, w.dilation[0]), 0);
    planes = min(ceil_div(Expr(w.depth + w.pad[0]) - at, w.dilation[0]), w.kernel[0]) - first;
  }
  const auto chunk = [&](const Expr& kd, const Expr& c, const Expr& before) {
    const Expr a_turn = t_.keep == AscendTiling::Keep::a ? outer : before;
    const Expr b_turn = t_.keep == AscendTiling::Keep::b ? outer : before;
    const auto through = [&](const Ring& ring, const Expr& t, const auto& load) {
      ring.enter(0, t);
      load();
      ring.leave(0, t);
      ring.enter(1, t);
    };
    if (t_.keep != AscendTiling::Keep::a) through(a1_, a_turn, [&] { load_a(mi, kd, c, a_turn); });
    if (t_.keep != AscendTiling::Keep::b)
      through(b1_, b_turn, [&] { load_b(ni, mi / tiles_m_, kd, c, b_turn); });
    builder_.loop(ceil_div(chunk_k(c), t_.step), [&](const Expr& s) {
      multiply(mi, ni, c, s, before * steps_ + s, a_turn, b_turn,
               min((kd - first) * chunks_ + c + s, 1), turn);
    });
    if (t_.keep != AscendTiling::Keep::a) a1_.leave(1, a_turn);
    if (t_.keep != AscendTiling::Keep::b) b1_.leave(1, b_turn);
  };
  if (shape_.planes > 1)
    builder_.loop(planes, [&](const Expr& d) {
      builder_.loop(chunks_, [&](const Expr& c) {
        chunk(first + d, c, (turn * shape_.planes + d) * chunks_ + c);
      });
    });
  else
    builder_.loop(chunks_, [&](const Expr& c) { chunk(0, c, turn * chunks_ + c); });
  acc_.leave(0, turn);
  acc_.enter(1, turn);
  if (direct_)
    finish(mi, ni, turn);
  else
    store_sums(mi, ni, turn);
  acc_.leave(1, turn);
}

Status lower_product_ascend(Lowering& lowering, const Node& node, const Product& p) {
  return AscendProduct(lowering, node, p).run();
}

}  // namespace tenon::lower
