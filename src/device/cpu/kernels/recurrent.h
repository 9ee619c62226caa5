// Whole-sequence LSTM, GRU and plain recurrent layers. See gemm.h for the rules on pointers and
// scratch.
#pragma once

#include <cstdint>

#include "base/thread_pool.h"
#include "device/cpu/kernels/activation.h"
#include "device/cpu/kernels/byte_rows.h"
#include "device/cpu/kernels/int8.h"
#include "device/cpu/kernels/kernel_table.h"

namespace tenon::cpu {

enum class CellKind : uint8_t { kLstm, kGru, kPlain };

// One direction of a layer, G gates of `hidden` columns each (4, 3 or 1).
struct RecurrentDirection {
  bool reverse = false;             // t from steps - 1 to 0; y[t] still belongs to x[t]
  ScaledWeights w;                  // [inputs, G * hidden]
  ScaledWeights r;                  // [hidden, G * hidden]; GRU not linear: 2 * hidden
  ScaledWeights r_h;                // GRU not linear: [hidden, hidden], the candidate's
  const float* bias = nullptr;      // [G * hidden], added to x w; or null
  const float* bias_r = nullptr;    // GRU: [3 * hidden], added to h r; or null
  const float* peephole = nullptr;  // LSTM: [3 * hidden] for i, o, f; or null
  const float* h0 = nullptr;        // [batch, hidden], null: zeros
  const float* c0 = nullptr;        // LSTM: [batch, hidden], null: zeros
  float* y = nullptr;               // [batch, hidden] per step, steps y_step_stride apart; or null
  float* h_last = nullptr;          // [batch, hidden]; or null
  float* c_last = nullptr;          // LSTM: [batch, hidden]; or null
};

// LSTM, columns i, f, g, o:
//   z = x w + h r + bias;  c' = f(z_f + p_f c) c + f(z_i + p_i c) g(z_g)
//   h' = f(z_o + p_o c') output(c')
// GRU, columns z, r, h:  h' = (1 - z) n + z h  with
//   n = g(x w_h + b_h + r (h r_h + rb_h))     linear_before_reset (Keras reset_after, PyTorch)
//   n = g(x w_h + b_h + (r h) r_h + rb_h)     otherwise
// Plain: h' = g(x w + h r + bias).
// Where t >= lengths[b], or the mask is false, the state stays and y is zero, or the state with
// hold. With weights of bytes the rows of x and h are rounded to bytes first, each by its own
// range; with two_bytes what that leaves as well.
struct RecurrentParams {
  CellKind cell = CellKind::kLstm;
  bool in_bytes = false;  // all weights, or none
  bool two_bytes = false;
  int64_t steps = 0;
  int64_t batch = 0;
  int64_t inputs = 0;
  int64_t hidden = 0;
  const float* x = nullptr;            // [steps, batch, inputs]
  const int32_t* lengths32 = nullptr;  // [batch] in one of two types, or neither
  const int64_t* lengths64 = nullptr;
  const bool* mask = nullptr;  // [steps, batch], or null; without lengths
  bool hold = false;
  int64_t y_step_stride = 0;
  int directions = 1;
  RecurrentDirection direction[2];
  bool linear_before_reset = false;
  float clip = 0;  // > 0: what enters an activation is limited to [-clip, clip]
  Activation f{ActivationKind::kSigmoid};
  Activation g{ActivationKind::kTanh};
  Activation output{ActivationKind::kTanh};
};
int64_t recurrent_scratch_bytes(const RecurrentParams& p, int threads);
void recurrent(const RecurrentParams& p, ThreadPool& pool, void* scratch,
               const KernelTable& table = kernels(), const Int8Table& bytes = int8_kernels());

// Columns of one row of a step of the usual cells (sigmoid, tanh, no clip, no peepholes), for the
// table: n of each gate, `gate` floats from one gate to the next.
struct LstmGates {
  int64_t n = 0;
  int64_t gate = 0;
  const float* z = nullptr;  // four gates
  float* c = nullptr;
  float* h = nullptr;
};
struct GruGates {
  int64_t n = 0;
  int64_t gate = 0;
  const float* x = nullptr;  // three gates
  const float* r = nullptr;  // three gates
  float* h = nullptr;
};

}  // namespace tenon::cpu
