#include "graph_generator.h"

#include <fmt/format.h>

#include <algorithm>

#include "graph_control.h"
#include "graph_draws.h"

namespace tenon::data_tests {
namespace {

class Generator : private Draws {
 public:
  explicit Generator(uint32_t seed) : Draws(seed) {}

  Result<std::unique_ptr<Graph>> run() {
    auto graph = std::make_unique<Graph>("random");
    builder_.emplace(*graph);
    for (const int rank : {2, 3, 4}) {
      Shape s = shape(rank);
      reals_.push_back(graph->add_input({DType::f32, s}, fmt::format("x{}", rank)));
      const DType dtype = pick(2) == 0 ? DType::i32 : DType::i64;
      exacts_.push_back(graph->add_input({dtype, s}, fmt::format("n{}", rank)));
    }
    const int ops = 5 + pick(46);
    // What inference refuses is not taken.
    for (int made = 0, tries = 0; made < ops && tries < 10 * ops; ++tries) {
      builder_->set_origins({fmt::format("layer{}", made)});
      auto v = step();
      if (!v.ok() || *v == nullptr || !is_small(**v)) continue;
      ((*v)->dtype() == DType::f32 && !exact_ ? reals_ : exacts_).push_back(*v);
      ++made;
    }
    std::vector<Value*> outputs{reals_.back()};
    if (pick(2) == 0) outputs.push_back(reals_[pick_index(reals_.size())]);
    if (pick(2) == 0) outputs.push_back(exacts_.back());
    graph->set_outputs(std::move(outputs));
    return graph;
  }

 private:
  static constexpr Value* kNone = nullptr;

  Value* any() { return any_of(reals_); }
  Value* constant(std::vector<int64_t> dims) {
    Tensor t = Tensor::allocate(DType::f32, dims).value();
    for (int64_t i = 0; i < t.elements(); ++i)
      t.mutable_data<float>()[i] = static_cast<float>(real());
    return builder_->constant(t);
  }
  Value* scalar(double value) {
    return builder_->constant(Tensor::scalar(static_cast<float>(value)));
  }
  Result<Value*> step() {
    exact_ = pick(6) == 0;
    if (exact_) return integer_step();
    Value* x = any();
    if (rank_of(x) < 1) return builder_->op("reshape", {x, builder_->ints({1, 1})});
    switch (pick(12)) {
      case 0:
      case 1:
        return pointwise(x);
      case 2:
      case 3:
        return movement(x);
      case 4:
        return selection(x);
      case 5:
      case 6:
        return product(x);
      case 7:
        return reduction(x);
      case 8:
        return image(x);
      case 9:
        return normalisation(x);
      case 10:
        return pick(2) == 0 ? branch(x) : loop(x, any());
      default:
        return from_integers(x);
    }
  }

  Result<Value*> pointwise(Value* x) {
    switch (pick(6)) {
      case 0:
      case 1:
        return builder_->op(one_of({"relu", "sigmoid", "tanh", "neg", "abs", "square", "exp",
                                    "identity", "silu", "gelu", "erf", "hard_swish"}),
                            {x});
      case 2: {
        Value* y = any();
        if (!fit(x, y)) return kNone;
        return builder_->op(one_of({"add", "mul", "sub", "max", "min", "squared_difference"}),
                            {x, y});
      }
      case 3:
        return builder_->op(one_of({"add", "mul", "sub", "div"}), {x, scalar(pick(4) - 1.5)});
      case 4:
        if (last(x) == 0) return kNone;
        return builder_->op(one_of({"add", "mul"}), {x, constant({last(x)})});
      default: {
        Value* y = any();
        if (!fit(x, y)) return kNone;
        Value* condition = TRY(builder_->op("greater", {x, y}));
        return builder_->op("select", {condition, x, y});
      }
    }
  }

