// Features of regions: a known number of samples in each cell, of which a kernel computes the four
// elements around each and their weights in f32; all are picked as rows of channels at once, and a
// last kernel combines those of a cell.
#include "lower/elementwise.h"
#include "lower/gather.h"
#include "ops/movement.h"
#include "ops/roi.h"

namespace tenon::lower {
namespace {

class Regions {
 public:
  Regions(Lowering& lowering, const Node& node)
      : lowering_(lowering),
        node_(node),
        op_(*node.as<RoiAlign>()),
        x_(dims_of(node.input(0))),
        layer_(layer_of(node)) {
    ratio_ = op_.sampling_ratio;
    // Samples of all regions, row by row of cells.
    dims_ = {dims_of(node.input(1))[0], op_.output_height, ratio_, op_.output_width, ratio_};
    samples_ = count_of(dims_);
  }

  Status run() {
    constexpr int64_t kMostSamples = 4;  // along a cell: all of them are operands of one kernel
    if (ratio_ < 1) return unsupported("how many samples its cells have depends on data");
    if (ratio_ > kMostSamples) return unsupported("its cells have more than 4 by 4 samples");
    const int batch = lowering_.tensor_of(node_.input(2));
    if (lowering_.tensor(batch).dtype != DType::i32)
      return unsupported("its numbers of images are not of 32 bits");
    RowGather g;
    g.layer = layer_ + ".elements";
    g.table = lowering_.tensor_of(node_.input(0));
    g.rows = x_[0] * x_[1] * x_[2], g.width = x_[3], g.count = 4 * samples_;
    g.counted = true;
    TRY(check_count(g.rows));
    g.numbers = lowering_.scratch(layer_ + ".numbers", DType::i32, g.count);
    weights_ = lowering_.scratch(layer_ + ".weights", lowering_.real(), g.count);
    for (int64_t c = 0; c < 4; ++c) TRY(find_corner(c, g.numbers, batch));
    g.to = lowering_.scratch(g.layer, lowering_.real(), g.count * g.width);
    TRY(gather_rows(lowering_, node_, g));
    return combine(g.to);
  }

 private:
  static Register number(double x) { return {{}, x, nullptr}; }

  // Where samples lie in a region along a dimension, 0 to 1.
  int parts(const std::string& name, int64_t cells) {
    const int64_t n = cells * ratio_;
    return lowering_.constant(layer_ + name, DType::f32, n, [n]() -> Result<Tensor> {
      std::vector<float> all;
      for (int64_t i = 0; i < n; ++i)
        all.push_back(static_cast<float>((static_cast<double>(i) + 0.5) / static_cast<double>(n)));
      return Tensor::vector(all);
    });
  }

  // One of the two elements around a sample along a dimension, and its weight.
  struct Side {
    Register element, weight;
  };
  Side side(VectorCode& code, const Register& start, const Register& end, const Register& part,
            int64_t size, bool upper) const {
    const auto n = static_cast<double>(size);
    const double shift = op_.half_pixel ? -0.5 : 0;
    const auto scaled = [&](const Register& r) {
      return code.binary(
          Opcode::add,
          code.binary(Opcode::mul, code.tile(r, DType::f32), number(op_.spatial_scale)),
          number(shift));
    };
    const Register from = scaled(start);
    Register length = code.binary(Opcode::sub, scaled(end), from);
    if (!op_.half_pixel) length = code.binary(Opcode::max, length, number(1));
    const Register at = code.binary(Opcode::add, from, code.binary(Opcode::mul, length, part));
    const Register within = code.clip(at, 0, n - 1);
    const Register low = code.tile(code.floor(within), DType::f32);
    const Register rest = code.binary(Opcode::sub, within, low);
    Side s{low, code.binary(Opcode::sub, number(1), rest)};
    if (upper)
      s = {code.binary(Opcode::min, code.binary(Opcode::add, low, number(1)), number(n - 1)), rest};
    // Samples more than an element outside are 0.
    const Register inside =
        code.binary(Opcode::min, code.compare(isa::Relation::greater_equal, at, number(-1)),
                    code.compare(isa::Relation::less_equal, at, number(n)));
    s.weight = code.select(inside, s.weight, number(0));
    return s;
  }

