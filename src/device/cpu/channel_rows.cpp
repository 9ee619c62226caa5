#include "device/cpu/channel_rows.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include "base/numbers.h"
#include "device/cpu/candidates.h"
#include "device/cpu/conv_chain.h"
#include "device/cpu/kernels/blocks.h"
#include "device/cpu/kernels/gemm_region.h"
#include "device/cpu/kernels/half.h"
#include "device/cpu/kernels/pack.h"
#include "device/cpu/kernels/slots.h"
#include "device/cpu/scaled_product.h"

namespace tenon::cpu {
namespace {

// y[r, i] = activation(x[r, i] * scale[i] + shift[i]), x[r] the rows of the parts, one after the
// other.
struct ChannelRows {
  int64_t rows = 0;
  int64_t channels = 0;
  std::vector<int64_t> parts;  // channels of the first operands
  int scale = -1;              // operands of one row, or -1
  int shift = -1;
  int64_t images = 1;  // that the rows are of; the scale has a row for each
  Activation activation;
};

// Floats that a task prepares: enough to be worth handing out, few enough for L2.
constexpr int64_t kTaskFloats = 32 << 10;
// Floats that are rounded while they are in L1.
constexpr int64_t kRoundedFloats = 2 << 10;
// Floats that stay in L2 beside the panels they are multiplied by, and rows that are enough.
constexpr int64_t kMaxFloats = 96 << 10;
constexpr int64_t kMostRows = 192;
// Weights that each of several threads may read for few rows.
constexpr int64_t kFewWeights = 256 << 10;
constexpr int64_t kManyRows = 48;

// Scales and shifts as the kernels read them: whole vectors, ones and zeros where there are none.
struct Factors {
  static int64_t padded(const ChannelRows& r) { return round_up(r.channels, kPanelColumns); }
  static int64_t bytes(const ChannelRows& r) { return 2 * padded(r) * 4; }

  Factors(const ChannelRows& r, const RunContext& c)
      : scales(static_cast<float*>(c.scratch)), shifts(scales + padded(r)) {
    fill(c, r.scale, r.channels, 1.0f, scales);
    fill(c, r.shift, r.channels, 0.0f, shifts);
    std::fill(scales + r.channels, shifts, 0.0f);
  }
  static void fill(const RunContext& c, int operand, int64_t n, float otherwise, float* y) {
    if (operand < 0)
      std::fill_n(y, n, otherwise);
    else
      std::copy_n(c.in(static_cast<size_t>(operand)), n, y);
  }

  float* scales;
  float* shifts;
};

// Rows [first, last) to y.
void prepare(const ChannelRows& r, const Factors& factors, const RunContext& c, int64_t first,
             int64_t last, float* y) {
  DepthwiseRow row;
  row.pixels = row.in = last - first;
  row.y_pixel = r.channels;
  set_activation(row, r.activation);
  int64_t channel = 0;
  for (size_t i = 0; i < r.parts.size(); ++i) {
    row.channels = row.x_pixel = r.parts[i];
    row.x = c.in(i) + first * row.x_pixel;
    row.filter = factors.scales + channel;
    row.bias = factors.shifts + channel;
    row.y = y + channel;
    kernels().depthwise_row(row);
    channel += r.parts[i];
  }
}

// The rows of a task, of about `most`: as many tasks for every thread.
int64_t rows_of_task(int64_t rows, int64_t most, int64_t threads) {
  const int64_t tasks =
      round_up(std::max<int64_t>(1, ceil_div(rows, std::max<int64_t>(1, most))), threads);
  return std::max<int64_t>(1, ceil_div(rows, tasks));
}

// The rows, times weights.
class ProductKernel final : public Kernel {
 public:
  ProductKernel(ChannelRows rows, ChainPart product, int threads)
      : r_(std::move(rows)), product_(std::move(product)), threads_(threads) {
    block_ = rows_of_task(
        r_.rows, std::min(kMostRows, kMaxFloats / std::max<int64_t>(1, r_.channels)), threads);
  }
  int64_t scratch_bytes() const override {
    return Factors::bytes(r_) + slots_bytes(block_ * r_.channels, threads_);
  }
  Status run(const RunContext& c) const override {
    const Factors factors(r_, c);
    char* const slots = static_cast<char*>(c.scratch) + Factors::bytes(r_);
    const ConvParams& p = product_.p;
    const ChainOperands& at = product_.at;
    parallel_with_slots(c.pool, ceil_div(r_.rows, block_), [&](int64_t task, int64_t slot) {
      const int64_t first = task * block_;
      GemmRegion region;
      region.m = std::min(block_, r_.rows - first);
      region.n = p.out_channels;
      region.k = region.lda = r_.channels;
      float* const a = slot_floats(slots, slot, block_ * r_.channels);
      prepare(r_, factors, c, first, first + region.m, a);
      region.a = a;
      region.b = product_.packed.get();
      region.b_panel_stride = region.k * kPanelColumns;
      region.c = c.out(0) + first * p.y_pixel_stride;
      region.ldc = p.y_pixel_stride;
      region.bias = at.bias ? c.in(at.first + 2) : nullptr;
      if (at.residual) region.residual = c.in(at.first + 3) + first * p.residual_pixel_stride;
      region.ld_residual = p.residual_pixel_stride;
      region.activation = p.activation;
      gemm_region(region, kernels());
    });
    return {};
  }

