#include "predict/predict.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "isa/footprint.h"
#include "lower/choose.h"
#include "lower/l2_pages.h"
#include "lower/lowering.h"
#include "ops/conv.h"
#include "ops/conv_transpose.h"
#include "ops/matmul.h"
#include "ops/matmul_nbits.h"
#include "passes/passes.h"
#include "predict/layouts.h"

namespace tenon {
namespace {

using lower::kHostStart;

// What the host takes for a node: its operands cross twice, and it computes at a modest rate.
double host_seconds(const DeviceProgram& program, const DeviceStep& step, const Machine& machine) {
  constexpr double kFlops = 10e9;
  TensorTypes in, out;
  for (const Value* v : step.node->inputs()) in.push_back(v == nullptr ? TensorType{} : v->type());
  for (int i = 0; i < step.node->output_count(); ++i) out.push_back(step.node->output(i)->type());
  const auto flops = static_cast<double>(std::max<int64_t>(step.node->op().flops(in, out), 0));
  return lower::host_seconds(machine, crossing_bytes(program, step)) + flops / kFlops;
}

double launch_of(const Machine& machine) {
  return std::visit([](const auto& chip) { return chip.launch; }, machine.chip);
}
// What a run takes before its first kernel and after its last.
double run_start_of(const Machine& machine) {
  const auto* ascend = std::get_if<AscendChip>(&machine.chip);
  return ascend == nullptr ? 0 : ascend->run_start;
}
double memory_bandwidth_of(const Machine& machine) {
  return std::visit([](const auto& chip) { return chip.memory_bandwidth; }, machine.chip);
}

// Where the truth is expected, in units of the prediction.
std::pair<double, double> band_of(const Machine& machine, DType real) {
  return std::visit(
      [&](const auto& c) {
        if (real == DType::i8) return std::pair<double, double>{c.low_i8, c.high_i8};
        return real == DType::f32 ? std::pair<double, double>{c.low_f32, c.high_f32}
                                  : std::pair<double, double>{c.low_f16, c.high_f16};
      },
      machine.chip);
}

Result<LayerPrediction> time_step(const DeviceProgram& program, const DeviceStep& step,
                                  const SpillCounter& spills, const Machine& machine,
                                  const std::vector<bool>& in_l2, simulate::TimingModel& timing) {
  LayerPrediction layer;
  if (step.node != nullptr) layer.op = step.node->def().name;
  if (!step.program) {
    layer.name = lower::layer_of(*step.node);
    layer.algorithm = layer.bound_by = "host";
    layer.reason = step.reason;
    layer.seconds = host_seconds(program, step, machine);
    layer.busy.assign(program.architecture.queues.size(), 0);
    return layer;
  }
  layer.name = step.program->name;
  layer.algorithm = step.program->algorithm;
  layer.tiling = step.tiling;
  layer.rejected = step.rejected;
  layer.node_seconds = step.seconds;
  layer.advice = step.advice;
  layer.memory = step.memory;
  std::vector<int64_t> addresses;
  for (const int t : step.operands)
    addresses.push_back(program.tensors[static_cast<size_t>(t)].address);
  auto time = timing.run(*step.program, addresses, in_l2);
  if (!time.ok()) return std::move(time).error().at(layer.name);
  layer.seconds = time->seconds + launch_of(machine);
  layer.operations = time->operations;
  layer.bytes = time->missed;
  layer.moved = time->read + time->written;
  layer.spills = spills.of(step, time->buffers);
  layer.on_chip = isa::footprint(*step.program, program.architecture);
  layer.busy = time->busy;
  layer.causes = time->causes;
  const auto most = std::ranges::max_element(layer.busy);
  layer.bound_by = program.architecture.queues[static_cast<size_t>(most - layer.busy.begin())];
  const double memory = static_cast<double>(time->missed) / memory_bandwidth_of(machine);
  if (memory > 0.7 * time->seconds) layer.bound_by = "memory";
  if (launch_of(machine) > time->seconds) layer.bound_by = "launch";
  return layer;
}

// Whether what a concatenation joins is made for it alone, so that it may be written where it
// belongs.
bool is_made_for(const Node& concat) {
  return std::ranges::all_of(concat.inputs(), [](const Value* v) {
    const Node* maker = v->producer();
    return v->uses().size() == 1 && maker != nullptr && !maker->is("const") &&
           !maker->def().has(kView) && !maker->is("concat");
  });
}

// Whether a kernel of the vendor's computes it on the way out of a product.
bool is_fused_by_vendor(ActivationKind kind) {
  return kind == ActivationKind::none || kind == ActivationKind::relu ||
         kind == ActivationKind::clip || kind == ActivationKind::leaky_relu;
}

ActivationKind activation_of(const Node& node) {
  if (const auto* op = node.as<Conv>()) return op->activation;
  if (const auto* op = node.as<ConvTranspose>()) return op->activation;
  if (const auto* op = node.as<Matmul>()) return op->activation;
  if (const auto* op = node.as<MatmulNbits>()) return op->activation;
  return ActivationKind::none;
}

// Whether it adds to what a convolution gives it alone: the vendor's kernels of convolutions do
// that behind an activation, too.
bool is_part_of_conv(const Node& node) {
  if (!node.is("add")) return false;
  return std::ranges::any_of(node.inputs(), [&](const Value* v) {
    const Node* maker = v->producer();
    const auto* conv = maker == nullptr ? nullptr : maker->as<Conv>();
    return conv != nullptr && v->uses().size() == 1 && maker->input(3) == nullptr &&
           is_fused_by_vendor(conv->activation) && v->shape() == node.output()->shape();
  });
}

// What the vendor's software does otherwise than our programs: copies from layout to layout before
// a kernel, and what fills the last block of channels of maps, which moves and is computed with all
// else; activations beyond relu are kernels behind their product, which read its result and write
// it again; one core goes through the steps of a recurrent layer; concatenations of what is made
// for them take no kernel, where that is possible.
class VendorSoftware {
 public:
  VendorSoftware(const Machine& machine, DType real)
      : chip_(std::get_if<AscendChip>(&machine.chip)),
        layouts_(chip_ != nullptr && chip_->product_rows != 0, real) {}

