// The texts that `tenon new-op` writes.
#include "op_templates.h"

#include <fmt/format.h>

namespace tenon::tool {
namespace {

// What is between and around {{NAME}}, {{DOMAIN}}, … is the file as it will be.
constexpr std::string_view kSource =
    R"~~(// The op '{{FULL}}' for Tenon: its shape rule, its kernel and their test.
//
// The library:  g++ -std=c++17 -O2 -fPIC -shared -fvisibility=hidden -I. {{STEM}}.cpp -o lib{{STEM}}.so
// The test:     g++ -std=c++17 -g -DTENON_OP_TEST -I. {{STEM}}.cpp -o {{STEM}}_test && ./{{STEM}}_test
// Its use:      tenon compile MODEL --custom-ops lib{{STEM}}.so -o model.tenon
//               tenon run model.tenon --custom-ops lib{{STEM}}.so --input …
#include "tenon/custom_op.hpp"

namespace {

using namespace tenon::custom;

// The types of the outputs from those of the inputs. A dimension may be negative: not known yet;
// copying it keeps what is known. Throw Refusal("why") for operands that the op does not take.
// Attributes of the node: call.attr("alpha", 1.0), call.ints("axes"), …
void infer_shape(ShapeCall& call) {
  const Type x = call.input(0);
  if (x.dtype != TENON_FLOAT32) throw Refusal("it takes float32 only");
  for (size_t i = 0; i < call.outputs(); ++i) call.set_output(i, x);
}

// The outputs, whose memory is there. May be called by several threads at once.
void compute(KernelCall& call) {
  const float* x = call.input<float>(0);
  for (size_t i = 0; i < call.outputs(); ++i) {
    float* y = call.output<float>(i);
    for (int64_t k = 0; k < call.elements(0); ++k) y[k] = x[k];  // TODO: what the op computes
  }
}

}  // namespace

// Name and domain as in the model, least and most inputs (-1: any number), outputs.
TENON_CUSTOM_OPS(op<infer_shape, compute>("{{NAME}}", "{{DOMAIN}}", {{INPUTS}}, {{INPUTS}}, {{OUTPUTS}}))

#ifdef TENON_OP_TEST
#include "tenon/custom_op_test.hpp"

int main() {
  const auto x = TestTensor::of<float>({2, 2}, {-1, 0, 1, 2});
  const auto y = run("{{NAME}}", std::vector<TestTensor>({{INPUTS}}, x));
  expect_near(y[0].values<float>(), {-1, 0, 1, 2});
  std::puts("{{FULL}}: the test passes");
}
#endif
)~~";

constexpr std::string_view kDecomposition =
    R"~~(// The op '{{FULL}}' in terms of Tenon's own ops (docs/ops.md): no compiler is needed.
//   tenon compile MODEL --custom-ops {{STEM}}.tn -o model.tenon
// The first inputs are the node's operands; others are its attributes by name, such as %alpha: f32[].
// Types are inferred anew for each node; what is written here need only be consistent.
graph @{{STEM}} signature="{{FULL}}" (%x: f32[?n, ?m]) {
  %y = identity(%x)
  return (%y)
}
)~~";

constexpr std::string_view kKernel =
    R"~~(// The op '{{FULL}}' for Tenon: what it takes and gives, and its kernel in the subset of BANG C that
// Tenon compiles. It runs on the CPU and on Cambricon chips.
//   tenon compile MODEL --custom-ops {{STEM}}.mlu -o model.tenon
// The language: docs/kernel_language.md of Tenon. For the vendor's compiler: cncc -D'TENON_OP(...)=' ...

// Inputs and outputs with element type and shape, attributes of the node with their defaults. *n stands for any
// dimensions, and is their product in the kernel. Parameters of the kernel are called as they are here.
TENON_OP("{{FULL}}",
{{DECLARED}}
         attribute(scale, 1.0))

// Elements at a time: what the arrays take together is what a core has, 640 KiB on the MLU370.
#define TILE 8192

__nram__ float sum[TILE];
__nram__ float next[TILE];

__mlu_entry__ void {{STEM}}_kernel({{PARAMETERS}}, int n, float scale) {
  // Every task has a part of the elements, of whole rows of the vector unit.
  int part = ((n + taskDim - 1) / taskDim + 63) / 64 * 64;
  int end = min((taskId + 1) * part, n);
  for (int i = taskId * part; i < end; i += TILE) {
    int count = min(TILE, end - i);
    __memcpy(sum, x0 + i, count * sizeof(float), GDRAM2NRAM);
{{ADDED}}    __bang_mul_scalar(sum, sum, scale, count);  // TODO: what the op computes
{{STORED}}  }
}
)~~";

