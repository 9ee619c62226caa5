// Ops on tensors of bytes that are no products: tables, and maxima over windows.
#include <algorithm>
#include <cstring>
#include <limits>

#include "device/cpu/candidates.h"
#include "device/cpu/kernels/byte_sums.h"
#include "device/cpu/kernels/windows.h"
#include "device/cpu/window.h"
#include "ops/byte_lookup.h"
#include "ops/pool.h"

namespace tenon::cpu {
namespace {

constexpr int64_t kTask = 32768;  // elements worth a task

// y[i] = table[x[i]], by the bytes of an element of y.
template <typename T>
void look_up(const uint8_t* x, const T* table, T* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = table[x[i]];
}

class LookupKernel final : public Kernel {
 public:
  explicit LookupKernel(const StepInfo& s)
      : is_signed_(s.inputs[0].dtype == DType::i8), size_(dtype_size(s.outputs[0].dtype)) {}
  Status run(const RunContext& c) const override {
    // By the bits of x.
    uint64_t table[256];
    auto* const bytes = reinterpret_cast<char*>(table);
    const auto* const values = static_cast<const char*>(c.inputs[1]->raw());
    const size_t half = is_signed_ ? 128 * size_ : 0;
    std::memcpy(bytes, values + half, 256 * size_ - half);
    std::memcpy(bytes + 256 * size_ - half, values, half);
    const auto* const x = static_cast<const uint8_t*>(c.inputs[0]->raw());
    auto* const y = static_cast<char*>(c.outputs[0]->mutable_raw());
    const int64_t n = c.outputs[0]->elements();
    c.pool.parallel_for((n + kTask - 1) / kTask, [&](int64_t task) {
      const int64_t first = task * kTask, count = std::min(kTask, n - first);
      const auto as = [&]<typename T>(T) {
        look_up(x + first, reinterpret_cast<const T*>(bytes), reinterpret_cast<T*>(y) + first,
                count);
      };
      if (size_ == 1)
        look_up_bytes(x + first, reinterpret_cast<const uint8_t*>(bytes),
                      reinterpret_cast<uint8_t*>(y) + first, count);
      if (size_ == 2) as(uint16_t{});
      if (size_ == 4) as(uint32_t{});
      if (size_ == 8) as(uint64_t{});
    });
    return {};
  }

