// Depthwise convolutions: window by window on the vector unit, or on Ascend's cube as products of a
// few channels each, whose matrices have zeros beside their diagonal.
#include <numeric>

#include "lower/choose.h"
#include "lower/product.h"

namespace tenon::lower {

Status lower_depthwise(Lowering& lowering, const Node& node) {
  const auto& conv = *node.as<Conv>();
  const auto w = dims_of(node.input(1));
  const Tensor* filter = node.input(1)->constant();
  const int64_t block = 32 / static_cast<int64_t>(dtype_size(lowering.real()));
  const int64_t size = std::gcd(w.back(), block);
  if (!std::holds_alternative<AscendChip>(lowering.machine().chip) || filter == nullptr ||
      size < block / 2)
    return lower_window(lowering, node);
  Conv grouped = conv;
  grouped.groups = w.back() / size;
  ConvShapes shapes{dims_of(node.input(0)), w, dims_of(node.output())};
  shapes.w[w.size() - 2] = size;
  const auto p = product_of(lowering, node, grouped, shapes);
  if (!p.ok()) return lower_window(lowering, node);
  const auto on_cube = [&]() -> Status {
    Product q = *p;
    q.algorithm = "depthwise_cube";
    q.diagonal = size;
    return lower_plain(lowering, node, q);
  };
  const std::vector<Candidate> candidates{
      {"depthwise", [&] { return lower_window(lowering, node); }}, {"depthwise_cube", on_cube}};
  return lower_fastest(lowering, "depthwise " + problem_of(*p), candidates, {});
}

}  // namespace tenon::lower
