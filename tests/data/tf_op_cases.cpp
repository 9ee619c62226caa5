// tests/tf_ops/OP.cases: single TensorFlow ops, with the results TensorFlow computed
// (tests/fixtures/make_tf_op_cases.py records them).
//
//   op Sum keep_dims {b: true}              one case: the op and its attributes as in a GraphDef
//   x dense<[[1, 2]]> : f32[1,2]            an operand given when the graph runs (a Placeholder)
//   c dense<[0]> : i32[1]                   an operand that is a Const of the graph
//   y dense<[[1, 2]]> : f32[1,2]            a result; "y -" for one that is not compared
//   tolerance 1e-3                          instead of the type's own
//
// Each case runs four ways, all of which must give the same:
//   reference   imported, run by the reference interpreter
//   cpu         compiled with all passes, loaded from a file's bytes, run by the CPU device
//   open        the same with no dimension of the operands known before it runs
//   fed         the same with every operand given when it runs, none a Const
//
// tests/tf_ops/known.list: "WAY GLOB  reason" of what is known not to pass. A line whose cases all
// pass is a failure, like a case that is on no line and does not.
#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>

#include "base/bytes.h"
#include "compiler/compile.h"
#include "ir/interpret.h"
#include "ir/text.h"
#include "runner.h"
#include "runtime/model.h"

