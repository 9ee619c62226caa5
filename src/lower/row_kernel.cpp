#include "lower/row_kernel.h"

#include <fmt/format.h>

#include <algorithm>

#include "lower/vector_core.h"

namespace tenon::lower {
namespace {

constexpr int64_t kWidest = 4;  // bytes of the widest temporary element

class Kernel {
 public:
  Kernel(Lowering& lowering, const Node& node, const RowKernel& k)
      : lowering_(lowering),
        node_(node),
        k_(k),
        core_(lowering.architecture()),
        b_(lowering, k.layer, k.algorithm) {}

  Status run() {
    TRY(cut());
    const int64_t tiles = (k_.rows + rows_ - 1) / rows_;
    b_.set_blocks(std::min(lowering_.architecture().vector_cores, tiles));
    set_places();
    VectorCode code(b_, core_.memory, rows_ * k_.width * kWidest, lowering_.real());
    load(shared_, true, 0, 0);
    Status status;
    b_.loop(turns(b_, tiles), [&](const Expr& turn) {
      const Expr first = (b_.block() + turn * b_.blocks()) * rows_;
      n_ = k_.rows % rows_ == 0 ? Expr(rows_) : min(rows_, Expr(k_.rows) - first);
      if (Status s = tile(code, first, turn); !s.ok()) status = std::move(s);
    });
    TRY(std::move(status));
    if (shared_bytes_ > 0) shared_.leave(1, 0);
    return lowering_.add(node_, b_);
  }

 private:
  DType dtype(int tensor) const { return lowering_.tensor(tensor).dtype; }
  int64_t aligned(int64_t bytes) const {
    const int64_t align = b_.architecture().memories[static_cast<size_t>(core_.memory)].align;
    return (bytes + align - 1) / align * align;
  }

  // As many rows as have room, with the temporary tiles that a trial takes.
  Status cut() {
    ProgramBuilder scratch(lowering_.architecture(), "", "");
    VectorCode trial(scratch, core_.memory, 32, lowering_.real());
    std::vector<Register> none;
    int64_t row = 0, fixed = 8192;
    for (const RowKernel::Operand& o : k_.operands) {
      none.push_back({scratch.local(core_.memory, 0, dtype(o.tensor), {{1, 1}, {1, 1}}),
                      std::nullopt, nullptr});
      (o.shared ? fixed : row) += o.width * bytes_of(dtype(o.tensor)) * (o.shared ? 1 : 2);
      fixed += 256;
    }
    for (const RowKernel::Result& r : k_.results) row += 2 * r.width * bytes_of(dtype(r.tensor));
    fixed += static_cast<int64_t>(k_.results.size()) * 512;
    TRY(k_.compute(trial, none, 1));
    row += k_.width * kWidest * trial.slots();
    const int64_t room =
        b_.architecture().memories[static_cast<size_t>(core_.memory)].bytes - fixed;
    if (row > room)
      return unsupported(fmt::format("a row of {} elements does not fit on a core", k_.width));
    const int64_t cores = lowering_.architecture().vector_cores;
    rows_ = std::min<int64_t>(
        {room / row, (k_.rows + cores - 1) / cores, std::max<int64_t>(1, 16384 / k_.width)});
    return {};
  }