  Result<Value*> movement(Value* x) {
    const auto rank = static_cast<size_t>(rank_of(x));
    switch (pick(9)) {
      case 0:
      case 1: {
        std::vector<int64_t> perm;
        for (size_t i = 0; i < rank; ++i)
          perm.insert(perm.begin() + pick(perm.size() + 1), static_cast<int64_t>(i));
        return builder_->op("transpose", {x}, {{"perm", perm}});
      }
      case 2:
        return builder_->op("reshape", {x, builder_->ints({-1, last(x)})});
      case 3: {  // by shape arithmetic
        Value* first = TRY(builder_->op("shape", {x}, {{"end", int64_t{1}}}));
        Value* to = TRY(builder_->op("concat", {first, builder_->ints({-1})}));
        return builder_->op("reshape", {x, to});
      }
      case 4: {
        const auto at = std::vector<int64_t>{pick(rank + 1)};
        return builder_->op("expand_dims", {x}, {{"axes", at}});
      }
      case 5:
        return builder_->op("squeeze", {x});
      case 6: {
        std::vector<int64_t> pads = numbers(2 * rank, -1, 2);
        for (int64_t& p : pads)
          if (pick(2) == 0) p = 0;
        if (pick(2) == 0) return builder_->op("pad", {x, builder_->ints(pads)});
        for (int64_t& p : pads) p = std::clamp<int64_t>(p, 0, 1);
        return builder_->op("pad", {x, builder_->ints(pads)},
                            {{"mode", std::string(one_of({"edge", "constant", "symmetric"}))}});
      }
      case 7:
        return builder_->op("reverse", {x}, {{"axes", std::vector<int64_t>{axis_of(x)}}});
      default:
        return builder_->op("tile", {x, builder_->ints(numbers(rank, 1, 2))});
    }
  }

  // Parts of x, and x with parts put together.
  Result<Value*> selection(Value* x) {
    const auto rank = static_cast<size_t>(rank_of(x));
    const int64_t axis = axis_of(x), n = size(x, axis);
    switch (pick(8)) {
      case 0:
        return builder_->op("concat", {x, x}, {{"axis", axis}});
      case 1: {
        if (n == 0) return kNone;
        Value* indices = builder_->ints({pick(static_cast<size_t>(n)), 0, -1});
        return builder_->op("gather", {x, indices}, {{"axis", axis}});
      }
      case 2: {
        if (n < 2) return kNone;
        const std::vector<int64_t> sizes{1 + pick(static_cast<size_t>(n - 1)), -1};
        Node* parts = TRY(builder_->node("split", {x}, {{"axis", axis}, {"sizes", sizes}}));
        reals_.push_back(parts->output(1));
        return parts->output();
      }
      case 3:
        return builder_->op("slice", {x, builder_->ints({pick(2)}), builder_->ints({pick(5)})},
                            {{"axes", std::vector<int64_t>{axis}}});
      case 4: {
        std::vector<int64_t> strides = numbers(rank, -1, 2);
        for (int64_t& s : strides) s = s == 0 ? 1 : s;
        return builder_->op(
            "strided_slice",
            {x, builder_->ints(numbers(rank, -2, 1)), builder_->ints(numbers(rank, -1, 4)),
             builder_->ints(strides)},
            {{"begin_mask", int64_t{pick(16)}},
             {"end_mask", int64_t{pick(16)}},
             {"shrink_axis_mask", int64_t{pick(3) == 0 && size(x, 0) > 1 ? 1 : 0}}});
      }
      case 5: {  // rows of x, in another order
        if (size(x, 0) < 2) return kNone;
        Value* rows = TRY(builder_->op("gather", {x, builder_->ints({1, 0})}));
        Value* places = builder_->constant(Tensor::vector<int64_t>({0, 1}).reshaped({2, 1}));
        return builder_->op("scatter_nd", {x, places, rows},
                            {{"reduction", std::string(one_of({"none", "add", "max"}))}});
      }
      case 6:
        return builder_->op("cumsum", {x}, {{"axis", axis}, {"exclusive", pick(2) == 0}});
      default: {
        Node* best = TRY(builder_->node(
            "top_k", {x, builder_->constant(Tensor::scalar<int64_t>(std::max<int64_t>(n / 2, 1)))},
            {{"axis", axis}}));
        return best->output();
      }
    }
  }

  Result<Value*> product(Value* x) {
    if (rank_of(x) < 2 || last(x) == 0) return kNone;
    switch (pick(4)) {
      case 0: {
        Value* y = any();
        for (const Value* v : {x, y})
          for (const Dim d : v->shape().dims())
            if (!d.known()) return kNone;
        return builder_->op("matmul", {x, y});
      }
      case 1:
        return builder_->op("matmul", {x, x},
                            {{pick(2) == 0 ? "transpose_a" : "transpose_b", true}});
      case 2: {  // with a batch that is broadcast
        std::vector<int64_t> dims(pick_index(3), 1);
        if (!dims.empty() && pick(2) == 0 && x->shape()[0].known()) dims[0] = 2;
        dims.insert(dims.end(), {last(x), 1 + pick(5)});
        return builder_->op("matmul", {x, constant(dims)});
      }
      default:
        return builder_->op("matmul", {x, constant({last(x), 1 + pick(5)})});
    }
  }

