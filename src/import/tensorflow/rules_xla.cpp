// Rules of XLA's ops as far as TensorFlow's quantiser writes them.
#include <fmt/format.h>

#include <algorithm>

#include "import/tensorflow/dimension_numbers.h"

namespace tenon::tf {
namespace {

Result<Value*> as_preferred(RuleContext& c, Value* y) {
  return cast_to(c, y, TRY(to_dtype(TRY(c.node.attrs.get_type("preferred_element_type")))));
}

// (x, filter, strides, paddings [n, 2], dilations of x, dilations of the filter, groups)
Values xla_conv(RuleContext& c) {
  const std::string_view message = TRY(c.node.attrs.get_string("dimension_numbers"));
  const ConvDimensions d = TRY(xla_conv_dimensions(message));
  const auto in_range = [](const std::vector<int64_t>& list) {
    return std::ranges::all_of(list, [](int64_t v) { return v >= 1 && v <= 1 << 24; });
  };
  ConvOptions options{.strides = TRY(c.ints(2)), .dilations = TRY(c.ints(5))};
  if (!in_range(options.strides) || !in_range(options.dilations))
    return invalid_model("strides or dilations are out of range");
  if (std::ranges::any_of(TRY(c.ints(4)), [](int64_t v) { return v != 1; }))
    return unsupported("an input with gaps (lhs_dilation)");
  if (TRY(c.node.attrs.get_int("batch_group_count", 1)) != 1)
    return unsupported("groups of the batch (batch_group_count)");
  options.groups = TRY(c.int_scalar(6));
  const auto pairs = TRY(c.ints(3));
  if (pairs.size() != 2 * d.input_spatial.size())
    return invalid_model("the paddings do not fit the spatial dimensions");
  for (const size_t side : {0, 1})
    for (size_t i = 0; i < d.input_spatial.size(); ++i) options.pads.push_back(pairs[2 * i + side]);
  for (const int64_t pad : options.pads)
    if (pad < 0 || pad > 1 << 24) return unsupported(fmt::format("a padding of {}", pad));
  Value* y = TRY(convolve(c, c.inputs[0], c.inputs[1], nullptr, nullptr, d, options));
  return one(as_preferred(c, y));
}

Values xla_dot(RuleContext& c) {
  const std::string_view message = TRY(c.node.attrs.get_string("dimension_numbers"));
  Value* y = TRY(contract(c, c.inputs[0], c.inputs[1], TRY(xla_dot_dimensions(message))));
  return one(as_preferred(c, y));
}

constexpr RuleEntry kRules[] = {
    {"XlaConvV2", xla_conv, 7},
    {"XlaDotV2", xla_dot, 2},
};

}  // namespace

std::span<const RuleEntry> xla_rules() {
  return kRules;
}

}  // namespace tenon::tf
