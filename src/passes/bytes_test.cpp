#include "passes/bytes.h"

#include "passes/test_support.h"

namespace tenon {
namespace {

using testing::Maker;

// A state that is turned one way and the other in each of many steps, and put together again.
TEST(Bytes, ManyPathsOfMovesAreFollowedOnce) {
  Maker m;
  Value* const first = m.input(m.floats({4, 4}, 2)->type());
  Value* x = first;
  const std::vector<int64_t> turned{1, 0};
  Value* const starts = m.builder.constant(Tensor::vector<int64_t>({2, 0}));
  Value* const ends = m.builder.constant(Tensor::vector<int64_t>({6, 4}));
  for (int step = 0; step < 100; ++step) {
    Value* const a = m.op("reverse", {x}, {{"axes", std::vector<int64_t>{0}}});
    Value* const b = m.op("transpose", {x}, {{"perm", turned}});
    Value* const both = m.op("concat", {a, b}, {{"axis", int64_t{0}}});
    x = m.op("slice", {both, starts, ends});
  }
  EXPECT_FALSE(becomes_integers(first));
  m.op("matmul", {x, m.floats({4, 3}, 1)});
  EXPECT_TRUE(becomes_integers(first));
}

}  // namespace
}  // namespace tenon
