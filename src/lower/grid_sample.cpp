// Sampling images at positions given by a tensor: for every corner of the element a position is in,
// a kernel computes its number and weight in f32, all corners are picked as rows of channels at
// once, and a last kernel adds them up.
#include "ops/grid_sample.h"

#include "lower/elementwise.h"
#include "lower/gather.h"
#include "lower/vector_core.h"

namespace tenon::lower {
namespace {

class Sampler {
 public:
  Sampler(Lowering& lowering, const Node& node)
      : lowering_(lowering),
        node_(node),
        op_(*node.as<GridSample>()),
        x_(dims_of(node.input(0))),
        layer_(layer_of(node)) {
    k_ = x_.size() - 2;
    channels_ = x_.back();
    positions_ = count_of(dims_of(node.output())) / channels_ / x_[0];
    corners_ = op_.mode == GridMode::nearest ? 1 : int64_t{1} << k_;
  }

  Status run() {
    if (op_.mode == GridMode::cubic) return unsupported("cubic interpolation between positions");
    const int64_t all = x_[0] * positions_;
    RowGather g;
    g.layer = layer_ + ".corners";
    g.table = lowering_.tensor_of(node_.input(0));
    g.rows = count_of(x_) / channels_, g.width = channels_, g.count = corners_ * all;
    g.counted = true;
    TRY(check_count(g.rows));
    numbers_ = lowering_.scratch(layer_ + ".numbers", DType::i32, g.count);
    weights_ = lowering_.scratch(layer_ + ".weights", lowering_.real(), g.count);
    if (x_[0] > 1) {
      const auto make = [n = x_[0], image = g.rows / x_[0]]() -> Result<Tensor> {
        std::vector<int32_t> first;
        for (int64_t i = 0; i < n; ++i) first.push_back(static_cast<int32_t>(i * image));
        return Tensor::vector(first);
      };
      images_ = lowering_.constant(layer_ + ".images", DType::i32, x_[0], make);
    }
    for (int64_t c = 0; c < corners_; ++c) TRY(find_corner(c));
    g.numbers = numbers_;
    g.to = lowering_.scratch(g.layer, lowering_.real(), g.count * channels_);
    TRY(gather_rows(lowering_, node_, g));
    return add_up(g.to);
  }

 private:
  static Register number(double x) { return {{}, x, nullptr}; }

  // Where a coordinate of the grid is along spatial dimension `d`, in elements.
  Register position(VectorCode& code, const Register& grid, size_t d) const {
    const auto n = static_cast<double>(x_[d + 1]);
    const double scale = (op_.align_corners ? n - 1 : n) / 2;
    Register x = code.binary(Opcode::mul, code.tile(grid, DType::f32), number(scale));
    x = code.binary(Opcode::add, x, number((n - 1) / 2));
    if (op_.padding == GridPadding::border) return code.clip(x, 0, n - 1);
    if (op_.padding == GridPadding::zeros) return code.clip(x, -2, n + 1);
    // A mirror at either edge: the way from the lower one, in whole turns there and back.
    const double low = op_.align_corners ? 0 : -0.5, span = op_.align_corners ? n - 1 : n;
    if (span <= 0) return code.binary(Opcode::mul, x, number(0));
    const Register way = code.binary(Opcode::add, x, number(-low));
    const Register turns =
        code.tile(code.floor(code.binary(Opcode::mul, way, number(0.5 / span))), DType::f32);
    const Register there =
        code.binary(Opcode::sub, way, code.binary(Opcode::mul, turns, number(2 * span)));
    const Register back = code.binary(Opcode::sub, number(2 * span), there);
    return code.binary(Opcode::add, code.binary(Opcode::min, there, back), number(low));
  }