 private:
  bool is_signed_;
  size_t size_;
};

std::string lookup_refuses(const StepInfo& s) {
  const DType type = s.outputs[0].dtype;
  return type == DType::string || dtype_size(type) > 8 ? "not for this type" : "";
}

struct BytePool {
  int64_t batch = 1;
  int64_t in[3] = {1, 1, 1};
  int64_t out[3] = {1, 1, 1};
  int64_t kernel[3] = {1, 1, 1};
  int64_t stride[3] = {1, 1, 1};
  int64_t dilation[3] = {1, 1, 1};
  int64_t pad_begin[3] = {0, 0, 0};
  int64_t channels = 0;
};

// What a window takes: so many steps of so many elements along each dimension.
struct Taps {
  Range count[3];
  int64_t step[3];
};

// The largest of a window in kWidth neighbouring channels; x is where the window begins, be that
// inside or not.
template <typename T, int kWidth>
void take_largest(const Taps& taps, const T* x, T* y) {
  typedef T Vector __attribute__((vector_size(kWidth)));
  Vector largest = Vector{} + std::numeric_limits<T>::min();
  for (int64_t d = taps.count[0].begin; d < taps.count[0].end; ++d)
    for (int64_t h = taps.count[1].begin; h < taps.count[1].end; ++h) {
      const T* from = x + d * taps.step[0] + h * taps.step[1] + taps.count[2].begin * taps.step[2];
      for (int64_t w = taps.count[2].size(); w > 0; --w, from += taps.step[2]) {
        Vector v;
        std::memcpy(&v, from, sizeof v);
        largest = v > largest ? v : largest;
      }
    }
  std::memcpy(y, &largest, sizeof largest);
}

// Of n channels, kWidth or more; the last vector begins early where they are no multiple.
template <typename T, int kWidth>
void pool_pixel(const Taps& taps, const T* x, T* y, int64_t n) {
  for (int64_t c = 0; c < n; c += kWidth) {
    const int64_t at = std::min(c, n - kWidth);
    take_largest<T, kWidth>(taps, x + at, y + at);
  }
}

// One row of output pixels.
template <typename T>
void pool_row(const BytePool& p, int64_t index, const T* x, T* y) {
  const WindowDim depth = window_dim(p, 0), height = window_dim(p, 1), width = window_dim(p, 2);
  const int64_t oh = index % height.out, od = index / height.out % depth.out;
  const int64_t n = index / height.out / depth.out;
  const int64_t row = width.in * p.channels;
  Taps taps{{depth.taps(od), height.taps(oh), {}},
            {depth.dilation * height.in * row, height.dilation * row, width.dilation * p.channels}};
  const T* const first =
      x + ((n * depth.in + depth.start(od)) * height.in + height.start(oh)) * row;
  const auto pool_pixels = p.channels >= 32   ? pool_pixel<T, 32>
                           : p.channels >= 16 ? pool_pixel<T, 16>
                                              : pool_pixel<T, 1>;
  for (int64_t ow = 0; ow < width.out; ++ow) {
    taps.count[2] = width.taps(ow);
    pool_pixels(taps, first + width.start(ow) * p.channels,
                y + (index * width.out + ow) * p.channels, p.channels);
  }
}

class MaxPoolKernel final : public Kernel {
 public:
  explicit MaxPoolKernel(const StepInfo& s) : is_signed_(s.inputs[0].dtype == DType::i8) {
    const MaxPool& op = *s.op.as<MaxPool>();
    const Shape& x = s.inputs[0].shape;
    const std::vector<int64_t> sizes = x.sizes();
    set_window(op, s, op.kernel, effective_pads(op, op.kernel, std::span(sizes).subspan(1)), p_);
    p_.batch = x[0].size();
    p_.channels = x[x.rank() - 1].size();
  }
  Status run(const RunContext& c) const override {
    const int64_t rows = p_.batch * p_.out[0] * p_.out[1];
    const int64_t work = p_.out[2] * p_.kernel[0] * p_.kernel[1] * p_.kernel[2] * p_.channels;
    if (rows <= 0 || work <= 0) return {};
    const int64_t step = std::max<int64_t>(1, kTask / work);
    c.pool.parallel_for((rows + step - 1) / step, [&](int64_t task) {
      for (int64_t row = task * step; row < std::min(rows, (task + 1) * step); ++row)
        if (is_signed_)
          pool_row(p_, row, c.inputs[0]->data<int8_t>(), c.outputs[0]->mutable_data<int8_t>());
        else
          pool_row(p_, row, c.inputs[0]->data<uint8_t>(), c.outputs[0]->mutable_data<uint8_t>());
    });
    return {};
  }

 private:
  BytePool p_;
  bool is_signed_;
};

std::string max_pool_refuses(const StepInfo& s) {
  const DType type = s.inputs[0].dtype;
  if (type != DType::i8 && type != DType::u8) return "only i8 and u8";
  return s.inputs[0].shape.rank() - 2 > kMaxSpatial ? "more than three spatial dimensions" : "";
}

template <typename K>
std::unique_ptr<Kernel> make(const StepInfo& s) {
  return std::make_unique<K>(s);
}

constexpr KernelCandidate kCandidates[] = {
    {ByteLookup::name, "byte_table", lookup_refuses, make<LookupKernel>},
    {MaxPool::name, "byte_pool", max_pool_refuses, make<MaxPoolKernel>},
};

}  // namespace

std::span<const KernelCandidate> byte_candidates() {
  return kCandidates;
}

}  // namespace tenon::cpu
