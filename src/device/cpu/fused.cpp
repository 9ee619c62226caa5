// A chain of pointwise ops as one kernel: a small program that is run tile by tile, its values in
// registers of a tile each that stay in L1. Booleans are 0 and 1.
#include <algorithm>
#include <array>
#include <cstring>

#include "device/cpu/candidates.h"
#include "device/cpu/channel_rows.h"
#include "device/cpu/fused_program.h"
#include "device/cpu/kernels/half.h"

namespace tenon::cpu {
namespace {

// Whole numbers in the range of T.
template <typename T>
void store_bytes(const float* x, void* y, int64_t at, size_t n) {
  T* out = static_cast<T*>(y) + at;
  for (size_t i = 0; i < n; ++i) out[i] = static_cast<T>(static_cast<int32_t>(x[i]));
}

void select(const float* a, const float* b, const float* c, float* y, size_t n) {
  for (size_t i = 0; i < n; ++i) y[i] = a[i] != 0 ? b[i] : c[i];
}

// What has one loop, over vectors: of a scalar there is as much as a block.
void run_blocks(const Instruction& in, float* const* slots, size_t n) {
  constexpr size_t kBlock = 128;
  std::array<float, kBlock> repeated[3];
  const float* x[3] = {};
  size_t step[3] = {};
  const size_t operands = in.code == Code::kSelect ? 3 : 2;
  for (size_t k = 0; k < operands; ++k) {
    x[k] = slots[in.src[k]];
    step[k] = in.scalar[k] ? 0 : 1;
    if (!in.scalar[k] || n == 1) continue;
    repeated[k].fill(*x[k]);
    x[k] = repeated[k].data();
  }
  float* const y = slots[in.dst];
  for (size_t i = 0; i < n; i += kBlock) {
    const size_t count = std::min(kBlock, n - i);
    const float* const a = x[0] + i * step[0];
    const float* const b = x[1] + i * step[1];
    if (in.code == Code::kSelect)
      select(a, b, x[2] + i * step[2], y + i, count);
    else
      in.map2(a, b, y + i, count);
  }
}

void run_instruction(const Instruction& in, float* const* slots, size_t n) {
  const KernelTable& table = kernels();
  float* y = slots[in.dst];
  const float* a = slots[in.src[0]];
  const float* b = slots[in.src[1]];
  const size_t step_a = in.scalar[0] ? 0 : 1, step_b = in.scalar[1] ? 0 : 1;
  switch (in.code) {
    case Code::kUnary:
      table.unary[in.kernel](a, y, n);
      return;
    case Code::kActivate:
      table.activate(in.activation, a, y, n);
      return;
    case Code::kBinary:
      if (n == 1 || (step_a == 1 && step_b == 1))
        table.binary[in.kernel](a, b, y, n);
      else
        (step_b == 0 ? table.binary_vs : table.binary_sv)[in.kernel](a, b, y, n);
      return;
    case Code::kMap:
      for (size_t i = 0; i < n; ++i) y[i] = static_cast<float>(in.map(static_cast<double>(a[i])));
      return;
    case Code::kMap2:
    case Code::kSelect:
      run_blocks(in, slots, n);
      return;
    case Code::kNot:
      for (size_t i = 0; i < n; ++i) y[i] = a[i] != 0 ? 0.0f : 1.0f;
      return;
    case Code::kTruth:
      for (size_t i = 0; i < n; ++i) y[i] = a[i] != 0 ? 1.0f : 0.0f;
      return;
    case Code::kCopy:
      if (y != a) std::memcpy(y, a, n * sizeof(float));
      return;
  }
}

template <typename T>
void load_row(const void* base, int64_t offset, int64_t stride, float* y, int64_t n) {
  const T* x = static_cast<const T*>(base) + offset;
  if (stride == 0)
    std::fill_n(y, n, static_cast<float>(x[0]));
  else
    for (int64_t i = 0; i < n; ++i) y[i] = static_cast<float>(x[i]);
}

class FusedKernel final : public Kernel {
 public:
  explicit FusedKernel(const StepInfo& s) { (void)translate(s, p_); }

