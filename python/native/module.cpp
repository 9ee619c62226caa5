// tenon._native: what the Python package cannot do by itself. Its shape is a private matter between
// this file and python/tenon/.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <memory>
#include <optional>

#include "base/version.h"
#include "calibrate/settings.h"
#include "chip/deploy.h"
#include "compiler/compile.h"
#include "convert.h"
#include "device/plugin/plugin.h"
#include "import/custom_ops.h"
#include "runtime/state.h"
#include "tensor/npy.h"
#include "verify/prepack.h"
#include "verify/verify.h"

namespace tenon::python {
namespace {

// The bytes of a Python object with the buffer protocol, for the length of a call.
class Buffer {
 public:
  explicit Buffer(nb::handle object) {
    if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_SIMPLE) != 0) throw nb::python_error();
  }
  ~Buffer() { PyBuffer_Release(&view_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  Bytes bytes() const {
    return {static_cast<const std::byte*>(view_.buf), static_cast<size_t>(view_.len)};
  }

 private:
  Py_buffer view_{};
};

// The caller keeps the bytes alive; the compiler only wants to see an owner.
Blob borrowed(Bytes bytes) {
  return {bytes, std::shared_ptr<const void>(bytes.data(), [](const void*) {})};
}

using Shapes = std::vector<std::pair<std::string, std::vector<int64_t>>>;

ImportOptions import_options(std::string signature, std::vector<std::string> inputs,
                             std::vector<std::string> outputs, Shapes shapes,
                             const std::vector<std::string>& custom_ops) {
  ImportOptions options;
  if (!custom_ops.empty()) options.custom_ops = value_or_raise(CustomOps::load(custom_ops));
  options.signature = std::move(signature);
  options.inputs = std::move(inputs);
  options.outputs = std::move(outputs);
  options.input_shapes = std::move(shapes);
  return options;
}

// MODEL is a path or bytes. Calls f with either, without the GIL.
template <typename F>
auto with_model(nb::handle model, F&& f) {
  if (nb::isinstance<nb::str>(model)) {
    const auto path = nb::cast<std::string>(model);
    nb::gil_scoped_release released;
    return f(path);
  }
  const Buffer buffer(model);
  nb::gil_scoped_release released;
  return f(borrowed(buffer.bytes()));
}

// Data, method, preprocess, statistics, samples, config, report, whether integers are forced.
using Calibration = std::tuple<std::string, std::string, std::string, std::string, int64_t,
                               std::string, std::string, bool>;

// (bytes or None, warnings): writes the file where a path is given.
nb::tuple compile(nb::handle model, const std::string& output, std::string signature,
                  std::vector<std::string> inputs, std::vector<std::string> outputs, Shapes shapes,
                  const std::vector<std::string>& targets, const std::vector<int64_t>& batches,
                  const std::string& chip_precision, const std::string& precision,
                  const std::vector<std::string>& disabled, bool optimize,
                  const std::vector<std::string>& custom_ops, bool embed_custom_ops,
                  int64_t max_loop_iterations, bool strict, std::optional<bool> verify,
                  const std::string& verify_inputs, const Calibration& calibration,
                  const std::vector<int64_t>& prepack_batches) {
  CompileOptions options;
  options.import = import_options(std::move(signature), std::move(inputs), std::move(outputs),
                                  std::move(shapes), custom_ops);
  options.embed_custom_ops = embed_custom_ops;
  options.max_loop_iterations = max_loop_iterations;
  options.strict = strict;
  options.precision = precision;
  options.disabled.insert(disabled.begin(), disabled.end());
  options.optimize = optimize;
  options.keep_imported = verify.value_or(true);
  VerifyOptions verification;
  verification.always = verify.value_or(false);
  verification.load.custom_ops.libraries = custom_ops;
  if (!verify_inputs.empty()) verification.inputs = value_or_raise(read_npz(verify_inputs));
  const auto& [data, method, preprocess, statistics, samples, config, report, forced] = calibration;
  const CalibrationSettings settings{data,    method, preprocess, statistics,
                                     samples, config, report,     forced};
  const auto findings = std::make_shared<CalibrationFindings>();
  const Status calibrated = apply_calibration(settings, verification.load, {}, options, findings);
  if (!calibrated.ok()) raise(calibrated.error());
  struct Made {
    std::vector<std::byte> bytes;
    std::vector<std::string> warnings;
  };
  const Made made = value_or_raise(with_model(model, [&](auto&& source) -> Result<Made> {
    const MachineCatalog catalog = TRY(MachineCatalog::load());
    const auto chips = TRY(chips_named(catalog, targets));
    Compiled compiled = TRY(compile_model(source, options));
    if (options.keep_imported) TRY(verify_compiled(compiled, verification));
    TRY(write_report(settings, *findings));
    for (const ChipReport& r :
         TRY(add_chip_programs(compiled.model, chips, batches, chip_precision)))
      if (!r.missing.empty())
        compiled.report.warnings.push_back("no program for " + r.target + ", signature '" +
                                           r.function +
                                           "', is in the file, one is made when it "
                                           "is run: " +
                                           r.missing);
    if (!prepack_batches.empty())
      TRY(prepack(compiled.model, prepack_batches, verification.load, compiled.report.warnings));
    Made result{{}, std::move(compiled.report.warnings)};
    if (output.empty())
      result.bytes = TRY(encode_model(compiled.model));
    else
      TRY(write_model(output, compiled.model));
    return result;
  }));
  nb::object content = nb::none();
  if (output.empty()) content = nb::bytes(made.bytes.data(), made.bytes.size());
  return nb::make_tuple(content, made.warnings);
}

const char* fate_name(Fate fate) {
  constexpr const char* kNames[] = {"mapped", "folded", "cpu", "unsupported"};
  return kNames[static_cast<size_t>(fate)];
}

// (format, [(name, op, fate, reason)], warnings, signatures that can be compiled).
nb::tuple check(nb::handle model, std::string signature, std::vector<std::string> inputs,
                std::vector<std::string> outputs, Shapes shapes,
                const std::vector<std::string>& custom_ops) {
  const ImportOptions options = import_options(std::move(signature), std::move(inputs),
                                               std::move(outputs), std::move(shapes), custom_ops);
  const ImportedModel imported = value_or_raise(
      with_model(model, [&](auto&& source) { return import_model(source, options); }));
  nb::list nodes, keys;
  for (const NodeReport& node : imported.report.nodes)
    nodes.append(nb::make_tuple(node.name, node.op, fate_name(node.fate), node.reason));
  for (const ImportedFunction& function : imported.functions) keys.append(function.key);
  return nb::make_tuple(imported.report.format, nodes, imported.warnings, keys);
}

runtime::Model load(nb::handle source, int threads, bool verify, int64_t max_loop_iterations,
                    std::vector<std::string> custom_ops, bool allow_embedded_code) {
  runtime::LoadOptions options;
  options.threads = threads;
  options.verify = verify;
  options.max_loop_iterations = max_loop_iterations;
  options.custom_ops = {std::move(custom_ops), allow_embedded_code};
  if (nb::isinstance<nb::str>(source)) {
    const auto path = nb::cast<std::string>(source);
    return value_or_raise([&] {
      nb::gil_scoped_release released;
      return runtime::Model::load(path, options);
    }());
  }
  const Buffer buffer(source);
  const size_t size = buffer.bytes().size();
  return value_or_raise([&]() -> Result<runtime::Model> {
    nb::gil_scoped_release released;
    const auto copy = allocate_aligned(size);
    if (copy == nullptr) return resource_exhausted("out of memory reading the model");
    std::memcpy(copy.get(), buffer.bytes().data(), size);
    return runtime::Model::load(Blob{{copy.get(), size}, copy}, options);
  }());
}

// (name, dtype, shape or None, is_list): None stands for an open dimension or an open rank.
nb::list ports(std::span<const runtime::PortInfo> ports) {
  nb::list result;
  for (const runtime::PortInfo& port : ports) {
    nb::object shape = nb::none();
    if (port.type.shape.ranked()) {
      nb::list dims;
      for (const Dim d : port.type.shape.dims())
        dims.append(d.known() ? nb::object(nb::int_(d.size())) : nb::none());
      shape = nb::tuple(dims);
    }
    result.append(nb::make_tuple(port.name, std::string(dtype_long_name(port.type.dtype)), shape,
                                 port.type.is_list));
  }
  return result;
}

// The values of a model's variables, shared with the functions that use them.
struct State {
  std::shared_ptr<runtime::State> values;
};

// Ctrl-C while a run holds the main thread: Python's handlers run, and what they raise ends the
// run.
bool signal_raised() {
  nb::gil_scoped_acquire held;
  return PyErr_CheckSignals() != 0;
}

runtime::Function function_of(const runtime::Model& model, const std::string& key,
                              const State* state, const std::string& device,
                              const std::string& precision) {
  runtime::Function function = value_or_raise([&] {
    nb::gil_scoped_release released;
    auto found =
        model.function(key, state == nullptr ? nullptr : state->values, {device, precision});
    if (found.ok()) found->prepare();
    return found;
  }());
  function.set_interrupt_check(signal_raised);
  return function;
}

std::vector<std::pair<std::string, double>> counters(const runtime::Function& function) {
  std::vector<std::pair<std::string, double>> all;
  for (const device::Counter& c : value_or_raise(function.counters()))
    all.emplace_back(c.name, c.value);
  return all;
}

// (name, title, family, simulated).
std::vector<std::tuple<std::string, std::string, std::string, bool>> devices() {
  std::vector<std::tuple<std::string, std::string, std::string, bool>> all;
  all.emplace_back("cpu", "CPU of this machine", "cpu", false);
  for (const device::Description& d : device::installed().devices)
    all.emplace_back(d.name, d.title, d.family, (d.flags & TENON_DEVICE_SIMULATED) != 0);
  return all;
}

std::vector<Tensor> run(const runtime::Function& function, const Operands& operands,
                        const Operands& buffers) {
  auto results = [&] {
    nb::gil_scoped_release released;
    return function.run(operands.tensors(), buffers.tensors());
  }();
  if (PyErr_Occurred() != nullptr) throw nb::python_error();
  return value_or_raise(std::move(results));
}

// Inputs and output buffers in the order of the function's ports; gives every output in order.
nb::list run_in_order(const runtime::Function& function, nb::list inputs, nb::list buffers) {
  Operands operands, given;
  const auto fill = [](Operands& to, std::span<const runtime::PortInfo> ports, nb::list from,
                       auto add) {
    if (from.size() > ports.size()) raise(internal_error("more arrays than ports"));
    for (size_t i = 0; i < from.size(); ++i) (to.*add)(ports[i], from[i]);
  };
  fill(operands, function.inputs(), inputs, &Operands::add);
  fill(given, function.outputs(), buffers, &Operands::add_buffer);
  const std::vector<Tensor> results = run(function, operands, given);
  nb::list outputs;
  for (size_t i = 0; i < results.size(); ++i) {
    const bool into_buffer = i < buffers.size() && !buffers[i].is_none();
    outputs.append(into_buffer ? nb::object(buffers[i]) : to_python(results[i]));
  }
  return outputs;
}

// The usual call, by names as the ports have them: what it would take Python to find the arrays is
// a good part of a small model's run. None where the names are others.
nb::object run_by_name(const runtime::Function& function, nb::dict inputs, nb::tuple input_names,
                       nb::tuple output_names) {
  const auto ports = function.inputs();
  if (inputs.size() != ports.size()) return nb::none();
  Operands operands;
  for (size_t i = 0; i < ports.size(); ++i) {
    PyObject* const array = PyDict_GetItemWithError(inputs.ptr(), input_names[i].ptr());
    if (array == nullptr) {
      if (PyErr_Occurred() != nullptr) throw nb::python_error();
      return nb::none();
    }
    operands.add(ports[i], array);
  }
  const std::vector<Tensor> results = run(function, operands, Operands());
  nb::dict outputs;
  for (size_t i = 0; i < results.size(); ++i) outputs[output_names[i]] = to_python(results[i]);
  return outputs;
}

Tensor state_value(const runtime::State& state, size_t index) {
  return value_or_raise([&] {
    nb::gil_scoped_release released;
    return state.get(index);
  }());
}

void set_state(runtime::State& state, size_t index, nb::handle array) {
  if (index >= state.variables().size()) raise(internal_error("no such variable"));
  Operands value;
  value.add(state.variables()[index], array);
  const Status status = [&] {
    nb::gil_scoped_release released;
    return state.set(index, value.tensors()[0]);
  }();
  if (!status.ok()) raise(status.error());
}

}  // namespace
}  // namespace tenon::python

