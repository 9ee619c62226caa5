// Instance and group norms: two reductions over the pixels (of groups also over their channels),
// then every element by what they gave.
#include "lower/elementwise.h"
#include "lower/reduce.h"
#include "ops/movement.h"
#include "ops/norm.h"

namespace tenon::lower {
namespace {

struct ImageNorm {
  int64_t images = 1, pixels = 1, groups = 1, width = 1;  // width: channels of a group
  double epsilon = 0;

  int64_t channels() const { return groups * width; }
};

// [images, groups] as [images, groups, width].
Status expand(Lowering& lowering, const Node& node, const ImageNorm& n, int from, int to) {
  Elementwise work;
  work.dims = {n.images, n.groups, n.width};
  work.strides = row_major_strides(work.dims);
  work.operands.push_back({"x", from, {n.groups, 1, 0}, 0});
  work.results = {to};
  work.wide = true;
  work.compute = [](VectorCode& code,
                    std::span<const Register> in) -> Result<std::vector<Register>> {
    return std::vector{code.binary(Opcode::add, in[0], {{}, 0.0, nullptr})};
  };
  return lower_elementwise(lowering, node, work);
}

// Over the pixels, then over the channels of each group: [images, groups] in f32.
Result<int> over_groups(Lowering& lowering, const Node& node, const ImageNorm& n, Reduction r) {
  r.from = lowering.tensor_of(node.input(0));
  r.outer = n.images, r.reduced = n.pixels, r.inner = n.channels();
  const auto epsilon = r.rsqrt_epsilon;
  r.scale = 1 / static_cast<double>(n.pixels);
  if (n.width > 1) r.rsqrt_epsilon.reset();
  r.to = lowering.scratch(r.layer, DType::f32, n.images * n.channels());
  TRY(add_reduction(lowering, node, r));
  if (n.width == 1) return r.to;
  Reduction groups;
  groups.layer = r.layer + ".groups";
  groups.from = r.to;
  groups.outer = n.images * n.groups, groups.reduced = n.width;
  groups.scale = 1 / static_cast<double>(n.width);
  groups.rsqrt_epsilon = epsilon;
  groups.to = lowering.scratch(groups.layer, DType::f32, n.images * n.groups);
  TRY(add_reduction(lowering, node, groups));
  return groups.to;
}

}  // namespace

Status lower_image_norm(Lowering& lowering, const Node& node) {
  const auto x = dims_of(node.input(0));
  if (!is_float(node.output()->dtype()) || x.size() < 2) return unsupported("it is not of reals");
  ImageNorm n;
  n.images = x[0], n.groups = x.back(), n.pixels = count_of(x) / (x[0] * x.back());
  if (const auto* op = node.as<InstanceNorm>()) n.epsilon = op->epsilon;
  if (const auto* op = node.as<GroupNorm>()) {
    n.epsilon = op->epsilon;
    n.groups = op->groups, n.width = x.back() / op->groups;
  }
  const std::string layer = layer_of(node);
  Reduction mean;
  mean.layer = layer + ".mean";
  const int means = TRY(over_groups(lowering, node, n, mean));
  Reduction spread;
  spread.layer = layer + ".variance";
  spread.square = true;
  spread.rsqrt_epsilon = n.epsilon;
  spread.centre = means;
  if (n.width > 1) {
    spread.centre = lowering.scratch(layer + ".means", DType::f32, n.images * n.channels());
    TRY(expand(lowering, node, n, means, spread.centre));
  }
  const int scales = TRY(over_groups(lowering, node, n, spread));

  Elementwise work;
  work.dims = {n.images, n.pixels, n.groups, n.width};
  work.strides = row_major_strides(work.dims);
  const std::vector<int64_t> of_group{n.groups, 0, 1, 0}, of_channel{0, 0, n.width, 1};
  work.operands = {{"x", lowering.tensor_of(node.input(0)), work.strides, 0},
                   {"mean", means, of_group, 0},
                   {"spread", scales, of_group, 0},
                   {"scale", lowering.tensor_of(node.input(1)), of_channel, 0},
                   {"bias", lowering.tensor_of(node.input(2)), of_channel, 0}};
  work.results = {lowering.tensor_of(node.output())};
  work.wide = true;
  work.compute = [](VectorCode& code,
                    std::span<const Register> in) -> Result<std::vector<Register>> {
    const auto real = [&](size_t i) { return code.tile(in[i], DType::f32); };
    Register y = code.binary(Opcode::sub, real(0), in[1]);
    y = code.binary(Opcode::mul, y, in[2]);
    y = code.binary(Opcode::mul, y, real(3));
    return std::vector{code.binary(Opcode::add, y, real(4))};
  };
  return lower_elementwise(lowering, node, work);
}

}  // namespace tenon::lower
