// Rules of com.microsoft's attentions: with their projections, quantised, with a cache of keys and
// values, and the rotary embedding that goes with them.
#include <fmt/format.h>

#include <utility>

#include "import/onnx/attention.h"
#include "import/onnx/quantized.h"
#include "import/onnx/rule_support.h"

namespace tenon::onnx {
namespace {

constexpr std::string_view kDomain = "com.microsoft";

// A mask of lengths [B], or of ones and zeros [B, T] or [B, S, T].
Result<Value*> keys_kept(const RuleContext& c, Value* mask, Value* keys) {
  if (!mask->shape().ranked()) return unsupported("the shape of the mask is not known");
  if (mask->shape().rank() == 1) {
    Value* at = TRY(positions(c, keys, false));
    Value* lengths = TRY(c.reshape(TRY(c.cast(mask, DType::i64)), {-1, 1}));
    Value* kept = TRY(c.op("less", {at, lengths}));
    return c.op("expand_dims", {kept}, {{"axes", std::vector<int64_t>{1, 2}}});
  }
  Value* kept = TRY(c.op("greater", {mask, TRY(c.scalar_like(mask, 0))}));
  if (mask->shape().rank() == 2)
    return c.op("expand_dims", {kept}, {{"axes", std::vector<int64_t>{1, 2}}});
  if (mask->shape().rank() == 3)
    return c.op("expand_dims", {kept}, {{"axes", std::vector<int64_t>{1}}});
  return unsupported("masks of 4 dimensions");
}

// What attention with its projections has beside them; null where absent.
struct SelfAttention {
  Value* projected = nullptr;  // [B, S, queries + keys + values]
  Value* mask = nullptr;       // as keys_kept has it
  Value* past = nullptr;       // [2, B, heads, S, D]
  Value* added = nullptr;      // to the scores
};

Result<Values> self_attention(RuleContext& c, const SelfAttention& a) {
  const int64_t heads = TRY(c.get_int("num_heads"));
  if (TRY(c.get_int("do_rotary", 0)) != 0)
    return unsupported("rotary embedding inside of attention with projections");
  const auto sizes = TRY(c.get_ints("qkv_hidden_sizes"));
  Value* x = a.projected;
  Values parts = TRY(
      all(sizes.empty() ? c.builder.node("split", {x}, {{"axis", int64_t{-1}}, {"num", int64_t{3}}})
                        : c.builder.node("split", {x}, {{"axis", int64_t{-1}}, {"sizes", sizes}})));
  if (parts.size() != 3) return invalid_model("the weights are not those of query, key and value");
  for (Value*& part : parts) part = TRY(split_heads(c, part, heads));
  Value* present = nullptr;
  if (a.past != nullptr) {
    const Values past =
        TRY(all(c.builder.node("split", {a.past}, {{"axis", int64_t{0}}, {"num", int64_t{2}}})));
    for (const size_t i : {0U, 1U}) {
      Value* before = TRY(c.op("squeeze", {past[i]}, {{"axes", std::vector<int64_t>{0}}}));
      parts[i + 1] = TRY(c.op("concat", {before, parts[i + 1]}, {{"axis", int64_t{2}}}));
    }
  }
  if (c.wants(1))
    present =
        TRY(c.op("concat", {TRY(expand_dims(c, parts[1], {0})), TRY(expand_dims(c, parts[2], {0}))},
                 {{"axis", int64_t{0}}}));
  Mask mask;
  mask.added = a.added;
  if (a.mask != nullptr) TRY(restrict(c, mask, TRY(keys_kept(c, a.mask, TRY(c.dim(parts[1], 2))))));
  // Queries are the last positions, as core attention has it.
  Value* y = TRY(c.op("attention",
                      {parts[0], parts[1], parts[2], TRY(mask.combined(c, parts[0]->dtype()))},
                      {{"scale", TRY(c.get_float("scale", 0))},
                       {"causal", TRY(c.get_bool("unidirectional", false))}}));
  return Values{TRY(merge_heads(c, y)), present};
}

// x [B, S, I], weights [I, 3 H], bias [3 H], mask, past, added.
Result<Values> attention(RuleContext& c) {
  Value* projected = TRY(c.op("matmul", {c.in(0), c.in(1)}));
  if (c.has(2)) projected = TRY(c.op("add", {projected, c.in(2)}));
  return self_attention(c, {projected, c.in(3), c.in(4), c.in(5)});
}

// x and weights as integers, bias, their scales, mask, their zero points, past.
Result<Values> q_attention(RuleContext& c) {
  Value* product = TRY(integer_product(c, c.in(0), c.in(1), c.in(6), c.in(7)));
  Value* projected =
      TRY(c.op("mul", {TRY(c.cast(product, DType::f32)), TRY(c.op("mul", {c.in(3), c.in(4)}))}));
  projected = TRY(c.op("add", {projected, c.in(2)}));
  return self_attention(c, {projected, c.in(5), c.in(8), nullptr});
}

// Queries, keys and values that are there already, [B, S, heads * D]; the latter two may be split
// into heads. Then a bias of all three, a mask, what is added to the scores, past keys and values.
Result<Values> multi_head_attention(RuleContext& c) {
  const int64_t heads = TRY(c.get_int("num_heads"));
  if (TRY(c.rank(0)) != 3 || !c.has(1) || !c.has(2))
    return unsupported("queries, keys and values in one tensor");
  if (c.has(8) || c.has(9)) return unsupported("a cache that is shared by several results");
  Values parts{c.in(0), c.in(1), c.in(2)};
  if (c.has(3)) {
    std::vector<int64_t> sizes;
    for (const Value* v : parts) {
      const Shape& s = v->shape();
      if (!s.ranked() || s.rank() != 3 || !s[2].known())
        return unsupported("a bias of queries, keys and values whose widths are not known");
      sizes.push_back(s[2].size());
    }
    const Values biases =
        TRY(all(c.builder.node("split", {c.in(3)}, {{"axis", int64_t{0}}, {"sizes", sizes}})));
    for (size_t i = 0; i < parts.size(); ++i) parts[i] = TRY(c.op("add", {parts[i], biases[i]}));
  }
  for (Value*& part : parts) {
    if (!part->shape().ranked()) return unsupported("the number of dimensions is not known");
    if (part->shape().rank() == 3) part = TRY(split_heads(c, part, heads));
  }
  for (const int i : {1, 2})
    if (Value* past = c.in(i + 5); past != nullptr) {
      Value*& part = parts[static_cast<size_t>(i)];
      part = TRY(c.op("concat", {past, part}, {{"axis", int64_t{2}}}));
    }
  Mask mask;
  mask.added = c.in(5);
  if (c.has(4)) TRY(restrict(c, mask, TRY(keys_kept(c, c.in(4), TRY(c.dim(parts[1], 2))))));
  Value* y = TRY(c.op("attention",
                      {parts[0], parts[1], parts[2], TRY(mask.combined(c, parts[0]->dtype()))},
                      {{"scale", TRY(c.get_float("scale", 0))},
                       {"causal", TRY(c.get_bool("unidirectional", false))}}));
  return Values{TRY(merge_heads(c, y)), parts[1], parts[2]};
}

// The rotary embedding of ai.onnx, which finds its attributes at this node: x, cosines and sines
// [positions, D/2], and the position of each element [B, S].
Result<Value*> rotated(RuleContext& c, Value* x, Values tables, Value* places) {
  constexpr int64_t kOpset = 23;
  const Rule* rule = find_rule("", "RotaryEmbedding", kOpset);
  if (rule == nullptr) return internal_error("there is no rule for RotaryEmbedding");
  const Values inputs = std::exchange(c.inputs, Values{x, tables[0], tables[1], places});
  Result<Values> made = rule->function(c);
  c.inputs = inputs;
  return TRY(std::move(made))[0];
}

// x, positions ([1]: of the first element), cosines, sines.
Result<Values> rotary_embedding(RuleContext& c) {
  const int rank = TRY(c.rank(0));
  if (rank != 3 && rank != 4) return invalid_model("the input needs 3 or 4 dimensions");
  if (TRY(c.get_int("is_packed_batching", 0)) != 0) return unsupported("packed batches");
  if (TRY(c.get_float("scale", 1)) != 1) return unsupported("a scale of the rotary embedding");
  Value* places = c.in(1);
  const Shape& given = places->shape();
  if (!given.ranked()) return unsupported("the shape of the positions is not known");
  if (given.rank() < 2) {
    Value* steps = TRY(positions(c, TRY(c.dim(c.in(0), rank == 3 ? 1 : 2)), false));
    places = TRY(c.op("add", {steps, TRY(c.cast(TRY(c.reshape(places, {1, 1})), DType::i64))}));
    Value* batch = TRY(shape_of(c, c.in(0), 0, 1));
    places = TRY(c.op("expand", {places, TRY(join(c, {batch, c.builder.ints({1})}))}));
  }
  Value* x = c.in(0);
  // The heads of 3 dimensions come from the width of the tables where they are not said.
  if (rank == 3 && TRY(c.get_int("num_heads", 0)) == 0) {
    const Shape& table = c.in(2)->shape();
    if (!table.ranked() || table.rank() != 2 || !table[1].known() || table[1].size() < 1)
      return unsupported("the width of the rotary tables is not known");
    x = TRY(c.op("reshape", {x, c.builder.ints({0, 0, -1, 2 * table[1].size()})}));
    x = TRY(c.transpose(x, {0, 2, 1, 3}));
    x = TRY(rotated(c, x, {c.in(2), c.in(3)}, places));
    x = TRY(c.transpose(x, {0, 2, 1, 3}));
    return one(c.op("reshape", {x, TRY(c.shape(c.in(0)))}, {{"allow_zero", true}}));
  }
  return one(rotated(c, x, {c.in(2), c.in(3)}, places));
}

// Fewer heads of keys and values than of queries, after the keys and values of earlier steps, which
// all sequences of the batch have as many of.
Result<Values> group_query_attention(RuleContext& c) {
  const int64_t queries = TRY(c.get_int("num_heads")), keys = TRY(c.get_int("kv_num_heads"));
  if (queries < 1 || keys < 1 || queries % keys != 0)
    return invalid_model(fmt::format("{} heads of queries, {} of keys", queries, keys));
  for (const char* name : {"smooth_softmax", "qk_output"})
    if (TRY(c.get_int(name, 0)) > 0) return unsupported(fmt::format("attribute '{}'", name));
  if (TRY(c.get_float("softcap", 0)) != 0) return unsupported("attribute 'softcap'");
  if (c.has(11)) return unsupported("head sinks");
  Values parts{c.in(0), c.in(1), c.in(2)};
  if (!c.has(1)) {
    const Shape& packed = c.in(0)->shape();
    const int64_t all_heads = queries + 2 * keys;
    if (!packed.ranked() || packed.rank() != 3 || !packed[2].known() ||
        packed[2].size() % all_heads != 0)
      return unsupported("queries, keys and values in one tensor of unknown width");
    const int64_t d = packed[2].size() / all_heads;
    parts = TRY(all(c.builder.node(
        "split", {c.in(0)},
        {{"axis", int64_t{2}}, {"sizes", std::vector<int64_t>{queries * d, keys * d, keys * d}}})));
  } else if (!c.has(2)) {
    return invalid_model("the values are missing");
  }
  parts[0] = TRY(split_heads(c, parts[0], queries));
  for (const size_t i : {1U, 2U}) parts[i] = TRY(split_heads(c, parts[i], keys));
  Value* before = c.has(3) ? TRY(c.dim(c.in(3), 2)) : c.int_scalar(0);
  if (TRY(c.get_bool("do_rotary", false))) {
    if (!c.has(7) || !c.has(8)) return invalid_model("the tables of the rotary embedding");
    if (TRY(c.get_bool("rotary_interleaved", false)))
      return unsupported("interleaved rotary embedding inside of attention");
    Value* places = c.in(9);
    if (places == nullptr) {
      places = TRY(positions(c, TRY(c.dim(parts[0], 2)), false));
      places = TRY(c.op("add", {places, before}));
      Value* batch = TRY(shape_of(c, c.in(0), 0, 1));
      places = TRY(c.op("expand", {places, TRY(join(c, {batch, c.builder.ints({1})}))}));
    }
    for (const size_t i : {0U, 1U})
      parts[i] = TRY(rotated(c, parts[i], {c.in(7), c.in(8)}, places));
  }
  for (const int i : {1, 2})
    if (Value* past = c.in(i + 2); past != nullptr) {
      Value*& part = parts[static_cast<size_t>(i)];
      part = TRY(c.op("concat", {past, part}, {{"axis", int64_t{2}}}));
    }
  Mask mask;
  mask.added = c.in(10);
  Value* at = TRY(positions(c, TRY(c.dim(parts[1], 2)), false));
  Value* own = TRY(c.op("add", {TRY(positions(c, TRY(c.dim(parts[0], 2)), true)), before}));
  // The last position of each sequence, [B].
  Value* last = TRY(c.reshape(TRY(c.cast(c.in(5), DType::i64)), {-1, 1, 1, 1}));
  TRY(restrict(c, mask, TRY(c.op("less_equal", {at, last}))));
  const int64_t window = TRY(c.get_int("local_window_size", -1));
  TRY(restrict(c, mask, TRY(c.op("less_equal", {at, own}))));
  if (window >= 0) {
    Value* first = TRY(c.op("sub", {own, c.int_scalar(window)}));
    TRY(restrict(c, mask, TRY(c.op("greater", {at, first}))));
  }
  Value* y = TRY(c.op("attention",
                      {parts[0], parts[1], parts[2], TRY(mask.combined(c, parts[0]->dtype()))},
                      {{"scale", TRY(c.get_float("scale", 0))}}));
  return Values{TRY(merge_heads(c, y)), parts[1], parts[2]};
}

constexpr Rule kRules[] = {
    {"Attention", {2, 6}, attention, 1, kDomain},
    {"GroupQueryAttention", {1, 12}, group_query_attention, 1, kDomain},
    {"MultiHeadAttention", {1, 10}, multi_head_attention, 1, kDomain},
    {"QAttention", {5, 9}, q_attention, 1, kDomain},
    {"RotaryEmbedding", 4, rotary_embedding, 1, kDomain},
};

}  // namespace

std::span<const Rule> microsoft_attention_rules() {
  return kRules;
}

}  // namespace tenon::onnx