  void change(LayerPrediction& layer, const DeviceStep& step) {
    if (step.node == nullptr) return;
    const Node& node = *step.node;
    LayoutCopies copies;
    const bool is_first = &node != last_;
    if (chip_ != nullptr && is_first) {
      copies = layouts_.enter(node);
      filling_ = layouts_.filling(node);
    }
    last_ = &node;
    if (step.program && node.is("concat") && is_made_for(node) &&
        (chip_ == nullptr || layouts_.joins_in_place(node)))
      leave_out(layer);
    if (chip_ == nullptr) return;
    if (step.program && is_part_of_conv(node)) add_to_conv(layer);
    layer.more_kernels = copies.kernels;
    if (step.program && is_first && !is_fused_by_vendor(activation_of(node)))
      add_activation(layer, node);
    if (layer.algorithm == "recurrent") read_weights_by_one_core(layer, node);
    layer.layout =
        static_cast<double>(copies.bytes) / (chip_->memory_bandwidth * chip_->layout_rate);
    layer.seconds += layer.layout + static_cast<double>(layer.more_kernels) * chip_->launch;
    for (const simulate::Cause c :
         {simulate::Cause::memory, simulate::Cause::port, simulate::Cause::vector}) {
      double& seconds = layer.causes[static_cast<size_t>(c)];
      layer.seconds += (filling_ - 1) * seconds;
      seconds *= filling_;
    }
    if (layer.layout > layer.seconds / 2) layer.bound_by = "layout";
  }

 private:
  static void spend(LayerPrediction& layer, simulate::Cause cause, double seconds) {
    layer.seconds += seconds;
    layer.causes[static_cast<size_t>(cause)] += seconds;
  }
  double size_of(const Value* value) const {
    return static_cast<double>(lower::count_of(lower::dims_of(value))) *
           static_cast<double>(
               dtype_size(lower::Lowering::device_dtype(value->dtype(), layouts_.real())));
  }

  // From and to the cache, where a quarter of it holds both: other tensors are there as well.
  void add_activation(LayerPrediction& layer, const Node& node) const {
    const double bytes = 2 * size_of(node.output());
    ++layer.more_kernels;
    if (bytes <= chip_->l2 / 4)
      spend(layer, simulate::Cause::port,
            bytes / (chip_->l2_read * chip_->cube_clock * chip_->cube_cores * chip_->port_rate));
    else
      spend(layer, simulate::Cause::memory, bytes / (chip_->memory_bandwidth * chip_->memory_rate));
  }

