#include "shape_cases.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "ir/text.h"
#include "ops/registry.h"

namespace tenon::data_tests {
namespace {

using Dims = std::vector<int64_t>;

int64_t count(const Dims& dims) {
  int64_t n = 1;
  for (const int64_t d : dims) n *= d;
  return n;
}

class Maker {
 public:
  Maker(std::string_view name, uint32_t seed) : random_(seed) {
    for (const char c : name)
      random_.seed(static_cast<uint32_t>(random_()) + static_cast<uint8_t>(c));
  }

  int64_t below(int64_t n) { return static_cast<int64_t>(random_() % static_cast<uint32_t>(n)); }
  bool chance(int64_t of) { return below(of) == 0; }
  template <size_t N>
  std::string_view one_of(const std::string_view (&names)[N]) {
    return names[below(N)];
  }

  // Of 1 to `most` elements, every other time of nearly so many. One dimension is long.
  Dims dims(int64_t rank, int64_t most = 70'000) {
    static constexpr int64_t kSizes[] = {1, 1, 2, 3, 5, 7, 8, 13, 16, 31, 37};
    const double share = static_cast<double>(below(1001)) / 1000;
    int64_t rest = chance(2) ? most - below(most / 2)
                             : static_cast<int64_t>(std::pow(static_cast<double>(most), share));
    Dims d(static_cast<size_t>(rank), 1);
    const int64_t longest = below(rank);
    for (int64_t i = 0; i < rank; ++i) {
      const int64_t size = kSizes[below(std::ssize(kSizes))];
      if (i == longest || size > rest) continue;
      d[static_cast<size_t>(i)] = size;
      rest /= size;
    }
    d[static_cast<size_t>(longest)] = std::max<int64_t>(rest, 1);
    return d;
  }
  Dims any_dims(int64_t least = 1, int64_t most = 5) {
    return dims(least + below(most - least + 1));
  }
  // What is broadcast to `to`.
  Dims broadcast(const Dims& to) {
    Dims d = to;
    for (int64_t& size : d)
      if (chance(3)) size = 1;
    if (chance(4)) d.erase(d.begin(), d.begin() + below(std::ssize(d) + 1));
    return d;
  }
  std::vector<int64_t> numbers(size_t n, int64_t low, int64_t high) {
    std::vector<int64_t> list(n);
    for (int64_t& v : list) v = low + below(high - low + 1);
    return list;
  }
  std::vector<int64_t> permutation(int64_t rank) {
    std::vector<int64_t> perm;
    for (int64_t i = 0; i < rank; ++i) perm.insert(perm.begin() + below(std::ssize(perm) + 1), i);
    return perm;
  }
  std::string flag(std::string_view name) { return fmt::format("{}={}", name, chance(2)); }

 private:
  std::mt19937 random_;
};

// A graph as text, line by line.
struct Text {
  std::string inputs, body;