 private:
  ChannelRows r_;
  ChainPart product_;
  int threads_;
  int64_t block_ = 0;
};

class RowsKernel final : public Kernel {
 public:
  RowsKernel(ChannelRows rows, int threads, bool rounds = false)
      : r_(std::move(rows)), threads_(threads), rounds_(rounds) {
    const int64_t row = std::max<int64_t>(1, r_.channels);
    rounded_rows_ = std::max<int64_t>(1, kRoundedFloats / row);
    block_ = rows_of_task(r_.rows, kTaskFloats / row, threads);
  }

  int64_t scratch_bytes() const override {
    return Factors::bytes(r_) + (rounds_ ? slots_bytes(rounded_rows_ * r_.channels, threads_) : 0);
  }
  Status run(const RunContext& c) const override {
    const Factors factors(r_, c);
    char* const slots = static_cast<char*>(c.scratch) + Factors::bytes(r_);
    parallel_with_slots(c.pool, ceil_div(r_.rows, block_), [&](int64_t task, int64_t slot) {
      const int64_t begin = task * block_, end = std::min(r_.rows, begin + block_);
      if (!rounds_) return prepare(r_, factors, c, begin, end, c.out(0) + begin * r_.channels);
      float* const wide = slot_floats(slots, slot, rounded_rows_ * r_.channels);
      for (int64_t row = begin; row < end; row += rounded_rows_) {
        const int64_t last = std::min(end, row + rounded_rows_);
        prepare(r_, factors, c, row, last, wide);
        convert(wide, c.outputs[0]->mutable_data<BFloat16>() + row * r_.channels,
                (last - row) * r_.channels);
      }
    });
    return {};
  }
  std::unique_ptr<Kernel> with_parts(std::vector<int64_t> channels) const override {
    if (std::accumulate(channels.begin(), channels.end(), int64_t{0}) != r_.channels)
      return nullptr;
    ChannelRows rows = r_;
    const auto count = static_cast<int>(channels.size());
    rows.parts = std::move(channels);
    for (int* operand : {&rows.scale, &rows.shift})
      if (*operand >= 0) *operand += count;
    return std::make_unique<RowsKernel>(std::move(rows), threads_, rounds_);
  }
  std::unique_ptr<Kernel> join(const Kernel& next, size_t operands) const override {
    if (rounds_to_bf16(next) && !rounds_) return std::make_unique<RowsKernel>(r_, threads_, true);
    const auto* conv = dynamic_cast<const ChainableConv*>(&next);
    if (conv == nullptr || rounds_) return nullptr;
    ChainPart part = conv->chain_part(operands);
    if (part.role != ChainRole::kPointwise || part.pairs || part.packed == nullptr) return nullptr;
    if (r_.parts.size() == 1 && r_.shift < 0 && r_.activation.kind == ActivationKind::kNone &&
        scales_weights(part.p))
      return make_scaled_product(std::move(part), r_.scale, threads_);
    if (r_.images > 1) return nullptr;
    // Rows are dealt to threads, never columns: all read the weights.
    if (threads_ > 1 && r_.rows < kManyRows * threads_ &&
        part.p.in_channels * part.p.out_channels > kFewWeights)
      return nullptr;
    return std::make_unique<ProductKernel>(r_, std::move(part), threads_);
  }

