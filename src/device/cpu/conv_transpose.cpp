// conv_transpose on the convolution kernels, one convolution per phase of the strides; to few
// channels, as one product whose columns are added up.
#include "ops/conv_transpose.h"

#include <algorithm>

#include "device/cpu/candidates.h"
#include "device/cpu/kernels/conv_transpose.h"
#include "device/cpu/kernels/gemm.h"
#include "device/cpu/kernels/pack.h"
#include "device/cpu/kernels/pairs.h"
#include "device/cpu/window.h"

namespace tenon::cpu {
namespace {

ConvTransposeParams params_of(const StepInfo& s) {
  const ConvTranspose& op = *s.op.as<ConvTranspose>();
  const Shape& x = s.inputs[0].shape;
  const Shape& y = s.outputs[0].shape;
  ConvTransposeParams p;
  p.batch = y[0].size();
  const int spatial = x.rank() - 2;
  const std::vector<int64_t> filter = s.inputs[1].shape.sizes();
  set_window(op, s, std::span(filter).first(static_cast<size_t>(spatial)), op.pads, p);
  p.groups = op.groups;
  p.in_channels = x[spatial + 1].size();
  p.out_channels = y[spatial + 1].size();
  p.activation = to_kernel(op.activation, op.alpha, op.beta);
  p.strict = s.strict;
  return p;
}

std::string refuses_any(const StepInfo& s) {
  if (s.inputs[0].shape.rank() - 2 > kMaxSpatial) return "more than three spatial dimensions";
  if (s.constants[1] == nullptr) return "the filter is not constant";
  if (ConvTransposePlan::phases(params_of(s)) > ConvTransposePlan::kMaxPhases)
    return "the strides are too large";
  return {};
}

std::string refuses(const StepInfo& s) {
  return all_f32(s, {1}) ? refuses_any(s) : "only f32";
}

std::string refuses_pairs(const StepInfo& s) {
  if (s.inputs[0].dtype != DType::bf16 || s.inputs[1].dtype != DType::bf16 ||
      s.outputs[0].dtype != DType::f32 || (s.has(2) && s.inputs[2].dtype != DType::f32))
    return "only bf16 by bf16, with f32 results";
  if (pair_kernels() == nullptr) return "the processor has no products of bf16";
  if (s.in_dim(0, s.inputs[0].shape.rank() - 1) / s.op.as<ConvTranspose>()->groups % 2 != 0)
    return "the number of input channels is odd";
  return refuses_any(s);
}

class ConvTransposeKernel final : public Kernel {
 public:
  ConvTransposeKernel(const StepInfo& s, bool pairs)
      : pairs_(pairs), plan_(halved(params_of(s), pairs), pairs) {
    scratch_ = plan_.scratch_bytes(s.threads, table());
    packed_ = s.pack(1, plan_.layout_name(), plan_.filter_floats(),
                     [plan = plan_, filter = *s.constants[1]](float* out) {
                       plan.pack_filter(WideWeights(filter).data(), out);
                     });
  }
  int64_t scratch_bytes() const override { return scratch_; }
  Status run(const RunContext& c) const override {
    const float* x = pairs_ ? as_pairs(c.inputs[0]->data<BFloat16>()) : c.in(0);
    plan_.run(x, packed_.get(), c.in(2), c.out(0), c.pool, c.scratch, table());
    return {};
  }

 private:
  static ConvTransposeParams halved(ConvTransposeParams p, bool pairs) {
    if (pairs) p.in_channels /= 2;
    return p;
  }
  const KernelTable& table() const { return pairs_ ? *pair_kernels() : kernels(); }

  bool pairs_;
  ConvTransposePlan plan_;
  int64_t scratch_ = 0;
  PackStore::Packed packed_;
};

// Few channels leave most of a vector empty where each tap is multiplied for itself: all taps are
// columns of one product, of which a sample's results are sums.
class ColumnSumsKernel final : public Kernel {
 public:
  static std::string refuses(const StepInfo& s) {
    if (!all_f32(s, {1})) return "only f32";
    if (std::string reason = refuses_any(s); !reason.empty()) return reason;
    const ConvTransposeParams p = params_of(s);
    constexpr int64_t kMostChannels = 8, kFewestInputs = 16, kMostColumns = 4 << 20;
    if (p.groups != 1 || p.out_channels > kMostChannels || p.in_channels < kFewestInputs)
      return "there are many channels, or few of the input";
    if (ConvTransposePlan::phases(p) == 1 || p.dilation[2] != 1)
      return "its strides are 1, or its taps apart";
    return pixels(p) * columns(p) <= kMostColumns ? "" : "there are too many columns";
  }

