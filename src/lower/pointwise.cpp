// Elementwise nodes, one or a fused region of them, as one kernel of the vector unit: operands come
// in tile by tile, results go out, everything between stays on the core.
#include <fmt/format.h>

#include <algorithm>

#include "lower/lowering.h"
#include "lower/tiles.h"
#include "lower/vector_code.h"
#include "lower/vector_core.h"

namespace tenon::lower {
namespace {

// A value that nodes read: an operand of the kernel, a number, or the result of a node.
struct Operand {
  const Value* value;
  int tensor;
  size_t strides;  // index in the space
  int buffer = -1;
  Ring ring;
};

class Pointwise {
 public:
  Pointwise(Lowering& lowering, const Node& node) : lowering_(lowering), node_(node) {}

  Status run() {
    collect();
    const auto result = dims_of(node_.output());
    space_.dims = result.empty() ? std::vector<int64_t>{1} : result;
    TRY(find_operands());
    for (const Node* n : nodes_) {
      for (int i = 0; i < n->output_count(); ++i)
        if (n->output(i)->dtype() == DType::string || is_complex(n->output(i)->dtype()))
          return unsupported("the vector unit has no strings or complex numbers");
    }
    space_.strides.push_back(broadcast_strides(space_.dims, space_.dims));
    space_.simplify();
    if (space_.elements() == 0) return unsupported("it has no elements");
    // How many temporary tiles there are shows in a trial without tiles.
    const int64_t slots = TRY(count_slots());
    return emit(slots);
  }

 private:
  void collect() {
    if (node_.regions().empty()) {
      nodes_ = {&node_};
      for (int i = 0; i < node_.output_count(); ++i) results_.push_back(node_.output(i));
      return;
    }
    const Graph& region = *node_.regions()[0];
    for (const auto& n : region.nodes())
      if (!n->is("const")) nodes_.push_back(n.get());
    for (const Value* v : region.outputs()) results_.push_back(v);
    for (size_t i = 0; i < region.inputs().size(); ++i)
      outer_[region.inputs()[i].get()] = node_.input(static_cast<int>(i));
  }

  // What a value inside a region is outside.
  const Value* outer(const Value* v) const {
    const auto found = outer_.find(v);
    return found == outer_.end() ? v : found->second;
  }

  Status find_operands() {
    std::vector<const Value*> made;
    for (const Node* n : nodes_) {
      for (const Value* inside : n->inputs()) {
        const Value* v = inside == nullptr ? nullptr : outer(inside);
        if (v == nullptr || std::ranges::find(made, v) != made.end() || numbers_.contains(v))
          continue;
        if (const auto number = splat(v)) {
          numbers_[v] = *number;
          continue;
        }
        if (std::ranges::find(operands_, v, &Operand::value) != operands_.end()) continue;
        const auto dims = dims_of(v);
        if (dims.size() > space_.dims.size() ||
            dims_of(v).size() + 0 > 0 && count_of(dims) > count_of(space_.dims))
          return unsupported("an operand is larger than the result");
        operands_.push_back({v, lowering_.tensor_of(v), space_.strides.size(), -1, {}});
        space_.strides.push_back(broadcast_strides(dims, space_.dims));
      }
      for (int i = 0; i < n->output_count(); ++i) made.push_back(n->output(i));
    }
    return {};
  }

  static std::optional<double> splat(const Value* v) {
    const Tensor* t = v->constant();
    if (t == nullptr || t->elements() == 0 || t->dtype() == DType::string) return std::nullopt;
    const double x = t->real_at(0);
    for (int64_t i = 1; i < t->elements(); ++i)
      if (i > 4096 || t->real_at(i) != x) return std::nullopt;
    return x;
  }

  // Computes every node on tiles; `operand` gives the tile of an operand.
  template <typename F>
  Result<std::vector<Register>> compute(VectorCode& code, const F& operand) {
    std::unordered_map<const Value*, Register> values;
    std::unordered_map<const Value*, size_t> readers;
    for (const Node* n : nodes_)
      for (const Value* v : n->inputs()) ++readers[v];
    for (const Value* v : results_) ++readers[v];
    for (const Node* n : nodes_) {
      std::vector<Register> in;
      for (const Value* inside : n->inputs()) {
        if (inside == nullptr) return unsupported("an operand is left out");
        const Value* v = outer(inside);
        if (const auto made = values.find(v); made != values.end())
          in.push_back(made->second);
        else if (const auto number = numbers_.find(v); number != numbers_.end())
          in.push_back({{}, number->second, nullptr});
        else
          in.push_back(operand(v));
      }
      for (const Value* v : n->inputs())
        if (--readers[v] == 0) values.erase(v);
      values[n->output()] = TRY(code.apply(*n, in));
    }
    std::vector<Register> out;
    for (const Value* v : results_) out.push_back(values.at(v));
    return out;
  }

  Result<int64_t> count_slots() {
    ProgramBuilder scratch(lowering_.architecture(), "", "");
    const int memory = VectorCore(lowering_.architecture()).memory;
    VectorCode code(scratch, memory, 32, lowering_.real());
    const auto out = compute(code, [&](const Value* v) {
      return Register{
          scratch.local(memory, 0, lowering_.device_dtype(v->dtype()), {}), {}, nullptr};
    });
    if (!out.ok()) return std::move(out).error();
    return code.slots();
  }

