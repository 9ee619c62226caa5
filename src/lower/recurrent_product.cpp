// The products of recurrent steps: on Ascend the state goes to L1 and L0A, weights wait in L1; on
// Cambricon the state is in NRAM and weights wait in WRAM. Weights that do not fit come in chunk by
// chunk, step after step.
#include <algorithm>

#include "base/numbers.h"
#include "lower/recurrent.h"
#include "lower/vector_core.h"

namespace tenon::lower {
namespace {

constexpr int64_t kFractal = 16;

// What both families have in common: where a tile's weights are.
class Step : public StepProduct {
 protected:
  explicit Step(const StepContext& c)
      : c_(c), b_(c.builder), t_(c.tiling), size_(bytes_of(c.real)) {}

  int64_t columns(size_t part) const { return c_.layer.parts()[part] * t_.width; }
  int64_t block(size_t part) const { return step_block(c_.layer, t_, part); }
  // The element where the weights of an own tile begin.
  Expr weights_at(size_t part, const Expr& direction, const Expr& own) const {
    return (direction * t_.tiles + c_.first_tile + own * t_.grid) * block(part);
  }
  // Of all own tiles, where those of a part begin in the place for weights that stay.
  int64_t resident_at(size_t part) const {
    int64_t bytes = 0;
    for (size_t p = 0; p < part; ++p) bytes += block(p) * t_.own_tiles() * size_;
    return bytes;
  }
  size_t parts() const { return c_.layer.parts().size(); }
  // Bytes of the place for weights.
  int64_t weight_bytes() const {
    if (t_.resident) return resident_at(parts());
    int64_t most = 0;
    for (size_t p = 0; p < parts(); ++p) most = std::max(most, columns(p));
    return most * t_.chunk * size_;
  }
  Ring weight_ring(int memory, int from, int to) {
    return b_.ring(memory, weight_bytes(), t_.resident ? 1 : 2, {from, to});
  }
  void load_all(const Ring& ring, const Expr& direction, const Expr& own_tiles, const Expr& turn) {
    if (!t_.resident) return;
    ring.enter(0, turn);
    for (size_t p = 0; p < parts(); ++p)
      b_.loop(own_tiles, [&](const Expr& own) {
        b_.emit(
            Opcode::copy,
            {b_.local(ring.memory(), ring.place(turn) + resident_at(p) + own * (block(p) * size_),
                      c_.real, {{block(p), 1}}),
             b_.global(c_.weights[p], weights_at(p, direction, own), {{block(p), 1}})});
      });
    ring.leave(0, turn);
    ring.enter(1, turn);
  }

  StepContext c_;
  ProgramBuilder& b_;
  const RecurrentTiling& t_;
  int64_t size_;
};

class AscendStep : public Step {
 public:
  explicit AscendStep(const StepContext& c)
      : Step(c), c0_(32 / size_), rows_(ceil_div(t_.rows, kFractal) * kFractal) {
    const auto q = [&](std::string_view name) { return b_.queue(name); };
    split_ = b_.architecture().queue("fix").has_value();
    const int l1 = b_.memory("l1"), l0a = b_.memory("l0a"), l0b = b_.memory("l0b");
    int64_t widest = 0;
    for (size_t p = 0; p < parts(); ++p) widest = std::max(widest, columns(p));
    state_ = b_.ring(l1, rows_ * t_.k * size_, 1, {q("mte2"), q("mte1")});
    weights_ = weight_ring(l1, q("mte2"), q("mte1"));
    const auto half = [&](int memory) {
      return b_.architecture().memories[static_cast<size_t>(memory)].bytes / 2;
    };
    k0_ =
        std::min({half(l0a) / (rows_ * size_), half(l0b) / (widest * size_), t_.chunk}) / c0_ * c0_;
    a0_ = b_.ring(l0a, rows_ * k0_ * size_, 2, {q("mte1"), q("m")});
    b0_ = b_.ring(l0b, widest * k0_ * size_, 2, {q("mte1"), q("m")});
    acc_ = b_.ring(b_.memory("l0c"), rows_ * widest * 4, 1, {q("m"), q(split_ ? "fix" : "v")});
    const int ub = b_.memory("ub");
    if (split_) {
      through_ = b_.ring(0, 32, 1, {q("fix"), q("mte2")});
      sums_ = b_.ring(ub, t_.rows * widest * 4, 1, {q("mte2"), q("v")});
    } else {
      place_ = b_.allocate(ub, t_.rows * widest * 4);
    }
    widest_ = widest;
    // Rows and columns that no copy writes are multiplied, too: by zeros, or into rows not used.
    b_.emit(Opcode::fill, {b_.local(l1, state_.place(0), c_.real, {{rows_ * t_.k, 1}})});
  }

