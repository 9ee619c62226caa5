#include "lower/product.h"
namespace tenon::lower {
Status lower_product_cambricon(Lowering&, const Node&, const Product&) {
  return unsupported("not yet");
}
}  // namespace tenon::lower
