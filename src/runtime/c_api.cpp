// The C interface (include/tenon/runtime.h) over the C++ core. Nothing throws past this file.
#include "runtime/c_api.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "tensor/narrow.h"

using tenon::allocate_aligned;
using tenon::Blob;
using tenon::checked_elements;
using tenon::Dim;
using tenon::DType;
using tenon::dtype_size;
using tenon::invalid_argument;
using tenon::kDTypeEnd;
using tenon::resource_exhausted;
using tenon::Result;
using tenon::Shape;
using tenon::Status;
using tenon::Tensor;
using tenon::TensorTypes;
using tenon::unsupported;
namespace runtime = tenon::runtime;
using runtime::guarded;
using runtime::hand_out;
using runtime::out_of_memory;

namespace {

Result<Tensor> tensor_of(const tenon_tensor& t, std::string_view what, bool with_data) {
  const auto wrong = [&](std::string text) {
    return invalid_argument(fmt::format("{}: {}", what, text));
  };
  if (t.struct_size < sizeof(tenon_tensor)) return wrong("struct_size is not set");
  if (t.dtype <= 0 || t.dtype >= kDTypeEnd) return wrong("the dtype is unknown");
  if (t.rank < 0 || t.rank > 64 || (t.rank > 0 && t.dims == nullptr)) return wrong("no dims");
  const auto dtype = static_cast<DType>(t.dtype);
  const std::span<const int64_t> dims(t.dims, static_cast<size_t>(t.rank));
  const size_t element = dtype == DType::string ? sizeof(tenon_string) : dtype_size(dtype);
  const int64_t count = TRY(checked_elements(dims, element));
  if (!with_data) return Tensor::view(dtype, dims, nullptr);
  if (t.byte_size < static_cast<size_t>(count) * element || (t.data == nullptr && count > 0))
    return wrong(fmt::format("{} bytes of data are needed, {} are given",
                             static_cast<size_t>(count) * element, t.byte_size));
  if (dtype == DType::string) {
    Tensor strings = TRY(Tensor::allocate(dtype, dims));
    const auto* from = static_cast<const tenon_string*>(t.data);
    for (int64_t i = 0; i < count; ++i)
      if (from[i].size > 0)
        strings.mutable_data<std::string>()[i].assign(from[i].data, from[i].size);
    return strings;
  }
  const size_t alignment = is_complex(dtype) ? element / 2 : element;
  if (reinterpret_cast<uintptr_t>(t.data) % alignment != 0)
    return Tensor::view(dtype, dims, t.data).clone();
  return Tensor::view(dtype, dims, t.data);
}

runtime::LoadOptions options_of(const tenon_options* options) {
  // Callers built with an older header have a smaller struct: what it lacks is zero.
  tenon_options given{};
  if (options != nullptr)
    std::memcpy(&given, options, std::min(options->struct_size, sizeof given));
  runtime::LoadOptions out;
  out.threads = given.threads;
  out.verify = given.skip_weights_checksum == 0;
  out.max_loop_iterations = given.max_loop_iterations;
  for (size_t i = 0; given.custom_ops != nullptr && i < given.custom_op_count; ++i)
    if (given.custom_ops[i] != nullptr) out.custom_ops.libraries.emplace_back(given.custom_ops[i]);
  out.custom_ops.allow_embedded_code = given.allow_embedded_code != 0;
  return out;
}

Status hand_out(Result<runtime::Model> model, tenon_model** out) {
  if (!model.ok()) return std::move(model).error();
  auto keys = model->functions();
  *out = new tenon_model{std::move(*model), std::move(keys)};
  return {};
}

std::vector<tenon_function::Port> ports_of(std::span<const runtime::PortInfo> infos) {
  std::vector<tenon_function::Port> ports;
  for (const runtime::PortInfo& info : infos) {
    auto& port = ports.emplace_back();
    port.info = info;
    for (const Dim d : info.type.shape.dims()) port.dims.push_back(d.size_or(-1));
  }
  return ports;
}

Status fill_port(const std::vector<tenon_function::Port>& ports, size_t index, tenon_port* out) {
  if (out == nullptr || out->struct_size < sizeof(tenon_port))
    return invalid_argument("the port's struct_size is not set");
  if (index >= ports.size())
    return invalid_argument(fmt::format("there are {} ports, no number {}", ports.size(), index));
  const auto& port = ports[index];
  const Shape& shape = port.info.type.shape;
  *out = {out->struct_size, port.info.name.c_str(), static_cast<int32_t>(port.info.type.dtype),
          shape.ranked() ? shape.rank() : -1, port.dims.data()};
  return {};
}

Result<std::vector<Tensor>> inputs_of(const tenon_function& f, const tenon_tensor* inputs,
                                      size_t count, bool with_data) {
  if (count != f.inputs.size() || (count > 0 && inputs == nullptr))
    return invalid_argument(
        fmt::format("the function takes {} inputs, {} were given", f.inputs.size(), count));
  std::vector<Tensor> tensors;
  for (size_t i = 0; i < count; ++i)
    tensors.push_back(
        TRY(tensor_of(inputs[i], fmt::format("input '{}'", f.inputs[i].info.name), with_data)));
  return tensors;
}

tenon_result* result_of(std::vector<Tensor> tensors) {
  auto made = std::make_unique<tenon_result>();
  made->tensors = std::move(tensors);
  made->strings.resize(made->tensors.size());
  for (size_t i = 0; i < made->tensors.size(); ++i) {
    const Tensor& t = made->tensors[i];
    if (t.dtype() != DType::string || t.is_list()) continue;
    for (const std::string& s : t.span<std::string>())
      made->strings[i].push_back({s.data(), s.size()});
  }
  return made.release();
}

Status run(const tenon_function& f, const tenon_tensor* inputs, size_t input_count,
           const tenon_tensor* outputs, size_t output_count, tenon_result** result) {
  const auto operands = TRY(inputs_of(f, inputs, input_count, true));
  if (outputs != nullptr && output_count != f.outputs.size())
    return invalid_argument(fmt::format("the function has {} outputs, buffers for {} were given",
                                        f.outputs.size(), output_count));
  std::vector<Tensor> buffers(f.outputs.size());
  for (size_t i = 0; outputs != nullptr && i < buffers.size(); ++i) {
    if (outputs[i].data == nullptr) continue;
    const std::string what = fmt::format("the buffer for output '{}'", f.outputs[i].info.name);
    buffers[i] = TRY(tensor_of(outputs[i], what, true));
    if (buffers[i].raw() != outputs[i].data)
      return invalid_argument(what + " must be aligned to its element and not hold strings");
  }
  *result = result_of(TRY(f.function.run(operands, buffers)));
  return {};
}

}  // namespace

