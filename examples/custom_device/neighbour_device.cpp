// A device of one's own behind Tenon's C interface (tenon/device.h), and nothing else of Tenon:
// memory that only copies reach, streams, events, programs. What computes here is Tenon's runtime
// on the CPU, by its C interface; a real device has its driver in that place (load, execute), and
// keeps the rest.
//
//   g++ -std=c++17 -O2 -fPIC -shared -fvisibility=hidden -I INCLUDE neighbour_device.cpp -o
//   libtenon_device_neighbour.so
//       -L LIB -ltenon_runtime -Wl,-rpath,LIB
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tenon/device.h"
#include "tenon/runtime.h"

namespace {

using Clock = std::chrono::steady_clock;
constexpr uint64_t kMemory = uint64_t{1} << 30, kAlignment = 64;

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace

// The handles of the interface are the device's own structs.
struct tenon_device_error {
  int32_t code;
  std::string message, where;
};
struct tenon_device {
  std::mutex mutex;
  uint64_t used = 0, peak = 0;
};
struct tenon_buffer {
  tenon_device* device;
  std::byte* data;
  uint64_t bytes;
};
// Everything is done when its call returns, so that a stream has nothing to remember.
struct tenon_stream {};
struct tenon_event {
  std::mutex mutex;
  Clock::time_point time;
};
struct tenon_program {
  tenon_model* model = nullptr;
  tenon_function* function = nullptr;
  std::mutex mutex;  // of the counts
  double executions = 0, bytes_in = 0, bytes_out = 0, memory = 0, seconds = 0, last = 0;
  ~tenon_program() {
    tenon_function_free(function);
    tenon_model_free(model);
  }
};
struct tenon_execution {
  tenon_result* result = nullptr;
  ~tenon_execution() { tenon_result_free(result); }
};

namespace {

using Error = tenon_device_error;

Error* error(int32_t code, std::string message) {
  return new Error{code, std::move(message), ""};
}
Error* invalid(std::string message) {
  return error(TENON_INVALID_ARGUMENT, std::move(message));
}

// An error of the runtime as one of the device; null stays null.
Error* passed_on(tenon_error* from) {
  if (from == nullptr) return nullptr;
  Error* to = error(tenon_error_code(from), tenon_error_message(from));
  to->where = tenon_error_where(from);
  tenon_error_free(from);
  return to;
}

int32_t error_code(const Error* e) {
  return e == nullptr ? 0 : e->code;
}
const char* error_message(const Error* e) {
  return e == nullptr ? "" : e->message.c_str();
}
const char* error_where(const Error* e) {
  return e == nullptr ? "" : e->where.c_str();
}
void error_free(Error* e) {
  delete e;
}

// ---- the device and its memory

size_t device_count() {
  return 1;
}

Error* device_info(size_t index, tenon_device_info* info) {
  if (info == nullptr || info->struct_size < sizeof *info) return invalid("struct_size is not set");
  if (index >= device_count()) return invalid("there is one device, number 0");
  *info = {info->struct_size,
           "neighbour",
           "The CPU next door",
           "",
           "",
           "with tenon device-test",
           0,
           kMemory};
  return nullptr;
}

Error* open(size_t index, const tenon_device_options* options, tenon_device** device) {
  if (device == nullptr || index >= device_count()) return invalid("there is one device, number 0");
  if (options != nullptr && options->threads < 0) return invalid("a negative number of threads");
  *device = new tenon_device;
  return nullptr;
}
void close(tenon_device* device) {
  delete device;
}

Error* memory(tenon_device* device, tenon_device_memory* out) {
  if (device == nullptr || out == nullptr || out->struct_size < sizeof *out)
    return invalid("struct_size is not set");
  const std::lock_guard lock(device->mutex);
  *out = {out->struct_size, kMemory, device->used, device->peak, kAlignment};
  return nullptr;
}

Error* allocate(tenon_device* device, uint64_t bytes, tenon_buffer** buffer) {
  if (device == nullptr || buffer == nullptr) return invalid("device or buffer is null");
  const std::lock_guard lock(device->mutex);
  if (bytes > kMemory - device->used)
    return error(TENON_RESOURCE_EXHAUSTED, std::to_string(bytes) + " bytes are asked for, " +
                                               std::to_string(kMemory - device->used) +
                                               " are left");
  void* data = std::aligned_alloc(kAlignment, (bytes / kAlignment + 1) * kAlignment);
  if (data == nullptr) return error(TENON_RESOURCE_EXHAUSTED, "out of memory");
  device->used += bytes;
  if (device->used > device->peak) device->peak = device->used;
  *buffer = new tenon_buffer{device, static_cast<std::byte*>(data), bytes};
  return nullptr;
}
void free_buffer(tenon_buffer* buffer) {
  if (buffer == nullptr) return;
  const std::lock_guard lock(buffer->device->mutex);
  buffer->device->used -= buffer->bytes;
  std::free(buffer->data);
  delete buffer;
}

// Null where the bytes are in the buffer.
Error* check_range(const tenon_buffer* buffer, uint64_t offset, uint64_t bytes) {
  if (buffer == nullptr) return invalid("the buffer is null");
  if (offset > buffer->bytes || bytes > buffer->bytes - offset)
    return invalid("bytes " + std::to_string(offset) + " and " + std::to_string(bytes) +
                   " more are beyond the buffer, which has " + std::to_string(buffer->bytes));
  return nullptr;
}

Error* copy_in(tenon_buffer* buffer, uint64_t offset, const void* from, uint64_t bytes,
               tenon_stream*) {
  if (Error* wrong = check_range(buffer, offset, bytes)) return wrong;
  if (bytes > 0) std::memcpy(buffer->data + offset, from, bytes);
  return nullptr;
}
Error* copy_out(const tenon_buffer* buffer, uint64_t offset, void* to, uint64_t bytes,
                tenon_stream*) {
  if (Error* wrong = check_range(buffer, offset, bytes)) return wrong;
  if (bytes > 0) std::memcpy(to, buffer->data + offset, bytes);
  return nullptr;
}

// ---- streams and events

Error* stream_create(tenon_device*, tenon_stream** stream) {
  *stream = new tenon_stream;
  return nullptr;
}
void stream_destroy(tenon_stream* stream) {
  delete stream;
}
Error* stream_wait(tenon_stream*) {
  return nullptr;
}
Error* stream_wait_event(tenon_stream*, tenon_event*) {
  return nullptr;
}
Error* event_create(tenon_device*, tenon_event** event) {
  *event = new tenon_event;
  return nullptr;
}
void event_destroy(tenon_event* event) {
  delete event;
}
Error* event_record(tenon_event* event, tenon_stream*) {
  const std::lock_guard lock(event->mutex);
  event->time = Clock::now();
  return nullptr;
}
Error* event_done(tenon_event*, int32_t* done) {
  *done = 1;
  return nullptr;
}
Error* event_wait(tenon_event*) {
  return nullptr;
}
Error* event_seconds(tenon_event* from, tenon_event* to, double* seconds) {
  const std::scoped_lock lock(from->mutex, to->mutex);
  *seconds = seconds_between(from->time, to->time);
  return nullptr;
}

// ---- programs: where a driver of one's own goes

Error* load(tenon_device* device, const tenon_load* request, tenon_program** program) {
  if (device == nullptr || request == nullptr || request->struct_size < sizeof *request ||
      program == nullptr)
    return invalid("the request is null or of another size");
  const std::string precision = request->precision == nullptr ? "" : request->precision;
  if (!precision.empty() && precision != "fp32")
    return error(TENON_UNSUPPORTED,
                 "'" + precision + "' is no precision of this device; there is fp32");
  tenon_options options{};
  options.struct_size = sizeof options;
  options.skip_weights_checksum = request->skip_weights_checksum;
  options.max_loop_iterations = request->max_loop_iterations;
  options.custom_ops = request->custom_ops;
  options.custom_op_count = request->custom_op_count;
  options.allow_embedded_code = request->allow_embedded_code;
  auto loaded = std::make_unique<tenon_program>();
  if (Error* wrong = passed_on(
          tenon_model_load_bytes(request->model, request->model_size, &options, &loaded->model)))
    return wrong;
  if (Error* wrong =
          passed_on(tenon_model_function(loaded->model, request->function, &loaded->function)))
    return wrong;
  // Variables come as inputs behind the others; the runtime's C interface keeps them itself.
  tenon_state* state = nullptr;
  if (Error* wrong = passed_on(tenon_function_state(loaded->function, &state))) return wrong;
  const size_t variables = tenon_state_count(state);
  tenon_state_free(state);
  if (variables > 0)
    return error(TENON_UNSUPPORTED, "this device runs no functions that assign variables");
  *program = loaded.release();
  return nullptr;
}
void unload(tenon_program* program) {
  delete program;
}

// An operand as the runtime takes it. Its type and sizes are checked by the runtime.
Error* tensor_of(const tenon_operand& o, tenon_tensor& tensor) {
  if (o.struct_size < sizeof o) return invalid("struct_size of an input is not set");
  tensor = {sizeof tensor, o.dtype, o.rank, o.dims, o.data, o.byte_size};
  if (o.buffer == nullptr) return nullptr;
  if (Error* wrong = check_range(o.buffer, o.offset, 0)) return wrong;
  tensor.data = o.buffer->data + o.offset;
  tensor.byte_size = o.buffer->bytes - o.offset;
  return nullptr;
}

Error* execute(tenon_program* program, tenon_stream*, const tenon_operand* inputs, size_t count,
               const tenon_execute_options* options, tenon_execution** execution) {
  if (program == nullptr || execution == nullptr) return invalid("program or execution is null");
  // A device whose runs take long asks again meanwhile.
  if (options != nullptr && options->interrupted != nullptr &&
      options->interrupted(options->context) != 0)
    return error(TENON_CANCELLED, "the run was cancelled");
  std::vector<tenon_tensor> tensors(count);
  uint64_t in = 0, out = 0;
  for (size_t i = 0; i < count; ++i) {
    if (Error* wrong = tensor_of(inputs[i], tensors[i])) return wrong;
    in += inputs[i].byte_size;
  }
  const Clock::time_point begin = Clock::now();
  auto done = std::make_unique<tenon_execution>();
  if (Error* wrong = passed_on(
          tenon_function_run(program->function, tensors.data(), count, nullptr, 0, &done->result)))
    return wrong;
  const double seconds = seconds_between(begin, Clock::now());
  for (size_t i = 0; i < tenon_result_count(done->result); ++i) {
    tenon_tensor result{};
    result.struct_size = sizeof result;
    if (Error* wrong = passed_on(tenon_result_output(done->result, i, &result))) return wrong;
    out += result.byte_size;
  }
  const std::lock_guard lock(program->mutex);
  program->executions += 1;
  program->bytes_in += static_cast<double>(in);
  program->bytes_out += static_cast<double>(out);
  if (static_cast<double>(in + out) > program->memory)
    program->memory = static_cast<double>(in + out);
  program->seconds += seconds;
  program->last = seconds;
  *execution = done.release();
  return nullptr;
}

size_t execution_output_count(const tenon_execution* execution) {
  return tenon_result_count(execution->result);
}

Error* execution_output(tenon_execution* execution, size_t index, tenon_operand* output) {
  if (output == nullptr || output->struct_size < sizeof *output)
    return invalid("struct_size is not set");
  tenon_tensor t{};
  t.struct_size = sizeof t;
  if (Error* wrong = passed_on(tenon_result_output(execution->result, index, &t))) return wrong;
  *output = {output->struct_size, t.dtype, t.rank, t.dims, nullptr, 0, t.data, t.byte_size};
  return nullptr;
}
void execution_free(tenon_execution* execution) {
  delete execution;
}

// ---- what it counts and says

size_t counter_count(tenon_program*) {
  return 8;
}

Error* counter(tenon_program* program, size_t index, tenon_counter* out) {
  if (out == nullptr || out->struct_size < sizeof *out) return invalid("struct_size is not set");
  const std::lock_guard lock(program->mutex);
  const struct {
    const char *name, *unit;
    double value;
  } all[] = {{"executions", "", program->executions},
             {"launches", "", program->executions},
             {"host_nodes", "", 0},
             {"bytes_in", "bytes", program->bytes_in},
             {"bytes_out", "bytes", program->bytes_out},
             {"memory_bytes", "bytes", program->memory},
             {"seconds", "seconds", program->seconds},
             {"last_seconds", "seconds", program->last}};
  if (index >= counter_count(program)) return invalid("there are 8 counters");
  *out = {out->struct_size, all[index].name, all[index].unit, all[index].value};
  return nullptr;
}

const char* notice(tenon_program*, size_t) {
  return nullptr;
}

}  // namespace

const tenon_device_api* tenon_device_plugin(uint32_t host_version) TENON_NOEXCEPT {
  if (host_version != TENON_DEVICE_ABI_VERSION) return nullptr;
  static const tenon_device_api api{
      sizeof(tenon_device_api),
      TENON_DEVICE_ABI_VERSION,
      {sizeof(tenon_device_info), sizeof(tenon_device_options), sizeof(tenon_device_memory),
       sizeof(tenon_load), sizeof(tenon_operand), sizeof(tenon_execute_options),
       sizeof(tenon_counter)},
      "neighbour 1.0",
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
      execution_output_count,
      execution_output,
      execution_free,
      counter_count,
      counter,
      notice};
  return &api;
}
