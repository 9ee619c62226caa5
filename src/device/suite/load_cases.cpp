// Files, inputs and threads, good and bad; what programs count and say.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <thread>

#include "device/suite/cases.h"
#include "device/suite/models.h"
#include "tensor/compare.h"

namespace tenon::device {
namespace {

// A program held by its handle.
struct Held {
  Bench& bench;
  Blob file;
  tenon_program* handle = nullptr;
  explicit Held(Bench& b) : bench(b) {}
  ~Held() {
    if (handle != nullptr) bench.api().unload(handle);
  }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;

  tenon_device_error* load(const Blob& bytes, const char* function, const char* precision = "") {
    file = bytes;
    tenon_load request{};
    request.struct_size = sizeof request;
    request.model = file.bytes.data();
    request.model_size = file.bytes.size();
    request.function = function;
    request.precision = precision;
    return bench.api().load(bench.device, &request, &handle);
  }
};

tenon_operand operand_of(const Tensor& t) {
  tenon_operand o{};
  o.struct_size = sizeof o;
  o.dtype = static_cast<int32_t>(t.dtype());
  o.rank = t.rank();
  o.dims = t.dims().data();
  o.data = const_cast<void*>(t.raw());
  o.byte_size = t.byte_size();
  return o;
}

// Executes and throws the results away.
tenon_device_error* execute(Held& program, std::span<const tenon_operand> inputs,
                            const tenon_execute_options* options = nullptr) {
  tenon_execution* execution = nullptr;
  const auto& api = program.bench.api();
  tenon_device_error* error =
      api.execute(program.handle, nullptr, inputs.data(), inputs.size(), options, &execution);
  if (error != nullptr) return error;
  tenon_operand out{};
  out.struct_size = sizeof out;
  error = api.execution_output(execution, 0, &out);
  api.execution_free(execution);
  return error;
}

Status unknown_function(Bench& bench) {
  Held program(bench);
  TRY(bench.refused(program.load(TRY(file_of(kSmallModel)), "no such function"), Code::not_found,
                    "a function that the file has not"));
  return bench.refused(bench.api().load(bench.device, nullptr, &program.handle),
                       Code::invalid_argument, "no request");
}

Status unknown_precision(Bench& bench) {
  Held program(bench);
  return bench.refused(program.load(TRY(file_of(kSmallModel)), "main", "fp17"), Code::unsupported,
                       "a precision that is not there");
}

// Cut off anywhere, and with a byte changed in the head: refused, whatever the code.
Status damaged(Bench& bench) {
  const Blob good = TRY(file_of(kSmallModel));
  const auto refuse = [&](size_t size, size_t changed) -> Status {
    const auto copy = allocate_aligned(std::max<size_t>(size, 1));
    std::memcpy(copy.get(), good.bytes.data(), size);
    if (changed < size) copy.get()[changed] ^= std::byte{0x20};
    Held program(bench);
    if (bench.status(program.load({{copy.get(), size}, copy}, "main")).ok())
      return wrong(fmt::format("a file of {} bytes, byte {} changed, is loaded", size, changed));
    return {};
  };
  for (size_t size = 0; size < good.bytes.size(); size += 1 + good.bytes.size() / 23)
    TRY(refuse(size, SIZE_MAX));
  for (size_t i = 0; i < 88; i += 5) TRY(refuse(good.bytes.size(), i));
  return {};
}

Status bad_inputs(Bench& bench) {
  Held program(bench);
  TRY(bench.status(program.load(TRY(file_of(kSmallModel)), "main")));
  const Tensor good = TRY(inputs_for(kSmallModel, 2, 1))[0];
  const tenon_operand right = operand_of(good);
  const auto refuse = [&](std::vector<tenon_operand> inputs, std::string_view what) {
    return bench.refused(execute(program, inputs), Code::invalid_argument, what);
  };
  TRY(refuse({}, "no input"));
  TRY(refuse({right, right}, "one input too many"));
  tenon_operand o = right;
  o.dtype = TENON_INT32;
  TRY(refuse({o}, "an input of another type"));
  o.dtype = 1000;
  TRY(refuse({o}, "an input of no type"));
  o = right;
  const int64_t other[] = {2, 7}, negative[] = {-2, 8}, huge[] = {int64_t{1} << 40, 8};
  o.dims = other;
  TRY(refuse({o}, "an input of other sizes"));
  o.dims = negative;
  TRY(refuse({o}, "an input of a negative size"));
  o.dims = huge;
  TRY(refuse({o}, "an input whose bytes are not there"));
  o = right;
  o.rank = 1;
  TRY(refuse({o}, "an input of another rank"));
  o = right;
  o.byte_size = 3;
  TRY(refuse({o}, "an input with too few bytes"));
  o = right;
  o.data = nullptr;
  TRY(refuse({o}, "an input without data"));
  o = right;
  o.struct_size = 0;
  TRY(refuse({o}, "an input without struct_size"));
  return bench.status(execute(program, std::vector{right}));
}

// Inputs in buffers of the device, behind one another; the result read through the interface.
Status in_buffers(Bench& bench) {
  Held program(bench);
  const Blob file = TRY(file_of(kSmallModel));
  TRY(bench.status(program.load(file, "main")));
  const auto inputs = TRY(inputs_for(kSmallModel, 3, 9));
  const auto direct = TRY(TRY(loaded(bench, file))->run(inputs, {}));
  const auto& api = bench.api();
  tenon_buffer* buffer = nullptr;
  TRY(bench.status(api.allocate(bench.device, 128 + inputs[0].byte_size(), &buffer)));
  const std::shared_ptr<tenon_buffer> owner(buffer, [&api](tenon_buffer* b) { api.free(b); });
  TRY(bench.status(api.copy_in(buffer, 128, inputs[0].raw(), inputs[0].byte_size(), nullptr)));
  tenon_operand o = operand_of(inputs[0]);
  o.data = nullptr;
  o.buffer = buffer;
  o.offset = 128;
  tenon_execution* execution = nullptr;
  TRY(bench.status(api.execute(program.handle, nullptr, &o, 1, nullptr, &execution)));
  const std::shared_ptr<tenon_execution> done(
      execution, [&api](tenon_execution* e) { api.execution_free(e); });
  if (api.execution_output_count(execution) != 1) return wrong("there is not one output");
  tenon_operand out{};
  out.struct_size = sizeof out;
  TRY(bench.status(api.execution_output(execution, 0, &out)));
  if (out.rank != 2 || out.dims[0] != 3 || out.dims[1] != 4 || out.dtype != TENON_FLOAT32)
    return wrong("the output is not float32 [3, 4]");
  Tensor result = TRY(Tensor::zeros(DType::f32, std::vector<int64_t>{3, 4}));
  if (out.buffer != nullptr)
    TRY(bench.status(
        api.copy_out(out.buffer, out.offset, result.mutable_raw(), result.byte_size(), nullptr)));
  else
    std::memcpy(result.mutable_raw(), out.data, result.byte_size());
  TRY(bench.status(api.stream_wait(nullptr)));
  if (!bitwise_equal(result, direct[0]))
    return wrong("inputs in a buffer give another result than those of the host");
  TRY(bench.refused(api.execution_output(execution, 1, &out), Code::invalid_argument,
                    "an output beyond the last"));
  o.offset = 1 << 20;
  return bench.refused(execute(program, std::vector{o}), Code::invalid_argument,
                       "an input beyond its buffer");
}

Status other_sizes(Bench& bench) {
  const auto program = TRY(loaded(bench, TRY(file_of(kSmallModel))));
  for (const int64_t n : {1, 5, 2, 1, 17}) {
    const auto inputs = TRY(inputs_for(kSmallModel, n, static_cast<uint32_t>(n)));
    const auto results = TRY(program->run(inputs, {}));
    if (results.size() != 1 || results[0].dims() != std::vector<int64_t>{n, 4})
      return wrong(fmt::format("for {} rows the result is {}", n,
                               results.empty() ? "none" : results[0].type().to_string()));
  }
  return {};
}

Status interrupted(Bench& bench) {
  Held program(bench);
  TRY(bench.status(program.load(TRY(file_of(kSmallModel)), "main")));
  const auto inputs = TRY(inputs_for(kSmallModel, 2, 1));
  const tenon_execute_options stop{sizeof stop, [](void*) -> int32_t { return 1; }, nullptr};
  TRY(bench.refused(execute(program, std::vector{operand_of(inputs[0])}, &stop), Code::cancelled,
                    "an execution that is interrupted"));
  return bench.status(execute(program, std::vector{operand_of(inputs[0])}));
}

Status counters(Bench& bench) {
  const auto program = TRY(loaded(bench, TRY(file_of(kSmallModel))));
  const auto inputs = TRY(inputs_for(kSmallModel, 2, 1));
  for (int i = 0; i < 3; ++i) TRY(program->run(inputs, {}));
  std::map<std::string, double> values;
  for (const Counter& c : TRY(program->counters())) values[c.name] = c.value;
  for (const char* name : {"executions", "launches", "host_nodes", "bytes_in", "bytes_out",
                           "memory_bytes", "seconds", "last_seconds"})
    if (!values.contains(name)) return wrong(fmt::format("there is no counter '{}'", name));
  if (values["executions"] != 3)
    return wrong(fmt::format("{} executions counted of 3", values["executions"]));
  if (values["bytes_in"] != 3 * 64 || values["bytes_out"] != 3 * 32)
    return wrong(fmt::format("{} bytes in and {} out counted, not 192 and 96", values["bytes_in"],
                             values["bytes_out"]));
  if (!(values["seconds"] > 0) || values["last_seconds"] > values["seconds"])
    return wrong("the seconds are not those of three executions");
  return {};
}

Status notices(Bench& bench) {
  Held program(bench);
  TRY(bench.status(program.load(TRY(file_of(kSmallModel)), "main")));
  const auto inputs = TRY(inputs_for(kSmallModel, 2, 1));
  TRY(bench.status(execute(program, std::vector{operand_of(inputs[0])})));
  size_t count = 0;
  while (bench.api().notice(program.handle, count) != nullptr)
    if (++count > 1000) return wrong("notices never end");
  if (bench.api().notice(program.handle, SIZE_MAX) != nullptr)
    return wrong("a notice of no number");
  return {};
}

// One program in many threads, while others load and unload.
Status threads(Bench& bench) {
  const Blob file = TRY(file_of(kSmallModel));
  const auto program = TRY(loaded(bench, file));
  constexpr uint32_t kThreads = 4;
  std::vector<std::vector<Tensor>> inputs, expected;
  for (uint32_t i = 0; i < kThreads; ++i) {
    inputs.push_back(TRY(inputs_for(kSmallModel, 1 + i % 2, i + 1)));
    expected.push_back(TRY(program->run(inputs.back(), {})));
  }
  std::vector<Status> statuses(kThreads);
  std::vector<std::thread> running;
  const auto work = [&](uint32_t i) -> Status {
    for (int n = 0; n < 10; ++n) {
      const auto results = TRY(program->run(inputs[i], {}));
      if (results.size() != 1 || !bitwise_equal(results[0], expected[i][0]))
        return wrong("a result in many threads is not that of one");
      if (n % 5 == 0) TRY(TRY(loaded(bench, file))->run(inputs[i], {}));
      (void)program->counters();
      (void)program->notices();
    }
    return {};
  };
  for (uint32_t i = 0; i < kThreads; ++i) running.emplace_back([&, i] { statuses[i] = work(i); });
  for (std::thread& t : running) t.join();
  for (Status& s : statuses) TRY(std::move(s));
  return {};
}

}  // namespace

std::vector<Case> load_cases() {
  return {{"load/unknown function", unknown_function},
          {"load/unknown precision", unknown_precision},
          {"load/damaged files", damaged},
          {"run/bad inputs", bad_inputs},
          {"run/inputs in buffers", in_buffers},
          {"run/other sizes", other_sizes},
          {"run/interrupted", interrupted},
          {"run/counters", counters},
          {"run/notices", notices},
          {"run/threads", threads}};
}

}  // namespace tenon::device
