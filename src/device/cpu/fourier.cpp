// Fourier transforms and arithmetic of complex numbers of two floats.
#include <cmath>
#include <complex>

#include "device/cpu/candidates.h"
#include "device/cpu/kernels/fft.h"
#include "ops/binary.h"
#include "ops/cast.h"
#include "ops/complex.h"
#include "ops/fft.h"

namespace tenon::cpu {
namespace {

using Complex = std::complex<float>;

FourierKind kind_of(const StepInfo& s) {
  if (s.op.as<Rfft>() != nullptr) return FourierKind::kRealForward;
  if (s.op.as<Irfft>() != nullptr) return FourierKind::kRealInverse;
  return s.op.as<Fft<FftKind::fft>>() != nullptr ? FourierKind::kForward : FourierKind::kInverse;
}

int64_t last_dim(const TensorType& type) {
  return type.shape[type.shape.rank() - 1].size();
}

int64_t length_of(const StepInfo& s) {
  const auto* rfft = s.op.as<Rfft>();
  if (rfft == nullptr) return last_dim(s.outputs[0]);
  return rfft->fft_length > 0 ? rfft->fft_length : last_dim(s.inputs[0]);
}

std::string refuses_transform(const StepInfo& s) {
  if (s.inputs[0].dtype != DType::c64 && s.inputs[0].dtype != DType::f32)
    return "only of 32-bit floats";
  return FourierPlan::takes(length_of(s)) ? "" : "the length is too large or has a large factor";
}

class TransformKernel final : public Kernel {
 public:
  explicit TransformKernel(const StepInfo& s)
      : plan_(kind_of(s), length_of(s)), x_floats_(last_dim(s.inputs[0])) {
    rows_ = s.outputs[0].shape.elements().value_or(0) / last_dim(s.outputs[0]);
    if (s.inputs[0].dtype == DType::c64) x_floats_ *= 2;
    scratch_ = plan_.scratch_bytes(s.threads);
  }
  int64_t scratch_bytes() const override { return scratch_; }
  Status run(const RunContext& c) const override {
    plan_.run(static_cast<const float*>(c.inputs[0]->raw()), x_floats_,
              static_cast<float*>(c.outputs[0]->mutable_raw()), rows_, c.pool, c.scratch);
    return {};
  }

