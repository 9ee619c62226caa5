// Hand-computed values of the recurrent layers and attention.
#include "ops/recurrent.h"

#include <cmath>

#include "ops/attention.h"
#include "ops/nn_test_util.h"

namespace tenon {
namespace {

TEST(Rnn, DirectionsAndLengths) {
  // h' = x + h; two sequences of lengths 3 and 1.
  const Tensor x = f32({3, 2, 1}, {1, 10, 2, 20, 4, 40});
  const Tensor w = f32({1, 1, 1}, {1}), lengths = make<int32_t>({2}, {3, 1});
  Rnn op{.activation = ActivationKind::none};
  auto y = run(op, {x, w, w, Tensor(), lengths}, 2);
  expect_values(y[0], {3, 1, 2, 1}, {1, 10, 3, 0, 7, 0});
  expect_values(y[1], {1, 2, 1}, {7, 10});
  op.direction = Direction::reverse;
  y = run(op, {x, w, w, Tensor(), lengths}, 2);
  expect_values(y[0], {3, 1, 2, 1}, {7, 10, 6, 0, 4, 0});
  op.direction = Direction::bidirectional;
  const Tensor w2 = f32({2, 1, 1}, {1, 1});
  y = run(op, {x, w2, w2, f32({2, 1}, {0, 1})}, 2);
  expect_values(y[1], {2, 2, 1}, {7, 70, 10, 73});
}

TEST(Rnn, WeightsOfBytes) {
  // Rows have ranges of their own: 255 makes steps of 1, 2.55 steps of 0.01.
  const Tensor x = f32({1, 2, 2}, {0.4f, 255, 0.404f, 2.55f});
  const Tensor w = make<int8_t>({1, 2, 1}, {2, 1}), r = make<int8_t>({1, 1, 1}, {3});
  const Tensor w_scale = f32({1, 1}, {0.5}), r_scale = f32({1, 1}, {1});
  const Tensor h0 = f32({1, 2, 1}, {10, 20});
  const Rnn op{.activation = ActivationKind::none};
  const auto y = run(op, {x, w, r, Tensor(), Tensor(), h0, w_scale, r_scale}, 2);
  expect_values(y[0], {1, 1, 2, 1}, {0 + 127.5 + 30, 0.4 + 1.275 + 60}, 1e-4);
  EXPECT_EQ(inferred(Rnn{}, {"f32[?t,?b,3]", "i8[1,3,2]", "i8[1,2,2]", "", "", "", "f32[1,2]",
                             "f32[1,2]"}),
            "f32[?t,1,?b,2]");
  EXPECT_FALSE(infer_text(Rnn{}, {"f32[5,1,3]", "i8[1,3,2]", "i8[1,2,2]"}).ok());
  EXPECT_FALSE(infer_text(Rnn{}, {"f32[5,1,3]", "f32[1,3,2]", "f32[1,2,2]", "", "", "", "f32[1,2]",
                                  "f32[1,2]"})
                   .ok());
}

TEST(Lstm, OneStepByGates) {
  // One unit, i = f = g = o = x through linear activations: c = x c0 + x x, h = x c.
  const auto linear = ActivationKind::none;
  const Lstm op{.f = linear, .g = linear, .h = linear};
  const Tensor x = f32({1, 1, 1}, {2}), w = f32({1, 1, 4}, {1, 10, 100, 1000});
  const Tensor r = f32({1, 1, 4}, {0, 0, 0, 0});
  const Tensor h0 = f32({1, 1, 1}, {0}), c0 = f32({1, 1, 1}, {3});
  auto y = run(op, {x, w, r, Tensor(), Tensor(), h0, c0}, 3);
  // i = 2, f = 20, g = 200, o = 2000: c = 20 * 3 + 2 * 200 = 460, h = 2000 * 460.
  expect_values(y[2], {1, 1, 1}, {460});
  expect_values(y[0], {1, 1, 1, 1}, {920000});
  // Peepholes i, o, f = 1, 1, 2: i = 5, f = 26, c = 78 + 1000 = 1078, o = 3078.
  y = run(op, {x, w, r, Tensor(), Tensor(), h0, c0, f32({1, 3}, {1, 1, 2})}, 3);
  expect_values(y[2], {1, 1, 1}, {1078});
  expect_values(y[1], {1, 1, 1}, {3078.0 * 1078});
  EXPECT_EQ(inferred(Lstm{}, {"f32[?t,?b,3]", "f32[1,3,8]", "f32[1,2,8]"}), "f32[?t,1,?b,2]");
  EXPECT_FALSE(infer_text(Lstm{}, {"f32[5,1,3]", "f32[1,3,9]", "f32[1,2,8]"}).ok());
}

TEST(Gru, ResetBeforeAndAfter) {
  const auto linear = ActivationKind::none;
  Gru op{.f = linear, .g = linear};
  const Tensor x = f32({1, 1, 1}, {1}), w = f32({1, 1, 3}, {0.5, 2, 1});
  const Tensor r = f32({1, 1, 3}, {0, 0, 3}), rb = f32({1, 3}, {0, 0, 1});
  const Tensor h0 = f32({1, 1, 1}, {4});
  // z = 0.5, r = 2: n = 1 + (2 * 4) * 3 + 1 = 26.
  expect_values(run(op, {x, w, r, Tensor(), rb, Tensor(), h0}, 2)[1], {1, 1, 1}, {15});
  op.linear_before_reset = true;  // n = 1 + 2 * (4 * 3 + 1) = 27
  expect_values(run(op, {x, w, r, Tensor(), rb, Tensor(), h0}, 2)[1], {1, 1, 1}, {15.5});
}

TEST(Attention, MasksAndCausality) {
  const Tensor q = f32({1, 1, 2, 1}, {0, 0}), k = f32({1, 1, 2, 1}, {1, 2});
  const Tensor v = f32({1, 1, 2, 1}, {10, 20});
  expect_values(run(Attention{}, {q, k, v})[0], {1, 1, 2, 1}, {15, 15});
  expect_values(run(Attention{.causal = true}, {q, k, v})[0], {1, 1, 2, 1}, {10, 15});
  const Tensor mask = make<float>({1, 2}, {0, std::log(3.0f)});
  expect_values(run(Attention{}, {q, k, v, mask})[0], {1, 1, 2, 1}, {17.5, 17.5});
  Tensor keep = Tensor::zeros(DType::boolean, std::array<int64_t, 2>{2, 2}).value();
  keep.mutable_data<bool>()[1] = true;
  expect_values(run(Attention{}, {q, k, v, keep})[0], {1, 1, 2, 1}, {20, 0});
}

}  // namespace
}  // namespace tenon
