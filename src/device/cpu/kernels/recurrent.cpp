// Recurrent layers: the product with the inputs for many steps at once, then step by step the
// product with the state and the gates. Sequences and directions are dealt to threads.
#include "device/cpu/kernels/recurrent.h"

#include <algorithm>
#include <cstring>

#include "base/numbers.h"
#include "device/cpu/kernels/byte_rows.h"
#include "device/cpu/kernels/elementwise.h"
#include "device/cpu/kernels/gemm_region.h"
#include "device/cpu/kernels/pack.h"
#include "device/cpu/kernels/recurrent_inputs.h"
#include "device/cpu/kernels/slots.h"
#include "device/cpu/kernels/steps.h"

namespace tenon::cpu {
namespace {

bool is_usual(const RecurrentParams& p, const RecurrentDirection& d) {
  return p.clip <= 0 && d.peephole == nullptr && p.f.kind == ActivationKind::kSigmoid &&
         p.g.kind == ActivationKind::kTanh && p.output.kind == ActivationKind::kTanh;
}

// Whether all of a step's products can be done before any gate.
bool products_come_first(const RecurrentParams& p) {
  return p.cell != CellKind::kGru || p.linear_before_reset;
}

// The rows [first, last) of the batch, one direction. `bytes` is room for the state in bytes, one
// after the other for as many parts as steps are done in.
class Sequence {
 public:
  Sequence(const RecurrentParams& p, const Layout& l, int direction, int64_t first, int64_t last,
           float* scratch, char* bytes, const ByteTables& tables)
      : p_(p),
        d_(p.direction[direction]),
        l_(l),
        first_(first),
        last_(last),
        ahead_(scratch + l.ahead),
        products_(scratch + l.products),
        rests_(scratch + l.rests),
        h_(scratch + l.h),
        next_h_(scratch + l.next_h),
        c_(scratch + l.c),
        bytes_(bytes),
        tables_(tables),
        table_(tables.floats),
        usual_(is_usual(p, d_)) {}

  // Step t, whose x w is the `slot`-th of those computed ahead.
  void step(int64_t t, int64_t slot) {
    if (products_come_first(p_)) {
      round(h_, 0);
      multiply_columns(slot, 0, l_.columns, h_, 0);
    } else {
      const Columns all{0, p_.hidden, 0};
      reset(ahead(slot), h_, all);
      multiply_candidates(ahead(slot), all);
    }
    finish(t, slot);
  }

  // Columns [begin, end) of the hidden ones, a part, in step t, the `i`-th done in parts; begin is
  // a multiple of 16. The state of even steps is in h_, that of odd ones in next_h_. Products that
  // follow each other are phases, each of which is done in all parts before the next.
  void step_part(int64_t t, int64_t slot, int64_t i, int64_t phase, int64_t part, int64_t begin,
                 int64_t end) const {
    const int64_t n = p_.hidden;
    const float* const from = i % 2 == 0 ? h_ : next_h_;
    if (!products_come_first(p_)) {
      if (phase == 0) return reset(ahead(slot), from, {begin, end - begin, part});
      multiply_candidates(ahead(slot), {begin, end - begin, part});
    } else {
      round(from, part);
      for (int64_t gate = 0; gate < l_.columns; gate += n)
        multiply_columns(slot, gate + begin, gate + end, from, part);
    }
    finish_part(t, slot, from, i % 2 == 0 ? next_h_ : h_, begin, end);
  }
  // After `steps` steps in parts.
  void end_parts(int64_t steps) const {
    if (steps % 2 != 0) std::copy_n(next_h_, p_.batch * p_.hidden, h_);
  }

  // The columns [first, last) of the products with the state, which round() has seen; first is a
  // multiple of 16.
  void multiply_columns(int64_t slot, int64_t first, int64_t last, const float* h,
                        int64_t part) const {
    const float* xw = ahead(slot) + first;
    const Columns columns{first, last - first, part};
    float* out = products_ + first;
    if (p_.cell == CellKind::kGru)
      multiply(d_.r, columns, h, nullptr, d_.bias_r == nullptr ? nullptr : d_.bias_r + first, out,
               {});
    else
      multiply(d_.r, columns, h, xw, nullptr, out,
               p_.cell == CellKind::kPlain && p_.clip <= 0 ? p_.g : Activation{});
  }