 private:
  FourierPlan plan_;
  int64_t x_floats_, rows_ = 0, scratch_ = 0;
};

std::unique_ptr<Kernel> make_transform(const StepInfo& s) {
  return std::make_unique<TransformKernel>(s);
}

// Whether operand i is repeated as a whole along the result.
bool is_repeated(const StepInfo& s, size_t i) {
  const Shape &x = s.inputs[i].shape, &y = s.outputs[0].shape;
  int d = x.rank(), e = y.rank();
  while (d > 0 && x[d - 1] == y[e - 1]) --d, --e;
  while (d > 0 && x[d - 1] == Dim(1)) --d;
  return d == 0;
}

std::string refuses_product(const StepInfo& s) {
  if (s.inputs[0].dtype != DType::c64) return "only c64";
  if (s.outputs[0].shape.elements().value_or(0) == 0) return "nothing to compute";
  return is_repeated(s, 0) && is_repeated(s, 1) ? "" : "an operand is spread out between dims";
}

// Without the care for infinities of the operator, as vectors.
struct Products {
  template <int kStepA, int kStepB>
  static void compute(const Complex* a, const Complex* b, Complex* y, int64_t n) {
    const auto *p = reinterpret_cast<const float*>(a), *q = reinterpret_cast<const float*>(b);
    auto* r = reinterpret_cast<float*>(y);
    for (int64_t i = 0; i < n; ++i) {
      const float *u = p + i * 2 * kStepA, *v = q + i * 2 * kStepB;
      const float re = u[0] * v[0] - u[1] * v[1], im = u[0] * v[1] + u[1] * v[0];
      r[i * 2] = re;
      r[i * 2 + 1] = im;
    }
  }
};

// In doubles, where squares of floats neither overflow nor vanish; zeros and infinities, which give
// no number that way, as the op does.
struct Quotients {
  template <int kStepA, int kStepB>
  static void compute(const Complex* a, const Complex* b, Complex* y, int64_t n) {
    const auto *p = reinterpret_cast<const float*>(a), *q = reinterpret_cast<const float*>(b);
    auto* r = reinterpret_cast<float*>(y);
    int32_t numbers = 1;
    for (int64_t i = 0; i < n; ++i) {
      const float *u = p + i * 2 * kStepA, *v = q + i * 2 * kStepB;
      const double c = static_cast<double>(v[0]), d = static_cast<double>(v[1]),
                   scale = 1 / (c * c + d * d);
      const double re = (static_cast<double>(u[0]) * c + static_cast<double>(u[1]) * d) * scale;
      const double im = (static_cast<double>(u[1]) * c - static_cast<double>(u[0]) * d) * scale;
      numbers &= static_cast<int32_t>(re == re) & static_cast<int32_t>(im == im);
      r[i * 2] = static_cast<float>(re);
      r[i * 2 + 1] = static_cast<float>(im);
    }
    for (int64_t i = 0; i < n && numbers == 0; ++i)
      if (y[i].real() != y[i].real() || y[i].imag() != y[i].imag())
        y[i] = Complex(complex_quotient(a[i * kStepA], b[i * kStepB]));
  }
};

template <typename F>
class ComplexKernel final : public Kernel {
 public:
  Status run(const RunContext& c) const override {
    const auto *a = c.inputs[0]->data<Complex>(), *b = c.inputs[1]->data<Complex>();
    auto* y = c.outputs[0]->mutable_data<Complex>();
    const int64_t n = c.outputs[0]->elements(), in_a = c.inputs[0]->elements(),
                  in_b = c.inputs[1]->elements();
    if (in_a == 1 && n > 1) {
      F::template compute<0, 1>(a, b, y, n);
    } else if (in_b == 1 && n > 1) {
      F::template compute<1, 0>(a, b, y, n);
    } else {
      const int64_t piece = std::min(in_a, in_b);
      for (int64_t i = 0; i < n; i += piece)
        F::template compute<1, 1>(a + i % in_a, b + i % in_b, y + i, piece);
    }
    return {};
  }
};

std::string refuses_part(const StepInfo& s) {
  return s.inputs[0].dtype == DType::c64 ? "" : "only c64";
}

class MagnitudeKernel final : public Kernel {
 public:
  Status run(const RunContext& c) const override {
    const auto* x = static_cast<const float*>(c.inputs[0]->raw());
    float* y = c.out(0);
    const int64_t n = c.outputs[0]->elements();
    // In doubles no square is too large or too small.
    for (int64_t i = 0; i < n; ++i) {
      const double re = x[i * 2], im = x[i * 2 + 1];
      y[i] = static_cast<float>(std::sqrt(re * re + im * im));
    }
    // An infinity beside a NaN is as large.
    for (int64_t i = 0; i < n; ++i)
      if (std::isnan(y[i])) y[i] = std::hypot(x[i * 2], x[i * 2 + 1]);
    return {};
  }
};

std::string refuses_widening(const StepInfo& s) {
  return s.inputs[0].dtype == DType::f32 && s.outputs[0].dtype == DType::c64
             ? ""
             : "only from f32 to c64";
}

class WideningKernel final : public Kernel {
 public:
  Status run(const RunContext& c) const override {
    const float* x = c.in(0);
    auto* y = static_cast<float*>(c.outputs[0]->mutable_raw());
    const int64_t n = c.outputs[0]->elements();
    for (int64_t i = 0; i < n; ++i) {
      y[i * 2] = x[i];
      y[i * 2 + 1] = 0;
    }
    return {};
  }
};

template <typename K>
std::unique_ptr<Kernel> make(const StepInfo&) {
  return std::make_unique<K>();
}

constexpr KernelCandidate kCandidates[] = {
    {Fft<FftKind::fft>::name, "row_transforms", refuses_transform, make_transform},
    {Fft<FftKind::ifft>::name, "row_transforms", refuses_transform, make_transform},
    {Rfft::name, "row_transforms", refuses_transform, make_transform},
    {Irfft::name, "row_transforms", refuses_transform, make_transform},
    {"mul", "complex_product", refuses_product, make<ComplexKernel<Products>>},
    {"div", "complex_quotient", refuses_product, make<ComplexKernel<Quotients>>},
    {"complex_abs", "magnitudes", refuses_part, make<MagnitudeKernel>},
    {Cast::name, "to_complex", refuses_widening, make<WideningKernel>},
};

}  // namespace

std::span<const KernelCandidate> fourier_candidates() {
  return kCandidates;
}

}  // namespace tenon::cpu