namespace tenon::data_tests {
namespace {

enum class Way : uint8_t { reference, cpu, open, fed };
constexpr std::string_view kWays[] = {"reference", "cpu", "open", "fed"};

struct TfCase {
  std::string name, place;  // "Sum/3", "Sum.cases:17"
  std::string op, attrs;
  std::string inputs;               // letters x and c
  std::string literals;             // IR text of the operands, then of the compared results
  std::vector<bool> compared;       // per result
  std::optional<double> tolerance;  // of the type where none is given
};

// The attributes of "NAME {VALUE} NAME {VALUE} …" as a GraphDef's text has them.
std::string attributes_text(std::string_view line) {
  std::string out;
  while (!line.empty()) {
    const size_t open = line.find('{');
    if (open == std::string_view::npos) break;
    const std::string_view name = line.substr(0, line.find(' '));
    int depth = 0;
    size_t end = open;
    bool quoted = false;
    for (; end < line.size(); ++end) {
      const char ch = line[end];
      if (ch == '\\') {
        ++end;
      } else if (ch == '"') {
        quoted = !quoted;
      } else if (!quoted) {
        depth += ch == '{' ? 1 : ch == '}' ? -1 : 0;
        if (depth == 0) break;
      }
    }
    out +=
        fmt::format("  attr {{ key: \"{}\" value {} }}\n", name, line.substr(open, end + 1 - open));
    line.remove_prefix(std::min(end + 2, line.size()));
  }
  return out;
}

Result<std::vector<TfCase>> read_tf_cases(const std::string& path) {
  const std::string text = TRY(read_text_file(path));
  const std::string file = std::filesystem::path(path).filename().string();
  std::vector<TfCase> cases;
  std::map<std::string, int> numbers;
  int number = 0, operands = 0;
  for (const std::string& line : split_lines(text)) {
    ++number;
    if (line.empty() || line.starts_with("//")) continue;
    const size_t space = std::min(line.find(' '), line.size());
    const std::string word = line.substr(0, space);
    const std::string rest = space < line.size() ? line.substr(space + 1) : "";
    if (word == "op") {
      const std::string op = rest.substr(0, rest.find(' '));
      TfCase& c = cases.emplace_back();
      c.name = fmt::format("{}/{}", op, ++numbers[op]);
      c.place = fmt::format("tests/tf_ops/{}:{}", file, number);
      c.op = op;
      c.attrs =
          attributes_text(std::string_view(rest).substr(std::min(op.size() + 1, rest.size())));
      operands = 0;
      continue;
    }
    if (cases.empty()) return invalid_argument("a line before the first case").at(path);
    TfCase& c = cases.back();
    if (word == "x" || word == "c") {
      c.inputs += word;
      c.literals += fmt::format("%x{} = const {}\n", operands++, rest);
    } else if (word == "y") {
      c.compared.push_back(rest != "-");
      if (rest != "-") c.literals += fmt::format("%y{} = const {}\n", c.compared.size() - 1, rest);
    } else if (word == "tolerance") {
      c.tolerance = std::strtod(rest.c_str(), nullptr);
    } else {
      return invalid_argument(fmt::format("line {}: '{}'", number, word)).at(path);
    }
  }
  return cases;
}

// Operands, then the results that are compared.
Result<std::vector<Tensor>> literals_of(const TfCase& c) {
  std::string text = "graph @case () {\n" + c.literals + "return (";
  std::string_view separator;
  const auto add = [&](char kind, size_t i) {
    text += fmt::format("{}%{}{}", separator, kind, i);
    separator = ", ";
  };
  for (size_t i = 0; i < c.inputs.size(); ++i) add('x', i);
  for (size_t i = 0; i < c.compared.size(); ++i)
    if (c.compared[i]) add('y', i);
  const auto graph = TRY(parse_graph(text + ")\n}\n", c.place));
  std::vector<Tensor> tensors;
  for (const Value* v : graph->outputs()) tensors.push_back(*v->constant());
  return tensors;
}

std::string_view tf_type(DType dtype) {
  struct Row {
    DType dtype;
    std::string_view name;
  };
  static constexpr Row kRows[] = {
      {DType::f32, "DT_FLOAT"},      {DType::f64, "DT_DOUBLE"},    {DType::f16, "DT_HALF"},
      {DType::bf16, "DT_BFLOAT16"},  {DType::i8, "DT_INT8"},       {DType::i16, "DT_INT16"},
      {DType::i32, "DT_INT32"},      {DType::i64, "DT_INT64"},     {DType::u8, "DT_UINT8"},
      {DType::u16, "DT_UINT16"},     {DType::u32, "DT_UINT32"},    {DType::u64, "DT_UINT64"},
      {DType::boolean, "DT_BOOL"},   {DType::string, "DT_STRING"}, {DType::c64, "DT_COMPLEX64"},
      {DType::c128, "DT_COMPLEX128"}};
  for (const Row& row : kRows)
    if (row.dtype == dtype) return row.name;
  return "DT_INVALID";
}

std::string escaped(std::string_view bytes) {
  std::string out;
  for (const char ch : bytes) out += fmt::format("\\{:03o}", static_cast<uint8_t>(ch));
  return out;
}

std::string tensor_text(const Tensor& t) {
  std::string out = fmt::format("dtype: {} tensor_shape {{", tf_type(t.dtype()));
  for (const int64_t d : t.dims()) out += fmt::format(" dim {{ size: {} }}", d);
  out += " }";
  if (t.dtype() != DType::string)
    return out + fmt::format(" tensor_content: \"{}\"", escaped(as_text(t.bytes())));
  for (int64_t i = 0; i < t.elements(); ++i)
    out += fmt::format(" string_val: \"{}\"", escaped(t.data<std::string>()[i]));
  return out;
}

std::string graph_text(const TfCase& c, std::span<const Tensor> inputs, Way way) {
  std::string text, names;
  for (size_t i = 0; i < inputs.size(); ++i) {
    names += fmt::format("  input: \"x{}\"\n", i);
    const auto type = fmt::format("  attr {{ key: \"dtype\" value {{ type: {} }} }}\n",
                                  tf_type(inputs[i].dtype()));
    if (c.inputs[i] == 'c' && way != Way::fed) {
      text += fmt::format(
          "node {{ name: \"x{}\" op: \"Const\"\n{}  attr {{ key: \"value\" value {{ tensor {{ {} "
          "}} "
          "}} }}\n}}\n",
          i, type, tensor_text(inputs[i]));
      continue;
    }
    std::string dims;
    for (const int64_t d : inputs[i].dims())
      dims += fmt::format(" dim {{ size: {} }}", way == Way::open ? -1 : d);
    text += fmt::format(
        "node {{ name: \"x{}\" op: \"Placeholder\"\n{}  attr {{ key: \"shape\" value {{ shape {{{} "
        "}} }} }}\n}}\n",
        i, type, dims);
  }
  return text +
         fmt::format("node {{ name: \"op\" op: \"{}\"\n{}{}}}\nversions {{ producer: 2000 }}\n",
                     c.op, names, c.attrs);
}

// Relative error of an element; the type's own rounding and a few ulps.
double own_tolerance(DType dtype) {
  switch (dtype) {
    case DType::f64:
    case DType::c128:
      return 1e-10;
    case DType::f16:
      return 4e-3;
    case DType::bf16:
      return 2e-2;
    default:
      return 1e-5;
  }
}

using Complex = std::complex<double>;

Complex element(const Tensor& t, int64_t i) {
  if (t.dtype() == DType::c64) return Complex(t.data<std::complex<float>>()[i]);
  return t.dtype() == DType::c128 ? t.data<Complex>()[i] : Complex(t.real_at(i));
}

// Written so that NaN is near NaN only, and infinity near itself.
bool near(double a, double b, double limit) {
  return a == b || (std::isnan(a) && std::isnan(b)) ||
         (std::isfinite(b) && std::abs(a - b) <= limit);
}

Status check_elements(const Tensor& actual, const Tensor& expected, double tolerance) {
  double scale = 0;
  for (int64_t i = 0; i < expected.elements(); ++i)
    if (const double b = std::abs(element(expected, i)); std::isfinite(b))
      scale = std::max(scale, b);
  // Sums of what cancels out are as exact as what is summed; short floats even less.
  constexpr double kSmall = 1e-2;
  const bool is_short = expected.dtype() == DType::f16 || expected.dtype() == DType::bf16;
  scale = is_short || scale > kSmall ? 1 : scale;
  for (int64_t i = 0; i < expected.elements(); ++i) {
    const Complex a = element(actual, i), b = element(expected, i);
    const double size = std::isfinite(std::abs(b)) ? std::abs(b) : 1;
    const double limit = tolerance * std::max(size, scale);
    if (near(a.real(), b.real(), limit) && near(a.imag(), b.imag(), limit)) continue;
    if (!is_complex(expected.dtype()))
      return internal_error(fmt::format("element {} is {}, not {}", i, a.real(), b.real()));
    return internal_error(fmt::format("element {} is ({}, {}), not ({}, {})", i, a.real(), a.imag(),
                                      b.real(), b.imag()));
  }
  return {};
}

Status check_result(const Tensor& actual, const Tensor& expected, std::optional<double> tolerance) {
  if (actual.type().to_string() != expected.type().to_string())
    return internal_error(
        fmt::format("it is {}, not {}", actual.type().to_string(), expected.type().to_string()));
  const DType dtype = expected.dtype();
  const double limit = tolerance.value_or(own_tolerance(dtype));
  if (is_float(dtype) || is_complex(dtype) || (tolerance && is_int(dtype)))
    return check_elements(actual, expected, limit);
  for (int64_t i = 0; i < expected.elements(); ++i) {
    if (dtype == DType::string) {
      const std::string &a = actual.data<std::string>()[i], &b = expected.data<std::string>()[i];
      if (a != b) return internal_error(fmt::format("element {} is \"{}\", not \"{}\"", i, a, b));
    } else if (std::memcmp(static_cast<const char*>(actual.raw()) + i * dtype_size(dtype),
                           static_cast<const char*>(expected.raw()) + i * dtype_size(dtype),
                           dtype_size(dtype)) != 0) {
      return internal_error(
          fmt::format("element {} is {}, not {}", i, actual.int_at(i), expected.int_at(i)));
    }
  }
  return {};
}

Result<std::vector<Tensor>> run_way(const std::string& graph, const ImportOptions& options,
                                    std::span<const Tensor> inputs, Way way) {
  const Blob blob{as_bytes(graph), std::make_shared<int>()};
  if (way == Way::reference) {
    const ImportedModel imported = TRY(import_model(blob, options));
    if (imported.functions.empty()) {
      for (const NodeReport& node : imported.report.nodes)
        if (node.fate == Fate::unsupported) return unsupported(node.reason);
      return unsupported("it is not imported");
    }
    return interpret(*imported.functions[0].graph, inputs);
  }
  CompileOptions compile;
  compile.import = options;
  const Compiled compiled = TRY(compile_model(blob, compile));
  const auto bytes = TRY(encode_model(compiled.model));
  auto owner = allocate_aligned(bytes.size());
  std::memcpy(owner.get(), bytes.data(), bytes.size());
  const auto loaded =
      TRY(runtime::Model::load(Blob{{owner.get(), bytes.size()}, owner}, {.threads = 1}));
  const auto function = TRY(loaded.function());
  return function.run(inputs, {});
}

Status run_tf_case(const TfCase& c, Way way) {
  const auto literals = TRY(literals_of(c));
  const std::span<const Tensor> inputs(literals.data(), c.inputs.size());
  std::vector<Tensor> given;
  ImportOptions options;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (c.inputs[i] == 'c' && way != Way::fed) continue;
    given.push_back(inputs[i]);
    options.inputs.push_back(fmt::format("x{}", i));
  }
  for (size_t i = 0; i < c.compared.size(); ++i)
    if (c.compared[i]) options.outputs.push_back(fmt::format("op:{}", i));
  const std::string graph = graph_text(c, inputs, way);
  const auto actual = TRY(run_way(graph, options, given, way));
  for (size_t i = 0; i < actual.size(); ++i)
    if (Status s = check_result(actual[i], literals[inputs.size() + i], c.tolerance); !s.ok())
      return std::move(s).error().at(options.outputs[i]);
  return {};
}

struct Known {
  std::string way, glob, reason;
  int passed = 0, failed = 0;
};

std::vector<Known> read_known(const std::string& path) {
  std::vector<Known> list;
  const auto text = read_text_file(path);
  if (!text.ok()) return list;
  for (const std::string& line : split_lines(*text)) {
    const size_t first = line.find(' '), second = line.find("  ");
    if (line.starts_with("//") || first == std::string::npos || second == std::string::npos)
      continue;
    list.push_back({line.substr(0, first), line.substr(first + 1, second - first - 1),
                    line.substr(second + 2)});
  }
  return list;
}

void run_ways(Runner& runner, const TfCase& c, std::vector<Known>& known) {
  for (const Way way : {Way::reference, Way::cpu, Way::open, Way::fed}) {
    if (way == Way::fed && c.inputs.find('c') == std::string::npos) continue;
    if (way == Way::open && c.inputs.find('x') == std::string::npos) continue;
    const std::string_view word = kWays[static_cast<size_t>(way)];
    const std::string name = fmt::format("tf_ops/{} [{}]", c.name, word);
    if (!runner.wanted(name)) continue;
    const auto listed = std::ranges::find_if(known, [&](const Known& k) {
      return (k.way == word || k.way == "all") && ::fnmatch(k.glob.c_str(), c.name.c_str(), 0) == 0;
    });
    if (listed != known.end()) {
      ++(run_tf_case(c, way).ok() ? listed->passed : listed->failed);
      continue;
    }
    runner.run(name, [&]() -> Status {
      Status s = run_tf_case(c, way);
      return s.ok() ? std::move(s) : Status(std::move(s).error().at(c.place));
    });
  }
}

}  // namespace

void run_tf_op_cases(Runner& runner) {
  std::vector<Known> known = read_known(std::string(TENON_SOURCE_DIR) + "/tests/tf_ops/known.list");
  for (const std::string& path : files_in("tf_ops", ".cases")) {
    const std::string op = std::filesystem::path(path).stem().string();
    auto cases = read_tf_cases(path);
    if (!cases.ok()) {
      runner.run("tf_ops/" + op, [&]() -> Status { return cases.error(); });
      continue;
    }
    for (const TfCase& c : *cases) run_ways(runner, c, known);
  }
  for (const Known& k : known) {
    const std::string name = fmt::format("tf_ops/{} [{}]", k.glob, k.way);
    if (k.failed > 0)
      runner.skip(name, fmt::format("{} ({} cases)", k.reason, k.failed));
    else if (k.passed > 0)
      runner.run(name,
                 [&] { return Status(internal_error("passes now: take it off known.list")); });
  }
}

}  // namespace tenon::data_tests