 private:
  ChannelRows r_;
  int threads_;
  bool rounds_;  // the results, to bf16
  int64_t rounded_rows_ = 0, block_ = 0;
};

// Whether a value has an element for each channel of the last dim and no other.
bool is_one_row(const TensorType& t, int64_t channels) {
  return t.shape.rank() > 0 && t.shape[t.shape.rank() - 1].size() == channels &&
         *t.shape.elements() == channels;
}

// Whether a value has such a row for each index of the first dim of x.
bool is_row_of_images(const TensorType& t, const TensorType& x) {
  const int rank = x.shape.rank();
  return t.shape.rank() == rank && rank > 1 && t.shape[0] == x.shape[0] &&
         t.shape[rank - 1] == x.shape[rank - 1] &&
         *t.shape.elements() == x.shape[0].size() * x.shape[rank - 1].size();
}

// What a step computes, where it is a product of operand 0 and a row, or a region with a scale, a
// shift and an activation of it, each or none in this order.
std::optional<ChannelRows> channel_rows(const StepInfo& s) {
  if (s.inputs.empty() || s.outputs.size() != 1 || !all_f32(s) ||
      s.inputs[0].shape != s.outputs[0].shape || s.inputs[0].shape.rank() == 0)
    return std::nullopt;
  const int rank = s.inputs[0].shape.rank();
  ChannelRows r;
  r.channels = s.in_dim(0, rank - 1);
  if (r.channels <= 0) return std::nullopt;
  r.rows = *s.inputs[0].shape.elements() / r.channels;
  r.parts = {r.channels};
  if (s.region == nullptr) {
    r.scale = 1;
    if (s.op.def().name != "mul") return std::nullopt;
    if (is_one_row(s.inputs[1], r.channels)) return r;
    r.images = s.in_dim(0, 0);
    return is_row_of_images(s.inputs[1], s.inputs[0]) ? std::optional(r) : std::nullopt;
  }
  const Region& region = *s.region;
  if (region.inputs.empty()) return std::nullopt;
  int value = region.inputs[0];
  for (const Region::Step& step : region.steps) {
    if (step.outputs.size() != 1 || step.inputs.empty() ||
        r.activation.kind != ActivationKind::kNone)
      return std::nullopt;
    const std::string_view op = step.op->def().name;
    if (step.inputs.size() == 1 && step.inputs[0] == value) {
      r.activation = activation_of(*step.op);
      if (op == "relu") r.activation.kind = ActivationKind::kRelu;
      if (r.activation.kind == ActivationKind::kNone) return std::nullopt;
    } else if (step.inputs.size() == 2 && (op == "mul" || op == "add")) {
      const int other = step.inputs[0] == value ? step.inputs[1] : step.inputs[0];
      const auto found = std::ranges::find(region.inputs, other);
      if ((step.inputs[0] != value && step.inputs[1] != value) || found == region.inputs.end())
        return std::nullopt;
      const auto operand = static_cast<int>(found - region.inputs.begin());
      int& place = op == "mul" ? r.scale : r.shift;
      if (operand == 0 || place >= 0 || (op == "mul" && r.shift >= 0) ||
          !is_one_row(s.inputs[static_cast<size_t>(operand)], r.channels))
        return std::nullopt;
      place = operand;
    } else {
      return std::nullopt;
    }
    value = step.outputs[0];
  }
  if (region.outputs.size() != 1 || region.outputs[0] != value) return std::nullopt;
  return r;
}

}  // namespace

std::string refuses_channel_rows(const StepInfo& s) {
  return channel_rows(s) ? "" : "it is not a scale and a shift of channels";
}
std::unique_ptr<Kernel> make_channel_rows(const StepInfo& s) {
  return std::make_unique<RowsKernel>(*channel_rows(s), s.threads);
}

}  // namespace tenon::cpu