NB_MODULE(_native, m) {
  namespace nb = nanobind;
  namespace py = tenon::python;
  using py::State;
  using tenon::runtime::Function;
  using tenon::runtime::Model;

  py::import_numpy();
  nb::register_exception_translator([](const std::exception_ptr& thrown, void*) {
    try {
      std::rethrow_exception(thrown);
    } catch (const std::bad_alloc&) {
      py::set_error(tenon::resource_exhausted("out of memory"));
    }
  });
  m.def("compile", &py::compile, nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(),
        nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(),
        nb::arg(), nb::arg(), nb::arg().none(), nb::arg(), nb::arg(), nb::arg());
  m.def("check", &py::check);
  m.def("version", &tenon::version);
  m.def("devices", &py::devices);
  m.def("load", &py::load);
  nb::class_<Model>(m, "Model")
      .def("functions", &Model::functions)
      .def("function", &py::function_of, nb::arg("key"), nb::arg("state").none(), nb::arg("device"),
           nb::arg("precision"))
      .def("plans_made", &Model::plans_made)
      .def("notes", &Model::notes)
      .def("producer", &Model::producer);
  nb::class_<Function>(m, "Function")
      .def("key", &Function::key)
      .def("inputs", [](const Function& f) { return py::ports(f.inputs()); })
      .def("outputs", [](const Function& f) { return py::ports(f.outputs()); })
      .def("state", [](const Function& f) { return State{f.state()}; })
      .def("run", &py::run_in_order)
      .def("run_by_name", &py::run_by_name)
      .def("cancel", &Function::cancel)
      .def("device", &Function::device)
      .def("counters", &py::counters)
      .def("notices", &Function::notices);
  nb::class_<State>(m, "State")
      .def("variables", [](const State& s) { return py::ports(s.values->variables()); })
      .def("get",
           [](const State& s, size_t i) { return py::to_python(py::state_value(*s.values, i)); })
      .def("set",
           [](const State& s, size_t i, nb::handle array) { py::set_state(*s.values, i, array); })
      .def("reset", [](const State& s) { s.values->reset(); });
}
