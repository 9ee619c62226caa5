// Random convolutions, matrix products and recurrent layers through the lowerings of both families
// of chips: tiles of all kinds of sizes compute what the reference does, without a race.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <random>

#include "ir/interpret.h"
#include "ir/text.h"
#include "passes/passes.h"
#include "rewrite/pass.h"
#include "runner.h"

namespace tenon::data_tests {
namespace {

class Maker {
 public:
  explicit Maker(uint32_t seed) : random_(seed) {}

  std::string graph() {
    if (below(4) == 0) return recurrent();
    if (below(8) == 0) return wide_conv();
    if (below(5) == 0) return quantized();
    return below(2) == 0 ? conv() : matmul();
  }

  int64_t below(int64_t n) { return static_cast<int64_t>(random_() % static_cast<uint32_t>(n)); }
  int64_t size(int64_t most) {
    return 1 + below(below(2) == 0 ? std::min<int64_t>(most, 20) : most);
  }
  std::string random_const(const std::string& shape) {
    return fmt::format("const random(seed={}) : f32[{}]", below(1000), shape);
  }
  std::string activation() {
    static constexpr std::string_view kNames[] = {"none", "relu", "sigmoid", "silu", "gelu_tanh"};
    return fmt::format("activation=\"{}\"", kNames[below(5)]);
  }

  // One that Winograd's algorithm may compute with tiles of m by m results.
  std::string aligned_conv(int64_t m) {
    const int64_t n = 1 + below(3), c = size(150), columns = size(150), oh = m * size(9),
                  ow = m * size(15), pt = below(3), pl = below(3), pb = below(2), pr = below(2);
    return conv_of({n, oh + 2 - pt - pb, ow + 2 - pl - pr, c}, {3, 3, columns}, {oh, ow},
                   fmt::format("pads=[{}, {}, {}, {}]", pt, pl, pb, pr));
  }

  // One of few channels.
  std::string narrow_conv() {
    const int64_t n = 1 + below(2), c = 1 + below(7), columns = size(60), kh = 1 + below(7),
                  kw = 2 + below(6), sh = 1 + below(3), sw = 1 + below(3), pt = below(kh),
                  pl = below(kw), pb = below(kh), pr = below(kw), oh = size(20), ow = size(30);
    const int64_t h = (oh - 1) * sh + kh - pt - pb, w = (ow - 1) * sw + kw - pl - pr;
    if (h < 1 || w < 1) return narrow_conv();
    return conv_of({n, h, w, c}, {kh, kw, columns}, {oh, ow},
                   fmt::format("pads=[{}, {}, {}, {}], strides=[{}, {}]", pt, pl, pb, pr, sh, sw));
  }

 private:
  // With a kernel of this height, width and columns, and a result of this size.
  std::string conv_of(const std::vector<int64_t>& x, std::array<int64_t, 3> kernel,
                      std::array<int64_t, 2> out, const std::string& attributes) {
    const int64_t columns = kernel[2];
    const bool bias = below(2) == 0, residual = below(4) == 0;
    std::string text = fmt::format("graph @main (%x: f32[{}]", fmt::join(x, ","));
    if (residual) text += fmt::format(", %r: f32[{},{},{},{}]", x[0], out[0], out[1], columns);
    text +=
        fmt::format(") {{\n%w = {}\n",
                    random_const(fmt::format("{},{},{},{}", kernel[0], kernel[1], x[3], columns)));
    if (bias) text += fmt::format("%b = {}\n", random_const(fmt::format("{}", columns)));
    return text + fmt::format("%y = conv(%x, %w{}{}) {{{}, {}}}\nreturn (%y)\n}}\n",
                              bias       ? ", %b"
                              : residual ? ", _"
                                         : "",
                              residual ? ", %r" : "", attributes, activation());
  }

  std::string conv() {
    const int64_t n = 1 + below(2), kh = 1 + below(4), kw = 1 + below(4), sh = 1 + below(2),
                  sw = 1 + below(3), dh = 1 + below(2), dw = 1 + below(2), pt = below(kh),
                  pl = below(kw), pb = below(kh), pr = below(kw);
    const int64_t h = (kh - 1) * dh + size(30), w = (kw - 1) * dw + size(40);
    const int64_t groups = below(4) == 0 ? 1 + below(3) : 1;
    const int64_t c = size(70), m = size(100);
    const int64_t oh = (h + pt + pb - (kh - 1) * dh - 1) / sh + 1,
                  ow = (w + pl + pr - (kw - 1) * dw - 1) / sw + 1;
    const bool bias = below(2) == 0, residual = below(4) == 0;
    std::string text = fmt::format("graph @main (%x: f32[{},{},{},{}]", n, h, w, c * groups);
    if (residual) text += fmt::format(", %r: f32[{},{},{},{}]", n, oh, ow, m * groups);
    text += fmt::format(") {{\n%w = {}\n",
                        random_const(fmt::format("{},{},{},{}", kh, kw, c, m * groups)));
    if (bias) text += fmt::format("%b = {}\n", random_const(fmt::format("{}", m * groups)));
    return text + fmt::format(
                      "%y = conv(%x, %w{}{}) {{strides=[{}, {}], dilations=[{}, {}], pads=[{}, {}, "
                      "{}, {}], groups={}, {}}}\nreturn (%y)\n}}\n",
                      bias       ? ", %b"
                      : residual ? ", _"
                                 : "",
                      residual ? ", %r" : "", sh, sw, dh, dw, pt, pl, pb, pr, groups, activation());
  }

