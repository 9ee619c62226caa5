// Shape inference of the recurrent layers.
#include "ops/recurrent.h"

#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {
namespace {

// Where a layer has its operands (-1: it has no such operand) and how many gates it has.
struct Operands {
  std::string_view op;
  int64_t gates;
  int b, rb, seq_lens, h0, c0, p;
  int scales;  // w_scale, which r_scale follows
  int states;  // results after y
};

Dim times(Dim d, int64_t n) {
  return d.known() ? Dim(d.size() * n) : (n == 1 ? d : Dim::unknown());
}

// Operand i has exactly these dimensions, as far as known.
Status expect_shape(const InferContext& context, const Operands& o, int i,
                    std::initializer_list<Dim> dims, std::string_view what) {
  if (i < 0 || !context.has(i)) return {};
  TRY(nn::expect_rank(context, o.op, i, static_cast<int>(dims.size())));
  int axis = 0;
  for (const Dim d : dims) TRY(nn::expect_dim(context, o.op, i, axis++, d, what));
  return {};
}

Result<TensorTypes> infer_layer(const InferContext& context, const Operands& o,
                                Direction direction) {
  TRY(nn::expect_float(context, o.op));
  const bool bytes = context.dtype(1) == DType::i8 && context.dtype(2) == DType::i8 &&
                     context.dtype(0) == DType::f32;
  for (const int i : {o.scales, o.scales + 1}) {
    if (context.has(i) != bytes)
      return invalid_argument(fmt::format(
          "{}: weights of i8, which x of f32 can be multiplied by, and their scales go together",
          o.op));
    if (bytes) TRY(nn::expect_same_dtype(context, o.op, {i}));
  }
  for (const int i : {1, 2})
    if (!bytes && !nn::takes_weights(context.dtype(0), context.dtype(i)))
      TRY(nn::expect_same_dtype(context, o.op, {i}));
  for (const int i : {o.b, o.rb, o.h0, o.c0, o.p})
    if (i >= 0) TRY(nn::expect_same_dtype(context, o.op, {i}));
  for (const int i : {0, 1, 2}) TRY(nn::expect_rank(context, o.op, i, 3));
  const Dim d(direction == Direction::bidirectional ? 2 : 1);
  const auto dim = [&](int i, int axis) {
    return context.has(i) && context.shape(i).rank() > axis ? context.shape(i)[axis]
                                                            : Dim::unknown();
  };
  Dim hidden = dim(2, 1);
  const Dim columns = nn::known_of(dim(1, 2), dim(2, 2));
  if (columns.known() && columns.size() % o.gates != 0)
    return invalid_argument(fmt::format("{}: {} weight columns are not {} gates of one size", o.op,
                                        columns.size(), o.gates));
  if (!hidden.known() && columns.known()) hidden = columns.size() / o.gates;
  if (hidden.known() && hidden.size() > nn::kMaxExtent)
    return invalid_argument(
        fmt::format("{}: a state of {} elements is too large", o.op, hidden.size()));
  const Dim all = times(hidden, o.gates);
  Dim batch = dim(0, 1);
  if (o.h0 >= 0) batch = nn::known_of(batch, dim(o.h0, 1));
  TRY(expect_shape(context, o, 1, {d, nn::known_of(dim(0, 2), dim(1, 1)), all},
                   "w is [directions, inputs, gates * hidden]"));
  TRY(expect_shape(context, o, 2, {d, hidden, all}, "r is [directions, hidden, gates * hidden]"));
  for (const int i : {o.b, o.rb})
    TRY(expect_shape(context, o, i, {d, all}, "a bias is [directions, gates * hidden]"));
  for (const int i : {o.scales, o.scales + 1})
    TRY(expect_shape(context, o, i, {d, all}, "scales are [directions, gates * hidden]"));
  if (context.has(o.seq_lens) && context.dtype(o.seq_lens) == DType::boolean) {
    TRY(expect_shape(context, o, o.seq_lens, {dim(0, 0), batch}, "a mask is [steps, batch]"));
  } else {
    TRY(expect_shape(context, o, o.seq_lens, {batch}, "one length per sequence"));
    if (context.has(o.seq_lens) && !is_int(context.dtype(o.seq_lens)))
      return invalid_argument(
          fmt::format("{}: the sequence lengths must be integers or a boolean mask, not {}", o.op,
                      context.type(o.seq_lens).to_string()));
  }
  for (const int i : {o.h0, o.c0})
    TRY(expect_shape(context, o, i, {d, batch, hidden}, "a state is [directions, batch, hidden]"));
  TRY(expect_shape(context, o, o.p, {d, times(hidden, 3)},
                   "peepholes are [directions, 3 * hidden]"));
  const DType type = context.dtype(0);
  TensorTypes out{{type, Shape{dim(0, 0), d, batch, hidden}}};
  for (int i = 0; i < o.states; ++i) out.push_back({type, Shape{d, batch, hidden}});
  return out;
}

int64_t layer_flops(std::span<const TensorType> in) {
  const Shape& x = in[0].shape;
  const auto w = in[1].shape.elements(), r = in[2].shape.elements();
  if (x.rank() != 3 || !x[0].known() || !x[1].known() || !w || !r) return 0;
  int64_t weights = 0;
  if (__builtin_add_overflow(*w, *r, &weights)) return 0;  // of no tensors there can be
  return nn::operations({2, x[0].size(), x[1].size(), weights});
}

}  // namespace

Result<TensorTypes> Lstm::infer(const InferContext& context) const {
  return infer_layer(context, {name, 4, 3, -1, 4, 5, 6, 7, 8, 2}, direction);
}
int64_t Lstm::flops(std::span<const TensorType> in, std::span<const TensorType>) const {
  return layer_flops(in);
}

Result<TensorTypes> Gru::infer(const InferContext& context) const {
  return infer_layer(context, {name, 3, 3, 4, 5, 6, -1, -1, 7, 1}, direction);
}
int64_t Gru::flops(std::span<const TensorType> in, std::span<const TensorType>) const {
  return layer_flops(in);
}

Result<TensorTypes> Rnn::infer(const InferContext& context) const {
  return infer_layer(context, {name, 1, 3, -1, 4, 5, -1, -1, 6, 1}, direction);
}
int64_t Rnn::flops(std::span<const TensorType> in, std::span<const TensorType>) const {
  return layer_flops(in);
}

int recurrent_scales(const Op& op) {
  if (op.as<Lstm>() != nullptr) return 8;
  if (op.as<Gru>() != nullptr) return 7;
  return op.as<Rnn>() != nullptr ? 6 : -1;
}

constinit const OpDef Lstm::def = define<Lstm>();
constinit const OpDef Gru::def = define<Gru>();
constinit const OpDef Rnn::def = define<Rnn>();
OpDefs recurrent_ops() {
  return {&Lstm::def, &Gru::def, &Rnn::def};
}

}  // namespace tenon
