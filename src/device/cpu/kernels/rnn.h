// Whole-sequence LSTM and GRU layers (one direction each). See gemm.h for the rules on pointers
// and scratch.
#pragma once

#include <cstdint>

#include "base/thread_pool.h"
#include "device/cpu/kernels/activation.h"
#include "device/cpu/kernels/kernel_table.h"

namespace tenon::cpu {

// What y holds at steps that `lengths` or `mask` leave out; the state is held there in any case.
enum class SkippedOutput : uint8_t { kZero, kHold };

// What LSTM and GRU share. Element [t, b, i] of x is x[t * x_step_stride + b * x_batch_stride + i],
// so step-major and batch-major both work; y likewise with `hidden` elements.
struct SequenceParams {
  int64_t steps = 0;
  int64_t batch = 0;
  int64_t inputs = 0;
  int64_t hidden = 0;
  const float* x = nullptr;
  int64_t x_step_stride = 0;
  int64_t x_batch_stride = 0;
  const float* h0 = nullptr;  // [batch, hidden], null: zeros
  float* y = nullptr;         // every step's h, or null
  int64_t y_step_stride = 0;
  int64_t y_batch_stride = 0;
  float* h_last = nullptr;           // [batch, hidden] or null; may be h0
  const int32_t* lengths = nullptr;  // [batch]: steps t >= lengths[b] are left out; or null
  const uint8_t* mask = nullptr;     // [steps, batch], dense: where 0 the step is left out; or null
  SkippedOutput skipped = SkippedOutput::kZero;
  bool reverse = false;  // t from steps - 1 to 0; y[t] still belongs to x[t]
};

// Gates in columns i, f, g, o (input, forget, cell, output), `hidden` columns each:
//   z = x w + h r + bias;  c' = f(z_f) c + f(z_i) g(z_g);  h' = f(z_o) g(c')
// with f = sigmoid, g = tanh unless given. Peepholes add p_i c, p_f c to z_i, z_f and p_o c' to
// z_o.
struct LstmParams {
  SequenceParams sequence;
  const float* w = nullptr;           // pack_b(inputs, 4 * hidden)
  const float* r = nullptr;           // pack_b(hidden, 4 * hidden)
  const float* bias = nullptr;        // [4 * hidden], input and recurrent biases summed, or null
  const float* peephole_i = nullptr;  // [hidden] each, or null
  const float* peephole_f = nullptr;
  const float* peephole_o = nullptr;
  const float* c0 = nullptr;  // [batch, hidden], null: zeros
  float* c_last = nullptr;    // [batch, hidden] or null; may be c0
  float cell_clip = 0;        // > 0: z is clipped to [-cell_clip, cell_clip] (ONNX `clip`)
  Activation gate{ActivationKind::kSigmoid};
  Activation cell{ActivationKind::kTanh};
  Activation output{ActivationKind::kTanh};
};
int64_t lstm_scratch_bytes(const LstmParams& p, int threads);
void lstm(const LstmParams& p, ThreadPool& pool, void* scratch,
          const KernelTable& table = kernels());

// Gates in columns z, r, h (update, reset, candidate):
//   z = f(x w_z + h r_z + b_z);  r = f(x w_r + h r_r + b_r);  h' = (1 - z) n + z h
//   n = g(x w_h + b_h + r (h r_h + b_rh))     linear_before_reset (Keras reset_after, PyTorch)
//   n = g(x w_h + b_h + (r h) r_h + b_rh)     otherwise
struct GruParams {
  SequenceParams sequence;
  const float* w = nullptr;        // pack_b(inputs, 3 * hidden): z, r, h
  const float* r_zr = nullptr;     // pack_b(hidden, 2 * hidden): z, r
  const float* r_h = nullptr;      // pack_b(hidden, hidden)
  const float* bias = nullptr;     // [3 * hidden], both biases summed for z and r; or null
  const float* bias_rh = nullptr;  // [hidden], the recurrent bias of h; or null
  bool linear_before_reset = false;
  Activation gate{ActivationKind::kSigmoid};
  Activation candidate{ActivationKind::kTanh};
};
int64_t gru_scratch_bytes(const GruParams& p, int threads);
void gru(const GruParams& p, ThreadPool& pool, void* scratch, const KernelTable& table = kernels());

}  // namespace tenon::cpu
