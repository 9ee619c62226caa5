// Rules of ONNX's attention and rotary embedding.
#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "import/onnx/attention.h"
#include "import/onnx/graph_importer.h"
#include "import/onnx/rule_support.h"

namespace tenon::onnx {

Result<Value*> split_heads(const RuleContext& c, Value* x, int64_t heads) {
  if (heads < 1) return invalid_model(fmt::format("the number of heads is {}", heads));
  Value* y = TRY(c.op("reshape", {x, c.builder.ints({0, 0, heads, -1})}));
  return c.transpose(y, {0, 2, 1, 3});
}

Result<Value*> merge_heads(const RuleContext& c, Value* x) {
  Value* y = TRY(c.transpose(x, {0, 2, 1, 3}));
  return c.op("reshape", {y, c.builder.ints({0, 0, -1})});
}

Result<Value*> Mask::combined(const RuleContext& c, DType scores) const {
  if (added == nullptr || keeps == nullptr) return keeps == nullptr ? added : keeps;
  Value* never = TRY(c.scalar(scores, -std::numeric_limits<double>::infinity()));
  return c.op("select", {keeps, added, never});
}

Status restrict(const RuleContext& c, Mask& mask, Value* keeps) {
  mask.keeps = mask.keeps == nullptr ? keeps : TRY(c.op("logical_and", {mask.keeps, keeps}));
  return {};
}

Result<Value*> positions(const RuleContext& c, Value* n, bool of_queries) {
  Value* x = TRY(c.op("range", {c.int_scalar(0), n, c.int_scalar(1)}));
  return c.reshape(x, of_queries ? std::vector<int64_t>{-1, 1} : std::vector<int64_t>{1, -1});
}

namespace {

// Operands of one attention, split into heads.
struct Heads {
  Value* q = nullptr;
  Value* k = nullptr;  // with the past before it
  Value* v = nullptr;
  Dim new_keys = Dim::unknown();
};

// How many keys come before the queries: per batch as [B, 1, 1, 1], or for all.
Result<Value*> offset_of(const RuleContext& c, const Heads& heads) {
  if (c.has(6)) {
    Value* n = TRY(c.reshape(TRY(c.cast(c.in(6), DType::i64)), {-1, 1, 1, 1}));
    return c.op("sub", {n, TRY(c.dim(heads.q, 2))});
  }
  if (c.has(4)) return c.dim(c.in(4), 2);
  return c.int_scalar(0);
}

Status apply_mask_operand(const RuleContext& c, const Heads& heads, Mask& mask) {
  Value* given = c.in(3);
  if (given == nullptr) return {};
  if (!given->shape().ranked() || given->shape().rank() < 1)
    return unsupported("the number of dimensions of the mask is not known");
  const int last = given->shape().rank() - 1;
  const Dim length = given->shape()[last], keys = heads.k->shape()[2];
  const bool is_bool = given->dtype() == DType::boolean;
  // A mask shorter than the keys hides the rest.
  if (length.known() && keys.known() && length.size() < keys.size()) {
    std::vector<int64_t> pads(static_cast<size_t>(2 * (last + 1)), 0);
    pads.back() = keys.size() - length.size();
    Value* fill = TRY(c.scalar_like(given, is_bool ? 0 : -std::numeric_limits<double>::infinity()));
    given = TRY(c.op("pad", {given, c.builder.ints(pads), fill}));
  }
  (is_bool ? mask.keeps : mask.added) = given;
  return {};
}

Result<Mask> mask_of(const RuleContext& c, const Heads& heads, bool causal) {
  Mask mask;
  TRY(apply_mask_operand(c, heads, mask));
  const int64_t left = TRY(c.get_int("left_window_size", -1));
  const int64_t right = TRY(c.get_int("right_window_size", -1));
  if (c.has(6)) {
    Value* n = TRY(c.reshape(TRY(c.cast(c.in(6), DType::i64)), {-1, 1, 1, 1}));
    Value* keys = TRY(positions(c, TRY(c.dim(heads.k, 2)), false));
    TRY(restrict(c, mask, TRY(c.op("less", {keys, n}))));
  }
  if (!causal && left < 0 && right < 0) return mask;
  Value* at = TRY(positions(c, TRY(c.dim(heads.q, 2)), true));
  at = TRY(c.op("add", {at, TRY(offset_of(c, heads))}));
  Value* keys = TRY(positions(c, TRY(c.dim(heads.k, 2)), false));
  Value* ahead = TRY(c.op("sub", {keys, at}));
  if (causal) TRY(restrict(c, mask, TRY(c.op("less_equal", {ahead, c.int_scalar(0)}))));
  if (right >= 0) TRY(restrict(c, mask, TRY(c.op("less_equal", {ahead, c.int_scalar(right)}))));
  if (left >= 0) TRY(restrict(c, mask, TRY(c.op("greater_equal", {ahead, c.int_scalar(-left)}))));
  return mask;
}

// [B, K, T, D] with each head repeated so that there are as many as of q.
Result<Value*> repeated_heads(const RuleContext& c, Value* x, const Value* q) {
  const Dim heads = q->shape()[1], own = x->shape()[1], width = x->shape()[3];
  if (heads.same(own)) return x;
  if (!heads.known() || !own.known() || !width.known() || own.size() < 1 ||
      heads.size() % own.size() != 0)
    return unsupported(
        "the heads of queries and keys must be known, and one a multiple of another");
  Value* y = TRY(c.op("expand_dims", {x}, {{"axes", std::vector<int64_t>{2}}}));
  y = TRY(c.op("expand", {y, c.builder.ints({1, 1, heads.size() / own.size(), 1, 1})}));
  return c.op("reshape", {y, c.builder.ints({0, heads.size(), -1, width.size()})});
}

// Step by step, for what core attention does not have: a soft cap, the scores as a result.
Result<Values> stepwise(const RuleContext& c, const Heads& heads, const Mask& mask, double scale) {
  const DType type = heads.q->dtype();
  const double cap = TRY(c.get_float("softcap", 0));
  const int64_t mode = TRY(c.get_int("qk_matmul_output_mode", 0));
  Value* k = TRY(repeated_heads(c, heads.k, heads.q));
  Value* v = TRY(repeated_heads(c, heads.v, heads.q));
  if (scale == 0) {
    const Dim width = heads.q->shape()[3];
    if (!width.known() || width.size() < 1) return unsupported("the size of heads is not known");
    scale = 1 / std::sqrt(static_cast<double>(width.size()));
  }
  Value* scores = TRY(c.op("matmul", {heads.q, k}, {{"transpose_b", true}}));
  scores = TRY(c.op("mul", {scores, TRY(c.scalar(type, scale))}));
  Value* seen = scores;
  if (cap > 0) {
    Value* limit = TRY(c.scalar(type, cap));
    scores = TRY(c.op("mul", {TRY(c.op("tanh", {TRY(c.op("div", {scores, limit}))})), limit}));
  }
  if (mode == 1) seen = scores;
  Value* bias = mask.added;
  if (mask.keeps != nullptr) {
    if (bias == nullptr) bias = TRY(c.scalar(type, 0));
    Value* never = TRY(c.scalar(type, -std::numeric_limits<double>::infinity()));
    bias = TRY(c.op("select", {mask.keeps, bias, never}));
  }
  if (bias != nullptr) scores = TRY(c.op("add", {scores, bias}));
  if (mode == 2) seen = scores;
  const int64_t precision = TRY(c.get_int("softmax_precision", 0));
  if (precision != 0) scores = TRY(c.cast(scores, TRY(c.get_dtype("softmax_precision"))));
  Value* weights = TRY(c.cast(TRY(c.op("softmax", {scores}, {{"axis", int64_t{-1}}})), type));
  if (bias != nullptr) {
    // A query that sees nothing has weights of zero.
    Value* most =
        TRY(c.op("reduce_max", {bias}, {{"axes", std::vector<int64_t>{-1}}, {"keep_dims", true}}));
    Value* none =
        TRY(c.op("equal", {most, TRY(c.scalar(type, -std::numeric_limits<double>::infinity()))}));
    weights = TRY(c.op("select", {none, TRY(c.scalar(type, 0)), weights}));
  }
  if (mode == 3) seen = weights;
  return Values{TRY(c.op("matmul", {weights, v})), seen};
}

Result<Values> attention(RuleContext& c) {
  const int rank = TRY(c.rank(0));
  if (rank != 3 && rank != 4) return invalid_model("the query needs 3 or 4 dimensions");
  Heads heads{c.in(0), c.in(1), c.in(2)};
  if (rank == 3) {
    const int64_t queries = TRY(c.get_int("q_num_heads"));
    const int64_t keys = TRY(c.get_int("kv_num_heads"));
    heads.q = TRY(split_heads(c, heads.q, queries));
    heads.k = TRY(split_heads(c, heads.k, keys));
    heads.v = TRY(split_heads(c, heads.v, keys));
  }
  for (const Value* v : {heads.q, heads.k, heads.v})
    if (!v->shape().ranked() || v->shape().rank() != 4)
      return invalid_model("query, key and value need as many dimensions as each other");
  heads.new_keys = heads.k->shape()[2];
  if (c.has(4) != c.has(5)) return invalid_model("past_key and past_value go together");
  if (c.has(4)) {
    if (!c.in(4)->shape().ranked() || c.in(4)->shape().rank() != 4)
      return invalid_model("past_key needs 4 dimensions");
    heads.k = TRY(c.op("concat", {c.in(4), heads.k}, {{"axis", int64_t{2}}}));
    heads.v = TRY(c.op("concat", {c.in(5), heads.v}, {{"axis", int64_t{2}}}));
  }
  const double scale = TRY(c.get_float("scale", 0));
  bool causal = TRY(c.get_bool("is_causal", false));
  const bool is_plain = !c.wants(3) && TRY(c.get_float("softcap", 0)) == 0;
  // The core op aligns the ends of queries and keys.
  const bool aligned = is_plain && causal && !c.has(6) && heads.q->shape()[2].same(heads.new_keys);
  const Mask mask = TRY(mask_of(c, heads, causal && !aligned));
  Values results;
  if (is_plain) {
    Value* y =
        TRY(c.op("attention", {heads.q, heads.k, heads.v, TRY(mask.combined(c, heads.q->dtype()))},
                 {{"scale", scale}, {"causal", aligned}}));
    results = {y, nullptr};
  } else {
    results = TRY(stepwise(c, heads, mask, scale));
  }
  Value* y = rank == 3 ? TRY(merge_heads(c, results[0])) : results[0];
  return Values{y, heads.k, heads.v, results[1]};
}

// A sub-graph of the node that makes a tensor of another of the same shape; x where there is none.
Result<Value*> modified(RuleContext& c, std::string_view name, Value* x) {
  if (!c.has_attr(name)) return x;
  const GraphProto* graph = TRY(c.get_graph(name));
  if (graph->inputs.size() != 1 || graph->outputs.size() != 1)
    return invalid_model(fmt::format("'{}' must have one input and one output", name));
  const Values made =
      TRY(c.importer.inline_graph(c, *graph, {x}, TRY(c.importer.captures(c, {graph}))));
  if (made.size() != 1 || made[0] == nullptr)
    return unsupported(fmt::format("nodes of '{}' have no mapping", name));
  return made[0];
}

// Attention whose scores and weights go through sub-graphs.
Result<Values> flex_attention(RuleContext& c) {
  for (const int i : {0, 1, 2})
    if (TRY(c.rank(i)) != 4) return invalid_model("query, key and value need 4 dimensions");
  const DType type = c.in(0)->dtype();
  const DType precise =
      TRY(c.get_dtype("softmax_precision", type == DType::f64 ? DType::f64 : DType::f32));
  const Dim width = c.in(0)->shape()[3];
  double scale = TRY(c.get_float("scale", 0));
  if (scale == 0) {
    if (!width.known() || width.size() < 1) return unsupported("the size of heads is not known");
    scale = 1 / std::sqrt(static_cast<double>(width.size()));
  }
  Value* q = TRY(c.cast(c.in(0), precise));
  Value* k = TRY(c.cast(TRY(repeated_heads(c, c.in(1), c.in(0))), precise));
  Value* v = TRY(c.cast(TRY(repeated_heads(c, c.in(2), c.in(0))), precise));
  Value* scores = TRY(c.op("matmul", {q, k}, {{"transpose_b", true}}));
  scores = TRY(modified(c, "score_mod", TRY(c.op("mul", {scores, TRY(c.scalar(precise, scale))}))));
  Value* weights = TRY(c.op("softmax", {scores}, {{"axis", int64_t{-1}}}));
  weights = TRY(modified(c, "prob_mod", weights));
  return one(c.cast(TRY(c.op("matmul", {weights, v})), type));
}

// The cosines or sines of each position: [B, S, D/2], or [1 or B, S, 1, D/2] beside [B, S, H, D].
Result<Value*> angles(RuleContext& c, int i) {
  Value* cache = c.in(i);
  if (c.has(3)) cache = TRY(c.op("gather", {cache, c.in(3)}, {{"axis", int64_t{0}}}));
  if (!cache->shape().ranked() || cache->shape().rank() != 3)
    return unsupported("the shape of the rotary caches is not known, or has not 3 dimensions");
  return expand_dims(c, cache, {2});
}

// Pairs (a, b) of the last dimension of x [B, S, H, D] turned by their angles.
Result<Value*> rotated(RuleContext& c, Value* x, bool interleaved) {
  Value* cosines = TRY(angles(c, 1));
  Value* sines = TRY(angles(c, 2));
  Values parts;
  if (interleaved) {
    Value* pairs = TRY(
        c.op("reshape", {x, TRY(join(c, {TRY(shape_of(c, x, 0, 3)), c.builder.ints({-1, 2})}))}));
    for (const int64_t i : {0, 1})
      parts.push_back(TRY(c.op("gather", {pairs, c.int_scalar(i)}, {{"axis", int64_t{4}}})));
  } else {
    parts = TRY(all(c.builder.node("split", {x}, {{"axis", int64_t{-1}}, {"num", int64_t{2}}})));
  }
  if (parts.size() != 2) return invalid_model("the rotated dimension is no multiple of 2");
  const auto product = [&](Value* a, Value* b) { return c.op("mul", {a, b}); };
  Value* real = TRY(c.op("sub", {TRY(product(cosines, parts[0])), TRY(product(sines, parts[1]))}));
  Value* imaginary =
      TRY(c.op("add", {TRY(product(sines, parts[0])), TRY(product(cosines, parts[1]))}));
  if (!interleaved) return c.op("concat", {real, imaginary}, {{"axis", int64_t{-1}}});
  Value* both =
      TRY(c.op("concat", {TRY(expand_dims(c, real, {4})), TRY(expand_dims(c, imaginary, {4}))},
               {{"axis", int64_t{-1}}}));
  return c.op("reshape", {both, TRY(c.shape(x))}, {{"allow_zero", true}});
}

Result<Values> rotary_embedding(RuleContext& c) {
  const int rank = TRY(c.rank(0));
  if (rank != 3 && rank != 4) return invalid_model("the input needs 3 or 4 dimensions");
  Value* x = c.in(0);
  if (rank == 4) {
    x = TRY(c.transpose(x, {0, 2, 1, 3}));
  } else {
    const int64_t heads = TRY(c.get_int("num_heads"));
    if (heads < 1) return invalid_model(fmt::format("the number of heads is {}", heads));
    x = TRY(c.op("reshape", {x, c.builder.ints({0, 0, heads, -1})}));
  }
  const int64_t turned = TRY(c.get_int("rotary_embedding_dim", 0));
  const bool interleaved = TRY(c.get_bool("interleaved", false));
  Value* y = nullptr;
  if (turned == 0) {
    y = TRY(rotated(c, x, interleaved));
  } else {
    const Values parts = TRY(all(c.builder.node(
        "split", {x}, {{"axis", int64_t{-1}}, {"sizes", std::vector<int64_t>{turned, -1}}})));
    if (parts.size() != 2) return invalid_model("rotary_embedding_dim does not fit the input");
    y = TRY(rotated(c, parts[0], interleaved));
    y = TRY(c.op("concat", {y, parts[1]}, {{"axis", int64_t{-1}}}));
  }
  if (rank == 4) return one(c.transpose(y, {0, 2, 1, 3}));
  return one(c.op("reshape", {y, TRY(c.shape(c.in(0)))}, {{"allow_zero", true}}));
}

constexpr Rule kRules[] = {
    {"Attention", {3, 7}, attention},
    {"FlexAttention", 3, flex_attention, 1, "ai.onnx.preview"},
    {"RotaryEmbedding", {3, 4}, rotary_embedding},
};

}  // namespace

std::span<const Rule> attention_rules() {
  return kRules;
}

}  // namespace tenon::onnx