  // The number of a corner's row and its weight, from the coordinates of a tile of positions.
  std::vector<Register> corner(VectorCode& code, std::span<const Register> in, int64_t c) const {
    Register row, weight;
    int64_t stride = count_of(x_) / x_[0] / channels_;
    for (size_t d = 0; d < k_; ++d) {
      const auto n = static_cast<double>(x_[d + 1]);
      stride /= x_[d + 1];
      const Register x = position(code, in[d], d);
      Register at, share;
      if (op_.mode == GridMode::nearest) {
        at = code.tile(code.round(x), DType::f32);
        share = code.binary(Opcode::add, code.binary(Opcode::mul, at, number(0)), number(1));
      } else {
        at = code.tile(code.floor(x), DType::f32);
        share = code.binary(Opcode::sub, x, at);
        if ((c >> d & 1) != 0)
          at = code.binary(Opcode::add, at, number(1));
        else
          share = code.binary(Opcode::sub, number(1), share);
      }
      if (op_.padding == GridPadding::zeros) {
        // 1 from the first to the last element, 0 before and behind.
        const Register from = code.clip(code.binary(Opcode::add, at, number(1)), 0, 1);
        const Register to = code.clip(code.binary(Opcode::sub, number(n), at), 0, 1);
        share = code.binary(Opcode::mul, share, code.binary(Opcode::mul, from, to));
      }
      const Register step =
          code.binary(Opcode::mul, code.clip(at, 0, n - 1), number(static_cast<double>(stride)));
      row = d == 0 ? step : code.binary(Opcode::add, row, step);
      weight = d == 0 ? share : code.binary(Opcode::mul, weight, share);
    }
    row = code.round(row);
    if (images_ >= 0) row = code.binary(Opcode::add, row, in.back());
    return {row, code.tile(weight, lowering_.real())};
  }

  Status find_corner(int64_t c) {
    const int grid = lowering_.tensor_of(node_.input(1));
    const auto k = static_cast<int64_t>(k_);
    Elementwise work;
    work.dims = {x_[0], positions_};
    work.strides = {positions_, 1};
    work.offset = c * x_[0] * positions_;
    // The grid names the last dimension first.
    for (size_t d = 0; d < k_; ++d)
      work.operands.push_back({"grid", grid, {positions_ * k, k}, k - 1 - static_cast<int64_t>(d)});
    if (images_ >= 0) work.operands.push_back({"images", images_, {1, 0}});
    work.results = {numbers_, weights_};
    work.wide = true;
    work.compute = [this, c](VectorCode& code,
                             std::span<const Register> in) -> Result<std::vector<Register>> {
      return corner(code, in, c);
    };
    return lower_elementwise(lowering_, node_, work);
  }

  Status add_up(int corners) {
    const int64_t all = x_[0] * positions_;
    Elementwise work;
    work.dims = {all, channels_};
    work.strides = {channels_, 1};
    for (int64_t c = 0; c < corners_; ++c) {
      work.operands.push_back({"corner", corners, {channels_, 1}, c * all * channels_});
      work.operands.push_back({"weight", weights_, {1, 0}, c * all});
    }
    work.results = {lowering_.tensor_of(node_.output())};
    work.compute = [](VectorCode& code,
                      std::span<const Register> in) -> Result<std::vector<Register>> {
      Register sum;
      for (size_t i = 0; i < in.size(); i += 2) {
        const Register part = code.binary(Opcode::mul, in[i], in[i + 1]);
        sum = i == 0 ? part : code.binary(Opcode::add, sum, part);
      }
      return std::vector{sum};
    };
    return lower_elementwise(lowering_, node_, work);
  }

  Lowering& lowering_;
  const Node& node_;
  const GridSample& op_;
  std::vector<int64_t> x_;
  std::string layer_;
  size_t k_ = 0;  // spatial dimensions
  int64_t channels_ = 1, positions_ = 1, corners_ = 1;
  int numbers_ = -1, weights_ = -1, images_ = -1;
};

}  // namespace

Status lower_grid_sample(Lowering& lowering, const Node& node) {
  return Sampler(lowering, node).run();
}

}  // namespace tenon::lower
