// Nodes whose op is the user's own, and what is said of ops that nothing maps.
#include <fmt/format.h>

#include <algorithm>

#include "import/custom_ops.h"
#include "import/tensorflow/graph_importer.h"

namespace tenon::tf {
namespace {

// Ops that stand for something other than a computation on tensors: what they are, and the way out.
struct Known {
  std::string_view op, reason;
};
constexpr Known kKnown[] = {
    {"EagerPyFunc",
     "this is tf.py_function: it calls a Python function that is not in the model; write its body "
     "in "
     "TensorFlow ops, or as a custom op, and export again"},
    {"PyFunc",
     "this is tf.py_func or tf.numpy_function: it calls a Python function that is not in the "
     "model; "
     "write its body in TensorFlow ops, or as a custom op, and export again"},
    {"PyFuncStateless",
     "this is tf.numpy_function: it calls a Python function that is not in the model; write its "
     "body "
     "in TensorFlow ops, or as a custom op, and export again"},
    {"MatchingFiles",
     "this looks for files when the model runs; export a signature that takes their content"},
    {"SymbolicGradient",
     "this computes the gradient of a function, which training does; export the model's inference "
     "signature"},
    {"CustomGradient",
     "this is a gradient defined by the user, which training uses; export the model's inference "
     "signature"},
    {"XlaCallModule",
     "this is a whole program in StableHLO, as jax2tf and Keras on JAX write; export it with "
     "jax2tf.convert(…, native_serialization=False), or the model with Keras on TensorFlow"},
    {"XlaLaunch", "this is a function compiled by XLA; export the model without jit_compile=True"},
    {"TRTEngineOp",
     "this is an engine built by TensorRT for one GPU; give the model from before that conversion"},
    {"TPUExecute", "this is a program for a TPU; export the model for CPU"},
    {"TPUPartitionedCall", "this is a call that runs on a TPU; export the model for CPU"},
    {"EdgeTpuOp", "this is a program for an Edge TPU; give the model from before that conversion"},
    {"RemoteCall", "this calls a function on another machine; export the model for one"},
    {"Send", "this sends to another device; give the graph from before it was partitioned"},
    {"Recv", "this receives from another device; give the graph from before it was partitioned"},
    {"_Send", "this sends to another device; give the graph from before it was partitioned"},
    {"_Recv", "this receives from another device; give the graph from before it was partitioned"},
};

constexpr const char* kTokeniser =
    "this is a tokeniser of TensorFlow Text; name with --inputs the tokens that it gives, and "
    "tokenise before the model";

// Ops of libraries beside TensorFlow, by what their names begin with.
constexpr Known kLibraries[] = {
    {"SimpleML",
     "this belongs to TensorFlow Decision Forests, whose trees lie in files of its own beside the "
     "graph; write the forest as an ONNX model (TreeEnsembleRegressor or -Classifier), or cut the "
     "model before it with --outputs and compute the forest with YDF"},
    {"Sentencepiece", kTokeniser},
    {"Wordpiece", kTokeniser},
    {"FastWordpiece", kTokeniser},
    {"FastBertNormalize",
     "this is part of a tokeniser of TensorFlow Text; name with --inputs the tokens that it gives, "
     "and tokenise before the model"},
};

// Whether it belongs to training: an optimiser's step.
bool is_training_op(std::string_view op) {
  return (op.starts_with("ResourceApply") || op.starts_with("ResourceSparseApply") ||
          op.starts_with("Apply") || op.starts_with("SparseApply")) &&
         op.size() > 8;
}

// The attribute for a custom op; nothing for one of a kind that says nothing to a kernel.
Result<std::optional<tenon::AttrValue>> to_custom(const AttrValue& v, std::string_view name,
                                                  const std::shared_ptr<const void>& owner) {
  using Kind = AttrValue::Kind;
  using Value = std::optional<tenon::AttrValue>;
  switch (v.kind) {
    case Kind::string:
      return Value(std::string(v.s));
    case Kind::integer:
      return Value(v.i);
    case Kind::real:
      return Value(static_cast<double>(v.f));
    case Kind::boolean:
      return Value(v.b);
    case Kind::type: {
      const auto dtype = to_dtype(v.type);
      return dtype.ok() ? Value(*dtype) : Value();
    }
    case Kind::shape:
      return v.shape.unknown_rank ? Value() : Value(v.shape.dims);
    case Kind::tensor:
      return Value(TRY(to_tensor(TRY(tensor_value(TRY(decode_tensor(v.tensor, name)), owner)),
                                 std::string(name))));
    case Kind::list: {
      if (!v.strings.empty())
        return Value(std::vector<std::string>(v.strings.begin(), v.strings.end()));
      if (!v.floats.empty()) return Value(std::vector<double>(v.floats.begin(), v.floats.end()));
      if (!v.shapes.empty() || !v.tensors.empty() || !v.functions.empty()) return Value();
      std::vector<int64_t> ints = v.ints;
      for (const bool b : v.bools) ints.push_back(b ? 1 : 0);
      for (const DataType t : v.types) {
        const auto dtype = to_dtype(t);
        if (!dtype.ok()) return Value();
        ints.push_back(static_cast<int64_t>(*dtype));
      }
      return Value(std::move(ints));
    }
    default:
      return Value();
  }
}

// Whether it is a stage of an input pipeline: a data set, an iterator over one, a queue, a reader.
bool is_pipeline_op(std::string_view op) {
  constexpr std::string_view kParts[] = {"Dataset", "Iterator", "Queue", "Reader"};
  return std::ranges::any_of(kParts,
                             [&](auto part) { return op.find(part) != std::string_view::npos; });
}

}  // namespace

std::string unmapped_reason(std::string_view op) {
  const auto known = std::ranges::find(kKnown, op, &Known::op);
  if (known != std::end(kKnown)) return std::string(known->reason);
  for (const Known& library : kLibraries)
    if (op.starts_with(library.op)) return std::string(library.reason);
  if (is_training_op(op))
    return "this is a step of an optimiser; export the model's inference signature, or cut the "
           "model "
           "before it with --outputs";
  if (is_pipeline_op(op))
    return "this belongs to an input pipeline (tf.data or a queue), which has no place in a "
           "compiled model; export a signature that takes tensors, or name with --inputs the "
           "tensors that the pipeline gives";
  return ways_out(op);
}

bool GraphImporter::is_custom(const NodeDef& node) const {
  return custom_ops_ != nullptr && custom_ops_->has(node.op);
}

Result<Operands> GraphImporter::import_custom_node(Frame& frame, const NodeDef& node,
                                                   const Operands& inputs) {
  auto tensors = TRY(tensors_of(frame, node, inputs, false));
  if (!tensors) return Operands{Operand::failure()};
  std::vector<CustomAttr> attrs;
  const auto add = [&](std::string_view name, Bytes bytes) -> Status {
    if (name.starts_with("_") || std::ranges::find(attrs, name, &CustomAttr::name) != attrs.end())
      return {};
    auto value = TRY(to_custom(TRY(decode_attr(bytes, name)), name, model_.owner));
    if (value) attrs.push_back({std::string(name), std::move(*value)});
    return {};
  };
  for (const auto& [name, bytes] : node.attrs.entries) TRY(add(name, bytes));
  const OpDef* def = library_.find_op(node.op);
  if (def != nullptr)
    for (const auto& [name, bytes] : def->defaults) TRY(add(name, bytes));
  const int64_t outputs = def == nullptr ? 1 : TRY(output_count(node, *def));
  Builder builder(frame.region.graph);
  builder.set_origins({frame.prefix + std::string(node.name)});
  auto values = custom_ops_->apply(builder, std::string(node.op), *tensors, outputs, attrs);
  if (!values.ok()) return fail(frame, node, std::move(values).error());
  const bool foreign = std::ranges::any_of(*values, [](const Value* v) {
    return v->producer() != nullptr && v->producer()->is("custom");
  });
  const bool kernel = custom_ops_->is_kernel(std::string(node.op));
  note(frame, node, foreign && !kernel ? Fate::on_cpu : Fate::mapped,
       foreign && !kernel ? "a custom op, which runs on the CPU" : "");
  Operands results;
  for (Value* value : *values) results.push_back(Operand::of(value));
  return results;
}

}  // namespace tenon::tf
