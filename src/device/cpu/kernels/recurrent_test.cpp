// Every table against a cell by cell computation in double; the options of the layers are tested
// against the ops' reference in candidates_test.cpp.
#include "device/cpu/kernels/recurrent.h"

#include <algorithm>

#include "device/cpu/kernels/pack.h"
#include "device/cpu/kernels/test_support.h"

namespace tenon::cpu {
namespace {

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

struct LayerCase {
  CellKind cell;
  int64_t steps, batch, inputs, hidden;
  bool reverse = false;
  bool lengths = false;
  int threads = 1;
  bool reset_after = true;  // a GRU's state, multiplied first
};

// Small where there are many: rounding does not grow from step to step.
struct Weights {
  std::vector<float> plain, packed;
  Weights(int64_t k, int64_t n, float most) : plain(random_floats(k * n, -most, most)) {
    packed = columns(k, n, 0, n);
  }
  // Some of them, packed.
  std::vector<float> columns(int64_t k, int64_t n, int64_t first, int64_t count) const {
    std::vector<float> to(static_cast<size_t>(packed_b_floats(k, count)));
    pack_b(k, count, plain.data() + first, n, false, to.data());
    return to;
  }
};

// v[k] x m[k, n], column c.
double column(const double* v, const Weights& m, int64_t k, int64_t n, int64_t c) {
  double sum = 0;
  for (int64_t i = 0; i < k; ++i) sum += v[i] * m.plain[static_cast<size_t>(i * n + c)];
  return sum;
}

void check(const LayerCase& c, const KernelTable& table) {
  const int64_t gates = c.cell == CellKind::kLstm ? 4 : c.cell == CellKind::kGru ? 3 : 1;
  const int64_t n = c.hidden, columns = gates * n;
  const auto x = random_floats(c.steps * c.batch * c.inputs), bias = random_floats(columns),
             bias_r = random_floats(columns), h0 = random_floats(c.batch * n);
  const float most = std::min(0.4f, 1.5f / std::sqrt(static_cast<float>(n)));
  const Weights w(c.inputs, columns, most), r(n, columns, most);
  std::vector<int64_t> lengths;
  for (int64_t b = 0; b < c.batch; ++b)
    lengths.push_back(c.lengths ? (b * 3 + 1) % (c.steps + 1) : c.steps);
  GuardedFloats y(c.steps * c.batch * n), h_last(c.batch * n);
  RecurrentParams p;
  p.cell = c.cell;
  p.steps = c.steps, p.batch = c.batch, p.inputs = c.inputs, p.hidden = n;
  p.x = x.data();
  if (c.lengths) p.lengths64 = lengths.data();
  p.y_step_stride = c.batch * n;
  p.linear_before_reset = c.reset_after;
  RecurrentDirection& d = p.direction[0];
  d.reverse = c.reverse;
  d.w = {w.packed.data()}, d.r = {r.packed.data()}, d.bias = bias.data();
  if (c.cell == CellKind::kGru) d.bias_r = bias_r.data();
  const auto gates_r = r.columns(n, columns, 0, std::min(columns, 2 * n)),
             candidate_r = r.columns(n, columns, columns - n, n);
  if (!c.reset_after) d.r = {gates_r.data()}, d.r_h = {candidate_r.data()};
  d.h0 = h0.data(), d.y = y.data(), d.h_last = h_last.data();
  ThreadPool pool(c.threads);
  Scratch scratch(recurrent_scratch_bytes(p, c.threads));
  recurrent(p, pool, scratch.get(), table);

  std::vector<double> expected(static_cast<size_t>(y.size())), last;
  for (int64_t b = 0; b < c.batch; ++b) {
    std::vector<double> h(h0.begin() + b * n, h0.begin() + (b + 1) * n), cell(h.size());
    for (int64_t s = 0; s < lengths[static_cast<size_t>(b)]; ++s) {
      const int64_t t = c.reverse ? lengths[static_cast<size_t>(b)] - 1 - s : s;
      const auto* from = x.data() + (t * c.batch + b) * c.inputs;
      const std::vector<double> in(from, from + c.inputs), old = h;
      const auto xw = [&](int64_t k) {
        return column(in.data(), w, c.inputs, columns, k) + bias[static_cast<size_t>(k)];
      };
      const auto hr = [&](int64_t k) { return column(old.data(), r, n, columns, k); };
      const auto hr_b = [&](int64_t k) { return hr(k) + bias_r[static_cast<size_t>(k)]; };
      std::vector<double> after(old);  // reset
      for (int64_t i = 0; i < n && !c.reset_after; ++i)
        after[static_cast<size_t>(i)] *= sigmoid(xw(n + i) + hr_b(n + i));
      for (int64_t i = 0; i < n; ++i) {
        double& state = h[static_cast<size_t>(i)];
        if (c.cell == CellKind::kLstm) {
          double& m = cell[static_cast<size_t>(i)];
          m = sigmoid(xw(n + i) + hr(n + i)) * m +
              sigmoid(xw(i) + hr(i)) * std::tanh(xw(2 * n + i) + hr(2 * n + i));
          state = sigmoid(xw(3 * n + i) + hr(3 * n + i)) * std::tanh(m);
        } else if (c.cell == CellKind::kGru) {
          const double z = sigmoid(xw(i) + hr_b(i));
          const double product = c.reset_after ? sigmoid(xw(n + i) + hr_b(n + i)) * hr_b(2 * n + i)
                                               : column(after.data(), r, n, columns, 2 * n + i) +
                                                     bias_r[static_cast<size_t>(2 * n + i)];
          state = (1 - z) * std::tanh(xw(2 * n + i) + product) + z * state;
        } else {
          state = std::tanh(xw(i) + hr(i));
        }
        expected[static_cast<size_t>((t * c.batch + b) * n + i)] = state;
      }
    }
    last.insert(last.end(), h.begin(), h.end());
  }
  const std::string what = std::string(table.name) + " cell " +
                           std::to_string(static_cast<int>(c.cell)) + " hidden " +
                           std::to_string(n) + " batch " + std::to_string(c.batch);
  expect_near(y, expected, 2e-5, what);
  expect_near(h_last, last, 2e-5, what);
}

TEST(RecurrentKernel, MatchesNaive) {
  for (const KernelTable* table : tables_under_test())
    for (const CellKind cell : {CellKind::kLstm, CellKind::kGru, CellKind::kPlain})
      for (const bool reverse : {false, true})
        for (const bool lengths : {false, true}) {
          for (const int64_t hidden : {1, 7, 8, 17, 33})
            check({cell, 5, 3, 4, hidden, reverse, lengths}, *table);
          check({cell, 9, 13, 20, 16, reverse, lengths, 3}, *table);
        }
}

TEST(RecurrentKernel, LongOrWideOrNothing) {
  for (const KernelTable* table : tables_under_test())
    for (const CellKind cell : {CellKind::kLstm, CellKind::kGru, CellKind::kPlain}) {
      check({cell, 400, 2, 3, 50, true, true}, *table);  // more than is computed ahead
      check({cell, 3, 1, 5, 370, false, false, 2}, *table);
      check({cell, 5, 1, 5, 256, false, true, 3}, *table);  // columns dealt to threads
      check({cell, 90, 1, 5, 288, true, false, 2}, *table);
      check({cell, 0, 2, 3, 5}, *table);
      check({cell, 3, 0, 3, 5}, *table);
      check({cell, 2, 2, 0, 5}, *table);
    }
}

TEST(RecurrentKernel, StateResetBeforeItsProduct) {
  for (const KernelTable* table : tables_under_test())
    for (const bool reverse : {false, true})
      for (const bool lengths : {false, true}) {
        check({CellKind::kGru, 5, 3, 4, 33, reverse, lengths, 1, false}, *table);
        check({CellKind::kGru, 6, 1, 5, 224, reverse, lengths, 3, false}, *table);  // in parts
        check({CellKind::kGru, 180, 1, 5, 208, reverse, lengths, 2, false}, *table);
      }
}

TEST(RecurrentKernel, BytesAreTheSameOnEveryInstructionSet) {
  constexpr int64_t kSteps = 7, kBatch = 3, kInputs = 13, kHidden = 48, kColumns = 4 * kHidden;
  const auto x = random_floats(kSteps * kBatch * kInputs),
             scales = random_floats(kColumns, 0, 3e-3f);
  const auto pack = [](int64_t k) {
    std::vector<int8_t> w(static_cast<size_t>(k * kColumns));
    for (size_t i = 0; i < w.size(); ++i) w[i] = static_cast<int8_t>(i * 37 % 255 - 127);
    const Int8Weights form{k, kColumns};
    std::vector<int8_t> packed(static_cast<size_t>(packed_int8_bytes(form)));
    pack_int8(form, w.data(), packed.data());
    return packed;
  };
  const auto w = pack(kInputs), r = pack(kHidden);
  std::vector<float> expected;
  for (const KernelTable* table : tables_under_test())
    for (const Int8Table* bytes : supported_int8_tables()) {
      GuardedFloats y(kSteps * kBatch * kHidden);
      RecurrentParams p;
      p.in_bytes = true;
      p.steps = kSteps, p.batch = kBatch, p.inputs = kInputs, p.hidden = kHidden;
      p.x = x.data();
      p.y_step_stride = kBatch * kHidden;
      p.direction[0].w = {w.data(), scales.data(), kColumns};
      p.direction[0].r = {r.data(), scales.data(), kColumns};
      p.direction[0].y = y.data();
      ThreadPool pool(2);
      Scratch scratch(recurrent_scratch_bytes(p, 2));
      recurrent(p, pool, scratch.get(), *table, *bytes);
      if (expected.empty()) expected.assign(y.data(), y.data() + y.size());
      EXPECT_EQ(std::vector<float>(y.data(), y.data() + y.size()), expected)
          << table->name << " " << bytes->name;
    }
}

}  // namespace
}  // namespace tenon::cpu