constexpr std::string_view kModel =
    R"~~(// A model of nothing but the op '{{FULL}}', for its test.
graph @main signature="main" ({{GRAPH_INPUTS}}) {
  {{RESULTS}} = custom({{OPERANDS}}) {op="{{FULL}}", library="{{FILE}}"{{ATTRIBUTES}}}
  return ({{RESULTS}})
}
)~~";

constexpr std::string_view kTest =
    R"~~("""Tests the op '{{FULL}}' of {{FILE}} against NumPy, on the CPU and on a simulated chip.

    python test_{{STEM}}.py          (or with pytest; needs NumPy, and `tenon` on the PATH or its path in TENON)
"""
import os
import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
TENON = os.environ.get("TENON", "tenon")
CHIP = "mlu370-s4"


def reference({{ARGUMENTS}}):
    return {{REFERENCE}}  # TODO: what the op computes


def tenon(*arguments):
    done = subprocess.run([TENON, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout + done.stderr


def check(shape, device, precision, tolerance, on_chip={{ON_CHIP}}):
    rng = np.random.default_rng(1)
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name in [{{NAMES}}]}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
{{BUILD}}        tenon("compile", HERE / "{{STEM}}_model.tn", "--custom-ops", library, "-o", folder / "model.tenon")
        inputs = []
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array)
            inputs += ["--input", f"{name}={folder / name}.npy"]
        command = ["run", folder / "model.tenon", *inputs, "--output-dir", folder / "out"{{GIVEN}}]
        if device != "cpu":
            command += ["--device", device, "--precision", precision]
        said = tenon(*command)
        if device != "cpu":  # what is left to the host is listed with the reason
            assert bool(re.search(r"\(custom\)", said)) != on_chip, said
        results = [np.load(path) for path in sorted((folder / "out").glob("*.npy"))]
    expected = reference(*arrays.values())
    assert len(results) == {{OUTPUTS}}
    for result in results:
        np.testing.assert_allclose(result, expected, rtol=tolerance, atol=tolerance)


def test_cpu():
    for shape in [(1, 1), (3, 100), (37, 1001)]:
        check(shape, "cpu", "fp32", 1e-5)


def test_simulated_chip():
    for shape in [(1, 1), (3, 100), (37, 1001)]:
        check(shape, CHIP, "fp32", 1e-4)


def test_simulated_chip_in_half_precision():
    check((3, 100), CHIP, "fp16", 1e-2)


if __name__ == "__main__":
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            test()
            print(f"{name}: passes")
)~~";

constexpr std::string_view kReadme =
    R"~~(# The op {{FULL}}

| file | |
|---|---|
| `{{FILE}}` | what the op takes and gives, and its kernel |
| `{{STEM}}_model.tn` | a model of the op alone |
| `test_{{STEM}}.py` | compares it with NumPy on the CPU and on a simulated Cambricon chip |

    python test_{{STEM}}.py
{{USE}}
The marks `TODO` are where the op is to be written: in the kernel, and in the test's `reference`.
)~~";

std::string fill(std::string text, std::string_view mark, std::string_view value) {
  const std::string pattern = fmt::format("{{{{{}}}}}", mark);
  for (size_t at = text.find(pattern); at != std::string::npos; at = text.find(pattern, at + 1))
    text.replace(at, pattern.size(), value);
  return text;
}

template <typename F>
std::string joined(int count, std::string_view between, const F& f) {
  std::string text;
  for (int i = 0; i < count; ++i) text += (i == 0 ? std::string() : std::string(between)) + f(i);
  return text;
}

std::string filled(std::string_view pattern, const NewOp& op) {
  std::string text = fill(fill(std::string(pattern), "FULL", op.full), "STEM", op.stem);
  text = fill(fill(text, "NAME", op.name), "DOMAIN", op.domain);
  return fill(fill(text, "INPUTS", std::to_string(op.inputs)), "OUTPUTS",
              std::to_string(op.outputs));
}

}  // namespace

std::string cpp_source(const NewOp& op) {
  return filled(kSource, op);
}

std::string decomposition(const NewOp& op) {
  return filled(kDecomposition, op);
}

std::string kernel_source(const NewOp& op) {
  std::string text(kKernel);
  text = fill(text, "DECLARED",
              joined(op.inputs, "\n",
                     [](int i) { return fmt::format("         input(x{}, float, [*n]),", i); }) +
                  "\n" + joined(op.outputs, "\n", [](int i) {
                    return fmt::format("         output(y{}, float, [*n]),", i);
                  }));
  text =
      fill(text, "PARAMETERS",
           joined(op.outputs, ", ", [](int i) { return fmt::format("float* y{}", i); }) + ", " +
               joined(op.inputs, ", ", [](int i) { return fmt::format("const float* x{}", i); }));
  text = fill(text, "ADDED", joined(op.inputs - 1, "", [](int i) {
                return fmt::format(
                    "    __memcpy(next, x{} + i, count * sizeof(float), GDRAM2NRAM);\n"
                    "    __bang_add(sum, sum, next, count);\n",
                    i + 1);
              }));
  text = fill(text, "STORED", joined(op.outputs, "", [](int i) {
                return fmt::format(
                    "    __memcpy(y{} + i, sum, count * sizeof(float), NRAM2GDRAM);\n", i);
              }));
  return filled(text, op);
}

std::vector<NewFile> test_files(const NewOp& op, bool kernel) {
  const std::string file = op.stem + (kernel ? ".mlu" : ".cpp");
  const auto x = [](int i) { return fmt::format("x{}", i); };
  const auto value = [](int i) { return fmt::format("%x{}", i); };
  std::string model = fill(std::string(kModel), "FILE", kernel ? file : "lib" + op.stem + ".so");
  model = fill(model, "GRAPH_INPUTS",
               joined(op.inputs, ", ", [](int i) { return fmt::format("%x{}: f32[?a, ?b]", i); }));
  model = fill(model, "RESULTS",
               joined(op.outputs, ", ", [](int i) { return fmt::format("%y{}", i); }));
  model = fill(model, "OPERANDS", joined(op.inputs, ", ", value));
  model = fill(model, "ATTRIBUTES", kernel ? ", attributes=[\"scale=f:0.5\"]" : "");
  std::string test = fill(std::string(kTest), "FILE", file);
  test = fill(test, "ARGUMENTS", joined(op.inputs, ", ", x));
  test = fill(test, "REFERENCE", kernel ? "0.5 * (" + joined(op.inputs, " + ", x) + ")" : "x0");
  test =
      fill(test, "NAMES", joined(op.inputs, ", ", [](int i) { return fmt::format("\"x{}\"", i); }));
  test = fill(test, "ON_CHIP", kernel ? "True" : "False");
  test = fill(test, "GIVEN", kernel ? "" : ", \"--custom-ops\", library");
  test = fill(
      test, "BUILD",
      kernel
          ? fmt::format("        library = HERE / \"{}\"\n", file)
          : fmt::format(
                "        library = folder / \"lib{0}.so\"\n"
                "        subprocess.run([\"g++\", \"-std=c++17\", \"-O2\", \"-fPIC\", \"-shared\", "
                "\"-fvisibility=hidden\", f\"-I{{HERE}}\",\n"
                "                        HERE / \"{0}.cpp\", \"-o\", library], check=True)\n",
                op.stem));
  std::string readme = fill(std::string(kReadme), "FILE", file);
  readme = fill(
      readme, "USE",
      kernel
          ? fmt::format(
                "    tenon compile MODEL --custom-ops {0} -o model.tenon\n"
                "    tenon run model.tenon --input …\n"
                "    tenon run model.tenon --device mlu370-s4 --input …\n\n"
                "The compiled file carries the kernel as text: nothing else is needed to run it.\n",
                file)
          : fmt::format("    g++ -std=c++17 -O2 -fPIC -shared -fvisibility=hidden -I. {0}.cpp -o "
                        "lib{0}.so\n"
                        "    tenon compile MODEL --custom-ops lib{0}.so -o model.tenon\n"
                        "    tenon run model.tenon --custom-ops lib{0}.so --input …\n\n"
                        "On a chip the op is left to the host.\n",
                        op.stem));
  return {{op.stem + "_model.tn", filled(model, op)},
          {"test_" + op.stem + ".py", filled(test, op)},
          {"README.md", filled(readme, op)}};
}

}  // namespace tenon::tool