  Result<Value*> reduction(Value* x) {
    std::vector<int64_t> axes;
    for (int i = 0; i < rank_of(x); ++i)
      if (pick(3) == 0) axes.push_back(pick(4) == 0 ? i - rank_of(x) : i);
    const auto kind = one_of({"sum", "mean", "reduce_max", "reduce_min", "prod", "sum_square"});
    // Of nothing the largest is an infinity, which no tolerance fits.
    for (const Dim d : x->shape().dims())
      if (!d.known() || d == Dim(0)) return builder_->op("sum", {x}, {{"axes", axes}});
    // Products of many leave what f32 holds on the way, in one order or in another.
    const bool is_long = x->shape().elements().value_or(0) > 16;
    return builder_->op(kind == "prod" && is_long ? "sum" : kind, {x},
                        {{"axes", axes}, {"keep_dims", pick(2) == 0}});
  }

  // What needs [N, spatial…, C].
  Result<Value*> image(Value* x) {
    const int rank = rank_of(x);
    if (rank < 3 || last(x) == 0) return kNone;
    const auto spatial = static_cast<size_t>(rank - 2);
    const int64_t c = last(x);
    const bool same = pick(3) == 0;
    std::vector<int64_t> kernel = numbers(spatial, 1, 2);
    const auto window = [&] {
      std::vector<Builder::Attr> attrs{{"strides", numbers(spatial, 1, 2)},
                                       {"dilations", numbers(spatial, 1, 2)}};
      if (same)
        attrs.push_back({"auto_pad", std::string("same_upper")});
      else
        attrs.push_back({"pads", numbers(2 * spatial, 0, 1)});
      return attrs;
    };
    switch (pick(6)) {
      case 0:
      case 1: {
        const bool grouped = pick(3) == 0;
        const int64_t m = grouped ? c * (1 + pick(2)) : 1 + pick(4);
        auto attrs = window();
        if (grouped) attrs.push_back({"groups", c});
        kernel.insert(kernel.end(), {grouped ? 1 : c, m});
        std::vector<Value*> operands{x, constant(kernel)};
        if (pick(2) == 0) operands.push_back(constant({m}));
        return builder_->op("conv", operands, attrs);
      }
      case 2: {
        kernel.insert(kernel.end(), {int64_t{1 + pick(4)}, c});
        return builder_->op("conv_transpose", {x, constant(kernel)},
                            {{"strides", numbers(spatial, 1, 2)}});
      }
      case 3: {
        auto attrs = window();
        attrs.push_back({"kernel", kernel});
        const bool mean = pick(2) == 0;
        if (mean) attrs.push_back({"count_include_pad", pick(2) == 0});
        return builder_->op(mean ? "avg_pool" : "max_pool", {x}, attrs);
      }
      case 4: {
        if (c % 4 != 0) return builder_->op("space_to_depth", {x}, {{"block", int64_t{2}}});
        return builder_->op("depth_to_space", {x}, {{"block", int64_t{2}}});
      }
      default:
        return builder_->op("resize", {x, builder_->ints(numbers(spatial, 1, 4))},
                            {{"coordinate", std::string("asymmetric")},
                             {"mode", std::string(one_of({"nearest", "linear"}))},
                             {"nearest_rounding", std::string("floor")}});
    }
  }

  Result<Value*> normalisation(Value* x) {
    const int64_t c = last(x);
    if (c == 0) return kNone;
    switch (pick(5)) {
      case 0:
        return builder_->op(one_of({"softmax", "log_softmax"}), {x}, {{"axis", axis_of(x)}});
      case 1:
        return builder_->op("layer_norm", {x, constant({c}), constant({c})});
      case 2:
        return builder_->op("rms_norm", {x, constant({c})});
      case 3: {
        Value* variance =
            builder_->constant(Tensor::vector(std::vector<float>(static_cast<size_t>(c), 0.5f)));
        return builder_->op("batch_norm",
                            {x, constant({c}), constant({c}), constant({c}), variance});
      }
      default: {  // written out
        const std::vector<int64_t> last_axis{-1};
        Value* m = TRY(builder_->op("mean", {x}, {{"axes", last_axis}, {"keep_dims", true}}));
        Value* d = TRY(builder_->op("sub", {x, m}));
        Value* v = TRY(builder_->op("mean", {TRY(builder_->op("square", {d}))},
                                    {{"axes", last_axis}, {"keep_dims", true}}));
        Value* r = TRY(builder_->op("rsqrt", {TRY(builder_->op("add", {v, scalar(0.01)}))}));
        return builder_->op("mul", {d, r});
      }
    }
  }

