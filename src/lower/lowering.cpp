#include "lower/lowering.h"

#include <fmt/format.h>

#include <algorithm>

#include "lower/static_ints.h"
#include "simulate/cost.h"

namespace tenon::lower {
namespace {

void set_recipe(DeviceTensor& tensor, Recipe recipe) {
  const auto shared = std::make_shared<const Recipe>(std::move(recipe));
  tensor.recipe = shared;
  tensor.make = [shared, dtype = tensor.dtype] { return make_constant(*shared, dtype); };
}

const Value* behind_views(const Value* v) {
  while (v->producer() != nullptr && v->producer()->def().has(kView)) v = v->producer()->input(0);
  return v;
}

bool is_read_elementwise(const Value* v) {
  return std::ranges::all_of(v->uses(), [](const Use& use) {
    const Node& user = *use.user;
    if (user.def().has(kView)) return is_read_elementwise(user.output());
    return user.is("fused") || user.def().has(kPointwise);
  });
}

// A real that is a sum of products of bytes, before any scale: halves do not hold it.
bool is_sum_of_bytes(const Value* value) {
  const Value* v = behind_views(value);
  const Node* cast = v->producer();
  if (cast == nullptr || !cast->is("cast") || v->dtype() != DType::f32 ||
      cast->input(0)->dtype() != DType::i32 || !is_read_elementwise(v))
    return false;
  const Node* product = behind_views(cast->input(0))->producer();
  return product != nullptr && (product->is("quantized_matmul") || product->is("quantized_conv"));
}

}  // namespace

isa::Architecture architecture_for(const Machine& machine, int64_t batch) {
  isa::Architecture a = isa::architecture_of(machine);
  const auto* c = std::get_if<CambriconChip>(&machine.chip);
  if (c == nullptr || batch < 1) return a;
  // Rounds of samples over the clusters: 8 over 6 take two rounds, in which 4 are busy.
  const auto clusters = static_cast<int64_t>(c->clusters);
  const int64_t rounds = (batch - 1) / clusters + 1;
  const int64_t busy = (batch - 1) / rounds + 1;
  a.cores = a.vector_cores = busy * static_cast<int64_t>(c->cores_per_cluster);
  return a;
}

Lowering::Lowering(const Machine& machine, const LowerOptions& options)
    : machine_(machine), options_(options), real_(options.real) {
  program_.architecture = isa::architecture_of(machine);
}

void Lowering::use_cores_for(const Node& node) {
  isa::Architecture& a = program_.architecture;
  a = architecture_for(machine_, options_.batch);
  const auto* c = std::get_if<CambriconChip>(&machine_.chip);
  if (c == nullptr || options_.batch < 1) return;
  // A layer that would take a cluster long has its sample shared between clusters, where most of
  // them would have nothing to do.
  if (2 * a.cores > isa::architecture_of(machine_).cores) return;
  // Bytes are shared where halves are, or a layer could take longer in bytes.
  const DType real = real_ == DType::i8 ? DType::f16 : real_;
  TensorTypes in, out;
  double bytes = 0;
  const auto count = [&](const Value* v) {
    const int64_t elements =
        v->type().is_list || !v->shape().is_static() ? 0 : count_of(dims_of(v));
    bytes += static_cast<double>(elements) *
             static_cast<double>(dtype_size(device_dtype(v->dtype(), real)));
    return v->type();
  };
  for (const Value* v : node.inputs()) in.push_back(v == nullptr ? TensorType{} : count(v));
  for (int i = 0; i < node.output_count(); ++i) out.push_back(count(node.output(i)));
  const double macs = simulate::product_macs(*c, real);
  const double rate = 2 * macs * c->cores_per_cluster * c->clock;
  const double busy = static_cast<double>(a.cores) / c->cores_per_cluster;
  const double seconds =
      std::max(static_cast<double>(node.op().flops(in, out)) / rate, bytes / c->cluster_bandwidth);
  if (seconds / busy > c->split_time) a = isa::architecture_of(machine_);
}

DeviceProgram Lowering::take() {
  program_.architecture = isa::architecture_of(machine_);
  return std::move(program_);
}

DType Lowering::device_dtype(DType dtype, DType real) {
  if (is_float(dtype)) return real;
  switch (dtype) {
    case DType::i64:
      return DType::i32;
    default:
      return dtype;
  }
}

int Lowering::tensor_of(const Value* value) {
  if (const auto found = tensors_.find(value); found != tensors_.end()) return found->second;
  DeviceTensor t;
  t.name = value->name;
  t.dtype = is_sum_of_bytes(value) ? DType::f32 : device_dtype(value->dtype());
  t.elements = count_of(dims_of(value));
  if (const Tensor* data = value->constant()) {
    t.role = DeviceTensor::Role::constant;
    set_recipe(t, {.source = *data});
  } else if (value->producer() == nullptr) {
    t.role = DeviceTensor::Role::input;
  } else if (is_static_int(*value->producer())) {
    t.role = DeviceTensor::Role::constant;
    set_recipe(t, {.source = *known_ints(*value)});
  }
  program_.tensors.push_back(std::move(t));
  const int index = static_cast<int>(program_.tensors.size()) - 1;
  tensors_.emplace(value, index);
  return index;
}

void Lowering::alias(const Value* value, const Value* of) {
  tensors_.insert_or_assign(value, tensor_of(of));
}

int Lowering::constant(std::string name, DType dtype, int64_t elements,
                       std::function<Result<Tensor>()> make) {
  program_.tensors.push_back({std::move(name), DeviceTensor::Role::constant, dtype, elements,
                              std::move(make), nullptr, 0});
  return static_cast<int>(program_.tensors.size()) - 1;
}

// Layers that share a weight share what is made of it.
int Lowering::constant(std::string name, DType dtype, int64_t elements, Recipe recipe) {
  const auto same = [&](const DeviceTensor& t) {
    return t.recipe && t.dtype == dtype && t.elements == elements &&
           t.recipe->kind == recipe.kind && t.recipe->source.raw() == recipe.source.raw() &&
           numbers_of(*t.recipe) == numbers_of(recipe);
  };
  const auto known = std::ranges::find_if(program_.tensors, same);
  if (known != program_.tensors.end()) return static_cast<int>(known - program_.tensors.begin());
  DeviceTensor t{std::move(name), DeviceTensor::Role::constant, dtype, elements};
  set_recipe(t, std::move(recipe));
  program_.tensors.push_back(std::move(t));
  return static_cast<int>(program_.tensors.size()) - 1;
}

const Tensor* Lowering::keep(std::shared_ptr<const Tensor> tensor) {
  program_.kept.push_back(std::move(tensor));
  return program_.kept.back().get();
}

int Lowering::scratch(std::string name, DType dtype, int64_t elements) {
  program_.tensors.push_back({std::move(name), DeviceTensor::Role::activation, dtype, elements});
  return static_cast<int>(program_.tensors.size()) - 1;
}

Status Lowering::add(const Node& node, KernelBuilder& builder, std::string tiling) {
  std::vector<int64_t> memory = builder.used();
  add(node, TRY(builder.take()), std::move(memory), builder.operands(), std::move(tiling));
  program_.steps.back().places = builder.places();
  return {};
}

int KernelBuilder::bind(std::string name, isa::Buffer::Role role, int tensor) {
  const DeviceTensor& t = lowering_.tensor(tensor);
  return bind(std::move(name), role, tensor, t.dtype, t.elements);
}

int KernelBuilder::bind(std::string name, isa::Buffer::Role role, int tensor, DType dtype,
                        int64_t elements) {
  operands_.push_back(tensor);
  return buffer(std::move(name), role, dtype, elements);
}

void Lowering::add(const Node& node, isa::Program program, std::vector<int64_t> memory,
                   std::vector<int> operands, std::string tiling) {
  DeviceStep step;
  step.memory = std::move(memory);
  step.program = std::move(program);
  step.program->origins = node.origins;
  step.operands = std::move(operands);
  step.tiling = std::move(tiling);
  step.node = &node;
  program_.steps.push_back(std::move(step));
}

Result<Lowering::Draft> Lowering::draft(const std::function<Status()>& lower) {
  Draft draft;
  draft.first_tensor = program_.tensors.size();
  const auto first_step = static_cast<std::ptrdiff_t>(program_.steps.size());
  Status status = lower();
  const auto steps = program_.steps.begin() + first_step;
  const auto made = program_.tensors.begin() + static_cast<std::ptrdiff_t>(draft.first_tensor);
  draft.steps.assign(std::move_iterator(steps), std::move_iterator(program_.steps.end()));
  program_.steps.erase(steps, program_.steps.end());
  draft.tensors.assign(std::move_iterator(made), std::move_iterator(program_.tensors.end()));
  program_.tensors.erase(made, program_.tensors.end());
  std::erase_if(tensors_, [&](const auto& entry) {
    if (static_cast<size_t>(entry.second) < draft.first_tensor) return false;
    draft.values.push_back(entry);
    return true;
  });
  TRY(std::move(status));
  return draft;
}

void Lowering::accept(Draft draft) {
  for (DeviceTensor& t : draft.tensors) program_.tensors.push_back(std::move(t));
  for (DeviceStep& s : draft.steps) program_.steps.push_back(std::move(s));
  for (const auto& [value, tensor] : draft.values) tensors_.emplace(value, tensor);
}

Choice* Lowering::choice(const std::string& problem) {
  const auto found = choices_.find(problem);
  return found == choices_.end() ? nullptr : &found->second;
}

Choice* Lowering::remember(const std::string& problem, Choice choice) {
  return &choices_.insert_or_assign(problem, std::move(choice)).first->second;
}

void Lowering::add_host(const Node& node, std::string reason) {
  DeviceStep step;
  for (const Value* v : node.inputs())
    if (v != nullptr && !v->type().is_list) step.operands.push_back(tensor_of(v));
  step.reads = step.operands.size();
  for (int i = 0; i < node.output_count(); ++i)
    if (!node.output(i)->type().is_none() && !node.output(i)->type().is_list)
      step.operands.push_back(tensor_of(node.output(i)));
  step.node = &node;
  step.reason = std::move(reason);
  program_.steps.push_back(std::move(step));
}

std::string layer_of(const Node& node) {
  return node.origins.empty() ? std::string(node.def().name) : node.origins.back();
}

std::vector<int64_t> dims_of(const Value* value) {
  std::vector<int64_t> dims;
  for (int i = 0; value->shape().ranked() && i < value->shape().rank(); ++i)
    dims.push_back(value->shape()[i].size_or(1));
  return dims;
}

int64_t count_of(std::span<const int64_t> dims) {
  int64_t n = 1;
  for (const int64_t d : dims) n *= d;
  return n;
}

}  // namespace tenon::lower
