// Fourier transforms over the last axis.
#pragma once

#include <complex>
#include <vector>

#include "ops/op.h"

namespace tenon {

// The Fourier transform of a signal of any size, in place: sign -1 is forward, 1 inverse but for
// the division by the size.
void fourier_transform(std::vector<std::complex<double>>& signal, int sign);
// No transform may be longer.
constexpr int64_t kMaxFftLength = int64_t{1} << 26;

enum class FftKind : uint8_t { fft, ifft };

Result<TensorTypes> infer_fft(std::string_view op, const InferContext& context);
Status eval_fft(bool inverse, EvalContext& context);

template <FftKind K>
struct Fft {
  static const OpDef def;
  static constexpr std::string_view name = K == FftKind::fft ? "fft" : "ifft";
  static constexpr std::string_view doc =
      K == FftKind::fft ? "The discrete Fourier transform over the last axis."
                        : "The inverse discrete Fourier transform over the last axis.";
  static constexpr Arity inputs{1};
  Result<TensorTypes> infer(const InferContext& context) const { return infer_fft(name, context); }
  Status eval(EvalContext& context) const { return eval_fft(K == FftKind::ifft, context); }
};
template <FftKind K>
constinit const OpDef Fft<K>::def = define<Fft<K>>();

// Real to complex: fft_length / 2 + 1 frequencies of the input cut or padded to fft_length.
struct Rfft {
  int64_t fft_length = 0;

  static const OpDef def;
  static constexpr std::string_view name = "rfft";
  static constexpr std::string_view doc =
      "The Fourier transform of real numbers over the last axis: fft_length / 2 + 1 frequencies.";
  static constexpr Arity inputs{1};
  static constexpr auto fields() {
    return std::tuple{Field{1, "fft_length", &Rfft::fft_length,
                            "the input is cut or zero-padded to it; 0: the size of the axis"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct Irfft {
  int64_t fft_length = 0;

  static const OpDef def;
  static constexpr std::string_view name = "irfft";
  static constexpr std::string_view doc =
      "irfft(x [, length]): the inverse of rfft: fft_length (or length, where it is given) real "
      "numbers from fft_length / 2 + 1 frequencies.";
  static constexpr Arity inputs{1, 2};
  static constexpr auto fields() {
    return std::tuple{Field{1, "fft_length", &Irfft::fft_length,
                            "size of the result; 0: twice the size of the axis less one"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