  void load_weights(const Expr& direction, const Expr& own_tiles, const Expr& turn) override {
    load_all(weights_, direction, own_tiles, turn);
  }
  void release_weights(const Expr& turn) override {
    if (t_.resident) weights_.leave(1, turn);
  }

  void load_state(int buffer, const Expr& from, const Expr& rows, const Expr& turn) override {
    const int64_t h = c_.layer.hidden;
    state_.enter(0, turn);
    const auto copy = [&](int64_t k1, int64_t first, int64_t width) {
      if (k1 == 0) return;
      b_.emit(Opcode::copy,
              {b_.local(state_.memory(), state_.place(turn) + first * (rows_ * c0_ * size_),
                        c_.real, {{k1, rows_ * c0_}, {rows, c0_}, {width, 1}}),
               b_.global(buffer, from + first * c0_, {{k1, c0_}, {rows, h}, {width, 1}})});
    };
    copy(h / c0_, 0, c0_);
    if (h % c0_ != 0) copy(1, h / c0_, h % c0_);
    state_.leave(0, turn);
    state_.enter(1, turn);
  }
  void release_state(const Expr& turn) override { state_.leave(1, turn); }

  View multiply(size_t part, const Expr& direction, const Expr& own, const Expr& rows,
                const Expr& state_turn, const Expr& weights_turn, const Expr& turn) override {
    const int64_t n = columns(part), fractal = kFractal * c0_;
    const Expr n1 = n / kFractal, m1 = ceil_div(rows, kFractal);
    const int64_t chunks = t_.resident ? 1 : ceil_div(t_.k, t_.chunk),
                  steps = ceil_div(t_.resident ? t_.k : t_.chunk, k0_);
    const Expr first_use = turn * (chunks * steps);
    acc_.enter(0, turn);
    const auto chunk = [&](const Expr& c) {
      const Expr in_chunk = t_.resident ? Expr(t_.k) : min(t_.chunk, Expr(t_.k) - c * t_.chunk);
      const Expr w_turn = t_.resident ? weights_turn : turn * chunks + c;
      Expr place = weights_.place(w_turn);
      if (t_.resident) {
        place = place + resident_at(part) + own * (block(part) * size_);
      } else {
        weights_.enter(0, w_turn);
        b_.emit(Opcode::copy,
                {b_.local(weights_.memory(), place, c_.real, {{in_chunk * n, 1}}),
                 b_.global(c_.weights[part], weights_at(part, direction, own) + c * (t_.chunk * n),
                           {{in_chunk * n, 1}})});
        weights_.leave(0, w_turn);
        weights_.enter(1, w_turn);
      }
      b_.loop(ceil_div(in_chunk, k0_), [&](const Expr& s) {
        const Expr use = first_use + c * steps + s;
        const Expr k = min(k0_, in_chunk - s * k0_), k1 = k / c0_;
        const Expr first = c * t_.chunk + s * k0_;  // row of the weights
        a0_.enter(0, use);
        const View left =
            b_.local(a0_.memory(), a0_.place(use), c_.real,
                     {{m1, k0_ / c0_ * fractal}, {k1, fractal}, {kFractal, c0_}, {c0_, 1}});
        b_.emit(Opcode::copy,
                {left,
                 b_.local(state_.memory(), state_.place(state_turn) + first * (rows_ * size_),
                          c_.real, {{m1, fractal}, {k1, rows_ * c0_}, {kFractal, c0_}, {c0_, 1}})});
        a0_.leave(0, use);
        b0_.enter(0, use);
        const View right = b_.local(b0_.memory(), b0_.place(use), c_.real,
                                    {{k1, n * c0_}, {n1, fractal}, {kFractal, c0_}, {c0_, 1}});
        b_.emit(Opcode::copy,
                {right, b_.local(weights_.memory(), place + s * (k0_ * n * size_), c_.real,
                                 {{k1, n * c0_}, {n1, fractal}, {kFractal, c0_}, {c0_, 1}})});
        b0_.leave(0, use);
        a0_.enter(1, use);
        b0_.enter(1, use);
        b_.emit(Opcode::mmad,
                {b_.local(acc_.memory(), acc_.place(turn), DType::f32,
                          {{n1, rows_ * kFractal},
                           {m1, kFractal * kFractal},
                           {kFractal, kFractal},
                           {kFractal, 1}}),
                 left, right},
                {rows, k, n, min(c + s, 1)});
        a0_.leave(1, use);
        b0_.leave(1, use);
      });
      if (!t_.resident) weights_.leave(1, w_turn);
    };
    if (chunks == 1)
      chunk(0);
    else
      b_.loop(chunks, chunk);
    acc_.leave(0, turn);
    acc_.enter(1, turn);
    const View sums = b_.local(acc_.memory(), acc_.place(turn), DType::f32,
                               {{n1, rows_ * kFractal}, {rows, kFractal}, {kFractal, 1}});
    const std::vector<Axis> spread{{n1, kFractal}, {rows, n}, {kFractal, 1}};
    const std::vector<Axis> tile{{rows, n}, {n, 1}};
    if (!split_) {
      b_.emit(Opcode::copy, {b_.local(b_.memory("ub"), place_, DType::f32, spread), sums});
      acc_.leave(1, turn);
      return b_.local(b_.memory("ub"), place_, DType::f32, tile);
    }
    // Cube and vector unit are cores of their own: through the memory.
    const Expr at = b_.block() * (t_.rows * widest_);
    through_.enter(0, turn);
    b_.emit(Opcode::copy, {b_.global(c_.sums, at, spread), sums});
    acc_.leave(1, turn);
    through_.leave(0, turn);
    through_.enter(1, turn);
    sums_.enter(0, turn);
    View in_ub = b_.local(sums_.memory(), sums_.place(turn), DType::f32, tile);
    b_.emit(Opcode::copy, {in_ub, b_.global(c_.sums, at, tile)});
    through_.leave(1, turn);
    sums_.leave(0, turn);
    sums_.enter(1, turn);
    return in_ub;
  }
  void release(const Expr& turn) override {
    if (split_) sums_.leave(1, turn);
  }

