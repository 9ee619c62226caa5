// What the lowerings of ops share: the tensors of a device program, and the kernels it grows by.
#pragma once

#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "ir/graph.h"
#include "lower/device_program.h"
#include "lower/program_builder.h"
#include "lower/recipe.h"
#include "lower/whole_range.h"

namespace tenon::lower {

// Which of several ways is the fastest for a problem, and the others (choose.h).
struct Choice {
  size_t candidate = 0;
  std::vector<Alternative> rejected;
  double seconds = 0;
  std::vector<std::string> advice;
};

class KernelBuilder;

class Lowering {
 public:
  // What a lowering added, taken out again: its kernels, the tensors it made, and for which values.
  struct Draft {
    size_t first_tensor = 0;
    std::vector<DeviceStep> steps;
    std::vector<DeviceTensor> tensors;
    std::vector<std::pair<const Value*, int>> values;
  };

  Lowering(const Machine& machine, const LowerOptions& options);

  const Machine& machine() const { return machine_; }
  const LowerOptions& options() const { return options_; }
  const isa::Architecture& architecture() const { return program_.architecture; }
  // What real numbers are on the chip: f16, bf16 or f32.
  DType real() const { return real_; }
  // What a type of the graph is on the chip: reals are real(), wide integers i32.
  DType device_dtype(DType dtype) const { return device_dtype(dtype, real_); }
  static DType device_dtype(DType dtype, DType real);

  // The tensor a value is in. Constants become tensors when they are asked for.
  int tensor_of(const Value* value);
  const DeviceTensor& tensor(int index) const {
    return program_.tensors[static_cast<size_t>(index)];
  }
  // What whole numbers of the graph can be.
  WholeRanges& ranges() { return ranges_; }
  // A value that is another's memory under another shape.
  void alias(const Value* value, const Value* of);
  // A constant of its own, such as packed weights: `make` is called when the data is needed.
  int constant(std::string name, DType dtype, int64_t elements,
               std::function<Result<Tensor>()> make);
  // One that is made of a weight: a file of the program holds the weight alone.
  int constant(std::string name, DType dtype, int64_t elements, Recipe recipe);
  // Uses as many cores for the node as the vendor's software would (LowerOptions::batch).
  void use_cores_for(const Node& node);
  // Keeps a tensor as long as the program; its constants may be made of it later.
  const Tensor* keep(std::shared_ptr<const Tensor> tensor);
  int scratch(std::string name, DType dtype, int64_t elements);

  Status add(const Node& node, KernelBuilder& builder, std::string tiling = {});
  // The same of a program that is there: `memory` is how many bytes of each memory of a core it
  // uses, `operands` are the tensors of its buffers.
  void add(const Node& node, isa::Program program, std::vector<int64_t> memory,
           std::vector<int> operands, std::string tiling = {});
  // The node is computed by the host, because …
  void add_host(const Node& node, std::string reason);

  // What `lower` would add. Accepted before anything else is added, it is as if it had been added.
  Result<Draft> draft(const std::function<Status()>& lower);
  void accept(Draft draft);
  size_t steps() const { return program_.steps.size(); }
  DeviceStep& step(size_t index) { return program_.steps[index]; }

  // What was chosen for a problem; null where none was.
  Choice* choice(const std::string& problem);
  Choice* remember(const std::string& problem, Choice choice);

  // The program, whose architecture is the whole chip's.
  DeviceProgram take();

 private:
  const Machine& machine_;
  LowerOptions options_;
  DType real_;
  DeviceProgram program_;
  WholeRanges ranges_;
  std::unordered_map<const Value*, int> tensors_;
  std::unordered_map<std::string, Choice> choices_;
};

// A program whose buffers are tensors of the lowering.
class KernelBuilder : public ProgramBuilder {
 public:
  KernelBuilder(const Lowering& lowering, std::string name, std::string algorithm)
      : ProgramBuilder(lowering.architecture(), std::move(name), std::move(algorithm)),
        lowering_(lowering) {}

  // The next buffer: a tensor as it is, or as the kernel sees it.
  int bind(std::string name, isa::Buffer::Role role, int tensor);
  int bind(std::string name, isa::Buffer::Role role, int tensor, DType dtype, int64_t elements);
  const std::vector<int>& operands() const { return operands_; }

 private:
  const Lowering& lowering_;
  std::vector<int> operands_;
};

// The chip as it is used for a batch (LowerOptions::batch).
isa::Architecture architecture_for(const Machine& machine, int64_t batch);
// The name of a node's layer in the user's model.
std::string layer_of(const Node& node);
// Sizes of a value whose shape is static.
std::vector<int64_t> dims_of(const Value* value);
int64_t count_of(std::span<const int64_t> dims);

// Gives every tensor its address. Errors: resource_exhausted, listing the largest tensors.
Status place_tensors(DeviceProgram& program);

// How the ops are lowered, each kind in a file of its own. Errors: unsupported, saying why, and the
// host computes the node.
Status lower_product(Lowering& lowering, const Node& node);    // conv, matmul
Status lower_pointwise(Lowering& lowering, const Node& node);  // fused regions and single nodes
Status lower_rows(Lowering& lowering, const Node& node);       // softmax, norms
Status lower_reduce(Lowering& lowering, const Node& node);
Status lower_cumulative(Lowering& lowering, const Node& node);
Status lower_window(Lowering& lowering, const Node& node);     // pools, depthwise conv
Status lower_recurrent(Lowering& lowering, const Node& node);  // lstm, gru, rnn
Status lower_attention(Lowering& lowering, const Node& node);
Status lower_resize(Lowering& lowering, const Node& node);
Status lower_scale_and_translate(Lowering& lowering, const Node& node);
Status lower_conv_transpose(Lowering& lowering, const Node& node);
Status lower_movement(Lowering& lowering, const Node& node);  // transpose, concat, slice, …
Status lower_gather(Lowering& lowering, const Node& node);
Status lower_gather_nd(Lowering& lowering, const Node& node);
Status lower_byte_lookup(Lowering& lowering, const Node& node);
Status lower_quantized(Lowering& lowering, const Node& node);  // products of bytes
Status lower_gather_elements(Lowering& lowering, const Node& node);
Status lower_scatter(Lowering& lowering, const Node& node);
Status lower_pool_index(Lowering& lowering, const Node& node);
Status lower_reverse(Lowering& lowering, const Node& node);
Status lower_grid_sample(Lowering& lowering, const Node& node);
Status lower_roi_align(Lowering& lowering, const Node& node);
Status lower_lrn(Lowering& lowering, const Node& node);
Status lower_image_norm(Lowering& lowering, const Node& node);  // instance and group norms
Status lower_selection(Lowering& lowering, const Node& node);   // arg_max, arg_min, one_hot
Status lower_top_k(Lowering& lowering, const Node& node);
Status lower_custom(Lowering& lowering, const Node& node);  // kernels of the user's own

}  // namespace tenon::lower
