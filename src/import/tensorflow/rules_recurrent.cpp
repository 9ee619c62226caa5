// Rules of TensorFlow's fused recurrent cells and layers, and of decoding by class per step.
#include "import/tensorflow/compose.h"

namespace tenon::tf {
namespace {

using Axes = std::vector<int64_t>;

struct Cell {
  Value *w, *peep_i, *peep_f, *peep_o, *b;  // peepholes are null where there are none
  double forget_bias = 0, clip = 0;
  bool forget_second = false;  // gate columns i, f, c, o instead of i, c, f, o
};

Result<Cell> cell_of(const RuleContext& c, size_t w) {
  Cell cell{};
  cell.w = c.inputs[w];
  if (TRY(c.node.attrs.get_bool("use_peephole", false))) {
    cell.peep_i = c.inputs[w + 1];
    cell.peep_f = c.inputs[w + 2];
    cell.peep_o = c.inputs[w + 3];
  }
  cell.b = c.inputs[w + 4];
  cell.forget_second = c.node.op == "BlockLSTMV2";
  cell.forget_bias = TRY(c.node.attrs.get_float("forget_bias", cell.forget_second ? 0 : 1));
  cell.clip = TRY(c.node.attrs.get_float("cell_clip", cell.forget_second ? 0 : 3));
  return cell;
}

// One step: i, cs, f, o, ci, co, h.
Values step(RuleContext& c, const Cell& cell, Value* x, Value* cs_before, Value* h_before) {
  Builder& b = c.builder;
  Value* both = TRY(join(c, {x, h_before}, 1));
  Value* gates = TRY(b.op("add", {TRY(b.op("matmul", {both, cell.w})), cell.b}));
  Node* parts = TRY(b.node("split", {gates}, {{"axis", int64_t{1}}, {"num", int64_t{4}}}));
  if (parts->output_count() != 4) return invalid_model("the weights must have four gates");
  const auto gate = [&](int at, Value* peephole, Value* state) -> Result<Value*> {
    Value* z = parts->output(at);
    if (peephole != nullptr) z = TRY(b.op("add", {z, TRY(b.op("mul", {state, peephole}))}));
    return z;
  };
  const int f_at = cell.forget_second ? 1 : 2;
  Value* i = TRY(b.op("sigmoid", {TRY(gate(0, cell.peep_i, cs_before))}));
  Value* ci = TRY(b.op("tanh", {TRY(gate(3 - f_at, nullptr, nullptr))}));
  Value* f = TRY(gate(f_at, cell.peep_f, cs_before));
  if (cell.forget_bias != 0)
    f = TRY(b.op("add", {f, TRY(number(c, cell.forget_bias, f->dtype()))}));
  f = TRY(b.op("sigmoid", {f}));
  Value* cs = TRY(b.op("add", {TRY(b.op("mul", {ci, i})), TRY(b.op("mul", {cs_before, f}))}));
  if (cell.clip > 0) cs = TRY(b.op("clip", {cs}, {{"min", -cell.clip}, {"max", cell.clip}}));
  Value* o = TRY(b.op("sigmoid", {TRY(gate(3, cell.peep_o, cs))}));
  Value* co = TRY(b.op("tanh", {cs}));
  return std::vector<Value*>{i, cs, f, o, ci, co, TRY(b.op("mul", {o, co}))};
}

// (x, cs, h, w, wci, wcf, wco, b)
Values lstm_cell(RuleContext& c) {
  return step(c, TRY(cell_of(c, 3)), c.inputs[0], c.inputs[1], c.inputs[2]);
}

// The states h of a whole layer by the core op, which wants columns i, f, c, o.
Result<Value*> layer_states(RuleContext& c, const Cell& cell, Value* x, Value* cs, Value* h) {
  Builder& b = c.builder;
  const Axes first{0};
  const int64_t input = x->shape()[2].size_or(0);
  const auto ordered = [&](Value* v, int64_t axis) -> Result<Value*> {
    if (cell.forget_second) return v;
    Node* parts = TRY(b.node("split", {v}, {{"axis", axis}, {"num", int64_t{4}}}));
    if (parts->output_count() != 4) return invalid_model("the weights must have four gates");
    return join(c, {parts->output(0), parts->output(2), parts->output(1), parts->output(3)}, axis);
  };
  const auto raised = [&](Value* v) { return b.op("expand_dims", {v}, {{"axes", first}}); };
  Node* rows = TRY(b.node("split", {TRY(ordered(cell.w, 1))},
                          {{"axis", int64_t{0}}, {"sizes", Axes{input, -1}}}));
  Value* bias = TRY(ordered(cell.b, 0));
  if (cell.forget_bias != 0) {
    // Added to the second quarter only.
    Value* hidden = TRY(shape_of(c, h, 1, 2));
    Value* zeros = TRY(filled(c, 0, bias->dtype(), hidden));
    Value* ones = TRY(filled(c, cell.forget_bias, bias->dtype(), hidden));
    bias = TRY(b.op("add", {bias, TRY(join(c, {zeros, ones, zeros, zeros}))}));
  }
  std::vector<Value*> in{x,
                         TRY(raised(rows->output(0))),
                         TRY(raised(rows->output(1))),
                         TRY(raised(bias)),
                         nullptr,
                         TRY(raised(h)),
                         TRY(raised(cs))};
  if (cell.peep_i != nullptr)
    in.push_back(TRY(raised(TRY(join(c, {cell.peep_i, cell.peep_o, cell.peep_f})))));
  Value* y = TRY(b.op("lstm", in));
  return b.op("squeeze", {y}, {{"axes", Axes{1}}});
}

// The seven results of every step, [T, B, H] each, by a loop over the steps.
Values step_by_step(RuleContext& c, const Cell& cell, Value* x, Value* cs, Value* h) {
  Value* steps = TRY(c.builder.op("squeeze", {TRY(shape_of(c, x, 0, 1))}));
  std::vector<Value*> operands{TRY(number(c, 0, DType::i64)), steps,
                               TRY(c.builder.op("list_unstack", {x})), cs, h};
  // What the loop reads stands behind what it changes.
  const size_t lists = operands.size();
  const TensorType item{h->dtype(), h->shape()};
  for (int k = 0; k < 7; ++k)
    operands.push_back(TRY(c.builder.op("list_reserve", {steps}, {{"element", item}})));
  const size_t weights = operands.size();
  for (Value* v : {cell.w, cell.b, cell.peep_i, cell.peep_f, cell.peep_o})
    if (v != nullptr) operands.push_back(v);
  std::vector<std::unique_ptr<Graph>> regions;
  std::vector<Value*> in[2];
  for (const size_t r : {0U, 1U}) {
    regions.push_back(std::make_unique<Graph>(r == 0 ? "condition" : "body"));
    for (const Value* v : operands) in[r].push_back(regions[r]->add_input(v->type()));
  }
  Builder condition(*regions[0]);
  regions[0]->set_outputs({TRY(condition.op("less", {in[0][0], in[0][1]}))});
  Builder b(*regions[1]);
  RuleContext inside{c.model, b, c.node, {}};
  Cell own = cell;
  size_t next_weight = weights;
  for (Value** v : {&own.w, &own.b, &own.peep_i, &own.peep_f, &own.peep_o})
    if (*v != nullptr) *v = in[1][next_weight++];
  const TensorType row{
      x->dtype(), x->shape().ranked() ? Shape{x->shape()[1], x->shape()[2]} : Shape::unranked()};
  std::vector<Value*> next = in[1];
  Value* now = TRY(b.op("list_get", {in[1][2], in[1][0]}, {{"element", row}}));
  const auto results = TRY(step(inside, own, now, in[1][3], in[1][4]));
  next[0] = TRY(b.op("add", {in[1][0], TRY(number(inside, 1, DType::i64))}));
  next[3] = results[1];
  next[4] = results[6];
  for (size_t k = 0; k < 7; ++k)
    next[lists + k] = TRY(b.op("list_set", {in[1][lists + k], in[1][0], results[k]}));
  regions[1]->set_outputs(std::move(next));
  const Node* loop = TRY(c.builder.node("while", operands, {}, std::move(regions)));
  std::vector<Value*> out;
  for (int k = 0; k < 7; ++k)
    out.push_back(TRY(c.builder.op("list_stack", {loop->output(static_cast<int>(lists) + k)},
                                   {{"element", item}})));
  return out;
}

// (steps, x [T,B,I], cs, h, w, wci, wcf, wco, b): the same seven for every step. The states h,
// which most models read alone, are those of the core op where it can give them.
Values block_lstm(RuleContext& c) {
  const Cell cell = TRY(cell_of(c, 4));
  Value *x = c.inputs[1], *cs = c.inputs[2], *h = c.inputs[3];
  if (TRY(rank_of(x)) != 3 || TRY(rank_of(h)) != 2) return invalid_model("x must be [T, B, I]");
  auto out = TRY(step_by_step(c, cell, x, cs, h));
  if (cell.clip <= 0 && x->shape()[2].known()) out[6] = TRY(layer_states(c, cell, x, cs, h));
  return out;
}

// (x, h, w of r and u, w of c, b of r and u, b of c): r, u, c, h.
Values gru_cell(RuleContext& c) {
  Builder& b = c.builder;
  Value *x = c.inputs[0], *before = c.inputs[1];
  const auto layer = [&](Value* h, Value* w, Value* bias) -> Result<Value*> {
    return b.op("add", {TRY(b.op("matmul", {TRY(join(c, {x, h}, 1)), w})), bias});
  };
  Value* gates = TRY(b.op("sigmoid", {TRY(layer(before, c.inputs[2], c.inputs[4]))}));
  Node* parts = TRY(b.node("split", {gates}, {{"axis", int64_t{1}}, {"num", int64_t{2}}}));
  if (parts->output_count() != 2) return invalid_model("the weights must have two gates");
  Value *r = parts->output(0), *u = parts->output(1);
  Value* reset = TRY(b.op("mul", {before, r}));
  Value* candidate = TRY(b.op("tanh", {TRY(layer(reset, c.inputs[3], c.inputs[5]))}));
  Value* rest = TRY(b.op("sub", {TRY(number(c, 1, u->dtype())), u}));
  Value* h = TRY(b.op("add", {TRY(b.op("mul", {u, before})), TRY(b.op("mul", {rest, candidate}))}));
  return std::vector<Value*>{r, u, candidate, h};
}

// (logits [T,B,C], lengths [B]): the best class of each step as a sparse matrix, without blanks
// and, if asked for, without repetitions; and the negated sum of the best logits.
Values ctc_greedy(RuleContext& c) {
  Builder& b = c.builder;
  Value* logits = TRY(b.op("transpose", {c.inputs[0]}, {{"perm", Axes{1, 0, 2}}}));
  Value *zero = TRY(number(c, 0, DType::i64)), *unit = TRY(number(c, 1, DType::i64));
  Value* best = TRY(b.op("arg_max", {logits}, {{"axis", int64_t{2}}}));
  const int64_t blank_index = TRY(c.node.attrs.get_int("blank_index", -1));
  Value* blank = TRY(number(c, static_cast<double>(blank_index), DType::i64));
  if (blank_index < 0) blank = TRY(b.op("add", {blank, TRY(shape_of(c, logits, 2, 3))}));
  Value* steps = TRY(b.op("squeeze", {TRY(shape_of(c, logits, 1, 2))}));
  Value* lengths = TRY(cast_to(c, c.inputs[1], DType::i64));
  lengths = TRY(b.op("expand_dims", {lengths}, {{"axes", Axes{1}}}));
  Value* within = TRY(b.op("less", {TRY(b.op("range", {zero, steps, unit})), lengths}));
  Value* keep = TRY(b.op("logical_and", {within, TRY(b.op("not_equal", {best, blank}))}));
  if (TRY(c.node.attrs.get_bool("merge_repeated", false))) {
    Value* before = TRY(
        b.op("pad", {best, b.ints({1, -1}), TRY(number(c, -1, DType::i64))}, {{"axes", Axes{1}}}));
    keep = TRY(b.op("logical_and", {keep, TRY(b.op("not_equal", {best, before}))}));
  }
  Value* at = TRY(b.op("transpose", {TRY(b.op("non_zero", {keep}))}, {{"perm", Axes{1, 0}}}));
  Value* ordinal = TRY(b.op("cumsum", {TRY(cast_to(c, keep, DType::i64))},
                            {{"axis", int64_t{1}}, {"exclusive", true}}));
  Value* place =
      TRY(b.op("expand_dims", {TRY(b.op("gather_nd", {ordinal, at}))}, {{"axes", Axes{1}}}));
  Value* row = TRY(b.op("slice", {at, b.ints({0}), b.ints({1})}, {{"axes", Axes{1}}}));
  Value* counts = TRY(b.op("sum", {TRY(cast_to(c, keep, DType::i64))}, {{"axes", Axes{1}}}));
  Value* longest =
      TRY(b.op("reduce_max", {TRY(join(c, {counts, b.ints({0})}))}, {{"keep_dims", true}}));
  Value* size = TRY(join(c, {TRY(shape_of(c, logits, 0, 1)), longest}));
  Value* top = TRY(b.op("reduce_max", {logits}, {{"axes", Axes{2}}}));
  top = TRY(b.op("select", {within, top, TRY(number(c, 0, top->dtype()))}));
  Value* sum = TRY(b.op("sum", {top}, {{"axes", Axes{1}}, {"keep_dims", true}}));
  return std::vector<Value*>{TRY(join(c, {row, place}, 1)), TRY(b.op("gather_nd", {best, at})),
                             size, TRY(b.op("neg", {sum}))};
}

// Places, labels and size of each path, all places first; log probabilities.
Values ctc_beam_search(RuleContext& c) {
  const int64_t paths = TRY(c.node.attrs.get_int("top_paths", 1));
  Node* node =
      TRY(c.builder.node("ctc_beam_search", {c.inputs[0], c.inputs[1]},
                         {{"beam_width", TRY(c.node.attrs.get_int("beam_width", 100))},
                          {"paths", paths},
                          {"merge_repeated", TRY(c.node.attrs.get_bool("merge_repeated", true))}}));
  std::vector<Value*> out;
  for (int i = 0; i < node->output_count(); ++i) out.push_back(node->output(i));
  return out;
}

constexpr RuleEntry kRules[] = {
    {"BlockLSTM", block_lstm, 9},
    {"BlockLSTMV2", block_lstm, 9},
    {"CTCBeamSearchDecoder", ctc_beam_search, 2},
    {"CTCGreedyDecoder", ctc_greedy, 2},
    {"GRUBlockCell", gru_cell, 6},
    {"LSTMBlockCell", lstm_cell, 8},
};

}  // namespace

std::span<const RuleEntry> recurrent_rules() {
  return kRules;
}

}  // namespace tenon::tf