  Status emit(int64_t slots) {
    const isa::Architecture& a = lowering_.architecture();
    const VectorCore core(a);
    ProgramBuilder b(a, layer_of(node_), "vector");
    int64_t widest = bytes_of(lowering_.real());
    for (const Node* n : nodes_)
      widest = std::max(
          widest, static_cast<int64_t>(dtype_size(lowering_.device_dtype(n->output()->dtype()))));
    // Of operands and results two tiles each, so that queues work side by side.
    int64_t per_element = slots * widest;
    for (const Operand& o : operands_)
      per_element += 2 * static_cast<int64_t>(dtype_size(lowering_.device_dtype(o.value->dtype())));
    per_element += 2 * widest * static_cast<int64_t>(results_.size());
    const int64_t most = (b.free_bytes(core.memory) - 8192) / std::max<int64_t>(per_element, 1);
    const Tiles tiles = cut(space_, std::min<int64_t>(most, 32768), a.vector_cores);
    b.set_blocks(std::min(a.vector_cores, tiles.count));

    std::vector<int> tensors;
    const TileView first(space_, tiles, 0);
    for (Operand& o : operands_) {
      const auto& s = space_.strides[o.strides];
      const DType dtype = lowering_.device_dtype(o.value->dtype());
      o.buffer =
          b.buffer(o.value->name.empty() ? fmt::format("x{}", tensors.size()) : o.value->name,
                   isa::Buffer::Role::input, dtype, lowering_.tensor(o.tensor).elements);
      o.ring = b.ring(core.memory, first.stored(s) * bytes_of(dtype), first.is_fixed(s) ? 1 : 2,
                      {core.load, core.compute});
      tensors.push_back(o.tensor);
    }
    std::vector<Ring> out_rings;
    std::vector<int> out_buffers;
    for (size_t i = 0; i < results_.size(); ++i) {
      const Value* v = node_.output(static_cast<int>(i));
      const int tensor = lowering_.tensor_of(v);
      const DType dtype = lowering_.device_dtype(v->dtype());
      out_buffers.push_back(b.buffer(fmt::format("y{}", i), isa::Buffer::Role::output, dtype,
                                     lowering_.tensor(tensor).elements));
      out_rings.push_back(b.ring(core.memory, tiles.elements(space_) * bytes_of(dtype), 2,
                                 {core.compute, core.store}));
      tensors.push_back(tensor);
    }
    VectorCode code(b, core.memory, tiles.elements(space_) * widest, lowering_.real());
    const auto load = [&](const Operand& o, const TileView& at, const Expr& turn) {
      const auto& s = space_.strides[o.strides];
      o.ring.enter(0, turn);
      b.emit(Opcode::copy, {b.local(core.memory, o.ring.place(turn),
                                    lowering_.device_dtype(o.value->dtype()), at.local(s, true)),
                            b.global(o.buffer, at.offset(s), at.global(s, true))});
      o.ring.leave(0, turn);
      o.ring.enter(1, turn);
    };
    const auto fixed = [&](const Operand& o) { return first.is_fixed(space_.strides[o.strides]); };
    for (const Operand& o : operands_)
      if (fixed(o)) load(o, first, 0);
    Status status;
    b.loop(turns(b, tiles.count), [&](const Expr& turn) {
      const TileView at(space_, tiles, b.block() + turn * b.blocks());
      for (const Operand& o : operands_)
        if (!fixed(o)) load(o, at, turn);
      const auto& own = space_.strides.back();
      code.set_tile(at.local(own, false));
      auto out = compute(code, [&](const Value* v) {
        const Operand& o = *std::ranges::find(operands_, v, &Operand::value);
        return Register{
            b.local(core.memory, o.ring.place(fixed(o) ? Expr(0) : turn),
                    lowering_.device_dtype(v->dtype()), at.local(space_.strides[o.strides], false)),
            {},
            nullptr};
      });
      if (!out.ok()) {
        status = std::move(out).error();
        return;
      }
      for (size_t i = 0; i < out->size(); ++i) {
        const DType dtype = lowering_.device_dtype(node_.output(static_cast<int>(i))->dtype());
        const View to = b.local(core.memory, out_rings[i].place(turn), dtype, at.local(own, false));
        out_rings[i].enter(0, turn);
        code.store((*out)[i], to);
        out_rings[i].leave(0, turn);
      }
      out->clear();
      for (const Operand& o : operands_)
        if (!fixed(o)) o.ring.leave(1, turn);
      for (size_t i = 0; i < results_.size(); ++i) {
        out_rings[i].enter(1, turn);
        const DType dtype = lowering_.device_dtype(node_.output(static_cast<int>(i))->dtype());
        b.emit(Opcode::copy,
               {b.global(out_buffers[i], at.offset(own), at.global(own, false)),
                b.local(core.memory, out_rings[i].place(turn), dtype, at.local(own, false))});
        out_rings[i].leave(1, turn);
      }
    });
    TRY(std::move(status));
    for (const Operand& o : operands_)
      if (fixed(o)) o.ring.leave(1, 0);
    return lowering_.add(node_, b, std::move(tensors));
  }

  Lowering& lowering_;
  const Node& node_;
  std::vector<const Node*> nodes_;
  std::vector<const Value*> results_;
  std::unordered_map<const Value*, const Value*> outer_;
  std::unordered_map<const Value*, double> numbers_;
  std::vector<Operand> operands_;
  Space space_;
};

}  // namespace

Status lower_pointwise(Lowering& lowering, const Node& node) {
  if (node.output_count() != 1 && !node.is("fused"))
    return unsupported(fmt::format("chips have no '{}'", node.def().name));
  if (!node.is("fused") && !node.def().has(kPointwise))
    return unsupported(fmt::format("chips have no '{}'", node.def().name));
  return Pointwise(lowering, node).run();
}

}  // namespace tenon::lower