  // The gates of step t, its products being there.
  void finish(int64_t t, int64_t slot) {
    const float* xw = ahead(slot);
    for (int64_t b = first_; b < last_; ++b) {
      float* y = d_.y == nullptr ? nullptr : d_.y + t * p_.y_step_stride + b * p_.hidden;
      float* h = h_ + b * p_.hidden;
      if (!is_valid(t, b)) {
        if (y != nullptr && p_.hold) std::copy_n(h, p_.hidden, y);
        if (y != nullptr && !p_.hold) std::fill_n(y, p_.hidden, 0.0f);
        continue;
      }
      float* z = products_ + b * l_.columns;
      if (p_.cell == CellKind::kLstm)
        lstm_row(z, c_ + b * p_.hidden, h);
      else if (p_.cell == CellKind::kPlain)
        plain_row(z, h);
      else
        gru_row(xw + b * l_.columns, z, candidates() + b * p_.hidden, h);
      if (y != nullptr) std::copy_n(h, p_.hidden, y);
    }
  }

 private:
  // The gates of a part and its state, the products being there.
  void finish_part(int64_t t, int64_t slot, const float* from, float* to, int64_t begin,
                   int64_t end) const {
    const int64_t n = p_.hidden;
    for (int64_t b = first_; b < last_; ++b) {
      float* const h = to + b * n + begin;
      const float* const x = ahead(slot) + b * l_.columns + begin;
      float* const z = products_ + b * l_.columns + begin;
      const bool valid = is_valid(t, b);
      if (valid && p_.cell == CellKind::kPlain)
        std::copy_n(z, end - begin, h);
      else
        std::copy_n(from + b * n + begin, end - begin, h);
      if (valid && p_.cell == CellKind::kLstm)
        table_.lstm_gates({end - begin, n, z, c_ + b * n + begin, h});
      if (valid && p_.cell == CellKind::kGru && p_.linear_before_reset)
        table_.gru_gates({end - begin, n, x, z, h});
      if (valid && !products_come_first(p_)) {
        apply(p_.g, z + 2 * n, end - begin);
        update(z, z + 2 * n, end - begin, h);
      }
      if (d_.y == nullptr) continue;
      float* const y = d_.y + t * p_.y_step_stride + b * n + begin;
      if (valid || p_.hold)
        std::copy_n(h, end - begin, y);
      else
        std::fill_n(y, end - begin, 0.0f);
    }
  }

  // A GRU's new state.
  static void update(const float* z, const float* candidate, int64_t n, float* h) {
    for (int64_t i = 0; i < n; ++i) h[i] = (1 - z[i]) * candidate[i] + z[i] * h[i];
  }

  bool is_valid(int64_t t, int64_t b) const {
    if (p_.mask != nullptr) return p_.mask[t * p_.batch + b];
    if (p_.lengths32 != nullptr) return t < p_.lengths32[b];
    return p_.lengths64 == nullptr || t < p_.lengths64[b];
  }
  const float* ahead(int64_t slot) const { return ahead_ + slot * p_.batch * l_.columns; }
  float* candidates() const { return products_ + p_.batch * l_.columns; }

  struct Columns {
    int64_t first, n, part;
  };

  // What products of bytes are with: rows of the state, in the room of a part.
  void round(const float* h, int64_t part) const {
    if (p_.in_bytes) l_.state.fill(room(part), first_, last_, h, table_);
  }
  char* room(int64_t part) const { return bytes_ + part * l_.state.bytes(); }

  // out[b] = activation(a[b] x weights + add[b] + bias) for the rows of this sequence; `add` and
  // `out` as wide as all gates.
  void multiply(const ScaledWeights& weights, const Columns& columns, const float* a,
                const float* add, const float* bias, float* out, Activation activation) const {
    const int64_t ld = l_.columns;
    if (p_.in_bytes) {
      multiply_bytes({l_.state, room(columns.part), first_, last_, weights, columns.first,
                      columns.n, add == nullptr ? bias : add, add == nullptr ? 0 : ld, out, ld,
                      rests_ + (out - products_)},
                     tables_);
      for (int64_t b = first_; b < last_; ++b) {
        float* const y = out + b * ld;
        const auto n = static_cast<size_t>(columns.n);
        if (add != nullptr && bias != nullptr)
          table_.binary[static_cast<size_t>(BinaryOp::kAdd)](y, bias, y, n);
        if (activation.kind != ActivationKind::kNone) table_.activate(activation, y, y, n);
      }
      return;
    }
    GemmRegion region;
    region.m = last_ - first_;
    region.n = columns.n;
    region.k = p_.hidden;
    region.a = a + first_ * p_.hidden;
    region.lda = p_.hidden;
    region.b = static_cast<const float*>(weights.panels) + columns.first * p_.hidden;
    region.b_panel_stride = p_.hidden * kPanelColumns;
    region.c = out + first_ * ld;
    region.ldc = ld;
    region.bias = bias;
    if (add != nullptr) region.residual = add + first_ * ld;
    region.ld_residual = ld;
    region.activation = activation;
    gemm_region(region, table_);
  }