  Status run(const RunContext& c) const override {
    const int64_t rows_per_tile = std::max<int64_t>(1, kTile / std::max<int64_t>(p_.inner, 1));
    const int64_t parts = p_.inner > kTile ? (p_.inner + kTile - 1) / kTile : 1;
    const int64_t tiles =
        p_.inner > kTile ? p_.rows * parts : (p_.rows + rows_per_tile - 1) / rows_per_tile;
    if (p_.inner * p_.rows == 0) return {};
    constexpr int64_t kTilesPerTask = 8;
    const int64_t tasks = std::clamp<int64_t>(tiles / kTilesPerTask, 1, c.pool.threads() * 4);
    c.pool.parallel_for(tasks, [&](int64_t task) {
      Tiles work(p_, c);
      for (int64_t t = tiles * task / tasks; t < tiles * (task + 1) / tasks; ++t) {
        if (parts > 1)
          work.run(t / parts, 1, t % parts * kTile, std::min(kTile, p_.inner - t % parts * kTile));
        else
          work.run(t * rows_per_tile, std::min(rows_per_tile, p_.rows - t * rows_per_tile), 0,
                   p_.inner);
      }
    });
    return {};
  }
  // What is rounded afterwards is rounded while it is in L1.
  std::unique_ptr<Kernel> join(const Kernel& next, size_t) const override {
    if (!rounds_to_bf16(next) || p_.output_types != std::vector{DType::f32}) return nullptr;
    auto joined = std::make_unique<FusedKernel>(*this);
    joined->p_.output_types[0] = DType::bf16;
    return joined;
  }

 private:
  // The registers of one task.
  struct Tiles {
    Tiles(const Program& program, const RunContext& context) : p(program), c(context) {
      for (size_t i = 0; i < p.register_slots.size(); ++i)
        slots[static_cast<size_t>(p.register_slots[i])] = registers.data() + i * kTile;
      for (size_t i = 0; i < p.scalar_slots.size(); ++i)
        slots[static_cast<size_t>(p.scalar_slots[i])] = &scalars[i];
      for (const auto& [slot, x] : p.constants) *slots[static_cast<size_t>(slot)] = x;
      for (const Load& load : p.scalar_loads)
        load_part(load, 0, 1, *slots[static_cast<size_t>(load.slot)]);
      for (const Instruction& in : p.scalar_code) run_instruction(in, slots.data(), 1);
      if (p.inner > kTile) return;
      const int64_t rows = std::min(p.rows, std::max<int64_t>(1, kTile / p.inner));
      for (const Load& load : p.loads)
        for (int64_t r = 0; load.once && r < rows; ++r)
          load_part(load, 0, p.inner, slots[static_cast<size_t>(load.slot)][r * p.inner],
                    load.strides.back());
    }

    void load_part(const Load& load, int64_t offset, int64_t n, float& y,
                   int64_t stride = 1) const {
      const void* base = c.inputs[load.input]->raw();
      if (load.dtype == DType::boolean)
        load_row<bool>(base, offset, stride, &y, n);
      else if (load.dtype == DType::u8)
        load_row<uint8_t>(base, offset, stride, &y, n);
      else if (load.dtype == DType::i8)
        load_row<int8_t>(base, offset, stride, &y, n);
      else if (load.dtype == DType::bf16 && stride == 1)
        convert(static_cast<const BFloat16*>(base) + offset, &y, n);
      else if (load.dtype == DType::bf16)
        load_row<BFloat16>(base, offset, stride, &y, n);
      else
        load_row<float>(base, offset, stride, &y, n);
    }

    int64_t row_offset(const Load& load, int64_t row) const {
      int64_t offset = 0;
      for (size_t d = p.loops.empty() ? 0 : p.loops.size() - 1; d-- > 0;) {
        offset += row % p.loops[d] * load.strides[d];
        row /= p.loops[d];
      }
      return offset;
    }

