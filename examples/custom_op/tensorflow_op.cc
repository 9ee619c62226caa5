// SoftShrinkPair as an op of TensorFlow, to make the fixture with: w * softshrink(x), and where x is kept.
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"

using namespace tensorflow;

REGISTER_OP("SoftShrinkPair")
    .Input("x: float")
    .Input("w: float")
    .Attr("lambd: float = 0.5")
    .Output("shrunk: float")
    .Output("kept: float")
    .SetShapeFn([](shape_inference::InferenceContext* c) {
      c->set_output(0, c->input(0));
      c->set_output(1, c->input(0));
      return absl::OkStatus();
    });

class SoftShrinkPair : public OpKernel {
 public:
  explicit SoftShrinkPair(OpKernelConstruction* c) : OpKernel(c) {
    OP_REQUIRES_OK(c, c->GetAttr("lambd", &lambd_));
  }
  void Compute(OpKernelContext* c) override {
    const Tensor& x = c->input(0);
    Tensor *shrunk, *kept;
    OP_REQUIRES_OK(c, c->allocate_output(0, x.shape(), &shrunk));
    OP_REQUIRES_OK(c, c->allocate_output(1, x.shape(), &kept));
    const float w = c->input(1).flat<float>()(0);
    for (int i = 0; i < x.NumElements(); ++i) {
      const float v = x.flat<float>()(i);
      const bool keep = v > lambd_ || v < -lambd_;
      shrunk->flat<float>()(i) = keep ? w * (v > 0 ? v - lambd_ : v + lambd_) : 0;
      kept->flat<float>()(i) = keep ? 1 : 0;
    }
  }

 private:
  float lambd_;
};
REGISTER_KERNEL_BUILDER(Name("SoftShrinkPair").Device(DEVICE_CPU), SoftShrinkPair);
