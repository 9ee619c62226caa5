// The op 'SoftShrinkPair' for Tenon: w * softshrink(x), and 1 where x is kept. run.sh builds the
// library, and the test below with -DTENON_OP_TEST.
#include "tenon/custom_op.hpp"

namespace {

using namespace tenon::custom;

void infer_shape(ShapeCall& call) {
  const Type x = call.input(0);
  if (x.dtype != TENON_FLOAT32) throw Refusal("it takes float32 only");
  call.set_output(0, x);
  call.set_output(1, x);
}

void compute(KernelCall& call) {
  const float* x = call.input<float>(0);
  const float w = call.input<float>(1)[0];
  const auto lambd = static_cast<float>(call.attr("lambd", 0.5));
  float* shrunk = call.output<float>(0);
  float* kept = call.output<float>(1);
  for (int64_t i = 0; i < call.elements(0); ++i) {
    const bool keep = x[i] > lambd || x[i] < -lambd;
    shrunk[i] = keep ? w * (x[i] > 0 ? x[i] - lambd : x[i] + lambd) : 0;
    kept[i] = keep ? 1 : 0;
  }
}

}  // namespace

// In TensorFlow and in the ONNX domain my.ops.
TENON_CUSTOM_OPS(op<infer_shape, compute>("SoftShrinkPair", "", 2, 2, 2),
                 op<infer_shape, compute>("SoftShrinkPair", "my.ops", 2, 2, 2))

#ifdef TENON_OP_TEST
#include "tenon/custom_op_test.hpp"

int main() {
  const auto x = TestTensor::of<float>({4}, {-2, -0.5, 0.25, 3});
  const auto w = TestTensor::of<float>({1}, {2});
  const auto results = run("SoftShrinkPair", {x, w}, TestAttributes().set("lambd", 1.0));
  expect_near(results[0].values<float>(), {-2, 0, 0, 4});
  expect_near(results[1].values<float>(), {1, 0, 0, 1});
  std::puts("SoftShrinkPair: the test passes");
}
#endif