    // n elements of each of the rows [row, row + rows), which begin at x for row 0. Rows are often
    // a few elements long: their offsets are counted up.
    void load_rows(const Load& load, int64_t row, int64_t rows, const float* x, int64_t n,
                   float* y) const {
      const size_t outer = p.loops.size() - 1;
      std::array<int64_t, kMaxLoops> at{};
      for (size_t d = outer; d-- > 0; row /= p.loops[d]) {
        at[d] = row % p.loops[d];
        x += at[d] * load.strides[d];
      }
      const bool repeats = load.strides.back() == 0;
      for (int64_t r = 0; r < rows; ++r, y += n) {
        if (repeats)
          std::fill_n(y, n, *x);
        else
          std::copy_n(x, n, y);
        for (size_t d = outer; d-- > 0;) {
          x += load.strides[d];
          if (++at[d] < p.loops[d]) break;
          at[d] = 0;
          x -= p.loops[d] * load.strides[d];
        }
      }
    }

    // Rows [row, row + rows) of the loops, n elements of each from `begin`.
    void run(int64_t row, int64_t rows, int64_t begin, int64_t n) {
      const int64_t at = row * p.inner + begin;
      const auto count = static_cast<size_t>(rows * n);
      for (const Load& load : p.loads) {
        float*& slot = slots[static_cast<size_t>(load.slot)];
        if (load.once) continue;
        const int64_t stride = load.strides.back();
        if (load.direct) {
          // Only read through: instructions write to registers and results.
          slot = const_cast<float*>(c.in(load.input)) + row_offset(load, row) + begin * stride;
          continue;
        }
        if (load.dense) {
          load_part(load, at, rows * n, *slot);
          continue;
        }
        if (load.dtype == DType::f32) {
          load_rows(load, row, rows, c.in(load.input) + begin * stride, n, slot);
          continue;
        }
        for (int64_t r = 0; r < rows; ++r)
          load_part(load, row_offset(load, row + r) + begin * stride, n, slot[r * n], stride);
      }
      for (size_t i = 0; i < p.output_slots.size(); ++i)
        if (p.output_types[i] == DType::f32)
          slots[static_cast<size_t>(p.output_slots[i])] = c.out(i) + at;
        else if (p.output_types[i] == DType::bf16)
          slots[static_cast<size_t>(p.output_slots[i])] = wide.data();
      for (const Instruction& in : p.code) run_instruction(in, slots.data(), count);
      for (size_t i = 0; i < p.output_slots.size(); ++i) {
        const float* x = slots[static_cast<size_t>(p.output_slots[i])];
        void* y = c.outputs[i]->mutable_raw();
        if (p.output_types[i] == DType::boolean)
          std::transform(x, x + count, static_cast<bool*>(y) + at, [](float v) { return v != 0; });
        if (p.output_types[i] == DType::bf16)
          convert(x, static_cast<BFloat16*>(y) + at, static_cast<int64_t>(count));
        if (const auto& rounding = p.output_rounding[i])
          int8_kernels().quantize_bytes(*rounding, x, static_cast<uint8_t*>(y) + at,
                                        static_cast<int64_t>(count));
        else if (p.output_types[i] == DType::u8)
          store_bytes<uint8_t>(x, y, at, count);
        else if (p.output_types[i] == DType::i8)
          store_bytes<int8_t>(x, y, at, count);
      }
    }

    const Program& p;
    const RunContext& c;
    std::array<float*, kMaxSlots> slots{};
    std::array<float, kMaxScalars> scalars{};
    alignas(64) std::array<float, static_cast<size_t>(kMaxRegisters) * kTile> registers;
    alignas(64) std::array<float, kTile> wide;  // a result before it is rounded
  };

  Program p_;
};

std::string refuses(const StepInfo& s) {
  if (s.region == nullptr) return "there is no sub-graph";
  Program program;
  return translate(s, program);
}

constexpr KernelCandidate kCandidates[] = {
    {"fused", "channel_rows", refuses_channel_rows, make_channel_rows},
    {"fused", "tiles", refuses,
     [](const StepInfo& s) -> std::unique_ptr<Kernel> { return std::make_unique<FusedKernel>(s); }},
};

}  // namespace

std::span<const KernelCandidate> fused_candidates() {
  return kCandidates;
}

}  // namespace tenon::cpu
