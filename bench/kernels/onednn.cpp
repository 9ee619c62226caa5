#include "kernels/onednn.h"

#include <algorithm>

#include "kernels/measure.h"

#ifdef TENON_BENCH_ONEDNN

#include <dnnl.hpp>
#include <memory>
#include <unordered_map>
#include <utility>

// As <omp.h> has it: clang-tidy finds no header of gcc's.
extern "C" void omp_set_num_threads(int threads);

namespace tenon::bench {
namespace {

using dnnl::memory;
using Tag = memory::format_tag;
using Desc = memory::desc;
using Arguments = std::unordered_map<int, memory>;

const dnnl::engine& engine() {
  static const dnnl::engine one(dnnl::engine::kind::cpu, 0);
  return one;
}

Desc floats(const memory::dims& dims, Tag tag) {
  return {dims, memory::data_type::f32, tag};
}

memory filled(const Desc& desc) {
  memory made(desc, engine());
  auto* const data = static_cast<float*>(made.get_data_handle());
  for (size_t i = 0; i < desc.get_size() / sizeof(float); ++i)
    data[i] = 0.01f * static_cast<float>(static_cast<int>(i % 13) - 6);
  return made;
}

Runnable runnable(const dnnl::primitive& primitive, Arguments arguments, int threads) {
  auto shared = std::make_shared<Arguments>(std::move(arguments));
  auto stream = std::make_shared<dnnl::stream>(engine());
  return [primitive, shared, stream, threads] {
    omp_set_num_threads(threads);
    primitive.execute(*stream, *shared);
    stream->wait();
  };
}

double seconds(const Runnable& body) {
  double best = 1e9;
  for (int i = 0; i < 5; ++i) {
    const double start = now();
    body();
    best = std::min(best, now() - start);
  }
  return best;
}

// The spatial dims of ours that are used, the last ones.
memory::dims spatial(const int64_t (&dims)[3]) {
  return {dims[1], dims[2]};
}

Runnable conv_by(dnnl::algorithm algorithm, const cpu::ConvParams& p, int threads) {
  const auto sizes = [](int64_t batch, int64_t channels, const int64_t(&dims)[3]) {
    return memory::dims{batch, channels, dims[1], dims[2]};
  };
  memory::dims filter{p.out_channels, p.in_channels / p.groups, p.kernel[1], p.kernel[2]};
  if (p.groups > 1)
    filter = {p.groups, p.out_channels / p.groups, p.in_channels / p.groups, p.kernel[1],
              p.kernel[2]};
  memory::dims pad_end, dilation;
  for (const int d : {1, 2}) {
    const int64_t reach = (p.out[d] - 1) * p.stride[d] + (p.kernel[d] - 1) * p.dilation[d] + 1;
    pad_end.push_back(reach - p.in[d] - p.pad_begin[d]);
    dilation.push_back(p.dilation[d] - 1);
  }
  dnnl::post_ops post;
  if (p.activation.kind == cpu::ActivationKind::kRelu)
    post.append_eltwise(1.0f, dnnl::algorithm::eltwise_relu, 0, 0);
  dnnl::primitive_attr attributes;
  attributes.set_post_ops(post);
  const dnnl::convolution_forward::desc desc(
      dnnl::prop_kind::forward_inference, algorithm,
      floats(sizes(p.batch, p.in_channels, p.in), Tag::any), floats(filter, Tag::any),
      floats({p.out_channels}, Tag::x), floats(sizes(p.batch, p.out_channels, p.out), Tag::any),
      spatial(p.stride), dilation, spatial(p.pad_begin), pad_end);
  const dnnl::convolution_forward::primitive_desc made(desc, attributes, engine());
  return runnable(dnnl::convolution_forward(made),
                  {{DNNL_ARG_SRC, filled(made.src_desc())},
                   {DNNL_ARG_WEIGHTS, filled(made.weights_desc())},
                   {DNNL_ARG_BIAS, filled(made.bias_desc())},
                   {DNNL_ARG_DST, filled(made.dst_desc())}},
                  threads);
}

}  // namespace

Runnable onednn_conv(const cpu::ConvParams& p, int threads) {
  omp_set_num_threads(threads);
  Runnable direct = conv_by(dnnl::algorithm::convolution_direct, p, threads);
  Runnable automatic = conv_by(dnnl::algorithm::convolution_auto, p, threads);
  return seconds(automatic) < seconds(direct) ? automatic : direct;
}

Runnable onednn_gemm(int64_t m, int64_t n, int64_t k, int threads) {
  omp_set_num_threads(threads);
  const dnnl::inner_product_forward::desc desc(dnnl::prop_kind::forward_inference,
                                               floats({m, k}, Tag::any), floats({n, k}, Tag::any),
                                               floats({n}, Tag::x), floats({m, n}, Tag::any));
  const dnnl::inner_product_forward::primitive_desc made(desc, engine());
  return runnable(dnnl::inner_product_forward(made),
                  {{DNNL_ARG_SRC, filled(made.src_desc())},
                   {DNNL_ARG_WEIGHTS, filled(made.weights_desc())},
                   {DNNL_ARG_BIAS, filled(made.bias_desc())},
                   {DNNL_ARG_DST, filled(made.dst_desc())}},
                  threads);
}

Runnable onednn_softmax(int64_t rows, int64_t columns, int threads) {
  omp_set_num_threads(threads);
  const Desc shape = floats({rows, columns}, Tag::ab);
  const dnnl::softmax_forward::primitive_desc made({dnnl::prop_kind::forward_inference, shape, 1},
                                                   engine());
  return runnable(dnnl::softmax_forward(made),
                  {{DNNL_ARG_SRC, filled(shape)}, {DNNL_ARG_DST, filled(shape)}}, threads);
}

Runnable onednn_layer_norm(int64_t rows, int64_t columns, int threads) {
  omp_set_num_threads(threads);
  const Desc shape = floats({rows, columns}, Tag::ab), channels = floats({columns}, Tag::x);
  const auto flags = dnnl::normalization_flags::use_scale | dnnl::normalization_flags::use_shift;
  const dnnl::layer_normalization_forward::primitive_desc made(
      {dnnl::prop_kind::forward_inference, shape, 1e-5f, flags}, engine());
  return runnable(dnnl::layer_normalization_forward(made),
                  {{DNNL_ARG_SRC, filled(shape)},
                   {DNNL_ARG_DST, filled(shape)},
                   {DNNL_ARG_SCALE, filled(channels)},
                   {DNNL_ARG_SHIFT, filled(channels)}},
                  threads);
}

Runnable onednn_recurrent(const cpu::RecurrentParams& p, int threads) {
  omp_set_num_threads(threads);
  const bool lstm = p.cell == cpu::CellKind::kLstm;
  const int64_t gates = lstm ? 4 : 3, biases = 4;
  const Desc x = floats({p.steps, p.batch, p.inputs}, Tag::tnc);
  const Desc y = floats({p.steps, p.batch, p.hidden}, Tag::tnc);
  const Desc w = floats({1, 1, p.inputs, gates, p.hidden}, Tag::any);
  const Desc r = floats({1, 1, p.hidden, gates, p.hidden}, Tag::any);
  const Desc bias = floats({1, 1, biases, p.hidden}, Tag::ldgo);
  const auto direction = dnnl::rnn_direction::unidirectional_left2right;
  const auto run = [&](const auto& made, const dnnl::primitive& primitive) {
    return runnable(primitive,
                    {{DNNL_ARG_SRC_LAYER, filled(x)},
                     {DNNL_ARG_WEIGHTS_LAYER, filled(made.weights_layer_desc())},
                     {DNNL_ARG_WEIGHTS_ITER, filled(made.weights_iter_desc())},
                     {DNNL_ARG_BIAS, filled(bias)},
                     {DNNL_ARG_DST_LAYER, filled(y)}},
                    threads);
  };
  if (lstm) {
    const dnnl::lstm_forward::primitive_desc made({dnnl::prop_kind::forward_inference, direction, x,
                                                   Desc(), Desc(), w, r, bias, y, Desc(), Desc()},
                                                  engine());
    return run(made, dnnl::lstm_forward(made));
  }
  const dnnl::lbr_gru_forward::primitive_desc made(
      {dnnl::prop_kind::forward_inference, direction, x, Desc(), w, r, bias, y, Desc()}, engine());
  return run(made, dnnl::lbr_gru_forward(made));
}

Runnable onednn_transpose(int64_t rows, int64_t columns, int threads) {
  omp_set_num_threads(threads);
  const memory from = filled(floats({rows, columns}, Tag::ab));
  const memory to = filled(floats({rows, columns}, Tag::ba));
  return runnable(dnnl::reorder(from, to), {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}}, threads);
}

}  // namespace tenon::bench

#else

namespace tenon::bench {

Runnable onednn_conv(const cpu::ConvParams&, int) {
  return {};
}
Runnable onednn_gemm(int64_t, int64_t, int64_t, int) {
  return {};
}
Runnable onednn_softmax(int64_t, int64_t, int) {
  return {};
}
Runnable onednn_layer_norm(int64_t, int64_t, int) {
  return {};
}
Runnable onednn_recurrent(const cpu::RecurrentParams&, int) {
  return {};
}
Runnable onednn_transpose(int64_t, int64_t, int) {
  return {};
}

}  // namespace tenon::bench

#endif