 private:
  int64_t c0_, rows_, k0_ = 16, place_ = 0, widest_ = 0;
  bool split_ = false;
  Ring state_, weights_, a0_, b0_, acc_, through_, sums_;
};

class CambriconStep : public Step {
 public:
  explicit CambriconStep(const StepContext& c) : Step(c), core_(b_.architecture()) {
    int64_t widest = 0;
    for (size_t p = 0; p < parts(); ++p) widest = std::max(widest, columns(p));
    state_ = b_.ring(core_.memory, t_.rows * t_.k * size_, 1, {core_.load, core_.compute});
    weights_ = weight_ring(b_.memory("wram"), core_.load, core_.compute);
    place_ = b_.allocate(core_.memory, t_.rows * widest * 4);
  }

  void load_weights(const Expr& direction, const Expr& own_tiles, const Expr& turn) override {
    load_all(weights_, direction, own_tiles, turn);
  }
  void release_weights(const Expr& turn) override {
    if (t_.resident) weights_.leave(1, turn);
  }
  void load_state(int buffer, const Expr& from, const Expr& rows, const Expr& turn) override {
    const int64_t h = c_.layer.hidden;
    state_.enter(0, turn);
    b_.emit(Opcode::copy,
            {b_.local(state_.memory(), state_.place(turn), c_.real, {{rows, t_.k}, {h, 1}}),
             b_.global(buffer, from, {{rows, h}, {h, 1}})});
    state_.leave(0, turn);
    state_.enter(1, turn);
  }
  void release_state(const Expr& turn) override { state_.leave(1, turn); }

