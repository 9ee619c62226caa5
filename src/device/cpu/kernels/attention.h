// Scaled dot-product attention without materialising the score matrix. See gemm.h for the rules on
// pointers and scratch.
#pragma once

#include <cstdint>

#include "base/thread_pool.h"
#include "device/cpu/kernels/kernel_table.h"

namespace tenon::cpu {

// A view [batch, heads, length, width] of floats, contiguous along width. [B, S, H, D] storage is
// batch = S * H * D, head = D, row = H * D.
template <typename T>
struct HeadView {
  T* data = nullptr;
  int64_t batch_stride = 0;
  int64_t head_stride = 0;
  int64_t row_stride = 0;
};

// y = softmax(scale * q k^T + mask) v for every batch index and head. With kv_heads < heads
// (dividing it), query head h uses head h * kv_heads / heads of k and v. A row whose every score is
// -inf gives zeros.
struct AttentionParams {
  int64_t batch = 1;
  int64_t heads = 1;
  int64_t kv_heads = 1;
  int64_t q_len = 0;
  int64_t kv_len = 0;
  int64_t head_dim = 0;   // of q and k
  int64_t value_dim = 0;  // of v and y
  float scale = 1;
  HeadView<const float> q;  // [batch, heads, q_len, head_dim]
  HeadView<const float> k;  // [batch, kv_heads, kv_len, head_dim]
  HeadView<const float> v;  // [batch, kv_heads, kv_len, value_dim]
  HeadView<float> y;        // [batch, heads, q_len, value_dim]
  // [batch, heads, q_len, kv_len], columns mask_step apart (0 or 1), strides of 0 broadcasting; or
  // null. Floats are added to the scores; booleans keep a score where they are true.
  HeadView<const float> mask;
  HeadView<const bool> keep;
  int64_t mask_step = 1;
  bool causal = false;          // query i sees keys j <= i + kv_len - q_len
  bool nan_when_empty = false;  // rows that see nothing: NaN, or zeros
  bool narrow_y = false;        // y is of bf16, and so are its strides
  // So are q, k and v, and they are multiplied in pairs (pairs.h): head_dim is even, y is narrow.
  bool narrow = false;
};
// A row of scores that become weights, as what multiplies pairs of bf16 wants them: y[i] =
// exp(t[i] - max t) rounded, with t = scale * x + mask. Their sum is returned; 0 where no t is
// above -inf, and y is not written. x may be overwritten; y may begin where x does.
struct ScoreRow {
  float* x = nullptr;
  const float* mask = nullptr;  // or null (zeros)
  float scale = 1;              // positive
  uint16_t* y = nullptr;
  int64_t n = 0;
};

int64_t attention_scratch_bytes(const AttentionParams& p, int threads);
void attention(const AttentionParams& p, ThreadPool& pool, void* scratch,
               const KernelTable& table = kernels());

}  // namespace tenon::cpu