  void clip(float* z, int64_t n) const {
    if (p_.clip > 0)
      table_.activate({ActivationKind::kClip, -p_.clip, p_.clip}, z, z, static_cast<size_t>(n));
  }
  void apply(const Activation& activation, float* z, int64_t n) const {
    clip(z, n);
    table_.activate(activation, z, z, static_cast<size_t>(n));
  }
  void binary(BinaryOp op, const float* a, const float* b, float* y) const {
    table_.binary[static_cast<size_t>(op)](a, b, y, static_cast<size_t>(p_.hidden));
  }

  // The update and reset gates of some columns of the hidden ones, and their state, reset, in the
  // place of candidates.
  void reset(const float* xw, const float* from, Columns hidden) const {
    const int64_t n = p_.hidden, width = hidden.n;
    round(from, hidden.part);
    // Both gates of all columns are one product, wherever the second one begins in a panel.
    const int64_t together = width == n ? 2 * n : width;
    for (int64_t gate = hidden.first; gate < 2 * n; gate += std::max(n, together))
      multiply(d_.r, {gate, together, hidden.part}, from, xw + gate,
               d_.bias_r == nullptr ? nullptr : d_.bias_r + gate, products_ + gate, {});
    for (int64_t b = first_; b < last_; ++b) {
      float* const z = products_ + b * l_.columns + hidden.first;
      apply(p_.f, z, width);
      apply(p_.f, z + n, width);
      const int64_t at = b * n + hidden.first;
      table_.binary[static_cast<size_t>(BinaryOp::kMul)](z + n, from + at, candidates() + at,
                                                         static_cast<size_t>(width));
    }
  }
  // The candidates of a state that was reset.
  void multiply_candidates(const float* xw, Columns hidden) const {
    const int64_t first = 2 * p_.hidden + hidden.first;
    round(candidates(), hidden.part);
    multiply(d_.r_h, hidden, candidates(), xw + first,
             d_.bias_r == nullptr ? nullptr : d_.bias_r + first, products_ + first, {});
  }

  void lstm_row(float* z, float* c, float* h) const {
    const int64_t n = p_.hidden;
    if (usual_) return table_.lstm_gates({n, n, z, c, h});
    const float* peephole = d_.peephole;
    if (peephole != nullptr) add_product(peephole, c, z);
    if (peephole != nullptr) add_product(peephole + 2 * n, c, z + n);
    apply(p_.f, z, 2 * n);
    apply(p_.g, z + 2 * n, n);
    binary(BinaryOp::kMul, z + n, c, c);
    binary(BinaryOp::kMul, z, z + 2 * n, z);
    binary(BinaryOp::kAdd, c, z, c);
    if (peephole != nullptr) add_product(peephole + n, c, z + 3 * n);
    apply(p_.f, z + 3 * n, n);
    std::copy_n(c, n, h);
    apply(p_.output, h, n);
    binary(BinaryOp::kMul, z + 3 * n, h, h);
  }
  void add_product(const float* a, const float* b, float* sum) const {
    for (int64_t i = 0; i < p_.hidden; ++i) sum[i] += a[i] * b[i];
  }

  void plain_row(float* z, float* h) const {
    if (p_.clip > 0) apply(p_.g, z, p_.hidden);
    std::copy_n(z, p_.hidden, h);
  }

  // z: the recurrent products; when not linear_before_reset the gates and the sum for n instead.
  void gru_row(const float* x, float* z, float* scratch, float* h) const {
    const int64_t n = p_.hidden;
    if (p_.linear_before_reset) {
      if (usual_) return table_.gru_gates({n, n, x, z, h});
      std::copy_n(z + 2 * n, n, scratch);
      for (int64_t i = 0; i < 2 * n; ++i) z[i] += x[i];
      apply(p_.f, z, 2 * n);
      binary(BinaryOp::kMul, z + n, scratch, scratch);
      binary(BinaryOp::kAdd, x + 2 * n, scratch, z + 2 * n);
    }
    apply(p_.g, z + 2 * n, n);
    update(z, z + 2 * n, n, h);
  }

  const RecurrentParams& p_;
  const RecurrentDirection& d_;
  const Layout& l_;
  int64_t first_, last_;
  float* ahead_;
  float* products_;
  float* rests_;
  float* h_;
  float* next_h_;
  float* c_;
  char* bytes_;
  const ByteTables& tables_;
  const KernelTable& table_;
  bool usual_;
};

// How many products of a step follow each other.
int64_t phases_of(const RecurrentParams& p) {
  return products_come_first(p) ? 1 : 2;
}

// One sequence for several threads: worth waiting for each other in every phase of a step where the
// weights take long to read.
bool splits_columns(const RecurrentParams& p, const Layout& l, int64_t threads) {
  constexpr int64_t kLargeFloats = 60 << 10;
  const bool usual = p.cell == CellKind::kPlain ? p.clip <= 0 : is_usual(p, p.direction[0]);
  return usual && threads > 1 && p.directions == 1 && p.batch == 1 &&
         p.hidden % kPanelColumns == 0 && l.columns * p.hidden >= phases_of(p) * kLargeFloats;
}

void copy_or_zero(const float* from, int64_t n, float* to) {
  if (from == nullptr)
    std::fill_n(to, n, 0.0f);
  else
    std::copy_n(from, n, to);
}

}  // namespace

// Scratch in bytes: that of the directions, then what products of bytes need.
struct Scratch {
  int64_t floats = 0, zeros = 0, state = 0, input = 0, bytes = 0;

