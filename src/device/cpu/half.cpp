// Steps in 16-bit floats on the f32 kernels: operands are widened, results rounded, so that every
// op with a kernel for f32 has one for these types too.
#include "device/cpu/kernels/half.h"

#include "device/cpu/candidates.h"
#include "ops/cast.h"
#include "ops/conv.h"
#include "ops/conv_transpose.h"
#include "ops/matmul.h"
#include "ops/recurrent.h"
#include "ops/scatter.h"

namespace tenon::cpu {
namespace {

bool is_half(DType t) {
  return t == DType::f16 || t == DType::bf16;
}

void widen(const Tensor& x, float* y) {
  if (x.dtype() == DType::f16)
    convert(x.data<Half>(), y, x.elements());
  else
    convert(x.data<BFloat16>(), y, x.elements());
}
// Calls f(first, count) for parts of n elements, on the pool's threads.
template <typename F>
void in_parts(ThreadPool& pool, int64_t n, const F& f) {
  constexpr int64_t kPart = 32 << 10;
  pool.parallel_for((n + kPart - 1) / kPart, [&](int64_t part) {
    const int64_t first = part * kPart;
    f(first, std::min(kPart, n - first));
  });
}
void widen(const Tensor& x, float* y, ThreadPool& pool) {
  in_parts(pool, x.elements(), [&](int64_t first, int64_t count) {
    if (x.dtype() == DType::f16)
      convert(x.data<Half>() + first, y + first, count);
    else
      convert(x.data<BFloat16>() + first, y + first, count);
  });
}
void round_to(const float* x, Tensor& y, ThreadPool& pool) {
  in_parts(pool, y.elements(), [&](int64_t first, int64_t count) {
    if (y.dtype() == DType::f16)
      convert(x + first, y.mutable_data<Half>() + first, count);
    else
      convert(x + first, y.mutable_data<BFloat16>() + first, count);
  });
}

// Whether the kernels of an op take 16-bit constants as weights (see all_f32).
bool takes_half_weights(const Op& op) {
  const std::string_view name = op.def().name;
  return name == Conv::name || name == ConvTranspose::name || name == Matmul::name ||
         name == Lstm::name || name == Gru::name || name == Rnn::name;
}

class WidenedKernel final : public Kernel {
 public:
  // Null where there is no kernel for f32 either. A kernel that packs 16-bit constants itself is
  // preferred to widened copies of them.
  static std::unique_ptr<Kernel> make(const StepInfo& s, std::string& name) {
    auto kernel = takes_half_weights(s.op) ? make(s, name, false) : nullptr;
    return kernel != nullptr ? std::move(kernel) : make(s, name, true);
  }
  static std::unique_ptr<Kernel> make(const StepInfo& s, std::string& name, bool constants_too) {
    auto kernel = std::unique_ptr<WidenedKernel>(new WidenedKernel);
    TensorTypes inputs(s.inputs.begin(), s.inputs.end()),
        outputs(s.outputs.begin(), s.outputs.end());
    std::vector<Tensor> widened(inputs.size());
    std::vector<const Tensor*> constants(s.constants.begin(), s.constants.end());
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (!is_half(inputs[i].dtype) || (s.constants[i] != nullptr && !constants_too)) continue;
      inputs[i].dtype = DType::f32;
      if (s.constants[i] == nullptr) continue;
      const Tensor& half = *s.constants[i];
      auto floats =
          s.packs.get_filled(half, "f32", half.elements(), [&](float* out) { widen(half, out); });
      widened[i] = Tensor::view(DType::f32, half.dims(), floats.get(), floats);
      constants[i] = &widened[i];
    }
    for (TensorType& t : outputs)
      if (is_half(t.dtype)) t.dtype = DType::f32;
    StepInfo wide = s;
    wide.inputs = inputs, wide.outputs = outputs, wide.constants = constants;
    KernelChoice choice = choose_candidate(wide);
    if (choice.kernel == nullptr) return nullptr;
    name = choice.name + " in f32";
    kernel->scratch_ = round_up(choice.kernel->scratch_bytes());
    kernel->inner_ = std::move(choice.kernel);
    for (size_t i = 0; i < inputs.size(); ++i)
      kernel->inputs_.push_back(inputs[i].dtype == s.inputs[i].dtype
                                    ? Operand()
                                    : kernel->place(s.inputs[i], std::move(widened[i])));
    for (const TensorType& t : s.outputs) kernel->outputs_.push_back(kernel->place(t, {}));
    return kernel;
  }
  int64_t scratch_bytes() const override { return scratch_; }
  Status run(const RunContext& c) const override {
    std::vector<Tensor> views(c.inputs.size() + c.outputs.size());
    std::vector<const Tensor*> in(c.inputs.begin(), c.inputs.end());
    std::vector<Tensor*> out(c.outputs.begin(), c.outputs.end());
    const auto floats = [&](const Operand& operand) {
      return reinterpret_cast<float*>(static_cast<char*>(c.scratch) + operand.offset);
    };
    for (size_t i = 0; i < in.size(); ++i) {
      const Operand& operand = inputs_[i];
      if (operand.constant.defined()) {
        in[i] = &operand.constant;
      } else if (operand.offset >= 0) {
        widen(*c.inputs[i], floats(operand), c.pool);
        views[i] = Tensor::view(DType::f32, c.inputs[i]->dims(), floats(operand));
        in[i] = &views[i];
      }
    }
    for (size_t i = 0; i < out.size(); ++i) {
      if (outputs_[i].offset < 0) continue;
      Tensor& view = views[in.size() + i];
      view = Tensor::view(DType::f32, c.outputs[i]->dims(), floats(outputs_[i]));
      out[i] = &view;
    }
    TRY(inner_->run({in, out, c.pool, c.scratch}));
    for (size_t i = 0; i < out.size(); ++i)
      if (outputs_[i].offset >= 0) round_to(floats(outputs_[i]), *c.outputs[i], c.pool);
    return {};
  }

 private:
  // Where the widened form of an operand or result is: a constant, in scratch, or nowhere.
  struct Operand {
    Tensor constant;
    int64_t offset = -1;
  };
  static int64_t round_up(int64_t bytes) { return (bytes + 63) / 64 * 64; }
  Operand place(const TensorType& type, Tensor constant) {
    if (constant.defined() || !is_half(type.dtype)) return {std::move(constant), -1};
    const int64_t offset = scratch_;
    scratch_ += round_up(*type.shape.elements() * 4);
    return {Tensor(), offset};
  }

  std::unique_ptr<Kernel> inner_;
  std::vector<Operand> inputs_, outputs_;
  int64_t scratch_ = 0;
};

}  // namespace

WideWeights::WideWeights(const Tensor& weights) {
  if (!is_half(weights.dtype())) {
    data_ = weights.data<float>();
    return;
  }
  widened_ = std::make_unique_for_overwrite<float[]>(static_cast<size_t>(weights.elements()));
  widen(weights, widened_.get());
  data_ = widened_.get();
}

std::unique_ptr<Kernel> make_widened(const StepInfo& s, std::string& name) {
  bool any = false;
  for (const TensorType& t : s.inputs) any |= is_half(t.dtype);
  for (const TensorType& t : s.outputs) any |= is_half(t.dtype);
  // A cast's result type is the op's own.
  if (const auto* cast = s.op.as<Cast>(); cast != nullptr && is_half(cast->to)) any = false;
  // Nor are the limits of the type those of f32.
  if (const auto* segments = s.op.as<SegmentReduce>(); segments != nullptr && segments->extreme())
    any = false;
  return any ? WidenedKernel::make(s, name) : nullptr;
}

}  // namespace tenon::cpu
