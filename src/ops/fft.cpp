#include "ops/fft.h"

#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <complex>

#include "ops/registry.h"
#include "tensor/visit.h"

namespace tenon {
namespace {

using Complex = std::complex<double>;
using Signal = std::vector<Complex>;

Complex unit(double turns) {
  return std::polar(1.0, 2 * M_PI * turns);
}

// In place; the size is a power of two. sign is -1 forward, 1 inverse (not scaled).
void transform_power_of_two(Signal& x, int sign) {
  const size_t n = x.size();
  for (size_t i = 1, j = 0; i < n; ++i) {
    size_t bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) std::swap(x[i], x[j]);
  }
  Signal roots(n / 2);
  for (size_t k = 0; k < n / 2; ++k)
    roots[k] = unit(sign * static_cast<double>(k) / static_cast<double>(n));
  for (size_t half = 1; half < n; half *= 2)
    for (size_t i = 0; i < n; i += 2 * half)
      for (size_t k = 0; k < half; ++k) {
        const Complex odd = x[i + k + half] * roots[k * (n / (2 * half))];
        x[i + k + half] = x[i + k] - odd;
        x[i + k] += odd;
      }
}

}  // namespace

// Any size: Bluestein's algorithm, a convolution with a chirp of a power of two's size.
void fourier_transform(Signal& x, int sign) {
  const size_t n = x.size();
  if (n < 2) return;
  if (std::has_single_bit(n)) return transform_power_of_two(x, sign);
  const size_t m = std::bit_ceil(2 * n - 1);
  Signal chirp(n), a(m), b(m);
  for (size_t k = 0; k < n; ++k) {
    // k^2 modulo 2n keeps the angle exact.
    const size_t square = k * k % (2 * n);
    chirp[k] = unit(sign * static_cast<double>(square) / static_cast<double>(2 * n));
    a[k] = x[k] * chirp[k];
    b[k] = std::conj(chirp[k]);
    if (k > 0) b[m - k] = b[k];
  }
  transform_power_of_two(a, -1);
  transform_power_of_two(b, -1);
  for (size_t k = 0; k < m; ++k) a[k] *= b[k];
  transform_power_of_two(a, 1);
  for (size_t k = 0; k < n; ++k) x[k] = a[k] * chirp[k] / static_cast<double>(m);
}

namespace {

template <typename R>
void eval_complex(bool inverse, const Tensor& x, Tensor& y) {
  using C = std::complex<R>;
  const int64_t n = x.dim(x.rank() - 1);
  if (x.elements() == 0) return;
  Signal signal(static_cast<size_t>(n));
  const double scale = inverse ? 1.0 / static_cast<double>(n) : 1;
  for (int64_t base = 0; base < x.elements(); base += n) {
    const C* in = x.data<C>() + base;
    for (int64_t i = 0; i < n; ++i) signal[static_cast<size_t>(i)] = Complex(in[i]);
    fourier_transform(signal, inverse ? 1 : -1);
    for (int64_t i = 0; i < n; ++i)
      y.mutable_data<C>()[base + i] = C(signal[static_cast<size_t>(i)] * scale);
  }
}

template <typename R>
void eval_rfft(const Tensor& x, Tensor& y, int64_t length) {
  const int64_t n = x.dim(x.rank() - 1), frequencies = length / 2 + 1;
  const int64_t rows = y.elements() / frequencies;
  for (int64_t row = 0; row < rows; ++row) {
    Signal signal(static_cast<size_t>(length));
    for (int64_t i = 0; i < std::min(n, length); ++i)
      signal[static_cast<size_t>(i)] = static_cast<double>(x.data<R>()[row * n + i]);
    fourier_transform(signal, -1);
    for (int64_t i = 0; i < frequencies; ++i)
      y.mutable_data<std::complex<R>>()[row * frequencies + i] =
          std::complex<R>(signal[static_cast<size_t>(i)]);
  }
}

template <typename R>
void eval_irfft(const Tensor& x, Tensor& y, int64_t length) {
  const int64_t n = x.dim(x.rank() - 1), frequencies = std::min(n, length / 2 + 1);
  const int64_t rows = y.elements() / length;
  for (int64_t row = 0; row < rows; ++row) {
    Signal signal(static_cast<size_t>(length));
    for (int64_t i = 0; i < frequencies; ++i) {
      const Complex v(x.data<std::complex<R>>()[row * n + i]);
      // The frequency 0 and the middle one have no mirror image, so no imaginary part.
      const bool alone = i == 0 || 2 * i == length;
      signal[static_cast<size_t>(i)] = alone ? v.real() : v;
      if (!alone) signal[static_cast<size_t>(length - i)] = std::conj(v);
    }
    fourier_transform(signal, 1);
    for (int64_t i = 0; i < length; ++i)
      y.mutable_data<R>()[row * length + i] =
          static_cast<R>(signal[static_cast<size_t>(i)].real() / static_cast<double>(length));
  }
}

Status check(std::string_view op, const TensorType& x, bool complex, int64_t fft_length) {
  const bool fits = complex ? is_complex(x.dtype) : x.dtype == DType::f32 || x.dtype == DType::f64;
  if (x.is_list || !fits)
    return invalid_argument(fmt::format("{} needs {}, not {}", op,
                                        complex ? "complex numbers" : "f32 or f64", x.to_string()));
  if (x.shape.ranked() && x.shape.rank() == 0)
    return invalid_argument(fmt::format("{} needs at least one axis", op));
  if (fft_length < 0 || fft_length > kMaxFftLength)
    return invalid_argument(
        fmt::format("{} needs fft_length from 0 (the size of the axis) to {}, "
                    "not {}",
                    op, kMaxFftLength, fft_length));
  return {};
}

}  // namespace