  Scratch(const RecurrentParams& p, const Layout& l, int64_t threads) {
    floats = slots_bytes(l.floats, p.directions);
    bytes = floats;
    if (!p.in_bytes) return;
    zeros = floats;
    state = zeros + round_to_lines(4 * (l.columns + ByteTables::kBeyond));
    // One for each direction, or part of a step.
    input = state + std::max<int64_t>(p.directions, threads) * l.state.bytes();
    bytes = input + threads * input_slot_bytes(l);
  }
};

int64_t recurrent_scratch_bytes(const RecurrentParams& p, int threads) {
  return Scratch(p, lay_out(p), threads).bytes;
}

void recurrent(const RecurrentParams& p, ThreadPool& pool, void* scratch, const KernelTable& table,
               const Int8Table& bytes) {
  const Layout l = lay_out(p);
  const int64_t state = p.batch * p.hidden;
  if (state <= 0) return;
  const Scratch room(p, l, pool.threads());
  char* const base = static_cast<char*>(scratch);
  const ByteTables tables{table, bytes, reinterpret_cast<const int32_t*>(base + room.zeros)};
  if (p.in_bytes) std::memset(base + room.zeros, 0, static_cast<size_t>(room.state - room.zeros));
  const auto scratch_of = [&](int64_t d) { return slot_floats(scratch, d, l.floats); };
  for (int d = 0; d < p.directions; ++d) {
    copy_or_zero(p.direction[d].h0, state, scratch_of(d) + l.h);
    copy_or_zero(p.direction[d].c0, state, scratch_of(d) + l.c);
  }
  // Whole tiles of sequences where there are enough of them.
  const int64_t threads = pool.threads();
  const int64_t parts = std::clamp<int64_t>(threads / p.directions, 1, p.batch);
  const int64_t rows = (p.batch + parts - 1) / parts;
  const int64_t slices = (p.batch + rows - 1) / rows;
  for (int64_t done = 0; done < p.steps; done += l.steps) {
    const int64_t count = std::min(l.steps, p.steps - done);
    for (int d = 0; d < p.directions; ++d) {
      const RecurrentDirection& direction = p.direction[d];
      const int64_t begin = direction.reverse ? p.steps - done - count : done;
      multiply_inputs(p, l, direction, begin, count, scratch_of(d) + l.ahead, pool,
                      base + room.input, tables);
    }
    const auto step_of = [&](bool reverse, int64_t i) {
      return reverse ? p.steps - 1 - done - i : done + i;
    };
    if (splits_columns(p, l, threads)) {
      const bool reverse = p.direction[0].reverse;
      const Sequence sequence(p, l, 0, 0, p.batch, scratch_of(0), base + room.state, tables);
      const int64_t most = std::min(threads, kMostParts), phases = phases_of(p);
      const int64_t width = round_up(ceil_div(p.hidden, most), kPanelColumns);
      steps_in_parts(
          pool, count * phases, ceil_div(p.hidden, width), [&](int64_t at, int64_t part) {
            const int64_t i = at / phases;
            sequence.step_part(step_of(reverse, i), reverse ? count - 1 - i : i, i, at % phases,
                               part, part * width, std::min(p.hidden, (part + 1) * width));
          });
      sequence.end_parts(count);
      continue;
    }
    pool.parallel_for(p.directions * slices, [&](int64_t task) {
      const int d = static_cast<int>(task / slices);
      const int64_t first = task % slices * rows;
      Sequence sequence(p, l, d, first, std::min(p.batch, first + rows), scratch_of(d),
                        base + room.state + d * l.state.bytes(), tables);
      const bool reverse = p.direction[d].reverse;
      for (int64_t i = 0; i < count; ++i)
        sequence.step(step_of(reverse, i), reverse ? count - 1 - i : i);
    });
  }
  for (int d = 0; d < p.directions; ++d) {
    if (p.direction[d].h_last != nullptr)
      std::copy_n(scratch_of(d) + l.h, state, p.direction[d].h_last);
    if (p.direction[d].c_last != nullptr)
      std::copy_n(scratch_of(d) + l.c, state, p.direction[d].c_last);
  }
}

}  // namespace tenon::cpu
