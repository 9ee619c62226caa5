#include "import/tensorflow/dimension_numbers.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "import/wire.h"

namespace tenon::tf {
namespace {

// All fields of these messages are integers or lists of them.
struct IntFields {
  std::vector<std::pair<uint32_t, std::vector<int64_t>>> fields;

  std::vector<int64_t> list(uint32_t number) const {
    std::vector<int64_t> all;
    for (const auto& [key, values] : fields)
      if (key == number) all.insert(all.end(), values.begin(), values.end());
    return all;
  }
  int64_t single(uint32_t number) const {
    const auto all = list(number);
    return all.empty() ? 0 : all.back();
  }
};

void read(WireReader& in, IntFields& out) {
  while (in.next()) {
    const uint32_t number = in.key() >> 3;
    std::vector<int64_t> values;
    if (in.key() == varint_key(number))
      values.push_back(in.varint());
    else if (in.key() == length_key(number))
      in.packed_varints(values);
    else
      in.skip();
    in.push(out.fields, {number, std::move(values)});
  }
}

// Numbers of the fields, in the order of ConvDimensions.
struct ConvFields {
  uint32_t input_batch, input_feature, kernel_input, kernel_output, output_batch, output_feature;
  uint32_t input_spatial, kernel_spatial, output_spatial;
};

Result<ConvDimensions> conv_dimensions(std::string_view message, const ConvFields& f) {
  const auto m = TRY(decode_message<IntFields>(as_bytes(message), "dimension numbers"));
  return ConvDimensions{
      m.single(f.input_batch),   m.single(f.input_feature), m.single(f.kernel_input),
      m.single(f.kernel_output), m.single(f.output_batch),  m.single(f.output_feature),
      m.list(f.input_spatial),   m.list(f.kernel_spatial),  m.list(f.output_spatial)};
}

bool is_permutation(const std::vector<int64_t>& perm) {
  std::vector<bool> seen(perm.size());
  for (const int64_t p : perm) {
    if (p < 0 || p >= static_cast<int64_t>(perm.size()) || seen[static_cast<size_t>(p)])
      return false;
    seen[static_cast<size_t>(p)] = true;
  }
  return true;
}

// x with its dimensions in this order.
Result<Value*> ordered(RuleContext& c, Value* x, const std::vector<int64_t>& perm) {
  if (TRY(rank_of(x)) != static_cast<int>(perm.size()) || !is_permutation(perm))
    return invalid_model("the dimension numbers do not fit the operands");
  if (std::ranges::is_sorted(perm)) return x;
  return c.builder.op("transpose", {x}, {{"perm", perm}});
}

std::vector<int64_t> listed(int64_t first, const std::vector<int64_t>& spatial, int64_t last) {
  std::vector<int64_t> all{first};
  all.insert(all.end(), spatial.begin(), spatial.end());
  all.push_back(last);
  return all;
}

bool are_bytes(const Value* a, const Value* b) {
  return std::ranges::all_of(std::array{a->dtype(), b->dtype()},
                             [](DType t) { return t == DType::i8 || t == DType::u8; });
}

}  // namespace

Result<ConvDimensions> xla_conv_dimensions(std::string_view message) {
  return conv_dimensions(message, {7, 8, 3, 4, 9, 10, 11, 6, 12});
}

Result<ConvDimensions> uniform_conv_dimensions(std::string_view message, int rank) {
  if (!message.empty()) return conv_dimensions(message, {1, 2, 4, 5, 7, 8, 3, 6, 9});
  ConvDimensions d{.input_feature = 1, .kernel_input = 1, .output_feature = 1};
  for (int i = 2; i < rank; ++i)
    for (auto* spatial : {&d.input_spatial, &d.kernel_spatial, &d.output_spatial})
      spatial->push_back(i);
  return d;
}

Result<DotDimensions> xla_dot_dimensions(std::string_view message) {
  const auto m = TRY(decode_message<IntFields>(as_bytes(message), "dimension numbers"));
  return DotDimensions{m.list(1), m.list(2), m.list(3), m.list(4)};
}

Result<GatherDimensions> xla_gather_dimensions(std::string_view message) {
  const auto m = TRY(decode_message<IntFields>(as_bytes(message), "dimension numbers"));
  if (!m.list(5).empty() || !m.list(6).empty())
    return unsupported("dimensions of a batch in the operand of a gather");
  return GatherDimensions{m.list(1), m.list(2), m.list(3), m.single(4)};
}

Result<Value*> convolve(RuleContext& c, Value* x, Value* w, Value* x_zero, Value* w_zero,
                        const ConvDimensions& d, const ConvOptions& options) {
  const size_t n = d.input_spatial.size();
  if (d.kernel_spatial.size() != n || d.output_spatial.size() != n)
    return invalid_model("the dimension numbers do not agree in the number of spatial dimensions");
  for (const auto* list : {&options.strides, &options.dilations})
    if (list->size() != n) return invalid_model("a stride or dilation per dimension is needed");
  x = TRY(ordered(c, x, listed(d.input_batch, d.input_spatial, d.input_feature)));
  std::vector<int64_t> kernel = d.kernel_spatial;
  kernel.push_back(d.kernel_input);
  kernel.push_back(d.kernel_output);
  w = TRY(ordered(c, w, kernel));
  std::vector<Builder::Attr> attrs{
      {"strides", options.strides}, {"dilations", options.dilations}, {"groups", options.groups}};
  if (options.same)
    attrs.push_back({"auto_pad", std::string("same_upper")});
  else
    attrs.push_back({"pads", options.pads});
  Value* y = are_bytes(x, w)
                 ? TRY(c.builder.op("quantized_conv", {x, w, x_zero, w_zero}, std::move(attrs)))
                 : TRY(c.builder.op("conv", {x, TRY(cast_to(c, w, x->dtype()))}, std::move(attrs)));
  // Back: where each dimension of the result is among batch, spatial, feature.
  const auto result = listed(d.output_batch, d.output_spatial, d.output_feature);
  if (!is_permutation(result)) return invalid_model("the dimension numbers are no permutation");
  std::vector<int64_t> back(result.size());
  for (size_t i = 0; i < result.size(); ++i)
    back[static_cast<size_t>(result[i])] = static_cast<int64_t>(i);
  return ordered(c, y, back);
}

Result<Value*> contract(RuleContext& c, Value* x, Value* y, const DotDimensions& d) {
  Builder& b = c.builder;
  const bool exact = are_bytes(x, y);
  if (!exact) y = TRY(cast_to(c, y, x->dtype()));
  // An einsum by another name: a letter for each pair of dimensions that go together.
  const int ranks[2] = {TRY(rank_of(x)), TRY(rank_of(y))};
  if (d.left_batch.size() != d.right_batch.size() ||
      d.left_contracting.size() != d.right_contracting.size())
    return invalid_model("the dimension numbers do not pair");
  std::vector<int64_t> perms[2];
  std::vector<int64_t> free[2];
  for (const int side : {0, 1}) {
    const auto& batch = side == 0 ? d.left_batch : d.right_batch;
    const auto& inner = side == 0 ? d.left_contracting : d.right_contracting;
    for (int64_t i = 0; i < ranks[side]; ++i)
      if (std::ranges::find(batch, i) == batch.end() && std::ranges::find(inner, i) == inner.end())
        free[side].push_back(i);
    perms[side] = batch;
    for (const auto* part : {side == 0 ? &free[side] : &inner, side == 0 ? &inner : &free[side]})
      perms[side].insert(perms[side].end(), part->begin(), part->end());
  }
  x = TRY(ordered(c, x, perms[0]));
  y = TRY(ordered(c, y, perms[1]));
  // [batch…, m, k] by [batch…, k, n], each of m, k and n being the product of some dimensions.
  const auto nb = static_cast<int64_t>(d.left_batch.size());
  const auto nm = static_cast<int64_t>(free[0].size()), nn = static_cast<int64_t>(free[1].size());
  const auto nk = static_cast<int64_t>(d.left_contracting.size());
  Value* batch = TRY(shape_of(c, x, 0, nb));
  Value* rows = TRY(shape_of(c, x, nb, nb + nm));
  Value* columns = TRY(shape_of(c, y, nb + nk, nb + nk + nn));
  const auto total = [&](Value* v) { return b.op("prod", {v}, {{"keep_dims", true}}); };
  Value* inner = TRY(total(TRY(shape_of(c, x, nb + nm, nb + nm + nk))));
  const auto matrix = [&](Value* v, Value* m, Value* n) -> Result<Value*> {
    return b.op("reshape", {v, TRY(join(c, {batch, m, n}))}, {{"allow_zero", true}});
  };
  x = TRY(matrix(x, TRY(total(rows)), inner));
  y = TRY(matrix(y, inner, TRY(total(columns))));
  Value* z = TRY(b.op(exact ? "quantized_matmul" : "matmul", {x, y}));
  return b.op("reshape", {z, TRY(join(c, {batch, rows, columns}))}, {{"allow_zero", true}});
}

}  // namespace tenon::tf
