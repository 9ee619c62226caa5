#include "lower/elementwise.h"

#include <fmt/format.h>

#include <algorithm>

#include "lower/tiles.h"
#include "lower/vector_core.h"

namespace tenon::lower {
namespace {

class Kernel {
 public:
  Kernel(Lowering& lowering, const Node& node, const Elementwise& work)
      : lowering_(lowering),
        node_(node),
        work_(work),
        core_(lowering.architecture()),
        builder_(lowering, layer_of(node), "vector") {
    space_.dims = work.dims;
    for (const Elementwise::Operand& o : work.operands) space_.strides.push_back(o.strides);
    space_.strides.push_back(work.strides);
    if (work.dims.empty()) {
      // A scalar is a row of one.
      space_.dims = {1};
      for (auto& strides : space_.strides) strides = {1};
    }
    space_.simplify();
  }

  Status run() {
    if (space_.elements() == 0) return unsupported("it has no elements");
    const Temporaries temporaries = TRY(try_out());
    cut_tiles(temporaries);
    set_places();
    const int64_t tile = tiles_.elements(space_);
    VectorCode code(builder_, core_.memory, tile * temporaries.widest, real());
    if (work_.wide) code.set_wide();
    const TileView first(space_, tiles_, 0);
    load(fixed_, first, 0);
    Status status;
    builder_.loop(turns(builder_, tiles_.count), [&](const Expr& turn) {
      const TileView at(space_, tiles_, builder_.block() + turn * builder_.blocks());
      if (Status s = turn_of(code, at, turn); !s.ok()) status = std::move(s);
    });
    TRY(std::move(status));
    if (fixed_.bytes > 0) fixed_.ring.leave(1, 0);
    return lowering_.add(node_, builder_);
  }

 private:
  // Operands whose tiles come together, so that any number of them takes two flags.
  struct Group {
    Ring ring;
    int64_t bytes = 0;
  };
  // A tensor's buffer and where its tiles are on the core.
  struct Input {
    DType dtype;
    int buffer = -1;
    Group* group = nullptr;
    int64_t first = 0;  // byte of the group's place
  };
  struct Output {
    DType dtype;
    int buffer = -1;
    Ring ring;
  };

  DType real() const { return work_.real.value_or(lowering_.real()); }
  DType dtype_of(int tensor) const { return lowering_.tensor(tensor).dtype; }
  const std::vector<int64_t>& strides(size_t operand) const { return space_.strides[operand]; }

  // Tiles between operands and results, and the bytes of their widest element.
  struct Temporaries {
    int64_t count, widest;
  };

  // What temporaries there are shows in a trial without tiles.
  Result<Temporaries> try_out() const {
    ProgramBuilder scratch(lowering_.architecture(), "", "");
    VectorCode code(scratch, core_.memory, 32, real());
    if (work_.wide) code.set_wide();
    std::vector<Register> operands;
    for (const Elementwise::Operand& o : work_.operands)
      operands.push_back(
          {scratch.local(core_.memory, 0, dtype_of(o.tensor), {}), std::nullopt, nullptr});
    TRY(work_.compute(code, operands));
    return Temporaries{code.slots(), code.widest()};
  }

  void cut_tiles(const Temporaries& temporaries) {
    const isa::Architecture& a = lowering_.architecture();
    // Of operands and results two tiles each, so that queues work side by side.
    int64_t per_element = temporaries.count * temporaries.widest;
    for (const int result : work_.results) per_element += 2 * bytes_of(dtype_of(result));
    for (const Elementwise::Operand& o : work_.operands)
      per_element += 2 * bytes_of(dtype_of(o.tensor));
    const int64_t most =
        (builder_.free_bytes(core_.memory) - 8192) / std::max<int64_t>(per_element, 1);
    tiles_ = cut(space_, std::min<int64_t>(most, 32768), a.vector_cores);
    builder_.set_blocks(std::min(a.vector_cores, tiles_.count));
  }

