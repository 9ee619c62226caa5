#include "ops/col2im.h"

#include "ops/movement.h"
#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {
namespace {

Status check_positive(const std::vector<int64_t>& values, std::string_view what) {
  for (const int64_t v : values)
    if (v < 1 || v > nn::kMaxExtent)
      return invalid_argument(fmt::format("col2im: {} of {} is out of range", what, v));
  return {};
}

// Steps an index through dims in row-major order.
void next_index(std::vector<int64_t>& index, std::span<const int64_t> dims) {
  for (size_t d = dims.size(); d-- > 0;) {
    if (++index[d] < dims[d]) return;
    index[d] = 0;
  }
}

int64_t total(std::span<const int64_t> dims) {
  return product(dims, 0, static_cast<int>(dims.size()));
}

}  // namespace

Result<TensorTypes> Col2Im::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  if (!is_float(context.dtype(0)) && !is_int(context.dtype(0)))
    return invalid_argument("col2im needs numbers, not " + context.type(0).to_string());
  TRY(nn::expect_rank(context, name, 0, 3, 3));
  TRY(require_indices(context, 1, name, "an image size", 1));
  TRY(require_indices(context, 2, name, "a block size", 1));
  TRY(check_positive(strides, "a stride"));
  TRY(check_positive(dilations, "a dilation"));
  for (const int64_t p : pads)
    if (p < 0 || p > nn::kMaxExtent)
      return invalid_argument(fmt::format("col2im: a pad of {} is out of range", p));
  TensorType y{context.dtype(0), Shape::unranked()};
  const auto image = context.ints(1);
  const Shape& count = context.shape(1);
  if (!image && !(count.ranked() && count[0].known() && count[0].size() <= 64))
    return TensorTypes{y};
  std::vector<Dim> dims(2, Dim::unknown());
  if (context.shape(0).ranked()) dims[0] = context.shape(0)[0];
  const auto block = context.known_ints(2);
  if (block && context.shape(0).ranked() && context.shape(0)[1].known()) {
    TRY(check_positive(*block, "a block"));
    const int64_t patch = TRY(checked_elements(*block, 1));
    if (context.shape(0)[1].size() % patch != 0)
      return invalid_argument(fmt::format("col2im: {} does not hold patches of {} elements",
                                          context.type(0).to_string(), patch));
    dims[1] = context.shape(0)[1].size() / patch;
  }
  if (image)
    for (const SymInt& s : *image) {
      if (s.value && (*s.value < 0 || *s.value > nn::kMaxExtent))
        return invalid_argument(fmt::format("col2im: an image size of {}", *s.value));
      dims.push_back(s.as_dim());
    }
  else
    dims.resize(static_cast<size_t>(count[0].size()) + 2, Dim::unknown());
  y.shape = Shape(std::move(dims));
  return TensorTypes{y};
}

Status Col2Im::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  const auto image = context.in(1).to_ints(), block = context.in(2).to_ints();
  const size_t k = image.size();
  const auto fits = [k](const std::vector<int64_t>& v, size_t n) {
    return v.empty() || v.size() == n * k;
  };
  if (block.size() != k || !fits(strides, 1) || !fits(dilations, 1) || !fits(pads, 2))
    return invalid_argument("col2im: image, block, strides, dilations and pads differ in length");
  TRY(check_positive(block, "a block"));
  std::vector<int64_t> patches;
  for (size_t d = 0; d < k; ++d) {
    const int64_t padded = image[d] + nn::at_or(pads, d, 0) + nn::at_or(pads, d + k, 0);
    const int64_t span = (block[d] - 1) * nn::at_or(dilations, d, 1) + 1;
    patches.push_back(padded < span ? 0 : (padded - span) / nn::at_or(strides, d, 1) + 1);
  }
  const int64_t patch = TRY(checked_elements(block, 1)), count = TRY(checked_elements(patches, 1));
  if (x.dim(1) % patch != 0 || x.dim(2) != count)
    return invalid_argument(fmt::format("col2im: {} is not {} patches of {} elements",
                                        x.type().to_string(), count, patch));
  std::vector<int64_t> dims{x.dim(0), x.dim(1) / patch};
  dims.insert(dims.end(), image.begin(), image.end());
  TRY(context.allocate(0, x.dtype(), dims));
  const std::vector<double> in = nn::reals(x);
  std::vector<double> out(static_cast<size_t>(context.out(0).elements()), 0.0);
  const int64_t pixels = total(image);
  std::vector<int64_t> within(k, 0), at(k, 0);
  size_t i = 0;
  for (int64_t plane = 0; plane < dims[0] * dims[1]; ++plane)
    for (int64_t b = 0; b < patch; ++b, next_index(within, block))
      for (int64_t p = 0; p < count; ++p, ++i, next_index(at, patches)) {
        int64_t offset = 0;
        bool inside = true;
        for (size_t d = 0; d < k && inside; ++d) {
          const int64_t place = at[d] * nn::at_or(strides, d, 1) +
                                within[d] * nn::at_or(dilations, d, 1) - nn::at_or(pads, d, 0);
          inside = place >= 0 && place < image[d];
          offset = offset * image[d] + place;
        }
        if (inside) out[static_cast<size_t>(plane * pixels + offset)] += in[i];
      }
  nn::store_reals(context.out(0), out);
  return {};
}

constinit const OpDef Col2Im::def = define<Col2Im>();
OpDefs col2im_ops() {
  return {&Col2Im::def};
}

}  // namespace tenon
