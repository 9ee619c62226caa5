// Rules of Fourier transforms and of the audio features made from them.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "import/tensorflow/compose.h"

namespace tenon::tf {
namespace {

// x cut or padded with zeros to `size` along `axis`, which is known.
Result<Value*> fit(RuleContext& c, Value* x, int64_t axis, int64_t size) {
  Builder& b = c.builder;
  const std::vector<int64_t> axes{axis};
  const int rank = TRY(rank_of(x));
  const Dim now = x->shape()[TRY(normalize_axis(axis, rank))];
  if (now == Dim(size)) return x;
  if (!now.known() || now.size() < size)
    x = TRY(b.op("pad", {x, b.ints({0, size})}, {{"axes", axes}}));
  return b.op("slice", {x, b.ints({0}), b.ints({size})}, {{"axes", axes}});
}

// Exchanges two of the last axes, -1 with -2 or -3.
Result<Value*> swap_last(RuleContext& c, Value* x, int64_t axis) {
  const int rank = TRY(rank_of(x));
  if (rank < -axis) return invalid_model("the input has too few dimensions");
  std::vector<int64_t> perm(static_cast<size_t>(rank));
  for (size_t i = 0; i < perm.size(); ++i) perm[i] = static_cast<int64_t>(i);
  std::swap(perm[perm.size() - 1], perm[static_cast<size_t>(rank + axis)]);
  return c.builder.op("transpose", {x}, {{"perm", perm}});
}

// A complex transform over axis -2 or -3.
Result<Value*> along(RuleContext& c, Value* x, bool inverse, int64_t axis) {
  Value* y = TRY(swap_last(c, x, axis));
  y = TRY(c.builder.op(inverse ? "ifft" : "fft", {y}));
  return swap_last(c, y, axis);
}

// FFT, FFT2D, FFT3D and their inverses.
Values fft(RuleContext& c) {
  const bool inverse = c.node.op.starts_with("I");
  const int64_t axes = c.node.op.ends_with("2D") ? 2 : c.node.op.ends_with("3D") ? 3 : 1;
  Value* y = TRY(c.builder.op(inverse ? "ifft" : "fft", {c.inputs[0]}));
  for (int64_t a = 2; a <= axes; ++a) y = TRY(along(c, y, inverse, -a));
  return std::vector<Value*>{y};
}

// The lengths of a transform over the last axes, one vector of one element each, and x cut or
// padded to all of them but, where `keep_last`, the last.
struct Lengths {
  Value* x = nullptr;
  Value* last = nullptr;
  size_t axes = 1;
};
Result<Lengths> fit_lengths(RuleContext& c, bool keep_last) {
  Builder& b = c.builder;
  Lengths result{c.inputs[0], nullptr,
                 static_cast<size_t>(c.node.op.ends_with("2D")   ? 2
                                     : c.node.op.ends_with("3D") ? 3
                                                                 : 1)};
  const auto known = c.ints(1);
  if (known.ok() && known->size() != result.axes)
    return invalid_model("fft_length has the wrong number of elements");
  for (size_t a = 1; a <= result.axes; ++a) {
    const int64_t axis = -static_cast<int64_t>(a);
    const size_t place = result.axes - a;
    Value* length = known.ok()
                        ? b.ints({(*known)[place]})
                        : TRY(cast_to(c, TRY(element(c, c.inputs[1], static_cast<int64_t>(place))),
                                      DType::i64));
    if (a == 1) result.last = length;
    if (a == 1 && keep_last) continue;
    if (known.ok()) {
      result.x = TRY(fit(c, result.x, axis, (*known)[place]));
      continue;
    }
    const std::vector<int64_t> axes{axis};
    result.x = TRY(b.op("pad", {result.x, TRY(join(c, {b.ints({0}), length}))}, {{"axes", axes}}));
    result.x = TRY(b.op("slice", {result.x, b.ints({0}), length}, {{"axes", axes}}));
  }
  return result;
}

Values rfft(RuleContext& c) {
  const Lengths lengths = TRY(fit_lengths(c, false));
  Value* y = TRY(c.builder.op("rfft", {lengths.x}));
  for (size_t a = 2; a <= lengths.axes; ++a) y = TRY(along(c, y, false, -static_cast<int64_t>(a)));
  return std::vector<Value*>{y};
}

Values irfft(RuleContext& c) {
  Lengths lengths = TRY(fit_lengths(c, true));
  for (size_t a = lengths.axes; a >= 2; --a)
    lengths.x = TRY(along(c, lengths.x, true, -static_cast<int64_t>(a)));
  return one(c.builder.op("irfft", {lengths.x, lengths.last}));
}

// The operands of the transforms over any axes: (x, lengths, axes).
struct Nd {
  std::vector<int64_t> axes;     // in [0, rank)
  std::vector<int64_t> lengths;  // empty where the model gives none
};
Result<Nd> nd_operands(RuleContext& c) {
  const int rank = TRY(rank_of(c.inputs[0]));
  Nd nd;
  for (const int64_t axis : TRY(c.ints(2))) nd.axes.push_back(TRY(normalize_axis(axis, rank)));
  nd.lengths = TRY(c.ints(1));
  std::vector<int64_t> sorted = nd.axes;
  std::ranges::sort(sorted);
  if (std::ranges::adjacent_find(sorted) != sorted.end() || nd.axes.empty() ||
      (!nd.lengths.empty() && nd.lengths.size() != nd.axes.size()))
    return invalid_model("the axes of a transform must differ and have a length each");
  for (const int64_t n : nd.lengths)
    if (n < 1 || n > int64_t{1} << 30) return invalid_model("a length is out of range");
  return nd;
}

// x with `axis` moved last, given to `transform`, and back.
template <typename F>
Result<Value*> over_axis(RuleContext& c, Value* x, int64_t axis, F&& transform) {
  const int64_t from_end = axis - TRY(rank_of(x));
  if (from_end == -1) return transform(x);
  return swap_last(c, TRY(transform(TRY(swap_last(c, x, from_end)))), from_end);
}

// FFTND, IFFTND, RFFTND and IRFFTND. The real side of a real transform is its last axis.
Values fft_nd(RuleContext& c) {
  Builder& b = c.builder;
  const Nd nd = TRY(nd_operands(c));
  const bool real = c.node.op.find("RFFT") != std::string_view::npos;
  const bool inverse = c.node.op.starts_with("I");
  const size_t last = nd.axes.size() - 1;
  Value* x = c.inputs[0];
  for (size_t i = 0; i <= last; ++i)
    if (!nd.lengths.empty() && !(real && inverse && i == last))
      x = TRY(fit(c, x, nd.axes[i], nd.lengths[i]));
  const auto transform = [&](size_t i, const char* op) -> Status {
    x = TRY(over_axis(c, x, nd.axes[i], [&](Value* v) -> Result<Value*> {
      if (op != std::string_view("irfft") || nd.lengths.empty()) return b.op(op, {v});
      return b.op(op, {v, b.ints({nd.lengths[i]})});
    }));
    return {};
  };
  if (real && !inverse) TRY(transform(last, "rfft"));
  for (size_t i = real ? last : last + 1; i-- > 0;) TRY(transform(i, inverse ? "ifft" : "fft"));
  if (real && inverse) TRY(transform(last, "irfft"));
  return std::vector<Value*>{x};
}

// Magnitudes of windows of audio [samples, channels] as [channels, windows, frequencies].
Values spectrogram(RuleContext& c) {
  Builder& b = c.builder;
  const int64_t window = TRY(c.node.attrs.get_int("window_size"));
  const int64_t stride = TRY(c.node.attrs.get_int("stride"));
  if (window < 2 || window > 1 << 20 || stride < 1 || stride > 1 << 20)
    return invalid_model("window_size or stride are out of range");
  int64_t length = 1;
  while (length < window) length *= 2;
  Value* audio = TRY(b.op("transpose", {c.inputs[0]}, {{"perm", std::vector<int64_t>{1, 0}}}));
  Value *zero = TRY(number(c, 0, DType::i64)), *one_i = TRY(number(c, 1, DType::i64));
  Value* samples = TRY(b.op("squeeze", {TRY(shape_of(c, audio, 1, 2))}));
  // The first sample of each window that lies within the audio.
  Value* end =
      TRY(b.op("sub", {samples, TRY(number(c, static_cast<double>(window - 1), DType::i64))}));
  Value* first =
      TRY(b.op("range", {zero, end, TRY(number(c, static_cast<double>(stride), DType::i64))}));
  first = TRY(b.op("expand_dims", {first}, {{"axes", std::vector<int64_t>{1}}}));
  Value* within =
      TRY(b.op("range", {zero, TRY(number(c, static_cast<double>(window), DType::i64)), one_i}));
  Value* frames =
      TRY(b.op("gather", {audio, TRY(b.op("add", {first, within}))}, {{"axis", int64_t{1}}}));
  std::vector<float> hann;
  for (int64_t i = 0; i < window; ++i)
    hann.push_back(
        static_cast<float>(0.5 - 0.5 * std::cos(2 * std::numbers::pi * static_cast<double>(i) /
                                                static_cast<double>(window))));
  frames = TRY(b.op("mul", {frames, b.constant(Tensor::vector(hann))}));
  Value* spectrum = TRY(b.op("rfft", {frames}, {{"fft_length", length}}));
  Value* magnitude = TRY(b.op("complex_abs", {spectrum}));
  if (TRY(c.node.attrs.get_bool("magnitude_squared", false)))
    magnitude = TRY(b.op("square", {magnitude}));
  return std::vector<Value*>{magnitude};
}

double to_mel(double hertz) {
  return 1127 * std::log1p(hertz / 700);
}

// The triangles of a mel filter bank, [bins, bands], of a sampling rate that is a value: a decoder
// may give it. A bin counts for a band by its distance from the band's centre, the centres being
// one step apart from `low` on.
Result<Value*> mel_weights(RuleContext& c, Value* rate, int64_t bins, int64_t bands, double low,
                           double high) {
  Builder& b = c.builder;
  const auto f64 = [&](double v) { return number(c, v, DType::f64); };
  const double bottom = to_mel(low),
               step = (to_mel(high) - bottom) / static_cast<double>(bands + 1);
  Value* hertz_per_bin = TRY(b.op(
      "mul", {TRY(cast_to(c, rate, DType::f64)), TRY(f64(0.5 / static_cast<double>(bins - 1)))}));
  std::vector<double> numbers;
  for (int64_t i = 0; i < bins; ++i) numbers.push_back(static_cast<double>(i));
  Value* bin = b.constant(Tensor::vector(numbers));
  Value* octaves = TRY(b.op("mul", {TRY(b.op("mul", {bin, hertz_per_bin})), TRY(f64(1 / 700.0))}));
  Value* mel = TRY(b.op("mul", {TRY(b.op("log1p", {octaves})), TRY(f64(1127 / step))}));
  mel = TRY(b.op("sub", {mel, TRY(f64(bottom / step))}));
  const auto limit = [&](double hertz, double more) -> Result<Value*> {
    Value* at = TRY(b.op("div", {TRY(f64(hertz)), hertz_per_bin}));
    return b.op("floor", {TRY(b.op("add", {at, TRY(f64(more))}))});
  };
  Value* is_inside =
      TRY(b.op("logical_and", {TRY(b.op("greater_equal", {bin, TRY(limit(low, 1.5))})),
                               TRY(b.op("less_equal", {bin, TRY(limit(high, 0))}))}));
  const auto column = [&](Value* v) -> Result<Value*> {
    return b.op("expand_dims", {TRY(cast_to(c, v, DType::f32))},
                {{"axes", std::vector<int64_t>{1}}});
  };
  std::vector<float> centres;
  for (int64_t k = 0; k < bands; ++k) centres.push_back(static_cast<float>(k + 1));
  Value* distance = TRY(b.op("sub", {TRY(column(mel)), b.constant(Tensor::vector(centres))}));
  Value* part = TRY(b.op("sub", {TRY(number(c, 1, DType::f32)), TRY(b.op("abs", {distance}))}));
  return b.op("mul", {TRY(b.op("relu", {part})), TRY(column(is_inside))});
}

// Mel-frequency cepstral coefficients of a spectrogram of squared magnitudes.
Values mfcc(RuleContext& c) {
  Builder& b = c.builder;
  Value* x = c.inputs[0];
  const auto rate = c.int_scalar(1);
  const double high = TRY(c.node.attrs.get_float("upper_frequency_limit", 4000)),
               low = TRY(c.node.attrs.get_float("lower_frequency_limit", 20));
  const int64_t bands = TRY(c.node.attrs.get_int("filterbank_channel_count", 40));
  const int64_t count = TRY(c.node.attrs.get_int("dct_coefficient_count", 13));
  const int rank = TRY(rank_of(x));
  const Dim bins = rank == 3 ? x->shape()[2] : Dim::unknown();
  if (!bins.known() || bins.size() < 2)
    return unsupported("the number of frequencies must be known");
  if (bands < 1 || bands > 1 << 12 || count < 1 || count > bands || !(high > low) ||
      (rate.ok() && *rate < 1))
    return invalid_model("the attributes of the filter bank are out of range");
  Value* weights =
      TRY(mel_weights(c, TRY(b.op("squeeze", {c.inputs[1]})), bins.size(), bands, low, high));
  Value* mel = TRY(b.op("matmul", {TRY(b.op("sqrt", {x})), weights}));
  Value* log = TRY(b.op("log", {TRY(b.op("max", {mel, TRY(number(c, 1e-12, DType::f32))}))}));
  const int64_t dims[] = {bands, count};
  Tensor dct = TRY(Tensor::zeros(DType::f32, dims));
  const auto n = static_cast<double>(bands);
  for (int64_t k = 0; k < bands; ++k)
    for (int64_t i = 0; i < count; ++i)
      dct.mutable_data<float>()[k * count + i] =
          static_cast<float>(std::sqrt(2 / n) * std::cos(static_cast<double>(i) * std::numbers::pi /
                                                         n * (static_cast<double>(k) + 0.5)));
  return one(b.op("matmul", {log, b.constant(std::move(dct))}));
}

Values decode_wav(RuleContext& c) {
  Node* node = TRY(c.builder.node("decode_wav", {c.inputs[0]},
                                  {{"channels", TRY(c.node.attrs.get_int("desired_channels", -1))},
                                   {"samples", TRY(c.node.attrs.get_int("desired_samples", -1))}}));
  return std::vector<Value*>{node->output(0), node->output(1)};
}

constexpr RuleEntry kRules[] = {
    {"AudioSpectrogram", spectrogram},
    {"DecodeWav", decode_wav},
    {"FFT", fft},
    {"FFT2D", fft},
    {"FFT3D", fft},
    {"FFTND", fft_nd, 3},
    {"IFFT", fft},
    {"IFFT2D", fft},
    {"IFFT3D", fft},
    {"IFFTND", fft_nd, 3},
    {"IRFFT", irfft, 2},
    {"IRFFT2D", irfft, 2},
    {"IRFFT3D", irfft, 2},
    {"IRFFTND", fft_nd, 3},
    {"Mfcc", mfcc, 2},
    {"RFFT", rfft, 2},
    {"RFFT2D", rfft, 2},
    {"RFFT3D", rfft, 2},
    {"RFFTND", fft_nd, 3},
};

}  // namespace

std::span<const RuleEntry> signal_rules() {
  return kRules;
}

}  // namespace tenon::tf