  explicit ColumnSumsKernel(const StepInfo& s) : p_(params_of(s)) {
    gemm_.m = pixels(p_);
    gemm_.n = gemm_.ldc = columns(p_);
    gemm_.k = gemm_.lda = p_.in_channels;
    column_bytes_ = (gemm_.m * gemm_.n * 4 + 63) / 64 * 64;
    scratch_ = column_bytes_ + gemm_scratch_bytes(gemm_, s.threads);
    packed_ = s.pack(1, "columns/" + std::to_string(gemm_.k), packed_b_floats(gemm_.k, gemm_.n),
                     [filter = *s.constants[1], k = gemm_.k, n = gemm_.n](float* out) {
                       pack_b(k, n, WideWeights(filter).data(), k, true, out);
                     });
  }
  int64_t scratch_bytes() const override { return scratch_; }
  Status run(const RunContext& c) const override {
    GemmParams gemm = gemm_;
    gemm.b = packed_.get();
    gemm.c = static_cast<float*>(c.scratch);
    void* const rest = static_cast<char*>(c.scratch) + column_bytes_;
    const int64_t size = p_.out[0] * p_.out[1] * p_.out[2] * p_.out_channels;
    for (int64_t n = 0; n < p_.batch; ++n) {
      gemm.a = c.in(0) + n * gemm.m * gemm.k;
      cpu::gemm(gemm, c.pool, rest);
      float* const y = c.out(0) + n * size;
      start(c.in(2), y, size);
      add_columns(gemm.c, y);
      if (p_.activation.kind != ActivationKind::kNone)
        kernels().activate(p_.activation, y, y, static_cast<size_t>(size));
    }
    return {};
  }

 private:
  static int64_t pixels(const ConvTransposeParams& p) { return p.in[0] * p.in[1] * p.in[2]; }
  static int64_t columns(const ConvTransposeParams& p) {
    return p.kernel[0] * p.kernel[1] * p.kernel[2] * p.out_channels;
  }

  void start(const float* bias, float* y, int64_t size) const {
    if (bias == nullptr)
      std::fill_n(y, size, 0.0f);
    else
      for (int64_t i = 0; i < size; i += p_.out_channels) std::copy_n(bias, p_.out_channels, y + i);
  }

  // Each pixel's columns, by rows of taps, which lie side by side in the result too.
  void add_columns(const float* x, float* y) const {
    const int64_t channels = p_.out_channels, taps = p_.kernel[2];
    for (int64_t d = 0; d < p_.in[0]; ++d)
      for (int64_t h = 0; h < p_.in[1]; ++h)
        for (int64_t w = 0; w < p_.in[2]; ++w) {
          const int64_t left = w * p_.stride[2] - p_.pad_begin[2];
          const int64_t first = std::max<int64_t>(0, -left);
          const int64_t last = std::min(taps, p_.out[2] - left);
          for (int64_t t = 0; t < p_.kernel[0] * p_.kernel[1]; ++t, x += taps * channels) {
            const int64_t z = place(0, d, t / p_.kernel[1]), v = place(1, h, t % p_.kernel[1]);
            if (z < 0 || z >= p_.out[0] || v < 0 || v >= p_.out[1]) continue;
            float* const row = y + ((z * p_.out[1] + v) * p_.out[2] + left) * channels;
            for (int64_t i = first * channels; i < last * channels; ++i) row[i] += x[i];
          }
        }
  }
  // Where a tap of pixel i lies in the result along a dim.
  int64_t place(int dim, int64_t i, int64_t tap) const {
    return i * p_.stride[dim] - p_.pad_begin[dim] + tap * p_.dilation[dim];
  }

  ConvTransposeParams p_;
  GemmParams gemm_;
  int64_t column_bytes_ = 0, scratch_ = 0;
  PackStore::Packed packed_;
};

template <bool kPairs>
std::unique_ptr<Kernel> make(const StepInfo& s) {
  return std::make_unique<ConvTransposeKernel>(s, kPairs);
}

constexpr KernelCandidate kCandidates[] = {
    {ConvTranspose::name, "column_sums", ColumnSumsKernel::refuses,
     [](const StepInfo& s) -> std::unique_ptr<Kernel> {
       return std::make_unique<ColumnSumsKernel>(s);
     }},
    {ConvTranspose::name, "phase_convs", refuses, make<false>},
    {ConvTranspose::name, "phase_convs_bf16", refuses_pairs, make<true>}};

}  // namespace

std::span<const KernelCandidate> conv_transpose_candidates() {
  return kCandidates;
}

}  // namespace tenon::cpu