Status runtime::hand_out(Result<Function> function, tenon_function** out) {
  if (!function.ok()) return std::move(function).error();
  function->prepare();
  auto inputs = ports_of(function->inputs()), outputs = ports_of(function->outputs());
  *out = new tenon_function{std::move(*function), std::move(inputs), std::move(outputs)};
  return {};
}

extern "C" {

uint32_t tenon_abi_version(void) noexcept {
  return TENON_ABI_VERSION;
}

tenon_error* tenon_check_abi(uint32_t version) noexcept {
  return guarded([&]() -> Status {
    if (version == TENON_ABI_VERSION) return {};
    return unsupported(fmt::format(
        "the program was built for version {} of the runtime's interface, the library has {}; "
        "build the program again with the library's headers",
        version, TENON_ABI_VERSION));
  });
}

int32_t tenon_error_code(const tenon_error* error) noexcept {
  return error == nullptr ? 0 : static_cast<int32_t>(error->error.code);
}
const char* tenon_error_message(const tenon_error* error) noexcept {
  return error == nullptr ? "" : error->error.message.c_str();
}
const char* tenon_error_where(const tenon_error* error) noexcept {
  return error == nullptr ? "" : error->error.where.c_str();
}
size_t tenon_error_note_count(const tenon_error* error) noexcept {
  return error == nullptr ? 0 : error->error.notes.size();
}
const char* tenon_error_note(const tenon_error* error, size_t index) noexcept {
  return index < tenon_error_note_count(error) ? error->error.notes[index].c_str() : "";
}
void tenon_error_free(tenon_error* error) noexcept {
  if (error != &out_of_memory()) delete error;
}

tenon_error* tenon_model_load(const char* path, const tenon_options* options,
                              tenon_model** model) noexcept {
  return guarded([&]() -> Status {
    if (path == nullptr || model == nullptr) return invalid_argument("path or model is null");
    *model = nullptr;
    return hand_out(runtime::Model::load(std::string(path), options_of(options)), model);
  });
}

tenon_error* tenon_model_load_bytes(const void* data, size_t size, const tenon_options* options,
                                    tenon_model** model) noexcept {
  return guarded([&]() -> Status {
    if ((data == nullptr && size > 0) || model == nullptr)
      return invalid_argument("data or model is null");
    *model = nullptr;
    auto copy = allocate_aligned(size);
    if (copy == nullptr) return resource_exhausted("out of memory reading the model");
    if (size > 0) std::memcpy(copy.get(), data, size);
    Blob blob{{copy.get(), size}, copy};
    return hand_out(runtime::Model::load(std::move(blob), options_of(options)), model);
  });
}

void tenon_model_free(tenon_model* model) noexcept {
  delete model;
}
size_t tenon_model_function_count(const tenon_model* model) noexcept {
  return model == nullptr ? 0 : model->keys.size();
}
const char* tenon_model_function_key(const tenon_model* model, size_t index) noexcept {
  return index < tenon_model_function_count(model) ? model->keys[index].c_str() : nullptr;
}

tenon_error* tenon_model_function(const tenon_model* model, const char* key,
                                  tenon_function** function) noexcept {
  return guarded([&]() -> Status {
    if (model == nullptr || function == nullptr)
      return invalid_argument("model or function is null");
    *function = nullptr;
    return hand_out(model->model.function(key == nullptr ? "" : key), function);
  });
}

tenon_error* tenon_model_function_with_state(const tenon_model* model, const char* key,
                                             const tenon_state* state,
                                             tenon_function** function) noexcept {
  return guarded([&]() -> Status {
    if (model == nullptr || state == nullptr || function == nullptr)
      return invalid_argument("model, state or function is null");
    *function = nullptr;
    return hand_out(model->model.function(key == nullptr ? "" : key, state->state), function);
  });
}

void tenon_function_free(tenon_function* function) noexcept {
  delete function;
}
size_t tenon_function_input_count(const tenon_function* function) noexcept {
  return function == nullptr ? 0 : function->inputs.size();
}
size_t tenon_function_output_count(const tenon_function* function) noexcept {
  return function == nullptr ? 0 : function->outputs.size();
}
tenon_error* tenon_function_input(const tenon_function* function, size_t index,
                                  tenon_port* port) noexcept {
  return guarded([&]() -> Status {
    if (function == nullptr) return invalid_argument("function is null");
    return fill_port(function->inputs, index, port);
  });
}
tenon_error* tenon_function_output(const tenon_function* function, size_t index,
                                   tenon_port* port) noexcept {
  return guarded([&]() -> Status {
    if (function == nullptr) return invalid_argument("function is null");
    return fill_port(function->outputs, index, port);
  });
}

tenon_error* tenon_function_run(const tenon_function* function, const tenon_tensor* inputs,
                                size_t input_count, const tenon_tensor* outputs,
                                size_t output_count, tenon_result** result) noexcept {
  return guarded([&]() -> Status {
    if (function == nullptr || result == nullptr)
      return invalid_argument("function or result is null");
    *result = nullptr;
    return run(*function, inputs, input_count, outputs, output_count, result);
  });
}

void tenon_function_cancel(const tenon_function* function) noexcept {
  if (function != nullptr) function->function.cancel();
}

tenon_error* tenon_function_memory(const tenon_function* function, const tenon_tensor* inputs,
                                   size_t input_count, tenon_memory* memory) noexcept {
  return guarded([&]() -> Status {
    if (function == nullptr || memory == nullptr || memory->struct_size < sizeof(tenon_memory))
      return invalid_argument("function or memory is null, or struct_size is not set");
    TensorTypes types;
    for (const Tensor& t : TRY(inputs_of(*function, inputs, input_count, false)))
      types.push_back(t.type());
    const auto report = TRY(function->function.explain(types));
    *memory = {memory->struct_size, report.arena_bytes, report.weight_bytes, report.packed_bytes};
    return {};
  });
}

size_t tenon_result_count(const tenon_result* result) noexcept {
  return result == nullptr ? 0 : result->tensors.size();
}

tenon_error* tenon_result_output(const tenon_result* result, size_t index,
                                 tenon_tensor* tensor) noexcept {
  return guarded([&]() -> Status {
    if (result == nullptr || tensor == nullptr || tensor->struct_size < sizeof(tenon_tensor))
      return invalid_argument("result or tensor is null, or struct_size is not set");
    if (index >= result->tensors.size())
      return invalid_argument(
          fmt::format("there are {} outputs, no number {}", result->tensors.size(), index));
    const Tensor& t = result->tensors[index];
    if (t.is_list()) return unsupported("the output is a list; this interface gives tensors only");
    const bool strings = t.dtype() == DType::string;
    const void* data = strings ? static_cast<const void*>(result->strings[index].data()) : t.raw();
    const size_t element = strings ? sizeof(tenon_string) : dtype_size(t.dtype());
    *tensor = {tensor->struct_size,
               static_cast<int32_t>(t.dtype()),
               t.rank(),
               t.dims().data(),
               const_cast<void*>(data),
               static_cast<size_t>(t.elements()) * element};
    return {};
  });
}

void tenon_result_free(tenon_result* result) noexcept {
  delete result;
}

tenon_error* tenon_function_state(const tenon_function* function, tenon_state** state) noexcept {
  return guarded([&]() -> Status {
    if (function == nullptr || state == nullptr)
      return invalid_argument("function or state is null");
    const auto& shared = function->function.state();
    *state =
        std::make_unique<tenon_state>(tenon_state{shared, ports_of(shared->variables())}).release();
    return {};
  });
}
void tenon_state_free(tenon_state* state) noexcept {
  delete state;
}
size_t tenon_state_count(const tenon_state* state) noexcept {
  return state == nullptr ? 0 : state->variables.size();
}
tenon_error* tenon_state_variable(const tenon_state* state, size_t index,
                                  tenon_port* port) noexcept {
  return guarded([&]() -> Status {
    if (state == nullptr) return invalid_argument("state is null");
    return fill_port(state->variables, index, port);
  });
}
tenon_error* tenon_state_get(const tenon_state* state, size_t index,
                             tenon_result** result) noexcept {
  return guarded([&]() -> Status {
    if (state == nullptr || result == nullptr) return invalid_argument("state or result is null");
    *result = nullptr;
    std::vector<Tensor> value;
    value.push_back(TRY(state->state->get(index)));
    *result = result_of(std::move(value));
    return {};
  });
}
tenon_error* tenon_state_set(const tenon_state* state, size_t index,
                             const tenon_tensor* value) noexcept {
  return guarded([&]() -> Status {
    if (state == nullptr || value == nullptr) return invalid_argument("state or value is null");
    return state->state->set(index, TRY(tensor_of(*value, "the value", true)));
  });
}
tenon_error* tenon_state_reset(const tenon_state* state) noexcept {
  return guarded([&]() -> Status {
    if (state == nullptr) return invalid_argument("state is null");
    state->state->reset();
    return {};
  });
}

}  // extern "C"