  void input(std::string_view name, std::string_view dtype, const Dims& dims) {
    inputs +=
        fmt::format("{}%{}: {}[{}]", inputs.empty() ? "" : ", ", name, dtype, fmt::join(dims, ","));
  }
  void ints(std::string_view name, const std::vector<int64_t>& values) {
    line("%{} = const dense<[{}]> : i64[{}]", name, fmt::join(values, ", "), values.size());
  }
  template <typename... Args>
  void line(fmt::format_string<Args...> format, Args&&... args) {
    body += fmt::format(format, std::forward<Args>(args)...) + "\n";
  }
  std::string graph(std::string_view results = "%y") const {
    return fmt::format("graph @main ({}) {{\n{}return ({})\n}}\n", inputs, body, results);
  }
};

// What is above 0: logarithms, roots, divisors.
bool is_positive(std::string_view op, size_t operand) {
  static constexpr std::string_view kFirst[] = {"log", "sqrt", "rsqrt", "log1p", "pow"};
  static constexpr std::string_view kSecond[] = {
      "div", "pow", "floor_div", "floor_mod", "trunc_mod", "shift_left", "shift_right"};
  return operand == 0 ? std::ranges::find(kFirst, op) != std::end(kFirst) || op == "reciprocal"
                      : std::ranges::find(kSecond, op) != std::end(kSecond);
}

std::string pointwise(Maker& m, const OpDef& op, std::string_view dtype) {
  const Dims all = m.any_dims();
  Text t;
  std::string operands;
  for (int i = 0; i < op.inputs.max; ++i) {
    const bool condition = op.name == "select" && i == 0;
    const std::string name = fmt::format("x{}", i);
    t.input(name, condition ? "bool" : dtype, op.inputs.max == 1 ? all : m.broadcast(all));
    if (dtype != "bool" && is_positive(op.name, static_cast<size_t>(i))) {
      t.line("%small{} = const splat({}) : {}[]", i, dtype == "f32" ? 0.25 : 1, dtype);
      t.line("%abs{} = abs(%{})\n%p{} = add(%abs{}, %small{})", i, name, i, i, i);
      operands += fmt::format("{}%p{}", i > 0 ? ", " : "", i);
    } else {
      operands += fmt::format("{}%{}", i > 0 ? ", " : "", name);
    }
  }
  t.line("%y = {}({}){}", op.name, operands, op.name == "cast" ? " {to=i32}" : "");
  return t.graph();
}

// Exact functions one after the other, as one region when they are fused, then one that rounds.
std::string chain(Maker& m) {
  const Dims all = m.any_dims();
  Text t;
  std::vector<std::string> reals, conditions;
  for (int i = 0; i < 3; ++i) {
    reals.push_back(fmt::format("x{}", i));
    t.input(reals.back(), "f32", i == 0 ? all : m.broadcast(all));
  }
  t.line("%half = const splat(0.5) : f32[]");
  const auto any = [&] { return reals[static_cast<size_t>(m.below(std::ssize(reals)))]; };
  const int64_t steps = 3 + m.below(12);
  for (int64_t i = 0; i < steps; ++i) {
    const std::string y = fmt::format("v{}", i);
    switch (m.below(5)) {
      case 0:
        t.line("%{} = {}(%{})", y,
               m.one_of({"floor", "ceil", "round", "abs", "relu", "neg", "sign"}), any());
        break;
      case 1:
        t.line("%{} = {}(%{}, %{})", y, m.one_of({"min", "max"}), any(), any());
        break;
      case 2:
        t.line("%{0}i = cast(%{1}) {{to=i32}}\n%{0} = cast(%{0}i) {{to=f32}}", y, any());
        break;
      case 3: {
        t.line("%{0}c = {1}(%{2}, %{3})\n%{0} = select(%{0}c, %{4}, %{5})", y,
               m.one_of({"less", "equal", "greater_equal"}), any(), any(), any(), any());
        break;
      }
      default:
        t.line("%{0}h = clip(%{1}) {{min=-2.5, max=3.0}}\n%{0} = {2}(%{0}h, %half)", y, any(),
               m.one_of({"add", "sub"}));
        break;
    }
    reals.push_back(y);
  }
  // All of the sizes, whichever values are read.
  t.line("%s = max(%x0, %{})", reals.back());
  t.line("%y = {}(%s)", m.one_of({"tanh", "identity", "exp", "silu", "gelu"}));
  return m.chance(2) ? t.graph("%s, %y") : t.graph();
}

std::string reduction(Maker& m, std::string_view op) {
  const Dims dims = m.any_dims();
  std::vector<int64_t> axes;
  for (int64_t i = 0; i < std::ssize(dims); ++i)
    if (m.chance(2)) axes.push_back(i);
  Text t;
  t.input("x", op == "any" || op == "all" ? "bool" : "f32", dims);
  t.line("%y = {}(%x) {{axes=[{}], {}}}", op, fmt::join(axes, ", "), m.flag("keep_dims"));
  return t.graph();
}

std::string along_axis(Maker& m, std::string_view op) {
  const Dims dims = m.any_dims();
  const int64_t axis = m.below(std::ssize(dims));
  Text t;
  t.input("x", "f32", dims);
  std::string more;
  if (op == "cumsum") more = fmt::format(", {}, {}", m.flag("exclusive"), m.flag("reverse"));
  if (op.starts_with("arg_"))
    more = fmt::format(", {}, {}", m.flag("select_last_index"), m.flag("keep_dims"));
  if (op == "top_k") {
    const int64_t size = dims[static_cast<size_t>(axis)];
    t.line("%k = const splat({}) : i64[]", 1 + m.below(std::min<int64_t>(size, 20)));
    t.line("%y, %i = top_k(%x, %k) {{axis={}, {}}}", axis, m.flag("largest"));
    return t.graph("%y, %i");
  }
  t.line("%y = {}(%x) {{axis={}{}}}", op, axis, more);
  return t.graph();
}

std::string norm(Maker& m, std::string_view op) {
  const bool image = op == "instance_norm" || op == "group_norm";
  const Dims dims = m.dims(image ? 3 + m.below(3) : 1 + m.below(5));
  Text t;
  t.input("x", "f32", dims);
  Dims of{dims.back()};
  std::string attributes;
  if (op == "layer_norm" || op == "rms_norm") {
    const int64_t axis = m.below(std::ssize(dims));
    of.assign(dims.begin() + axis, dims.end());
    attributes = fmt::format("axis={}", axis);
  }
  if (op == "group_norm") attributes = fmt::format("groups={}", dims.back() % 2 == 0 ? 2 : 1);
  if (op == "lrn") attributes = fmt::format("size={}, alpha=0.3, beta=0.75", 1 + m.below(6));
  const int64_t parameters = op == "lrn" ? 0 : op == "rms_norm" ? 1 : op == "batch_norm" ? 4 : 2;
  std::string operands = "%x";
  for (int64_t i = 0; i < parameters; ++i) {
    t.line("%r{0} = const random(seed={0}) : f32[{1}]\n%p{0} = {2}(%r{0})", i, fmt::join(of, ","),
           i == 3 ? "abs" : "identity");
    operands += fmt::format(", %p{}", i);
  }
  t.line("%y = {}({}) {{{}}}", op, operands, attributes);
  return t.graph();
}

std::string window(Maker& m, std::string_view op) {
  const auto spatial = static_cast<size_t>(1 + m.below(3));
  Dims dims = m.dims(static_cast<int64_t>(spatial) + 2, 30'000);
  Dims kernel = m.numbers(spatial, 1, 3), pads(2 * spatial, 0);
  const Dims strides = m.numbers(spatial, 1, 3), dilations = m.numbers(spatial, 1, 2);
  for (size_t i = 0; i < spatial; ++i) {
    for (const size_t side : {i, spatial + i}) pads[side] = m.below(kernel[i]);
    int64_t& size = dims[i + 1];
    size = std::max(size, (kernel[i] - 1) * dilations[i] + 1);
  }
  Text t;
  t.input("x", "f32", dims);
  std::string attributes =
      fmt::format("strides=[{}], dilations=[{}], pads=[{}]", fmt::join(strides, ", "),
                  fmt::join(dilations, ", "), fmt::join(pads, ", "));
  if (op == "conv") {
    t.line("%w = const random(seed=3) : f32[{},1,{}]", fmt::join(kernel, ","), dims.back());
    t.line("%y = conv(%x, %w) {{{}, groups={}}}", attributes, dims.back());
    return t.graph();
  }
  attributes += fmt::format(", kernel=[{}], {}", fmt::join(kernel, ", "), m.flag("ceil_mode"));
  if (op == "avg_pool") attributes += ", " + m.flag("count_include_pad");
  t.line("%y = {}(%x) {{{}}}", op, attributes);
  return t.graph();
}

std::string resize(Maker& m) {
  const Dims dims = m.dims(4, 20'000);
  Text t;
  t.input("x", "f32", dims);
  t.ints("s", {std::min<int64_t>(1 + m.below(2 * dims[1] + 3), 300),
               std::min<int64_t>(1 + m.below(2 * dims[2] + 3), 300)});
  t.line("%y = resize(%x, %s) {{mode=\"{}\", coordinate=\"{}\", nearest_rounding=\"{}\"}}",
         m.one_of({"nearest", "linear", "cubic"}),
         m.one_of({"asymmetric", "half_pixel", "align_corners"}), m.one_of({"floor", "ceil"}));
  return t.graph();
}

std::string depth(Maker& m, bool to_space) {
  const int64_t block = 2 + m.below(3);
  Dims dims = m.dims(4, 20'000);
  (to_space ? dims[3] : dims[1]) *= to_space ? block * block : block;
  if (!to_space) dims[2] *= block;
  Text t;
  t.input("x", "f32", dims);
  if (to_space)
    t.line("%y = depth_to_space(%x) {{block={}, mode=\"{}\"}}", block, m.one_of({"dcr", "crd"}));
  else
    t.line("%y = space_to_depth(%x) {{block={}}}", block);
  return t.graph();
}

std::string_view element(Maker& m) {
  return m.one_of({"f32", "f32", "i32", "bool"});
}

std::string movement(Maker& m, std::string_view op) {
  const Dims dims = m.any_dims(1, 5);
  const auto rank = dims.size();
  const int64_t axis = m.below(std::ssize(dims)), size = dims[static_cast<size_t>(axis)];
  Text t;
  t.input("x", element(m), dims);
  if (op == "transpose") {
    t.line("%y = transpose(%x) {{perm=[{}]}}", fmt::join(m.permutation(std::ssize(dims)), ", "));
  } else if (op == "reverse") {
    t.line("%y = reverse(%x) {{axes=[{}]}}", axis);
  } else if (op == "split") {
    const int64_t first = m.below(size), second = m.below(size - first);
    t.line("%y, %z, %rest = split(%x) {{axis={}, sizes=[{}, {}, {}]}}", axis, first, second,
           size - first - second);
    return t.graph("%y, %z, %rest");
  } else if (op == "slice") {
    const int64_t from = m.below(size);
    t.ints("a", {from});
    t.ints("n", {1 + m.below(size - from)});
    t.line("%y = slice(%x, %a, %n) {{axes=[{}]}}", axis);
  } else if (op == "strided_slice") {
    Dims begin, end, steps;
    for (const int64_t d : dims) {
      begin.push_back(m.below(d));
      end.push_back(begin.back() + 1 + m.below(d - begin.back()));
      steps.push_back(1 + m.below(4));
    }
    t.ints("b", begin);
    t.ints("e", end);
    t.ints("s", steps);
    t.line("%y = strided_slice(%x, %b, %e, %s)");
  } else if (op == "tile") {
    Dims times = m.numbers(rank, 1, 1);
    for (int64_t& n : times)
      if (m.chance(2)) n = 1 + m.below(3);
    t.ints("n", times);
    t.line("%y = tile(%x, %n)");
  } else if (op == "pad") {
    Dims pads = m.numbers(2 * rank, 0, 3);
    const auto mode = m.one_of({"constant", "edge", "symmetric", "reflect"});
    for (size_t i = 0; i < pads.size(); ++i)
      pads[i] = std::min(pads[i], mode == "constant" ? 3 : dims[i % rank] - 1);
    t.ints("p", pads);
    t.line("%y = pad(%x, %p) {{mode=\"{}\"}}", mode);
  }
  return t.graph();
}

std::string concat(Maker& m) {
  Dims dims = m.any_dims(1, 5);
  const int64_t axis = m.below(std::ssize(dims)), parts = 2 + m.below(4);
  const std::string_view dtype = element(m);
  Text t;
  std::vector<std::string> names;
  for (int64_t i = 0; i < parts; ++i) {
    if (m.chance(2)) dims[static_cast<size_t>(axis)] = 1 + m.below(40);
    names.push_back(fmt::format("%x{}", i));
    t.input(names.back().substr(1), dtype, dims);
  }
  t.line("%y = concat({}) {{axis={}}}", fmt::join(names, ", "), axis);
  return t.graph();
}

std::string expand(Maker& m) {
  const Dims to = m.any_dims(1, 5);
  Text t;
  t.input("x", element(m), m.broadcast(to));
  t.ints("n", to);
  t.line("%y = expand(%x, %n)");
  return t.graph();
}

std::string gather(Maker& m, std::string_view op) {
  const Dims dims = m.any_dims(1, 4);
  const auto rank = std::ssize(dims);
  const int64_t axis = m.below(rank);
  Text t;
  t.input("x", element(m), dims);
  const auto indices = [&](const std::string& shape, int64_t n, const auto& size) {
    std::vector<int64_t> list;
    for (int64_t i = 0; i < n; ++i) list.push_back(m.below(2 * size(i)) - size(i));
    t.line(
        "%f = const dense<[{}]> : i32[{}]\n%s = const dense<[{}]> : i64[{}]\n"
        "%i = reshape(%f, %s)",
        fmt::join(list, ", "), n, shape, std::ranges::count(shape, ',') + 1);
  };
  const auto of_axis = [&](int64_t) { return dims[static_cast<size_t>(axis)]; };
  if (op == "gather") {
    const int64_t a = 1 + m.below(5), b = 1 + m.below(60);
    indices(fmt::format("{}, {}", a, b), a * b, of_axis);
    t.line("%y = gather(%x, %i) {{axis={}}}", axis);
  } else if (op == "gather_nd") {
    const int64_t n = 1 + m.below(70), depth = 1 + m.below(rank);
    indices(fmt::format("{}, {}", n, depth), n * depth,
            [&](int64_t i) { return dims[static_cast<size_t>(i % depth)]; });
    t.line("%y = gather_nd(%x, %i)");
  } else {
    Dims to = dims;
    to[static_cast<size_t>(axis)] = 1 + m.below(9);
    if (count(to) > 3000) return gather(m, op);
    indices(fmt::format("{}", fmt::join(to, ", ")), count(to), of_axis);
    t.line("%y = gather_elements(%x, %i) {{axis={}}}", axis);
  }
  return t.graph();
}

std::string one_hot(Maker& m) {
  const Dims dims = m.any_dims(1, 3);
  const int64_t classes = 1 + m.below(count(dims) > 1000 ? 9 : 300);
  Text t;
  t.input("x", "i32", dims);
  t.line("%n = const splat({}) : i64[]", classes);
  t.line("%a = const splat(2) : f32[]\n%b = const splat(-0.5) : f32[]");
  t.line("%y = one_hot(%x, %n, %a, %b) {{axis={}}}", m.below(std::ssize(dims) + 1));
  return t.graph();
}

}  // namespace

std::vector<ShapeCase> shape_cases() {
  std::vector<ShapeCase> cases;
  const auto add_one = [&](std::string name, const auto& make) {
    cases.push_back({name, [=](uint32_t seed) {
                       Maker m(name, seed);
                       return make(m);
                     }});
  };
  for (const OpDef* op : all_ops()) {
    if (!op->has(kPointwise) || op->has(kRandom) || op->inputs.max > 3) continue;
    for (const std::string_view dtype : {"f32", "i32", "bool"}) {
      Maker probe("", 0);
      if (parse_graph(pointwise(probe, *op, dtype), "the op").ok())
        add_one(fmt::format("{} of {}", op->name, dtype),
                [op, dtype](Maker& m) { return pointwise(m, *op, dtype); });
    }
  }
  const auto add = [&](std::initializer_list<std::string_view> names, const auto& make) {
    for (const std::string_view name : names)
      add_one(std::string(name), [=](Maker& m) { return make(m, name); });
  };
  add({"chain", "chain of more", "chain of others"},
      [](Maker& m, std::string_view) { return chain(m); });
  add({"sum", "mean", "reduce_max", "reduce_min", "sum_square", "log_sum_exp", "any", "all",
       "prod"},
      reduction);
  add({"softmax", "log_softmax", "cumsum", "arg_max", "arg_min", "top_k"}, along_axis);
  add({"layer_norm", "rms_norm", "instance_norm", "group_norm", "batch_norm", "lrn"}, norm);
  add({"max_pool", "avg_pool", "conv"}, window);
  add({"transpose", "reverse", "split", "slice", "strided_slice", "tile", "pad"}, movement);
  add({"gather", "gather_nd", "gather_elements"}, gather);
  add_one("concat", concat);
  add_one("expand", expand);
  add_one("one_hot", one_hot);
  add_one("resize", resize);
  add_one("depth_to_space", [](Maker& m) { return depth(m, true); });
  add_one("space_to_depth", [](Maker& m) { return depth(m, false); });
  return cases;
}

}  // namespace tenon::data_tests