  void set_places() {
    const TileView first(space_, tiles_, 0);
    const int64_t align = builder_.architecture().memories[static_cast<size_t>(core_.memory)].align;
    for (size_t i = 0; i < work_.operands.size(); ++i) {
      const Elementwise::Operand& o = work_.operands[i];
      Input in{dtype_of(o.tensor), -1, first.is_fixed(strides(i)) ? &fixed_ : &moving_, 0};
      in.buffer = builder_.bind(o.name.empty() ? fmt::format("x{}", i) : o.name,
                                isa::Buffer::Role::input, o.tensor);
      in.first = in.group->bytes;
      in.group->bytes +=
          (first.stored(strides(i)) * bytes_of(in.dtype) + align - 1) / align * align;
      inputs_.push_back(in);
    }
    // What all tiles read is there once.
    for (Group* group : {&fixed_, &moving_})
      if (group->bytes > 0)
        group->ring = builder_.ring(core_.memory, group->bytes, group == &fixed_ ? 1 : 2,
                                    {core_.load, core_.compute});
    for (size_t i = 0; i < work_.results.size(); ++i) {
      Output out{dtype_of(work_.results[i]), -1, {}};
      out.buffer =
          builder_.bind(fmt::format("y{}", i), isa::Buffer::Role::output, work_.results[i]);
      out.ring = builder_.ring(core_.memory, tiles_.elements(space_) * bytes_of(out.dtype), 2,
                               {core_.compute, core_.store});
      outputs_.push_back(std::move(out));
    }
  }

  View tile_of(size_t i, const Expr& turn, std::vector<Axis> axes) const {
    const Input& in = inputs_[i];
    return builder_.local(core_.memory, in.group->ring.place(turn) + in.first, in.dtype,
                          std::move(axes));
  }

  void load(const Group& group, const TileView& at, const Expr& turn) {
    if (group.bytes == 0) return;
    group.ring.enter(0, turn);
    for (size_t i = 0; i < inputs_.size(); ++i)
      if (inputs_[i].group == &group)
        builder_.emit(
            Opcode::copy,
            {tile_of(i, turn, at.local(strides(i), true)),
             builder_.global(inputs_[i].buffer, at.offset(strides(i)) + work_.operands[i].offset,
                             at.global(strides(i), true))});
    group.ring.leave(0, turn);
    group.ring.enter(1, turn);
  }

  Status turn_of(VectorCode& code, const TileView& at, const Expr& turn) {
    const auto& own = space_.strides.back();
    load(moving_, at, turn);
    code.set_tile(at.local(own, false));
    std::vector<Register> operands;
    for (size_t i = 0; i < inputs_.size(); ++i)
      operands.push_back(
          {tile_of(i, inputs_[i].group == &fixed_ ? Expr(0) : turn, at.local(strides(i), false)),
           std::nullopt, nullptr});
    auto results = TRY(work_.compute(code, operands));
    const auto tile = [&](const Output& out) {
      return builder_.local(core_.memory, out.ring.place(turn), out.dtype, at.local(own, false));
    };
    for (size_t i = 0; i < outputs_.size(); ++i) {
      outputs_[i].ring.enter(0, turn);
      code.store(results[i], tile(outputs_[i]));
      outputs_[i].ring.leave(0, turn);
    }
    results.clear();
    if (moving_.bytes > 0) moving_.ring.leave(1, turn);
    for (const Output& out : outputs_) {
      out.ring.enter(1, turn);
      builder_.emit(Opcode::copy, {builder_.global(out.buffer, at.offset(own) + work_.offset,
                                                   at.global(own, false)),
                                   tile(out)});
      out.ring.leave(1, turn);
    }
    return {};
  }

  Lowering& lowering_;
  const Node& node_;
  const Elementwise& work_;
  VectorCore core_;
  KernelBuilder builder_;
  Space space_;  // of the operands, then of the results
  Tiles tiles_;
  Group fixed_, moving_;
  std::vector<Input> inputs_;
  std::vector<Output> outputs_;
};

}  // namespace

Status lower_elementwise(Lowering& lowering, const Node& node, const Elementwise& work) {
  return Kernel(lowering, node, work).run();
}

}  // namespace tenon::lower
