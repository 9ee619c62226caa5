// Transposed convolutions by phases.
#include "device/cpu/kernels/conv_transpose.h"

#include <algorithm>
#include <numeric>

#include "device/cpu/kernels/gemm.h"
#include "device/cpu/kernels/half.h"
#include "device/cpu/kernels/pack.h"
#include "device/cpu/kernels/slots.h"
#include "device/cpu/kernels/transpose8.h"
#include "device/cpu/kernels/windows.h"

namespace tenon::cpu {
namespace {

// The taps that output pixels o = q * stride + phase see along one dim: a progression, and where
// the convolution that replaces them starts.
struct PhaseDim {
  int64_t taps = 0;
  int64_t first = 0;     // the lowest tap
  int64_t tap_step = 1;  // to the next
  int64_t in_step = 1;   // input pixels that the next is before this one
  int64_t start = 0;     // the input pixel of the lowest tap for q = 0
};

PhaseDim phase_dim(int64_t kernel, int64_t stride, int64_t dilation, int64_t pad, int64_t phase) {
  PhaseDim dim;
  const int64_t common = std::gcd(stride, dilation);
  dim.tap_step = stride / common;
  dim.in_step = dilation / common;
  for (int64_t k = 0; k < std::min(kernel, dim.tap_step); ++k) {
    const int64_t distance = phase + pad - k * dilation;
    if (distance % stride != 0) continue;
    dim.first = k;
    dim.start = distance / stride;
    dim.taps = ceil_div(kernel - k, dim.tap_step);
    break;
  }
  return dim;
}

// Channels in pairs are not told from those of a depthwise convolution, which has none.
bool takes_pairs(const ConvMethod& method) {
  return method.pack_pairs != nullptr && method.chain_role != ChainRole::kDepthwise;
}

const ConvMethod& choose_method(const ConvParams& p, bool pairs, bool strict) {
  for (const ConvMethod& method : conv_methods())
    if ((!pairs || takes_pairs(method)) && (!strict || method.share == 1) &&
        method.refusal(p) == nullptr)
      return method;
  return conv_methods().back();
}

constexpr int64_t kCopyFloats = 16 << 10;
// Pixels of a line from which on a product of each is as fast as one of all.
constexpr int64_t kFewestOfLine = 24;

// Where strides are as long as the kernel, pixels side by side see one pixel of x: they are one of
// all their channels, in the memory of y as in that of the filter.
int64_t pixels_to_merge(const ConvTransposeParams& p) {
  const bool same = p.groups == 1 && p.kernel[2] == p.stride[2] && p.dilation[2] == 1 &&
                    p.pad_begin[2] == 0 && p.out[2] == p.in[2] * p.stride[2];
  return same ? p.stride[2] : 1;
}
ConvTransposeParams merged(ConvTransposeParams p, int64_t pixels) {
  p.kernel[2] /= pixels;
  p.stride[2] /= pixels;
  p.out[2] /= pixels;
  p.out_channels *= pixels;
  return p;
}

}  // namespace

int64_t ConvTransposePlan::phases(const ConvTransposeParams& p) {
  int64_t phases = 1;
  for (int d = 0; d < 3; ++d) {
    const int64_t n = std::min(p.stride[d], p.out[d]);
    if (n > kMaxPhases) return kMaxPhases + 1;
    phases *= n;
  }
  return phases;
}

ConvTransposePlan::ConvTransposePlan(const ConvTransposeParams& p, bool pairs)
    : merged_pixels_(pixels_to_merge(p)), p_(merged(p, merged_pixels_)), pairs_(pairs) {
  make_phases(p_);
}

void ConvTransposePlan::make_phases(const ConvTransposeParams& p) {
  const int64_t count = phases(p);
  for (int64_t index = 0; index < count; ++index) {
    Phase phase;
    ConvParams& c = phase.conv;
    c.batch = p.batch;
    c.in_channels = c.x_pixel_stride = p.in_channels;
    c.out_channels = c.y_pixel_stride = p.out_channels;
    c.groups = p.groups;
    c.activation = p.activation;
    int64_t rest = index, pixels = p.batch;
    for (int d = 2; d >= 0; --d) {
      const int64_t phases_here = std::min(p.stride[d], p.out[d]);
      phase.first[d] = rest % phases_here;
      rest /= phases_here;
      const PhaseDim dim =
          phase_dim(p.kernel[d], p.stride[d], p.dilation[d], p.pad_begin[d], phase.first[d]);
      c.in[d] = p.in[d];
      c.out[d] = ceil_div(p.out[d] - phase.first[d], p.stride[d]);
      c.kernel[d] = dim.taps;
      c.dilation[d] = dim.in_step;
      // Taps run towards lower inputs; the convolution's run towards higher ones.
      const int64_t last = std::max<int64_t>(0, dim.taps - 1);
      c.pad_begin[d] = last * dim.in_step - dim.start;
      phase.tap[d] = dim.first + last * dim.tap_step;
      phase.tap_step[d] = -dim.tap_step;
      pixels *= c.out[d];
    }
    phase.method = &choose_method(c, pairs_, p.strict);
    phase.by_lines = count > 1 && phase.method->id == ConvMethodId::kPointwise &&
                     p.stride[2] == 1 && p.stride[0] == 1 && p.out[1] == c.out[1] * p.stride[1] &&
                     c.out[2] >= kFewestOfLine;
    phase.filter_offset = filter_floats_;
    filter_floats_ += round_to_lines(phase.method->filter_floats(c) * 4) / 4;
    if (!phase.by_lines)
      y_floats_ = std::max(y_floats_, round_to_lines(pixels * p.out_channels * 4) / 4);
    phases_.push_back(phase);
  }
}

std::string ConvTransposePlan::layout_name() const {
  std::string name = (pairs_ ? "pair phases/" : "phases/") + std::to_string(p_.groups);
  const auto add = [&](int64_t value) { name += "," + std::to_string(value); };
  for (const Phase& phase : phases_) {
    for (int d = 0; d < 3; ++d) {
      add(phase.tap[d]);
      add(phase.tap_step[d]);
      add(phase.conv.kernel[d]);
    }
    name += ",";
    name += phase.method->layout;  // which depends on the number of pixels too
  }
  return name;
}

namespace {

// y[c * ldy + r] = x[r * ldx + c]
void turn(const float* x, int64_t ldx, int64_t rows, int64_t columns, float* y, int64_t ldy) {
  constexpr int64_t kSide = 8;
  for (int64_t r = 0; r < rows; r += kSide)
    for (int64_t c = 0; c < columns; c += kSide) {
      if (r + kSide <= rows && c + kSide <= columns) {
        transpose8<false>(x + r * ldx + c, ldx, y + c * ldy + r, ldy, 1);
        continue;
      }
      for (int64_t i = r; i < std::min(r + kSide, rows); ++i)
        for (int64_t j = c; j < std::min(c + kSide, columns); ++j) y[j * ldy + i] = x[i * ldx + j];
    }
}

}  // namespace

void ConvTransposePlan::pack_filter(const float* filter, float* packed) const {
  const int64_t in = p_.in_channels * (pairs_ ? 2 : 1), group_in = in / p_.groups;
  const int64_t out = p_.out_channels, group_out = out / p_.groups;
  std::vector<float> plain;
  std::vector<BFloat16> narrow;
  for (const Phase& phase : phases_) {
    const ConvParams& c = phase.conv;
    const int64_t taps = c.kernel[0] * c.kernel[1] * c.kernel[2];
    plain.resize(static_cast<size_t>(taps * group_in * out));
    float* to = plain.data();
    for (int64_t t = 0; t < taps; ++t) {
      const int64_t at[3] = {t / c.kernel[2] / c.kernel[1], t / c.kernel[2] % c.kernel[1],
                             t % c.kernel[2]};
      int64_t tap = 0;
      for (int d = 0; d < 3; ++d)
        tap = tap * p_.kernel[d] + phase.tap[d] + at[d] * phase.tap_step[d];
      const float* from = filter + tap * group_out * in;
      for (int64_t g = 0; g < p_.groups; ++g)
        turn(from + g * group_in, in, group_out, group_in, to + g * group_out, out);
      to += group_in * out;
    }
    float* const place = packed + phase.filter_offset;
    if (!pairs_) {
      phase.method->pack_filter(c, plain.data(), place);
      continue;
    }
    narrow.resize(plain.size());
    convert(plain.data(), narrow.data(), static_cast<int64_t>(plain.size()));
    phase.method->pack_pairs(c, narrow.data(), place);
  }
}

// Those of merged pixels.
int64_t ConvTransposePlan::bias_floats() const {
  return merged_pixels_ == 1 ? 0 : round_to_lines(p_.out_channels * 4) / 4;
}

bool ConvTransposePlan::interleaves() const {
  return phases_.size() > 1 && y_floats_ > 0;
}

int64_t ConvTransposePlan::scratch_bytes(int threads, const KernelTable& table) const {
  int64_t most = 0;
  for (const Phase& phase : phases_)
    if (!phase.by_lines)
      most = std::max(most, phase.method->scratch_bytes(phase.conv, threads, table));
  return (bias_floats() + (interleaves() ? y_floats_ : 0)) * 4 + most;
}

// The phases whose lines are products of lines of x, where they belong in y. All of a line of x are
// multiplied while it is in the caches.
void ConvTransposePlan::multiply_lines(const float* x, const float* packed, const float* bias,
                                       float* y, ThreadPool& pool, const KernelTable& table) const {
  if (std::ranges::none_of(phases_, &Phase::by_lines)) return;
  const int64_t lines = p_.batch * p_.in[0] * p_.in[1], pixels = p_.in[2];
  GemmRegion region;
  region.m = pixels;
  region.n = region.ldc = p_.out_channels;
  region.k = region.lda = p_.in_channels;
  region.b_panel_stride = region.k * kPanelColumns;
  region.bias = bias;
  region.activation = p_.activation;
  region.fetch_c = is_far(lines * p_.stride[1] * pixels * p_.out_channels, false);
  constexpr int64_t kTasks = 8;
  const int64_t tasks = pool.threads() == 1 ? 1 : kTasks * pool.threads();
  const int64_t step = std::max<int64_t>(1, ceil_div(lines, tasks));
  pool.parallel_for(ceil_div(lines, step), [&](int64_t task) {
    GemmRegion own = region;
    for (int64_t line = task * step; line < std::min(lines, (task + 1) * step); ++line)
      for (const Phase& phase : phases_) {
        if (!phase.by_lines) continue;
        own.a = x + line * pixels * p_.in_channels;
        own.b = packed + phase.filter_offset;
        own.c = y + (line * p_.stride[1] + phase.first[1]) * pixels * p_.out_channels;
        gemm_region(own, table);
      }
  });
}

// Spreads the results of a phase over y.
void ConvTransposePlan::interleave(const Phase& phase, const float* from, float* y,
                                   ThreadPool& pool) const {
  const int64_t(&out)[3] = phase.conv.out;
  const int64_t channels = p_.out_channels, rows = p_.batch * out[0] * out[1];
  const int64_t rows_per_task =
      std::max<int64_t>(1, kCopyFloats / std::max<int64_t>(1, out[2] * channels));
  pool.parallel_for(ceil_div(rows, rows_per_task), [&](int64_t task) {
    const int64_t end = std::min(rows, (task + 1) * rows_per_task);
    for (int64_t row = task * rows_per_task; row < end; ++row) {
      const int64_t oh = row % out[1] * p_.stride[1] + phase.first[1];
      const int64_t od = row / out[1] % out[0] * p_.stride[0] + phase.first[0];
      const int64_t n = row / out[1] / out[0];
      const float* source = from + row * out[2] * channels;
      float* to =
          y + (((n * p_.out[0] + od) * p_.out[1] + oh) * p_.out[2] + phase.first[2]) * channels;
      const int64_t together = p_.stride[2] == 1 ? out[2] : 1;
      for (int64_t i = 0; i < out[2]; i += together)
        std::copy_n(source + i * channels, together * channels, to + i * p_.stride[2] * channels);
    }
  });
}

void ConvTransposePlan::run(const float* x, const float* packed, const float* bias, float* y,
                            ThreadPool& pool, void* scratch, const KernelTable& table) const {
  float* const merged_bias = static_cast<float*>(scratch);
  float* const results = merged_bias + bias_floats();
  void* const rest = interleaves() ? results + y_floats_ : results;
  if (bias != nullptr && merged_pixels_ > 1) {
    const int64_t channels = p_.out_channels / merged_pixels_;
    for (int64_t i = 0; i < merged_pixels_; ++i)
      std::copy_n(bias, channels, merged_bias + i * channels);
    bias = merged_bias;
  }
  multiply_lines(x, packed, bias, y, pool, table);
  for (const Phase& phase : phases_) {
    if (phase.by_lines) continue;
    ConvParams c = phase.conv;
    c.x = x;
    c.filter = packed + phase.filter_offset;
    c.bias = bias;
    c.y = interleaves() ? results : y;
    phase.method->run(c, pool, rest, table);
    if (interleaves()) interleave(phase, c.y, y, pool);
  }
}

}  // namespace tenon::cpu
