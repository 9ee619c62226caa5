// Recurrent kernels against the reference evaluation.
#include <gtest/gtest.h>

#include "device/cpu/test_support.h"

namespace tenon::cpu {
namespace {

// Layers of every kind, with every optional operand there and not. Bytes of a state that lies in
// the middle between two may be either, so that those are compared less closely.
void check_recurrent_layers(bool in_bytes) {
  struct Layer {
    std::string_view op;
    int64_t gates;
    int outputs;
    bool has_rb, has_c0;
  };
  for (const Layer& layer :
       {Layer{"lstm", 4, 3, false, true}, {"gru", 3, 2, true, false}, {"rnn", 1, 2, false, false}})
    for (const std::string_view direction : {"forward", "reverse", "bidirectional"})
      for (int round = 0; round < 12; ++round) {
        const int64_t d = direction == "bidirectional" ? 2 : 1;
        const int64_t t = round == 5 ? 300 : 1 + round % 5, b = 1 + round % 4, i = 3 + round,
                      h = round == 5   ? 40
                          : round == 8 ? 370
                                       : 1 + 5 * round;
        const auto weights = [](std::vector<int64_t> dims) {
          return random_tensor(DType::f32, std::move(dims), -0.4, 0.4);
        };
        const auto optional = [&](int bit, std::vector<int64_t> dims) {
          return (round >> bit & 1) != 0 ? weights(std::move(dims)) : Tensor();
        };
        const int64_t columns = layer.gates * h;
        std::vector<Tensor> in = {f32({t, b, i}), weights({d, i, columns}),
                                  weights({d, h, columns}), optional(0, {d, columns})};
        if (in_bytes)
          for (const size_t w : {size_t{1}, size_t{2}})
            in[w] = random_tensor(DType::i8, in[w].dims(), -127, 127);
        if (layer.has_rb) in.push_back(optional(1, {d, columns}));
        in.push_back(round % 3 == 0 ? Tensor() : random_tensor(DType::i32, {b}, 0, t + 1.0));
        in.push_back(optional(1, {d, b, h}));
        if (layer.has_c0) in.push_back(optional(2, {d, b, h}));
        if (layer.has_c0) in.push_back(optional(3, {d, 3 * h}));
        for (int scales = 0; in_bytes && scales < 2; ++scales)
          in.push_back(random_tensor(DType::f32, {d, columns}, 1e-4, 3e-3));
        Attributes attributes = {{"direction", std::string(direction)}};
        if (layer.op == "gru") attributes.push_back({"linear_before_reset", round % 2 == 0});
        const bool two_bytes = in_bytes && round % 2 == 1;
        if (two_bytes) attributes.push_back({"two_bytes", true});
        if (round % 4 == 3) attributes.push_back({"clip", 0.7});
        if (round % 5 == 4 && layer.op != "rnn")
          attributes.push_back({"f", std::string("hard_sigmoid")});
        if (round % 5 == 4 && layer.op == "rnn")
          attributes.push_back({"activation", std::string("relu")});
        check({layer.op, in, attributes, in_bytes ? "recurrent_bytes" : "recurrent", layer.outputs,
               two_bytes  ? 2e-4
               : in_bytes ? 2e-2
                          : 2e-5,
               true});
      }
}
TEST(KernelsAgainstReference, Recurrent) {
  check_recurrent_layers(false);
}
TEST(KernelsAgainstReference, RecurrentOfBytes) {
  check_recurrent_layers(true);
}

}  // namespace
}  // namespace tenon::cpu
