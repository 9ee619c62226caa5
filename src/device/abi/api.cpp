// The table of the device interface over a backend. Nothing throws past this file.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/version.h"
#include "device/abi/memory.h"
#include "tensor/narrow.h"

namespace tenon::device {
namespace {

Backend* (*the_backend)() = nullptr;

Backend* backend() noexcept {
  try {
    return the_backend();
  } catch (...) {
    return nullptr;
  }
}

// The same, or why there is none.
Result<Backend*> made() {
  Backend* all = the_backend();
  if (all == nullptr) return unsupported("the plug-in has no devices");
  return all;
}

int32_t error_code(const tenon_device_error* error) noexcept {
  return error == nullptr ? 0 : static_cast<int32_t>(error->error.code);
}
const char* error_message(const tenon_device_error* error) noexcept {
  return error == nullptr ? "" : error->message.c_str();
}
const char* error_where(const tenon_device_error* error) noexcept {
  return error == nullptr ? "" : error->error.where.c_str();
}
void error_free(tenon_device_error* error) noexcept {
  if (error != &out_of_memory()) delete error;
}

size_t device_count() noexcept {
  const Backend* all = backend();
  // Why there are none is what the info of the first one says.
  return all == nullptr ? 1 : all->devices().size();
}

tenon_device_error* device_info(size_t index, tenon_device_info* info) noexcept {
  return guarded([&]() -> Status {
    if (info == nullptr || info->struct_size < sizeof *info)
      return invalid_argument("info is null, or its struct_size is not set");
    if (index >= device_count())
      return invalid_argument(
          fmt::format("there are {} devices, no number {}", device_count(), index));
    const Info& i = TRY(made())->devices()[index];
    *info = {info->struct_size, i.name.c_str(),    i.title.c_str(), i.family.c_str(),
             i.aliases.c_str(), i.checked.c_str(), i.flags,         i.memory_bytes};
    return {};
  });
}

tenon_device_error* open(size_t index, const tenon_device_options* options,
                         tenon_device** device) noexcept {
  return guarded([&]() -> Status {
    if (device == nullptr) return invalid_argument("device is null");
    if (index >= device_count())
      return invalid_argument(
          fmt::format("there are {} devices, no number {}", device_count(), index));
    const bool given = options != nullptr && options->struct_size >= sizeof *options;
    const int threads = given ? options->threads : 0;
    if (threads < 0 || threads > 1024)
      return invalid_argument(fmt::format("{} threads were asked for; give 0 to 1024", threads));
    auto opened = std::make_unique<tenon_device>();
    opened->info = TRY(made())->devices()[index];
    opened->device = TRY(backend()->open(index, threads));
    *device = opened.release();
    return {};
  });
}
void close(tenon_device* device) noexcept {
  delete device;
}

tenon_device_error* load(tenon_device* device, const tenon_load* given,
                         tenon_program** program) noexcept {
  return guarded([&]() -> Status {
    if (device == nullptr || given == nullptr || program == nullptr)
      return invalid_argument("device, load or program is null");
    tenon_load l{};
    std::memcpy(&l, given, std::min(given->struct_size, sizeof l));
    if (l.model == nullptr || reinterpret_cast<uintptr_t>(l.model) % 64 != 0)
      return invalid_argument("the model is null or not aligned to 64 bytes");
    if ((l.section == nullptr && l.section_size > 0) ||
        (l.custom_ops == nullptr && l.custom_op_count > 0))
      return invalid_argument("the section or the custom ops are null");
    Load request;
    const auto bytes = [](const void* data, size_t size) {
      return Bytes(static_cast<const std::byte*>(data), size);
    };
    request.model = {bytes(l.model, l.model_size),
                     std::shared_ptr<const void>(l.model, [](const void*) {})};
    request.section = bytes(l.section, l.section_size);
    request.function = l.function == nullptr ? "" : l.function;
    request.precision = l.precision == nullptr ? "" : l.precision;
    request.verify_weights = l.skip_weights_checksum == 0;
    request.max_loop_iterations = l.max_loop_iterations;
    for (size_t i = 0; i < l.custom_op_count; ++i)
      if (l.custom_ops[i] != nullptr) request.custom_ops.emplace_back(l.custom_ops[i]);
    request.allow_embedded_code = l.allow_embedded_code != 0;
    auto loaded = std::make_unique<tenon_program>();
    loaded->program = TRY(device->device->load(request));
    *program = loaded.release();
    return {};
  });
}
void unload(tenon_program* program) noexcept {
  delete program;
}

// An operand of the caller as a tensor that is looked at where it lies.
Result<Tensor> tensor_of(const tenon_operand& o, size_t index) {
  const auto wrong = [&](std::string text) {
    return invalid_argument(fmt::format("input {}: {}", index, text));
  };
  if (o.struct_size < sizeof o) return wrong("struct_size is not set");
  if (o.dtype == TENON_NONE) return Tensor();
  if (o.dtype < 0 || o.dtype >= kDTypeEnd) return wrong("the dtype is unknown");
  if (o.rank < 0 || o.rank > 64 || (o.rank > 0 && o.dims == nullptr)) return wrong("no dims");
  const auto dtype = static_cast<DType>(o.dtype);
  const bool strings = dtype == DType::string;
  const std::span<const int64_t> dims(o.dims, static_cast<size_t>(o.rank));
  const size_t element = strings ? sizeof(tenon_string) : dtype_size(dtype);
  const auto count = static_cast<uint64_t>(TRY(checked_elements(dims, element)));
  const void* data = o.data;
  uint64_t room = o.byte_size;
  if (o.buffer != nullptr) {
    if (strings) return wrong("strings are in the memory of the host");
    if (o.offset % 64 != 0 || o.offset > o.buffer->bytes)
      return wrong("its place in the buffer is beyond it or no multiple of 64");
    data = o.buffer->data + o.offset;
    room = o.buffer->bytes - o.offset;
  }
  if (room < count * element || (data == nullptr && count > 0))
    return wrong(fmt::format("it takes {} bytes, {} are there", count * element, room));
  if (strings) {
    Tensor t = TRY(Tensor::allocate(dtype, dims));
    const auto* from = static_cast<const tenon_string*>(data);
    for (uint64_t i = 0; i < count; ++i)
      if (from[i].size > 0) t.mutable_data<std::string>()[i].assign(from[i].data, from[i].size);
    return t;
  }
  const size_t alignment = is_complex(dtype) ? element / 2 : element;
  if (reinterpret_cast<uintptr_t>(data) % std::max<size_t>(alignment, 1) != 0)
    return wrong("its data is not aligned to its elements");
  return Tensor::view(dtype, dims, data);
}

tenon_device_error* execute(tenon_program* program, tenon_stream*, const tenon_operand* inputs,
                            size_t count, const tenon_execute_options* options,
                            tenon_execution** execution) noexcept {
  return guarded([&]() -> Status {
    if (program == nullptr || execution == nullptr || (inputs == nullptr && count > 0))
      return invalid_argument("program, inputs or execution is null");
    std::vector<Tensor> tensors;
    uint64_t in = 0, out = 0;
    for (size_t i = 0; i < count; ++i) {
      tensors.push_back(TRY(tensor_of(inputs[i], i)));
      in += tensors.back().byte_size();
    }
    Interrupted interrupted;
    if (options != nullptr && options->struct_size >= sizeof *options &&
        options->interrupted != nullptr)
      interrupted = [options] { return options->interrupted(options->context) != 0; };
    auto done = std::make_unique<tenon_execution>();
    done->results = TRY(program->program->execute(tensors, interrupted));
    done->strings.resize(done->results.size());
    done->buffers.resize(done->results.size());
    for (size_t i = 0; i < done->results.size(); ++i) {
      const Tensor& t = done->results[i];
      if (t.is_list()) return unsupported("an output is a list; this interface gives tensors only");
      out += t.byte_size();
      if (t.dtype() == DType::string) {
        for (const std::string& s : t.span<std::string>())
          done->strings[i].push_back({s.data(), s.size()});
      } else {
        done->buffers[i].data = static_cast<std::byte*>(const_cast<void*>(t.raw()));
        done->buffers[i].bytes = t.byte_size();
      }
    }
    program->bytes_in += in;
    program->bytes_out += out;
    *execution = done.release();
    return {};
  });
}
size_t output_count(const tenon_execution* execution) noexcept {
  return execution == nullptr ? 0 : execution->results.size();
}
tenon_device_error* output(tenon_execution* execution, size_t index, tenon_operand* out) noexcept {
  return guarded([&]() -> Status {
    if (execution == nullptr || out == nullptr || out->struct_size < sizeof *out)
      return invalid_argument("execution or output is null, or struct_size is not set");
    if (index >= execution->results.size())
      return invalid_argument(
          fmt::format("there are {} outputs, no number {}", execution->results.size(), index));
    const Tensor& t = execution->results[index];
    const bool strings = t.dtype() == DType::string;
    *out = {out->struct_size, static_cast<int32_t>(t.dtype()), t.rank(), t.dims().data()};
    out->byte_size =
        strings ? execution->strings[index].size() * sizeof(tenon_string) : t.byte_size();
    if (strings)
      out->data = execution->strings[index].data();
    else
      out->buffer = &execution->buffers[index];
    return {};
  });
}
void execution_free(tenon_execution* execution) noexcept {
  delete execution;
}

std::vector<Counter> counters_of(tenon_program& program) {
  std::vector<Counter> all = program.program->counters();
  all.push_back({"bytes_in", "bytes", static_cast<double>(program.bytes_in)});
  all.push_back({"bytes_out", "bytes", static_cast<double>(program.bytes_out)});
  return all;
}
size_t counter_count(tenon_program* program) noexcept {
  size_t count = 0;
  tenon_device_error* error = guarded([&]() -> Status {
    if (program != nullptr) count = counters_of(*program).size();
    return {};
  });
  error_free(error);
  return count;
}
tenon_device_error* counter(tenon_program* program, size_t index, tenon_counter* out) noexcept {
  return guarded([&]() -> Status {
    if (program == nullptr || out == nullptr || out->struct_size < sizeof *out)
      return invalid_argument("program or counter is null, or struct_size is not set");
    const std::vector<Counter> all = counters_of(*program);
    if (index >= all.size())
      return invalid_argument(
          fmt::format("there are {} counters, no number {}", all.size(), index));
    const std::lock_guard lock(program->mutex);
    const auto kept = [&](const std::string& text) {
      const auto found = std::ranges::find(program->texts, text);
      return (found == program->texts.end() ? program->texts.emplace_back(text) : *found).c_str();
    };
    *out = {out->struct_size, kept(all[index].name), kept(all[index].unit), all[index].value};
    return {};
  });
}
const char* notice(tenon_program* program, size_t index) noexcept {
  const char* text = nullptr;
  tenon_device_error* error = guarded([&]() -> Status {
    if (program == nullptr) return {};
    const std::vector<std::string> all = program->program->notices();
    const std::lock_guard lock(program->mutex);
    for (size_t i = program->notices.size(); i < all.size(); ++i)
      program->notices.push_back(all[i]);
    if (index < program->notices.size()) text = program->notices[index].c_str();
    return {};
  });
  error_free(error);
  return text;
}

}  // namespace

const tenon_device_api* make_api(const char* name, Backend* (*backend)()) {
  the_backend = backend;
  static const std::string name_and_version = std::string(name) + " " + version();
  static const tenon_device_api api{
      sizeof(tenon_device_api),
      TENON_DEVICE_ABI_VERSION,
      {sizeof(tenon_device_info), sizeof(tenon_device_options), sizeof(tenon_device_memory),
       sizeof(tenon_load), sizeof(tenon_operand), sizeof(tenon_execute_options),
       sizeof(tenon_counter)},
      name_and_version.c_str(),
      error_code,
      error_message,
      error_where,
      error_free,
      device_count,
      device_info,
      open,
      close,
      memory,
      allocate,
      free_buffer,
      copy_in,
      copy_out,
      stream_create,
      stream_destroy,
      stream_wait,
      stream_wait_event,
      event_create,
      event_destroy,
      event_record,
      event_done,
      event_wait,
      event_seconds,
      load,
      unload,
      execute,
      output_count,
      output,
      execution_free,
      counter_count,
      counter,
      notice};
  return &api;
}

}  // namespace tenon::device