  View multiply(size_t part, const Expr& direction, const Expr& own, const Expr& rows,
                const Expr& state_turn, const Expr& weights_turn, const Expr& turn) override {
    const int64_t n = columns(part), h = c_.layer.hidden;
    const int64_t chunks = t_.resident ? 1 : ceil_div(h, t_.chunk);
    const auto chunk = [&](const Expr& c) {
      const Expr k = t_.resident ? Expr(h) : min(t_.chunk, Expr(h) - c * t_.chunk);
      const Expr w_turn = t_.resident ? weights_turn : turn * chunks + c;
      const int64_t row = t_.resident ? t_.k : t_.chunk;
      Expr place = weights_.place(w_turn);
      if (t_.resident) {
        place = place + resident_at(part) + own * (block(part) * size_);
      } else {
        weights_.enter(0, w_turn);
        b_.emit(Opcode::copy,
                {b_.local(weights_.memory(), place, c_.real, {{n, row}, {k, 1}}),
                 b_.global(c_.weights[part], weights_at(part, direction, own) + c * t_.chunk,
                           {{n, t_.k}, {k, 1}})});
        weights_.leave(0, w_turn);
        weights_.enter(1, w_turn);
      }
      b_.emit(Opcode::conv,
              {b_.local(core_.memory, place_, DType::f32, {{1, 1}, {rows, n}, {n, 1}}),
               b_.local(core_.memory, state_.place(state_turn) + c * (t_.chunk * size_), c_.real,
                        {{1, 1}, {rows, t_.k}, {k, 1}}),
               b_.local(weights_.memory(), place, c_.real, {{n, row}, {1, row}, {1, row}, {k, 1}})},
              {1, 1, 1, 1, 1, 1, 0, 0, min(c, 1)});
      if (!t_.resident) weights_.leave(1, w_turn);
    };
    if (chunks == 1)
      chunk(0);
    else
      b_.loop(chunks, chunk);
    return b_.local(core_.memory, place_, DType::f32, {{rows, n}, {n, 1}});
  }
  void release(const Expr&) override {}

 private:
  VectorCore core_;
  int64_t place_ = 0;
  Ring state_, weights_;
};

}  // namespace

int64_t step_block(const RecurrentLayer& layer, const RecurrentTiling& t, size_t part) {
  return layer.parts()[part] * t.width * t.k;
}

StepRules step_rules(const Machine& machine, DType) {
  StepRules rules;
  if (std::holds_alternative<CambriconChip>(machine.chip)) rules = {64, 1024, true};
  return rules;
}

bool step_fits(const Machine& machine, const RecurrentLayer& layer, DType real,
               RecurrentTiling& t) {
  const int64_t size = bytes_of(real);
  int64_t all = 0, widest = 0;
  for (const int64_t gates : layer.parts()) {
    all += gates * t.width * t.k * size * t.own_tiles();
    widest = std::max(widest, gates * t.width);
  }
  int64_t room = 0;
  if (const auto* a = std::get_if<AscendChip>(&machine.chip)) {
    const int64_t rows = ceil_div(t.rows, kFractal) * kFractal, c0 = 32 / size;
    if (rows * widest * 4 > static_cast<int64_t>(a->l0c)) return false;
    if (std::min(static_cast<int64_t>(a->l0a) / rows, static_cast<int64_t>(a->l0b) / widest) / 2 /
            size <
        c0)
      return false;
    room = static_cast<int64_t>(a->l1) - rows * t.k * size - 4096;
  } else {
    room = static_cast<int64_t>(std::get<CambriconChip>(machine.chip).wram);
  }
  t.resident = all <= room;
  t.chunk = t.k;
  if (t.resident) return true;
  // Two chunks at once, in whole blocks.
  const int64_t unit = step_rules(machine, real).unit;
  t.chunk = std::min(t.k, room / 2 / (widest * size) / unit * unit);
  return t.chunk > 0;
}

std::unique_ptr<StepProduct> make_ascend_step(const StepContext& context) {
  return std::make_unique<AscendStep>(context);
}
std::unique_ptr<StepProduct> make_cambricon_step(const StepContext& context) {
  return std::make_unique<CambriconStep>(context);
}

}  // namespace tenon::lower