  // The weights of the state, where they do not stay in L1, are read anew for each step of 16
  // sequences, as far as one core can. Where cube and vector unit are cores of their own, the steps
  // are taken for shared.
  void read_weights_by_one_core(LayerPrediction& layer, const Node& node) const {
    if (chip_->coupling == VectorCoupling::split) return;
    constexpr int64_t kRows = 16;
    const auto x = lower::dims_of(node.input(0)), weights = lower::dims_of(node.input(2));
    const double all = size_of(node.input(2));
    if (all / static_cast<double>(weights[0]) <= chip_->l1) return;
    const bool is_cached = all <= chip_->l2 / 2;
    const int64_t groups = (x[1] + kRows - 1) / kRows;
    const double reads = static_cast<double>(x[0] * groups),
                 seconds = reads * all / chip_->cube_clock /
                           (is_cached ? chip_->l2_read : chip_->ddr_read);
    if (seconds > layer.seconds)
      spend(layer, is_cached ? simulate::Cause::port : simulate::Cause::memory,
            seconds - layer.seconds);
  }

  // Of three passes, two over the operands and one over the sum, what the convolution writes is in
  // the place of the sum and is not read again.
  static void add_to_conv(LayerPrediction& layer) {
    const simulate::Causes causes = layer.causes;
    const int64_t bytes = layer.bytes / 3, moved = layer.moved / 3;
    leave_out(layer);
    layer.bytes = bytes, layer.moved = moved;
    for (const simulate::Cause c : {simulate::Cause::memory, simulate::Cause::port})
      spend(layer, c, causes[static_cast<size_t>(c)] / 3);
  }

  static void leave_out(LayerPrediction& layer) {
    layer.in_place = true;
    layer.algorithm = layer.bound_by = "in place";
    layer.seconds = layer.operations = 0;
    layer.bytes = layer.moved = 0;
    layer.spills = {};
    std::ranges::fill(layer.busy, 0);
    layer.causes = {};
  }

