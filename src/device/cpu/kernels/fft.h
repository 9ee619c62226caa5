// Fourier transforms of many rows of one length. See gemm.h for the rules on pointers and scratch.
#pragma once

#include <cstdint>
#include <vector>

#include "base/thread_pool.h"

namespace tenon::cpu {

enum class FourierKind : uint8_t { kForward, kInverse, kRealForward, kRealInverse };

// Made once for a length, then run any number of times. Complex numbers are pairs of floats;
// inverses are divided by the length. The real kinds go between `length` floats and the
// length / 2 + 1 first frequencies; of those that stand for real numbers the imaginary part is
// not read.
class FourierPlan {
 public:
  // Whether the length is a product of small factors.
  static bool takes(int64_t length);

  FourierPlan(FourierKind kind, int64_t length);
  int64_t scratch_bytes(int threads) const;
  // A row of x has `x_floats`, of which what is beyond the transform is not read and what is
  // missing is zero.
  void run(const float* x, int64_t x_floats, float* y, int64_t rows, ThreadPool& pool,
           void* scratch) const;

 private:
  struct Stage {
    int64_t radix = 0, stride = 1, blocks = 1;
    std::vector<float> twiddles;  // of block, term > 0: pairs
    std::vector<float> roots;     // the powers of the radix-th root of one: pairs
  };
  struct Rows;
  bool is_real() const { return kind_ >= FourierKind::kRealForward; }
  bool is_inverse() const {
    return kind_ == FourierKind::kInverse || kind_ == FourierKind::kRealInverse;
  }
  int64_t work_floats() const;
  void run_rows(const Rows& rows, float* work) const;
  float* transform(float* from, float* to) const;
  void join_halves(const float* z, float* x) const;
  void part_halves(const float* x, float* z) const;

  FourierKind kind_;
  int64_t length_;
  bool halves_ = false;  // a real row is one of half as many complex numbers
  int64_t size_ = 0;     // of the complex transform
  std::vector<Stage> stages_;
  std::vector<float> turns_;  // of the halves: pairs
};

}  // namespace tenon::cpu