  Status find_corner(int64_t c, int numbers, int batch) {
    const int rois = lowering_.tensor_of(node_.input(1));
    Elementwise work;
    work.dims = dims_;
    work.strides = row_major_strides(dims_);
    work.offset = c * samples_;
    for (int64_t i = 0; i < 4; ++i) work.operands.push_back({"roi", rois, {4, 0, 0, 0, 0}, i});
    work.operands.push_back({"rows", parts(".rows", dims_[1]), {0, ratio_, 1, 0, 0}});
    work.operands.push_back({"columns", parts(".columns", dims_[3]), {0, 0, 0, ratio_, 1}});
    work.operands.push_back({"image", batch, {1, 0, 0, 0, 0}});
    work.results = {numbers, weights_};
    work.wide = true;
    work.compute = [this, c](VectorCode& code,
                             std::span<const Register> in) -> Result<std::vector<Register>> {
      const Side y = side(code, in[1], in[3], code.tile(in[4], DType::f32), x_[1], c / 2 != 0);
      const Side x = side(code, in[0], in[2], code.tile(in[5], DType::f32), x_[2], c % 2 != 0);
      const auto rows = static_cast<double>(x_[2]), images = static_cast<double>(x_[1] * x_[2]);
      const Register place = code.round(
          code.binary(Opcode::add, code.binary(Opcode::mul, y.element, number(rows)), x.element));
      const Register image = code.binary(Opcode::mul, in[6], number(images));
      return std::vector{code.binary(Opcode::add, place, image),
                         code.tile(code.binary(Opcode::mul, y.weight, x.weight), lowering_.real())};
    };
    return lower_elementwise(lowering_, node_, work);
  }

  Status combine(int elements) {
    const int64_t channels = x_[3];
    const auto strides = row_major_strides(dims_);
    Elementwise work;
    work.dims = {dims_[0], dims_[1], dims_[3], channels};
    work.strides = row_major_strides(work.dims);
    for (int64_t i = 0; i < ratio_; ++i)
      for (int64_t j = 0; j < ratio_; ++j)
        for (int64_t c = 0; c < 4; ++c) {
          const int64_t first = c * samples_ + i * strides[2] + j;
          work.operands.push_back(
              {"element",
               elements,
               {strides[0] * channels, strides[1] * channels, strides[3] * channels, 1},
               first * channels});
          work.operands.push_back(
              {"weight", weights_, {strides[0], strides[1], strides[3], 0}, first});
        }
    work.results = {lowering_.tensor_of(node_.output())};
    const Opcode with = op_.mode == RoiMode::avg ? Opcode::add : Opcode::max;
    const double share = op_.mode == RoiMode::avg ? 1 / static_cast<double>(ratio_ * ratio_) : 1;
    work.compute = [with, share](VectorCode& code,
                                 std::span<const Register> in) -> Result<std::vector<Register>> {
      Register all;
      for (size_t i = 0; i < in.size(); i += 2) {
        const Register part = code.binary(Opcode::mul, in[i], in[i + 1]);
        all = i == 0 ? part : code.binary(with, all, part);
      }
      return std::vector{share == 1 ? all : code.binary(Opcode::mul, all, number(share))};
    };
    return lower_elementwise(lowering_, node_, work);
  }

  Lowering& lowering_;
  const Node& node_;
  const RoiAlign& op_;
  std::vector<int64_t> x_;
  std::string layer_;
  int64_t ratio_ = 0, samples_ = 0;
  std::vector<int64_t> dims_;  // regions, cells and samples of a column, of a row
  int weights_ = -1;
};

}  // namespace

Status lower_roi_align(Lowering& lowering, const Node& node) {
  return Regions(lowering, node).run();
}

}  // namespace tenon::lower
