#include "import/tensorflow/sparse.h"

namespace tenon::tf {

using Axes = std::vector<int64_t>;

Result<Value*> strides_of(RuleContext& c, Value* size) {
  return c.builder.op("cumprod", {size},
                      {{"axis", int64_t{0}}, {"exclusive", true}, {"reverse", true}});
}

Result<Value*> flat_places(RuleContext& c, Value* places, Value* size) {
  Value* terms = TRY(c.builder.op("mul", {places, TRY(strides_of(c, size))}));
  return c.builder.op("sum", {terms}, {{"axes", Axes{1}}});
}

Result<Value*> places_of(RuleContext& c, Value* flat, Value* size) {
  Builder& b = c.builder;
  Value* column = TRY(b.op("expand_dims", {flat}, {{"axes", Axes{1}}}));
  Value* steps =
      TRY(b.op("floor_div", {column, TRY(b.op("max", {TRY(strides_of(c, size)), b.ints({1})}))}));
  return b.op("floor_mod", {steps, TRY(b.op("max", {size, b.ints({1})}))});
}

Result<Value*> as_dense(RuleContext& c, Value* places, Value* size, Value* values, Value* fill) {
  Builder& b = c.builder;
  Value* all = TRY(b.op("expand", {fill, size}));
  return b.op("scatter_nd", {all, places, values});
}

Result<Value*> order_of(RuleContext& c, Value* keys) {
  Node* node = TRY(c.builder.node("top_k", {keys, TRY(shape_of(c, keys, 0, 1))},
                                  {{"largest", false}, {"index_dtype", DType::i64}}));
  return node->output(1);
}

}  // namespace tenon::tf