  const AscendChip* chip_;
  DeviceLayouts layouts_;
  const Node* last_ = nullptr;
  double filling_ = 1;
};

// How many values are of no known size.
int64_t open_values(const Graph& graph) {
  int64_t open = 0;
  for (const auto& node : graph.nodes())
    for (int i = 0; i < node->output_count(); ++i) {
      const TensorType& type = node->output(i)->type();
      open += !type.is_none() && !type.is_list && !type.shape.is_static() ? 1 : 0;
    }
  return open;
}

// The graph for the types that its inputs have now. A branch that sizes decide says the sizes of
// what comes after it only when it is the only one left.
Result<std::unique_ptr<Graph>> optimised(std::unique_ptr<Graph> graph) {
  TRY(graph->infer_all());
  PassContext context;
  TRY(canonicalize(*graph, context));
  for (int64_t open = open_values(*graph), before = open + 1; open > 0 && open < before;) {
    TRY(graph->infer_all());
    TRY(canonicalize(*graph, context));
    before = std::exchange(open, open_values(*graph));
  }
  if (TRY(rewrite_for_chips(*graph, context))) TRY(canonicalize(*graph, context));
  TRY(finish(*graph, context));
  return graph;
}

}  // namespace

int64_t crossing_bytes(const DeviceProgram& program, const DeviceStep& step) {
  int64_t bytes = 0;
  for (const int t : step.operands) {
    const DeviceTensor& tensor = program.tensors[static_cast<size_t>(t)];
    if (tensor.role != DeviceTensor::Role::constant) bytes += tensor.bytes();
  }
  return bytes;
}

Result<std::unique_ptr<Graph>> prepare_for_batch(const Graph& graph, int64_t batch) {
  auto bound = graph.clone();
  for (const auto& v : bound->inputs()) {
    TensorType type = v->type();
    if (type.is_list)
      return unsupported("a sequence as input has no size to predict for").at(v->name);
    if (!type.shape.ranked())
      return invalid_argument("the number of its dimensions is open; give --input-shape")
          .at(v->name);
    if (type.shape.rank() > 0 && !type.shape[0].known()) type.shape[0] = batch;
    for (const Dim& d : type.shape.dims())
      if (!d.known())
        return invalid_argument(fmt::format("its shape {} is open beyond the batch; give "
                                            "--input-shape {}:…",
                                            type.shape.to_string(), v->name))
            .at(v->name);
    v->set_type(std::move(type));
  }
  return optimised(std::move(bound));
}

Result<std::unique_ptr<Graph>> prepare_for_inputs(const Graph& graph,
                                                  std::span<const Tensor> inputs) {
  auto bound = graph.clone();
  if (inputs.size() != bound->inputs().size())
    return invalid_argument(fmt::format("the graph takes {} inputs, {} were given",
                                        bound->inputs().size(), inputs.size()));
  for (size_t i = 0; i < inputs.size(); ++i) bound->inputs()[i]->set_type(inputs[i].type());
  return optimised(std::move(bound));
}

Result<Prediction> predict(const Graph& graph, const Machine& machine, int64_t batch,
                           LowerOptions options) {
  const auto bound = TRY(prepare_for_batch(graph, batch));
  options.batch = batch;
  return predict(TRY(lower_graph(*bound, machine, options)), machine, options);
}

Result<Prediction> predict(const DeviceProgram& program, const Machine& machine,
                           const LowerOptions& options) {
  Prediction p;
  p.target = machine.name;
  p.precision = precision_name(options.real);
  p.batch = std::max<int64_t>(options.batch, 1);
  p.peak_bytes = program.peak_bytes;
  p.cache_bytes =
      static_cast<int64_t>(std::visit([](const auto& chip) { return chip.l2; }, machine.chip));
  p.queues = program.architecture.queues;
  for (const isa::Memory& m : program.architecture.memories)
    p.memories.emplace_back(m.name, m.bytes);
  p.on_chip.assign(p.memories.size(), 0);
  p.utilisation.assign(p.queues.size(), 0);
  const isa::Architecture used = lower::architecture_for(machine, options.batch);
  simulate::TimingModel timing(machine, used);
  std::map<std::string, double> bound_by;
  simulate::Causes causes{};
  const double run_start = run_start_of(machine);
  double launch = 0, host_start = 0, host = 0, layout = 0;
  VendorSoftware vendor(machine, options.real);
  const SpillCounter spills(program);
  const auto in_l2 = operands_in_l2(machine, program.steps, [&](int t) -> const DeviceTensor& {
    return program.tensors[static_cast<size_t>(t)];
  });
  for (size_t s = 0; s < program.steps.size(); ++s) {
    const DeviceStep& step = program.steps[s];
    LayerPrediction layer = TRY(time_step(program, step, spills, machine,
                                          in_l2.empty() ? std::vector<bool>{} : in_l2[s], timing));
    if (!step.program) host += layer.seconds - kHostStart;
    vendor.change(layer, step);
    layout += layer.layout;
    p.seconds += layer.seconds;
    p.operations += layer.operations;
    p.bytes += layer.bytes;
    p.moved += layer.moved;
    p.spills.add(layer.spills);
    for (size_t m = 0; m < layer.on_chip.size(); ++m)
      p.on_chip[m] = std::max(p.on_chip[m], layer.on_chip[m]);
    bound_by[layer.bound_by] += layer.seconds;
    for (size_t q = 0; q < layer.busy.size(); ++q) p.utilisation[q] += layer.busy[q];
    for (size_t c = 0; c < causes.size(); ++c) causes[c] += layer.causes[c];
    const int64_t kernels = layer.more_kernels + (step.program && !layer.in_place ? 1 : 0);
    launch += static_cast<double>(kernels) * launch_of(machine);
    if (!step.program) host_start += kHostStart;
    int64_t working = 0;
    for (const int t : step.operands) working += program.tensors[static_cast<size_t>(t)].bytes();
    if (step.program) p.working_bytes = std::max(p.working_bytes, working);
    if (step.program && working > p.cache_bytes) ++p.beyond_cache;
    p.layers.push_back(std::move(layer));
  }
  for (size_t c = 0; c < causes.size(); ++c)
    p.spent.emplace_back(simulate::kCauseNames[c], causes[c]);
  p.seconds += run_start;
  for (double& u : p.utilisation) u /= std::max(p.seconds, 1e-12);
  p.spent.insert(p.spent.end(), {{"layout", layout},
                                 {"launch", launch},
                                 {"run_start", run_start},
                                 {"host_start", host_start},
                                 {"host", host}});
  if (!bound_by.empty())
    p.bound_by =
        std::ranges::max_element(bound_by, {}, [](const auto& e) { return e.second; })->first;
  const auto [low, high] = band_of(machine, options.real);
  p.low = p.seconds * low;
  p.high = p.seconds * high;
  return p;
}

}  // namespace tenon
