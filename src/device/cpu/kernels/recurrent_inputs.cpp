#include "device/cpu/kernels/recurrent_inputs.h"

#include <algorithm>

#include "base/numbers.h"
#include "device/cpu/kernels/gemm.h"
#include "device/cpu/kernels/slots.h"

namespace tenon::cpu {
namespace {

// Floats of x w computed ahead: they stay in L2 beside the recurrent weights.
constexpr int64_t kAheadFloats = 96 << 10;

// Rows of x that are multiplied in bytes as one task.
constexpr int64_t kInputRows = 48;

int64_t gates_of(CellKind cell) {
  return cell == CellKind::kLstm ? 4 : cell == CellKind::kGru ? 3 : 1;
}

}  // namespace

Layout lay_out(const RecurrentParams& p) {
  const auto whole_lines = [](int64_t floats) { return (floats + 15) / 16 * 16; };
  Layout l;
  l.columns = gates_of(p.cell) * p.hidden;
  const int64_t step_floats = std::max<int64_t>(1, p.batch * l.columns);
  l.steps = std::clamp<int64_t>(kAheadFloats / step_floats, 1, std::max<int64_t>(p.steps, 1));
  l.ahead = 0;
  l.products = whole_lines(l.steps * p.batch * l.columns);
  l.rests = l.products + whole_lines(p.batch * (l.columns + p.hidden));
  l.h = l.rests + whole_lines(p.two_bytes ? p.batch * l.columns : 0);
  l.next_h = l.h + whole_lines(p.batch * p.hidden);
  l.c = l.next_h + whole_lines(p.batch * p.hidden);
  l.floats = l.c + whole_lines(p.batch * p.hidden);
  l.state = {p.batch, p.hidden, p.two_bytes};
  l.input = {kInputRows, p.inputs, p.two_bytes};
  return l;
}

int64_t input_slot_bytes(const Layout& l) {
  const int64_t products = kInputRows * l.columns * static_cast<int64_t>(sizeof(float));
  return l.input.bytes() + (l.input.rests ? round_to_lines(products) : 0);
}

void multiply_inputs(const RecurrentParams& p, const Layout& l, const RecurrentDirection& d,
                     int64_t begin, int64_t count, float* out, ThreadPool& pool, char* slots,
                     const ByteTables& tables) {
  const float* const x = p.x + begin * p.batch * p.inputs;
  const int64_t rows = count * p.batch;
  if (!p.in_bytes) {
    GemmParams product;
    product.m = rows;
    product.n = l.columns;
    product.k = product.lda = p.inputs;
    product.a = x;
    product.b = static_cast<const float*>(d.w.panels);
    product.c = out;
    product.ldc = l.columns;
    product.bias = d.bias;
    return gemm(product, pool, nullptr, tables.floats);
  }
  parallel_with_slots(pool, ceil_div(rows, kInputRows), [&](int64_t task, int64_t slot) {
    const int64_t first = task * kInputRows, m = std::min(kInputRows, rows - first);
    char* const at = slots + slot * input_slot_bytes(l);
    l.input.fill(at, 0, m, x + first * p.inputs, tables.floats);
    multiply_bytes({l.input, at, 0, m, d.w, 0, l.columns, d.bias, 0, out + first * l.columns,
                    l.columns, reinterpret_cast<float*>(at + l.input.bytes())},
                   tables);
  });
}

}  // namespace tenon::cpu