Result<TensorTypes> infer_fft(std::string_view op, const InferContext& context) {
  TRY(check(op, context.type(0), true, 0));
  return TensorTypes{context.type(0)};
}

Status eval_fft(bool inverse, EvalContext& context) {
  if (context.in(0).dtype() == DType::c64)
    eval_complex<float>(inverse, context.in(0), context.out(0));
  else
    eval_complex<double>(inverse, context.in(0), context.out(0));
  return {};
}

Result<TensorTypes> Rfft::infer(const InferContext& context) const {
  TensorType out = context.type(0);
  TRY(check(name, out, false, fft_length));
  out.dtype = out.dtype == DType::f32 ? DType::c64 : DType::c128;
  if (!out.shape.ranked()) return TensorTypes{out};
  Dim& d = out.shape[out.shape.rank() - 1];
  if (fft_length == 0 && d == Dim(0))
    return invalid_argument("rfft of an empty axis needs fft_length");
  const Dim length = fft_length > 0 ? Dim(fft_length) : d;
  d = length.known() ? Dim(length.size() / 2 + 1) : Dim::unknown();
  return TensorTypes{out};
}

Status Rfft::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  const int64_t length = fft_length > 0 ? fft_length : x.dim(x.rank() - 1);
  if (x.dtype() == DType::f32)
    eval_rfft<float>(x, context.out(0), length);
  else
    eval_rfft<double>(x, context.out(0), length);
  return {};
}

Result<TensorTypes> Irfft::infer(const InferContext& context) const {
  TensorType out = context.type(0);
  TRY(check(name, out, true, fft_length));
  out.dtype = out.dtype == DType::c64 ? DType::f32 : DType::f64;
  if (!out.shape.ranked()) return TensorTypes{out};
  Dim& d = out.shape[out.shape.rank() - 1];
  if (context.has(1)) {
    const auto elements = context.shape(1).elements();
    if (!is_int(context.dtype(1)) || (elements && *elements != 1))
      return invalid_argument("irfft needs one integer as length, not " +
                              context.type(1).to_string());
    const auto length = context.known_ints(1);
    if (length && (length->size() != 1 || (*length)[0] < 1 || (*length)[0] > kMaxFftLength))
      return invalid_argument("irfft: the length is out of range");
    d = length ? Dim((*length)[0]) : Dim::unknown();
  } else if (fft_length > 0) {
    d = fft_length;
  } else if (d.known()) {
    if (d.size() < 2)
      return invalid_argument("irfft of fewer than two frequencies needs fft_length");
    d = 2 * (d.size() - 1);
  } else {
    d = Dim::unknown();
  }
  return TensorTypes{out};
}

Status Irfft::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  int64_t length = fft_length > 0 ? fft_length : 2 * (x.dim(x.rank() - 1) - 1);
  if (context.has(1)) {
    if (context.in(1).elements() != 1) return invalid_argument("irfft needs one length");
    length = context.in(1).int_at(0);
    if (length < 1 || length > kMaxFftLength)
      return invalid_argument(fmt::format("irfft: a length of {} is out of range", length));
  }
  if (!context.out(0).defined()) {
    std::vector<int64_t> dims = x.dims();
    dims.back() = length;
    TRY(context.allocate(0, x.dtype() == DType::c64 ? DType::f32 : DType::f64, dims));
  }
  if (x.dtype() == DType::c64)
    eval_irfft<float>(x, context.out(0), length);
  else
    eval_irfft<double>(x, context.out(0), length);
  return {};
}

constinit const OpDef Rfft::def = define<Rfft>();
constinit const OpDef Irfft::def = define<Irfft>();
OpDefs fft_ops() {
  return {&Fft<FftKind::fft>::def, &Fft<FftKind::ifft>::def, &Rfft::def, &Irfft::def};
}

}  // namespace tenon
