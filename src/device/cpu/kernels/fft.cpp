// Fourier transforms: eight rows side by side in vectors, by stages that leave their results in
// order (Stockham's algorithm), radix 4 where the length has that factor.
#include "device/cpu/kernels/fft.h"

#include <algorithm>
#include <cmath>
#include <complex>

#include "device/cpu/kernels/slots.h"
#include "device/cpu/kernels/transpose8.h"

namespace tenon::cpu {
namespace {

constexpr int64_t kRows = 8;  // side by side
constexpr int64_t kMaxRadix = 13;
constexpr int64_t kMaxLength = int64_t{1} << 16;

using Vector = float __attribute__((vector_size(32), aligned(32), may_alias));

// A complex number of each of the rows.
struct Complex {
  Vector re, im;
};
Complex operator+(const Complex& a, const Complex& b) {
  return {a.re + b.re, a.im + b.im};
}
Complex operator-(const Complex& a, const Complex& b) {
  return {a.re - b.re, a.im - b.im};
}
Complex times(const Complex& a, const float* w) {
  return {a.re * w[0] - a.im * w[1], a.re * w[1] + a.im * w[0]};
}

// Complex numbers in memory, real and imaginary parts exchanged for an inverse transform, which
// then is a forward one.
struct Numbers {
  float* real;
  float* imaginary;
  Numbers(float* at, bool exchanged)
      : real(at + exchanged * kRows), imaginary(at + !exchanged * kRows) {}
  Complex get(int64_t i) const {
    return {*reinterpret_cast<const Vector*>(real + i * 2 * kRows),
            *reinterpret_cast<const Vector*>(imaginary + i * 2 * kRows)};
  }
  void set(int64_t i, const Complex& v) const {
    *reinterpret_cast<Vector*>(real + i * 2 * kRows) = v.re;
    *reinterpret_cast<Vector*>(imaginary + i * 2 * kRows) = v.im;
  }
};

void append_turn(std::vector<float>& pairs, int64_t part, int64_t whole) {
  const auto turn =
      std::polar(1.0, -2 * M_PI * static_cast<double>(part % whole) / static_cast<double>(whole));
  pairs.push_back(static_cast<float>(turn.real()));
  pairs.push_back(static_cast<float>(turn.imag()));
}

int64_t next_radix(int64_t n) {
  if (n % 4 == 0) return 4;
  for (int64_t radix = 2; radix <= kMaxRadix; ++radix)
    if (n % radix == 0) return radix;
  return 0;
}

// The terms of one stage added up: b[k] = sum over j of a[j] * root^(j k).
template <int64_t kRadix>
void add_terms(int64_t radix, const float* roots, const Complex* a, Complex* b) {
  if constexpr (kRadix == 2) {
    b[0] = a[0] + a[1];
    b[1] = a[0] - a[1];
  } else if constexpr (kRadix == 4) {
    const Complex even = a[0] + a[2], odd = a[1] + a[3], even_rest = a[0] - a[2],
                  rest = a[1] - a[3], turned{rest.im, -rest.re};
    b[0] = even + odd;
    b[1] = even_rest + turned;
    b[2] = even - odd;
    b[3] = even_rest - turned;
  } else {
    b[0] = a[0];
    for (int64_t j = 1; j < radix; ++j) b[0] = b[0] + a[j];
    for (int64_t k = 1; k < radix; ++k) {
      Complex sum = a[0];
      for (int64_t j = 1; j < radix; ++j) sum = sum + times(a[j], roots + j * k % radix * 2);
      b[k] = sum;
    }
  }
}

// Results of the stages before lie `stride` apart in `blocks` blocks for each of `radix` terms.
struct StageView {
  int64_t radix, stride, blocks;
  const float *twiddles, *roots;
};

template <int64_t kRadix>
void run_stage(const StageView& stage, const Numbers& x, const Numbers& y) {
  const int64_t radix = kRadix > 0 ? kRadix : stage.radix, stride = stage.stride;
  for (int64_t p = 0; p < stage.blocks; ++p) {
    const float* const twiddles = stage.twiddles + p * (radix - 1) * 2;
    for (int64_t q = 0; q < stride; ++q) {
      Complex a[kRadix > 0 ? kRadix : kMaxRadix], b[kRadix > 0 ? kRadix : kMaxRadix];
      a[0] = x.get(q + stride * p);
      for (int64_t j = 1; j < radix; ++j) a[j] = x.get(q + stride * (p + stage.blocks * j));
      add_terms<kRadix>(radix, stage.roots, a, b);
      const int64_t at = q + stride * radix * p;
      y.set(at, b[0]);
      for (int64_t k = 1; k < radix; ++k)
        y.set(at + stride * k, times(b[k], twiddles + (k - 1) * 2));
    }
  }
}

// Eight rows of `floats` floats as vectors; what is beyond `given` floats or rows is zero.
void load(const float* x, int64_t x_floats, int64_t rows, int64_t floats, float* to) {
  const int64_t given = std::min(floats, x_floats);
  int64_t i = 0;
  if (rows == kRows)
    for (; i + 8 <= given; i += 8) transpose8<false>(x + i, x_floats, to + i * kRows, kRows, 1);
  for (; i < floats; ++i)
    for (int64_t r = 0; r < kRows; ++r)
      to[i * kRows + r] = r < rows && i < given ? x[r * x_floats + i] : 0;
}

void store(const float* from, int64_t rows, int64_t floats, float* y) {
  int64_t i = 0;
  if (rows == kRows)
    for (; i + 8 <= floats; i += 8) transpose8<false>(from + i * kRows, kRows, y + i, floats, 1);
  for (; i < floats; ++i)
    for (int64_t r = 0; r < rows; ++r) y[r * floats + i] = from[i * kRows + r];
}

}  // namespace

bool FourierPlan::takes(int64_t length) {
  if (length < 1 || length > kMaxLength) return false;
  while (length > 1) {
    const int64_t radix = next_radix(length);
    if (radix == 0) return false;
    length /= radix;
  }
  return true;
}

FourierPlan::FourierPlan(FourierKind kind, int64_t length) : kind_(kind), length_(length) {
  halves_ = is_real() && length % 2 == 0;
  size_ = halves_ ? length / 2 : length;
  for (int64_t rest = size_, stride = 1; rest > 1;) {
    Stage stage{.radix = next_radix(rest), .stride = stride};
    stage.blocks = rest / stage.radix;
    for (int64_t p = 0; p < stage.blocks; ++p)
      for (int64_t k = 1; k < stage.radix; ++k) append_turn(stage.twiddles, p * k, rest);
    for (int64_t k = 0; k < stage.radix; ++k) append_turn(stage.roots, k, stage.radix);
    stride *= stage.radix;
    rest = stage.blocks;
    stages_.push_back(std::move(stage));
  }
  if (halves_)
    for (int64_t k = 0; k <= size_; ++k) append_turn(turns_, k, length);
}

// Two arrays that stages go to and fro between, with the last frequency of halves.
int64_t FourierPlan::work_floats() const {
  return 2 * 2 * (size_ + 1) * kRows;
}

int64_t FourierPlan::scratch_bytes(int threads) const {
  return slots_bytes(work_floats(), threads);
}

// Gives the one of the two arrays that holds the result.
float* FourierPlan::transform(float* from, float* to) const {
  for (const Stage& stage : stages_) {
    const Numbers x(from, is_inverse()), y(to, is_inverse());
    const StageView view{stage.radix, stage.stride, stage.blocks, stage.twiddles.data(),
                         stage.roots.data()};
    if (stage.radix == 4)
      run_stage<4>(view, x, y);
    else if (stage.radix == 2)
      run_stage<2>(view, x, y);
    else
      run_stage<0>(view, x, y);
    std::swap(from, to);
  }
  return from;
}

// The frequencies of a real row from those of z, of whose numbers the even elements are the real
// parts and the odd ones the imaginary.
void FourierPlan::join_halves(const float* z, float* x) const {
  const Numbers from(const_cast<float*>(z), false), to(x, false);
  for (int64_t k = 0; k <= size_; ++k) {
    const Complex a = from.get(k == size_ ? 0 : k), b = from.get(k == 0 ? 0 : size_ - k);
    const Complex even{(a.re + b.re) * 0.5f, (a.im - b.im) * 0.5f};
    const Complex odd{(a.im + b.im) * 0.5f, (b.re - a.re) * 0.5f};
    to.set(k, even + times(odd, turns_.data() + k * 2));
  }
}

// The inverse of it, twice as large.
void FourierPlan::part_halves(const float* x, float* z) const {
  const Numbers from(const_cast<float*>(x), false), to(z, false);
  for (int64_t k = 0; k < size_; ++k) {
    Complex a = from.get(k), b = from.get(size_ - k);
    if (k == 0) a.im = b.im = Vector{};
    const Complex even{a.re + b.re, a.im - b.im}, rest{a.re - b.re, a.im + b.im};
    const float back[] = {turns_[static_cast<size_t>(k * 2)],
                          -turns_[static_cast<size_t>(k * 2 + 1)]};
    const Complex odd = times(rest, back);
    to.set(k, {even.re - odd.im, even.im + odd.re});
  }
}

struct FourierPlan::Rows {
  const float* x;
  int64_t x_floats;
  float* y;
  int64_t count;  // up to eight
};

void FourierPlan::run_rows(const Rows& rows, float* work) const {
  float *a = work, *b = work + work_floats() / 2;
  const int64_t frequencies = length_ / 2 + 1;
  const bool spread = is_real() && !halves_;  // a complex transform of numbers without a part
  if (kind_ == FourierKind::kRealInverse) {
    load(rows.x, rows.x_floats, rows.count, frequencies * 2, a);
    if (halves_) {
      part_halves(a, b);
      std::swap(a, b);
    } else {
      const Numbers numbers(a, false);
      numbers.set(0, {numbers.get(0).re, Vector{}});
      for (int64_t k = 1; k < frequencies; ++k) {
        const Complex v = numbers.get(k);
        numbers.set(length_ - k, {v.re, -v.im});
      }
    }
  } else if (spread) {
    load(rows.x, rows.x_floats, rows.count, length_, b);
    const Numbers numbers(a, false);
    for (int64_t i = 0; i < length_; ++i)
      numbers.set(i, {*reinterpret_cast<const Vector*>(b + i * kRows), Vector{}});
  } else {
    load(rows.x, rows.x_floats, rows.count, size_ * 2, a);
  }
  float* result = transform(a, b);
  float* const other = result == a ? b : a;
  if (is_inverse()) {
    const float scale = 1 / static_cast<float>(length_);
    for (int64_t i = 0; i < size_ * 2 * kRows; ++i) result[i] *= scale;
  }
  if (kind_ == FourierKind::kRealForward && halves_) {
    join_halves(result, other);
    result = other;
  }
  if (kind_ == FourierKind::kRealForward) return store(result, rows.count, frequencies * 2, rows.y);
  if (!spread) return store(result, rows.count, size_ * 2, rows.y);
  for (int64_t i = 0; i < length_; ++i)
    std::copy_n(result + i * 2 * kRows, kRows, other + i * kRows);
  store(other, rows.count, length_, rows.y);
}

void FourierPlan::run(const float* x, int64_t x_floats, float* y, int64_t rows, ThreadPool& pool,
                      void* scratch) const {
  int64_t y_floats = length_ * 2;
  if (kind_ == FourierKind::kRealForward) y_floats = (length_ / 2 + 1) * 2;
  if (kind_ == FourierKind::kRealInverse) y_floats = length_;
  parallel_with_slots(pool, (rows + kRows - 1) / kRows, [&](int64_t task, int64_t slot) {
    const int64_t first = task * kRows;
    run_rows({x + first * x_floats, x_floats, y + first * y_floats, std::min(kRows, rows - first)},
             slot_floats(scratch, slot, work_floats()));
  });
}

}  // namespace tenon::cpu
