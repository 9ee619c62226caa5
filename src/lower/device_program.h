// A graph as a chip runs it: kernels in order over tensors in the global memory, and what is left
// to the host.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "isa/architecture.h"
#include "isa/program.h"
#include "machine/machine.h"
#include "tensor/tensor.h"

namespace tenon {

class Graph;
class Node;
namespace lower {
struct Recipe;
}

struct DeviceTensor {
  enum class Role : uint8_t { input, output, constant, activation };
  std::string name;
  Role role = Role::activation;
  DType dtype = DType::f16;
  int64_t elements = 0;
  std::function<Result<Tensor>()> make;         // of constants: their data as the chip has them
  std::shared_ptr<const lower::Recipe> recipe;  // how that is made of a weight, where it is known
  int64_t address = 0;                          // in the global memory, in bytes

  int64_t bytes() const { return elements * static_cast<int64_t>(dtype_size(dtype)); }
};

// A way to compute a node that was not taken.
struct Alternative {
  std::string algorithm;
  std::string tiling;  // in words
  std::string reason;  // why it is not possible; empty where it is slower
  double seconds = 0;  // as simulated, of all its kernels; 0 where it is not possible
};

// One kernel, or a node that the host computes.
struct DeviceStep {
  std::optional<isa::Program> program;
  std::vector<int> operands;  // tensors: of a kernel's buffers, or what the host reads, then writes
  size_t reads = 0;           // of the host's operands, how many are read
  const Node* node = nullptr;
  std::string reason;              // why the host
  std::string tiling;              // how a kernel is cut, in words
  std::vector<int64_t> memory;     // bytes of each memory that a core uses
  std::vector<isa::Place> places;  // of a kernel that was lowered here: what it keeps its tiles in
  // Of the first kernel of a node that there are several ways to compute: the others, how long all
  // of its kernels take, and what would make it faster (LowerOptions::advise).
  std::vector<Alternative> rejected;
  double seconds = 0;
  std::vector<std::string> advice;
};

struct DeviceProgram {
  isa::Architecture architecture;
  std::vector<DeviceTensor> tensors;
  std::vector<DeviceStep> steps;
  std::vector<int> inputs, outputs;                 // tensors, as the graph orders them
  int64_t peak_bytes = 0;                           // of the global memory, constants with it
  std::vector<std::shared_ptr<const Tensor>> kept;  // what constants are made of
};

struct LowerOptions {
  DType real = DType::f16;  // what real numbers are on the chip: f16, bf16 or f32
  // Where it is known, cores are used as the vendor's software does: whole samples of a batch go to
  // clusters of cores. 0: every core is used as is best.
  int64_t batch = 0;
  // What products are to be computed by where it is possible, whether it is fast or not: "img2col",
  // "winograd_f2", …; empty: as is fastest.
  std::string algorithm;
  bool advise = false;  // also find out what other sizes would gain
};

// The type for a precision as users write it: fp16, force_float16, bf16, fp32, …. With
// `timing_only` also int8: programs whose reals are all of one byte, which take the time of a
// quantised model but do not compute it. Error: unsupported.
Result<DType> device_real(std::string_view precision, bool timing_only = false);

// A type of reals as users write it: fp16, bf16, fp32; int8 for bytes.
std::string_view precision_name(DType real);

// Whether the graph rounds reals to integers. A chip that computes in halves may then be further
// from the reference: a real rounded to a half can become the next integer, a whole step away.
bool rounds_to_integers(const Graph& graph);

// Lowers a graph whose types are all static, optimised as for any device. The graph must outlive
// the program. Errors: resource_exhausted where the chip's memory is too small, by layer.
Result<DeviceProgram> lower_graph(const Graph& graph, const Machine& machine,
                                  const LowerOptions& options);

}  // namespace tenon
