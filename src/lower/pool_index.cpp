// Where windows have their maxima: position by position of the window, each a strided view of the
// padded input, the larger one stays, and its number with it.
#include <limits>

#include "lower/elementwise.h"
#include "lower/movement.h"
#include "ops/auto_pad.h"
#include "ops/movement.h"
#include "ops/pool.h"

namespace tenon::lower {
namespace {

// The input [N, spatial…, C] with what windows see of its pads.
struct Padded {
  int tensor = -1;
  std::vector<int64_t> dims;
};

Result<Padded> padded_input(Lowering& lowering, const Node& node, const std::string& layer,
                            const std::vector<int64_t>& begins, const std::vector<int64_t>& seen) {
  Padded p{lowering.tensor_of(node.input(0)), dims_of(node.input(0))};
  const std::vector<int64_t> dims = p.dims, strides = row_major_strides(dims);
  bool is_whole = true;
  for (size_t i = 0; i < seen.size(); ++i) {
    p.dims[i + 1] = std::max(seen[i], begins[i] + dims[i + 1]);
    is_whole &= p.dims[i + 1] == dims[i + 1];
  }
  if (is_whole) return p;
  const auto to = row_major_strides(p.dims);
  Piece piece{p.tensor, lowering.scratch(layer, lowering.tensor(p.tensor).dtype, count_of(p.dims)),
              dims,     strides,
              to,       0,
              0};
  for (size_t i = 0; i < begins.size(); ++i) piece.to_offset += begins[i] * to[i + 1];
  p.tensor = piece.to;
  TRY(move_pieces(lowering, node, layer, {piece}, -std::numeric_limits<double>::infinity()));
  return p;
}

}  // namespace

Status lower_pool_index(Lowering& lowering, const Node& node) {
  const auto& op = *node.as<MaxPoolIndex>();
  const auto x = dims_of(node.input(0)), y = dims_of(node.output());
  if (!is_float(node.input(0)->dtype())) return unsupported("it is not of reals");
  const size_t n = x.size() - 2;
  const auto pads = effective_pads(op, op.kernel, std::span(x).subspan(1));
  const auto at = [](const std::vector<int64_t>& list, size_t i, int64_t otherwise) {
    return i < list.size() ? list[i] : otherwise;
  };
  std::vector<int64_t> begins, seen;
  for (size_t i = 0; i < n; ++i) {
    begins.push_back(at(pads, i, 0));
    if (begins.back() < 0) return unsupported("negative pads");
    seen.push_back((y[i + 1] - 1) * at(op.strides, i, 1) +
                   (op.kernel[i] - 1) * at(op.dilations, i, 1) + 1);
  }
  const std::string layer = layer_of(node);
  const Padded p = TRY(padded_input(lowering, node, layer + ".padded", begins, seen));
  const auto in = row_major_strides(p.dims), image = row_major_strides(std::span(x).subspan(1, n));
  Elementwise work;
  work.dims = y;
  work.strides = row_major_strides(y);
  std::vector<int64_t> strides = in;
  for (size_t i = 0; i < n; ++i) strides[i + 1] *= at(op.strides, i, 1);
  std::vector<int64_t> steps;  // of each position of the window, within the image
  for (int64_t t = 0; t < count_of(op.kernel); ++t) {
    int64_t offset = 0, step = 0, rest = t;
    for (size_t i = n; i-- > 0; rest /= op.kernel[i]) {
      const int64_t by = rest % op.kernel[i] * at(op.dilations, i, 1);
      offset += by * in[i + 1], step += by * image[i];
    }
    work.operands.push_back({"x", p.tensor, strides, offset});
    steps.push_back(step);
  }
  const std::vector<int64_t> out(y.begin() + 1, y.end() - 1);
  const auto first = [=, by = op.strides]() -> Result<Tensor> {
    std::vector<int32_t> all;
    for (int64_t i = 0; i < count_of(out); ++i) {
      int64_t place = 0, rest = i;
      for (size_t d = out.size(); d-- > 0; rest /= out[d])
        place += (rest % out[d] * at(by, d, 1) - begins[d]) * image[d];
      all.push_back(static_cast<int32_t>(place));
    }
    return Tensor::vector(all);
  };
  std::vector<int64_t> spread = row_major_strides(out);
  spread.insert(spread.begin(), 0), spread.push_back(0);
  work.operands.push_back(
      {"first", lowering.constant(layer + ".first", DType::i32, count_of(out), first), spread, 0});
  work.results = {lowering.tensor_of(node.output())};
  work.compute = [steps](VectorCode& code,
                         std::span<const Register> operands) -> Result<std::vector<Register>> {
    const auto number = [&](int64_t v) {
      return code.tile({{}, static_cast<double>(v), nullptr}, DType::i32);
    };
    Register best = operands[0], place = number(steps[0]);
    for (size_t i = 1; i < steps.size(); ++i) {
      const Register is_larger = code.compare(isa::Relation::greater, operands[i], best);
      best = code.select(is_larger, operands[i], best);
      place = code.select(is_larger, number(steps[i]), place);
    }
    return std::vector{code.binary(Opcode::add, place, operands.back())};
  };
  return lower_elementwise(lowering, node, work);
}

}  // namespace tenon::lower