  void set_places() {
    int64_t moving = 0, results = 0;
    for (const RowKernel::Operand& o : k_.operands) {
      const DeviceTensor& t = lowering_.tensor(o.tensor);
      operand_buffers_.push_back(b_.bind("x", isa::Buffer::Role::input, o.tensor));
      int64_t& used = o.shared ? shared_bytes_ : moving;
      operand_places_.push_back(used);
      used += aligned((o.shared ? 1 : rows_) * o.width * bytes_of(t.dtype));
    }
    for (const RowKernel::Result& r : k_.results) {
      const DeviceTensor& t = lowering_.tensor(r.tensor);
      result_places_.push_back(results);
      results += aligned(rows_ * r.width * bytes_of(t.dtype));
      const auto known = std::ranges::find(written_, r.tensor);
      if (known != written_.end()) {
        result_buffers_.push_back(written_buffers_[static_cast<size_t>(known - written_.begin())]);
        continue;
      }
      result_buffers_.push_back(b_.bind("y", isa::Buffer::Role::output, r.tensor));
      written_.push_back(r.tensor);
      written_buffers_.push_back(result_buffers_.back());
    }
    if (shared_bytes_ > 0)
      shared_ = b_.ring(core_.memory, shared_bytes_, 1, {core_.load, core_.compute});
    in_ = b_.ring(core_.memory, moving, 2, {core_.load, core_.compute});
    out_ = b_.ring(core_.memory, results, 2, {core_.compute, core_.store});
  }

  void load(const Ring& ring, bool shared, const Expr& first, const Expr& turn) {
    if (shared && shared_bytes_ == 0) return;
    ring.enter(0, turn);
    for (size_t i = 0; i < k_.operands.size(); ++i) {
      const RowKernel::Operand& o = k_.operands[i];
      if (o.shared != shared) continue;
      const std::vector<Axis> axes =
          shared ? std::vector<Axis>{{o.width, 1}} : std::vector<Axis>{{n_, o.width}, {o.width, 1}};
      b_.emit(Opcode::copy,
              {b_.local(core_.memory, ring.place(turn) + operand_places_[i], dtype(o.tensor), axes),
               b_.global(operand_buffers_[i], shared ? Expr(0) : first * o.width, axes)});
    }
    ring.leave(0, turn);
    ring.enter(1, turn);
  }

  Status tile(VectorCode& code, const Expr& first, const Expr& turn) {
    load(in_, false, first, turn);
    std::vector<Register> operands;
    for (size_t i = 0; i < k_.operands.size(); ++i) {
      const RowKernel::Operand& o = k_.operands[i];
      const Expr place = (o.shared ? shared_.place(0) : in_.place(turn)) + operand_places_[i];
      operands.push_back({b_.local(core_.memory, place, dtype(o.tensor),
                                   {{n_, o.shared ? 0 : o.width}, {o.width, 1}}),
                          std::nullopt, nullptr});
    }
    code.set_tile({{n_, k_.width}, {k_.width, 1}});
    auto results = TRY(k_.compute(code, operands, n_));
    out_.enter(0, turn);
    const auto local = [&](size_t i) {
      const int64_t width = k_.results[i].width;
      return b_.local(core_.memory, out_.place(turn) + result_places_[i],
                      dtype(k_.results[i].tensor), {{n_, width}, {width, 1}});
    };
    for (size_t i = 0; i < results.size(); ++i) code.store(results[i], local(i));
    results.clear();
    out_.leave(0, turn);
    in_.leave(1, turn);
    out_.enter(1, turn);
    for (size_t i = 0; i < k_.results.size(); ++i) {
      const RowKernel::Result& r = k_.results[i];
      b_.emit(Opcode::copy,
              {b_.global(result_buffers_[i], first * r.row + r.offset, {{n_, r.row}, {r.width, 1}}),
               local(i)});
    }
    out_.leave(1, turn);
    return {};
  }

  Lowering& lowering_;
  const Node& node_;
  const RowKernel& k_;
  VectorCore core_;
  KernelBuilder b_;
  int64_t rows_ = 1, shared_bytes_ = 0;
  std::vector<int> operand_buffers_, result_buffers_, written_, written_buffers_;
  std::vector<int64_t> operand_places_, result_places_;
  Ring shared_, in_, out_;
  Expr n_;
};

}  // namespace

Status add_row_kernel(Lowering& lowering, const Node& node, const RowKernel& kernel) {
  return Kernel(lowering, node, kernel).run();
}

}  // namespace tenon::lower