  // Rows or kernels that have no room on a core at once.
  std::string wide_conv() {
    const bool large_kernel = below(2) == 0;
    const int64_t h = large_kernel ? 41 + below(10) : 1 + below(3), kh = large_kernel ? 41 : 1,
                  w = large_kernel ? 60 : 20000 + below(500), kw = large_kernel ? 11 : 1 + below(9);
    const int64_t c = large_kernel ? 40 : 5, m = 1 + below(20), groups = 1 + below(2),
                  pad_h = below(2) * (kh / 2), pad_w = below(2) * (kw / 2), stride = 1 + below(3);
    return fmt::format(
        "graph @main (%x: f32[1,{},{},{}]) {{\n%w = {}\n%b = {}\n%y = conv(%x, %w, %b) "
        "{{strides=[1, {}], pads=[{}, {}, {}, {}], groups={}, {}}}\nreturn (%y)\n}}\n",
        h, w, c * groups, random_const(fmt::format("{},{},{},{}", kh, kw, c, m * groups)),
        random_const(fmt::format("{}", m * groups)), stride, pad_h, pad_w, pad_h, pad_w, groups,
        activation());
  }

  // Products of bytes, with zero points and borders of them.
  std::string quantized() {
    static constexpr std::string_view kActivations[] = {"none", "relu"};
    const int64_t k = 1 + below(3), c = size(70), m = size(60), h = k + size(20), w = k + size(30),
                  groups = below(3) == 0 ? 1 + below(8) : 1, pad = below(k);
    const bool is_signed = below(2) == 0, in_bytes = below(4) != 0;
    const std::string_view byte = is_signed ? "i8" : "u8";
    std::string text = fmt::format("graph @main (%x: {}[2,{},{},{}]) {{\n", byte, h, w, c * groups);
    text += fmt::format("%w = const random(seed={}) : i8[{},{},{},{}]\n", below(1000), k, k, c,
                        m * groups);
    text += fmt::format("%xz = const splat({}) : {}[]\n", below(2) * below(100), byte);
    text += fmt::format("%s = {}\n%b = {}\n", random_const(fmt::format("{}", m * groups)),
                        random_const(fmt::format("{}", m * groups)));
    text += fmt::format("%ys = const splat({}) : f32[]\n%yz = const splat({}) : {}[]\n",
                        50 + 3 * c * k, below(100), byte);
    return text + fmt::format(
                      "%y = quantized_conv(%x, %w, %xz, _, %s, %b{}) {{strides=[{}, 1], pads=[{}, "
                      "{}, {}, 0], groups={}, activation=\"{}\"}}\nreturn (%y)\n}}\n",
                      in_bytes ? ", %ys, %yz" : "", 1 + below(2), pad, pad, pad, groups,
                      kActivations[below(2)]);
  }

  std::string matmul() {
    const int64_t batch = 1 + below(3), m = size(200), k = size(300), n = size(300);
    const bool constant = below(2) == 0, transposed = below(2) == 0, bias = below(2) == 0,
               transposed_a = below(4) == 0;
    const std::string b = transposed ? fmt::format("{},{}", n, k) : fmt::format("{},{}", k, n);
    std::string text = fmt::format("graph @main (%x: f32[{},{},{}]", batch, transposed_a ? k : m,
                                   transposed_a ? m : k);
    if (!constant) text += fmt::format(", %w: f32[{},{}]", batch, b);
    text += ") {\n";
    if (constant) text += fmt::format("%w = {}\n", random_const(b));
    if (bias) text += fmt::format("%b = {}\n", random_const(fmt::format("{}", n)));
    return text + fmt::format(
                      "%y = matmul(%x, %w{}) {{transpose_a={}, transpose_b={}, {}}}\nreturn "
                      "(%y)\n}}\n",
                      bias ? ", %b" : "", transposed_a, transposed, activation());
  }