  // Integers, booleans and floats that hold integers: no rounding, all exact.
  Result<Value*> integer_step() {
    Value* x = any_of(exacts_);
    switch (pick(7)) {
      case 0: {
        constexpr DType kTypes[] = {DType::i8,      DType::i16, DType::i32, DType::i64, DType::u8,
                                    DType::u16,     DType::u32, DType::u64, DType::f16, DType::f32,
                                    DType::boolean, DType::f64, DType::bf16};
        return builder_->op("cast", {x}, {{"to", kTypes[pick(std::size(kTypes))]}});
      }
      case 1: {
        Value* y = any_of(exacts_);
        if (!is_int(x->dtype()) || y->dtype() != x->dtype() || !fit(x, y)) y = x;
        return builder_->op(one_of({"add", "mul", "sub", "max", "min", "greater", "equal", "less"}),
                            {x, y});
      }
      case 2:
        if (!is_int(x->dtype())) return kNone;
        return builder_->op(one_of({"neg", "abs", "sign", "square"}), {x});
      case 3: {
        if (x->dtype() == DType::boolean)
          return builder_->op(one_of({"all", "any", "logical_not"}), {x});
        std::vector<int64_t> axes;
        if (rank_of(x) > 0) axes.push_back(axis_of(x));
        for (const Dim d : x->shape().dims())
          if (!d.known() || d == Dim(0)) return kNone;
        if (!is_int(x->dtype())) return kNone;
        return builder_->op(one_of({"sum", "reduce_max", "reduce_min"}), {x}, {{"axes", axes}});
      }
      case 4: {
        if (rank_of(x) < 1) return kNone;
        for (const Dim d : x->shape().dims())
          if (!d.known() || d == Dim(0)) return kNone;
        return builder_->op("arg_max", {x}, {{"axis", axis_of(x)}, {"keep_dims", pick(2) == 0}});
      }
      case 5:
        return movement_of_integers(x);
      default: {
        Value* y = any_of(exacts_);
        if (x->dtype() != y->dtype() || !fit(x, y) || !is_int(x->dtype())) return kNone;
        Value* condition = TRY(builder_->op("less", {x, y}));
        return builder_->op("select", {condition, x, y});
      }
    }
  }
  Result<Value*> movement_of_integers(Value* x) {
    if (rank_of(x) < 1) return kNone;
    if (pick(2) == 0) return builder_->op("concat", {x, x}, {{"axis", axis_of(x)}});
    std::vector<int64_t> perm;
    for (int i = 0; i < rank_of(x); ++i) perm.insert(perm.begin(), i);
    return builder_->op("transpose", {x}, {{"perm", perm}});
  }

  // Reals that come from integers, or are chosen by them.
  Result<Value*> from_integers(Value* x) {
    Value* n = any_of(exacts_);
    switch (pick(3)) {
      case 0: {
        Value* r = TRY(builder_->op("cast", {n}, {{"to", DType::f32}}));
        return builder_->op("tanh", {TRY(builder_->op("mul", {r, scalar(0.3)}))});
      }
      case 1: {  // as many as there are positive ones: the shape depends on the data
        if (!is_int(n->dtype())) return kNone;
        Value* places = TRY(builder_->op("non_zero", {n}));
        Value* rows = TRY(builder_->op("transpose", {places}));
        for (auto it = reals_.rbegin(); it != reals_.rend(); ++it)
          if (rank_of(n) > 0 && rank_of(*it) == rank_of(n) && (*it)->shape() == n->shape() &&
              fit(*it, n))
            return builder_->op("gather_nd", {*it, rows});
        return kNone;
      }
      default: {
        if (!is_int(n->dtype()) || n->shape() != x->shape() || !fit(n, x)) return kNone;
        Value* odd = TRY(builder_->op("cast", {n}, {{"to", DType::boolean}}));
        return builder_->op("select", {odd, x, scalar(real())});
      }
    }
  }

  Result<Value*> branch(Value* x) {
    if (x->shape().elements().value_or(0) == 0) return kNone;
    return add_branch(*builder_, x, real(), real());
  }
  Result<Value*> loop(Value* x, Value* y) {
    LoopPlan plan{pick(4), real(), one_of({"sigmoid", "relu", "identity"})};
    plan.swaps = x->type() == y->type() && pick(2) == 0;
    const Node* node = TRY(add_loop(*builder_, x, y, plan));
    reals_.push_back(node->output(2));
    return node->output(1);
  }

  bool exact_ = false;
  std::optional<Builder> builder_;
  std::vector<Value*> reals_;   // f32
  std::vector<Value*> exacts_;  // of every type, all integers
};

}  // namespace

Result<std::unique_ptr<Graph>> random_graph(uint32_t seed) {
  return Generator(seed).run();
}

}  // namespace tenon::data_tests