  std::string recurrent() {
    static constexpr std::string_view kDirections[] = {"forward", "reverse", "bidirectional"};
    static constexpr std::string_view kOps[] = {"lstm", "gru", "rnn"};
    const int64_t kind = below(3), way = below(3), d = way == 2 ? 2 : 1;
    const int64_t gates = kind == 0 ? 4 : kind == 1 ? 3 : 1;
    const int64_t t = 1 + below(6), b = size(40), i = size(60), h = size(200);
    const bool bias = below(2) == 0, lengths = below(3) == 0, first = below(2) == 0;
    const std::string state = fmt::format("f32[{},{},{}]", d, b, h);
    std::string text = fmt::format("graph @main (%x: f32[{},{},{}]", t, b, i);
    if (first) text += fmt::format(", %h: {}", state);
    if (first && kind == 0) text += fmt::format(", %c: {}", state);
    // Small weights, so that states do not saturate.
    const auto weights = [&](std::string_view name, const std::string& shape) {
      return fmt::format("%{0}0 = {1}\n%{0} = mul(%{0}0, %small)\n", name, random_const(shape));
    };
    text += ") {\n%small = const splat(0.2) : f32[]\n";
    text += weights("w", fmt::format("{},{},{}", d, i, gates * h));
    text += weights("r", fmt::format("{},{},{}", d, h, gates * h));
    if (bias) text += weights("b", fmt::format("{},{}", d, gates * h));
    if (bias && kind == 1) text += weights("rb", fmt::format("{},{}", d, gates * h));
    if (lengths) {
      text += "%n = const dense<[";
      for (int64_t k = 0; k < b; ++k)
        text += fmt::format("{}{}", k == 0 ? "" : ", ", k == 0 ? 0 : 1 + below(t));
      text += fmt::format("]> : i32[{}]\n", b);
    }
    text += fmt::format("%y, %last{} = {}(%x, %w, %r, {}, {}{}, {}{}) {{direction=\"{}\"{}{}}}\n",
                        kind == 0 ? ", %cell" : "", kOps[kind], bias ? "%b" : "_",
                        kind == 1 ? (bias ? "%rb, " : "_, ") : "", lengths ? "%n" : "_",
                        first ? "%h" : "_", kind == 0 ? (first ? ", %c" : ", _") : "",
                        kDirections[way], below(2) == 0 ? ", hold=true" : "",
                        kind == 1 && below(2) == 0 ? ", linear_before_reset=true" : "");
    return text + fmt::format("return (%y, %last{})\n}}\n", kind == 0 ? ", %cell" : "");
  }

  std::mt19937 random_;
};

struct Target {
  std::string name;
  DType real;
  double tolerance;
};

Status check_product(const std::string& text, const Target& target, const std::string& algorithm) {
  const auto graph = TRY(parse_graph(text, "the product"));
  PassContext context;
  TRY(fold_constants(*graph, context));
  const auto inputs = TRY(random_inputs(*graph, 1));
  const auto expected = TRY(interpret(*graph, inputs));
  const auto actual = TRY(run_on_chip(*graph, inputs, target.name,
                                      {.real = target.real, .algorithm = algorithm}, true));
  return expect_close(actual, expected, target.tolerance, target.name);
}

}  // namespace

void run_chip_products(Runner& runner) {
  const std::vector<Target> targets{
      {"ascend310p3", DType::f16, 1e-2},  {"ascend910b3", DType::f32, 1e-5},
      {"mlu370-s4", DType::f32, 1e-5},    {"mlu370-x4", DType::f16, 1e-2},
      {"ascend310b1", DType::bf16, 5e-2}, {"mlu590", DType::bf16, 5e-2}};
  const auto check = [&](const std::string& name, const std::string& text, const Target& target,
                         const std::string& algorithm) {
    runner.run(name, [&]() -> Status {
      Status status = check_product(text, target, algorithm);
      if (status.ok()) return status;
      return std::move(status).error().note("of the graph\n" + text);
    });
  };
  for (uint32_t seed = 0; seed < runner.options().random_graphs / 5; ++seed)
    for (const Target& t : targets)
      check(fmt::format("product/{} [{}]", seed, t.name), Maker(seed).graph(), t, "");
  for (uint32_t seed = 0; seed < runner.options().random_graphs / 10; ++seed)
    for (const Target& t : targets)
      if (t.name.starts_with("ascend"))
        check(fmt::format("product/packed_rows/{} [{}]", seed, t.name), Maker(seed).narrow_conv(),
              t, "packed_rows");
  for (uint32_t seed = 0; seed < runner.options().random_graphs / 10; ++seed)
    for (const int64_t m : {2, 4})
      for (const Target& t : targets) {
        // Transformed inputs of F(4x4) do not fit into f16, and lose too much in bf16.
        if ((m == 4 && t.real == DType::f16) || t.real == DType::bf16) continue;
        const std::string algorithm = fmt::format("winograd_f{}", m);
        check(fmt::format("product/{}/{} [{}]", algorithm, seed, t.name),
              Maker(seed).aligned_conv(m), t, algorithm);
      }
}

}  // namespace tenon::data_tests
