#include "device/plugin/plugin.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/crash_guard.h"
#include "base/elf.h"
#include "tensor/narrow.h"

namespace tenon::device {
namespace {

constexpr const char* kSymbol = "tenon_device_plugin";
constexpr size_t kMaxDevices = 10'000;

std::string dl_error() {
  const char* text = ::dlerror();
  return text == nullptr ? "no reason given" : text;
}

std::string text_of(const char* text) {
  return text == nullptr ? std::string() : std::string(text);
}

// Every entry there is: a null one would be a crash later.
bool is_complete(const tenon_device_api& a) {
  const auto all = [](auto... f) { return ((f != nullptr) && ...); };
  return all(a.error_code, a.error_message, a.error_where, a.error_free, a.device_count,
             a.device_info, a.open, a.close, a.memory, a.allocate, a.free, a.copy_in, a.copy_out) &&
         all(a.stream_create, a.stream_destroy, a.stream_wait, a.stream_wait_event, a.event_create,
             a.event_destroy, a.event_record, a.event_done, a.event_wait, a.event_seconds) &&
         all(a.load, a.unload, a.execute, a.execution_output_count, a.execution_output,
             a.execution_free, a.counter_count, a.counter, a.notice);
}

}  // namespace

Result<std::shared_ptr<const Plugin>> Plugin::open(const std::string& path) {
  // The loader crashes on what is cut off.
  const auto file = TRY(MappedFile::open(path));
  if (!is_elf(file->bytes())) return invalid_argument("this is no shared library").at(path);
  if (is_elf_cut_off(file->bytes())) return invalid_argument("the library is cut off").at(path);
  auto plugin = std::make_shared<Plugin>();
  plugin->path_ = path;
  const tenon_device_api* api = nullptr;
  std::string failure;
  const std::string place = path.find('/') == std::string::npos ? "./" + path : path;
  const std::string crash = call_guarded([&] {
    void* handle = ::dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) {
      failure = "it cannot be loaded: " + dl_error();
      return;
    }
    const auto entry = reinterpret_cast<tenon_device_plugin_function>(::dlsym(handle, kSymbol));
    if (entry == nullptr)
      failure = fmt::format(
          "it has no symbol '{}': it is no device plug-in; include/tenon/device.h says what one "
          "exports",
          kSymbol);
    else
      api = entry(TENON_DEVICE_ABI_VERSION);
  });
  if (!crash.empty())
    return invalid_argument(fmt::format("the plug-in crashed while it was loaded: {}", crash))
        .at(path);
  if (!failure.empty()) return invalid_argument(std::move(failure)).at(path);
  if (Status s = plugin->check(api); !s.ok()) return std::move(s).error().at(path);
  return plugin;
}

Status Plugin::check(const tenon_device_api* api) {
  if (api == nullptr)
    return unsupported(fmt::format(
        "the plug-in gives no table for version {} of the device interface; build it with this "
        "version's include/tenon/device.h",
        TENON_DEVICE_ABI_VERSION));
  if (api->struct_size < 2 * sizeof(size_t))
    return invalid_argument("the plug-in's table is not filled in");
  if (api->abi_version != TENON_DEVICE_ABI_VERSION)
    return unsupported(fmt::format(
        "the plug-in was built for version {} of the device interface, this Tenon has version {}; "
        "build it with this version's include/tenon/device.h",
        api->abi_version, TENON_DEVICE_ABI_VERSION));
  constexpr std::array<size_t, 7> kSizes{sizeof(tenon_device_info),   sizeof(tenon_device_options),
                                         sizeof(tenon_device_memory), sizeof(tenon_load),
                                         sizeof(tenon_operand),       sizeof(tenon_execute_options),
                                         sizeof(tenon_counter)};
  bool fits = api->struct_size >= sizeof(tenon_device_api);
  for (size_t i = 0; i < kSizes.size(); ++i) fits &= api->struct_sizes[i] == kSizes[i];
  if (!fits)
    return unsupported(
        "the plug-in's structs have other sizes than this Tenon's; build it with this version's "
        "include/tenon/device.h");
  if (!is_complete(*api)) return invalid_argument("the plug-in's table has entries that are null");
  api_ = api;
  return {};
}

Result<std::vector<Description>> Plugin::devices() const {
  const size_t count = api_->device_count();
  if (count == 0 || count > kMaxDevices)
    return invalid_argument(fmt::format("the plug-in says that it has {} devices", count))
        .at(path_);
  std::vector<Description> all;
  for (size_t i = 0; i < count; ++i) {
    tenon_device_info info{};
    info.struct_size = sizeof info;
    TRY(status(api_->device_info(i, &info)));
    Description d;
    d.name = text_of(info.name);
    d.title = text_of(info.title);
    d.family = text_of(info.family);
    d.aliases = text_of(info.aliases);
    d.checked = text_of(info.checked);
    d.flags = info.flags;
    d.memory_bytes = info.memory_bytes;
    d.plugin = shared_from_this();
    d.index = i;
    if (d.name.empty())
      return invalid_argument(fmt::format("the plug-in's device {} has no name", i)).at(path_);
    all.push_back(std::move(d));
  }
  return all;
}

Status Plugin::status(tenon_device_error* error) const {
  if (error == nullptr) return {};
  const int32_t code = api_->error_code(error);
  const bool known = (code >= 1 && code <= 7) || code == 70;
  Error out(known ? static_cast<Code>(code) : Code::internal, text_of(api_->error_message(error)),
            text_of(api_->error_where(error)));
  api_->error_free(error);
  return out;
}

Result<std::shared_ptr<LoadedProgram>> LoadedProgram::load(const Description& device, int threads,
                                                           const Load& load) {
  const Plugin& plugin = *device.plugin;
  std::shared_ptr<LoadedProgram> out(new LoadedProgram(device));
  const tenon_device_options options{sizeof options, threads};
  TRY(plugin.status(plugin.api().open(device.index, &options, &out->device_)));
  out->model_ = load.model;
  std::vector<const char*> libraries;
  for (const std::string& path : load.custom_ops) libraries.push_back(path.c_str());
  tenon_load request{};
  request.struct_size = sizeof request;
  request.model = load.model.bytes.data();
  request.model_size = load.model.bytes.size();
  request.section = load.section.empty() ? nullptr : load.section.data();
  request.section_size = load.section.size();
  request.function = load.function.c_str();
  request.precision = load.precision.c_str();
  request.skip_weights_checksum = load.verify_weights ? 0 : 1;
  request.max_loop_iterations = load.max_loop_iterations;
  request.custom_ops = libraries.data();
  request.custom_op_count = libraries.size();
  request.allow_embedded_code = load.allow_embedded_code ? 1 : 0;
  TRY(plugin.status(plugin.api().load(out->device_, &request, &out->program_)));
  return out;
}

LoadedProgram::~LoadedProgram() {
  const tenon_device_api& api = description_.plugin->api();
  if (program_ != nullptr) api.unload(program_);
  if (device_ != nullptr) api.close(device_);
}

namespace {

// What lives as long as one execution.
struct Execution {
  const tenon_device_api& api;
  tenon_execution* execution = nullptr;
  ~Execution() {
    if (execution != nullptr) api.execution_free(execution);
  }
};

int32_t ask(void* context) {
  return (*static_cast<const Interrupted*>(context))() ? 1 : 0;
}

Result<Tensor> copy_of(const Plugin& plugin, const tenon_operand& o) {
  if (o.dtype <= 0 || o.dtype >= kDTypeEnd || o.rank < 0 || o.rank > 64 ||
      (o.rank > 0 && o.dims == nullptr))
    return internal_error("the device gave a result of no type");
  const auto dtype = static_cast<DType>(o.dtype);
  Tensor t = TRY(Tensor::allocate(dtype, {o.dims, static_cast<size_t>(o.rank)}));
  const bool strings = dtype == DType::string;
  const uint64_t bytes =
      strings ? static_cast<uint64_t>(t.elements()) * sizeof(tenon_string) : t.byte_size();
  if (o.byte_size < bytes || (o.buffer == nullptr && o.data == nullptr && bytes > 0))
    return internal_error(
        fmt::format("the device gave {} bytes of a result of {}", o.byte_size, bytes));
  if (strings) {
    const auto* from = static_cast<const tenon_string*>(o.data);
    for (int64_t i = 0; from != nullptr && i < t.elements(); ++i)
      if (from[i].size > 0) t.mutable_data<std::string>()[i].assign(from[i].data, from[i].size);
  } else if (o.buffer != nullptr) {
    TRY(plugin.status(plugin.api().copy_out(o.buffer, o.offset, t.mutable_raw(), bytes, nullptr)));
    TRY(plugin.status(plugin.api().stream_wait(nullptr)));
  } else if (bytes > 0) {
    std::memcpy(t.mutable_raw(), o.data, bytes);
  }
  return t;
}

}  // namespace

Result<std::vector<Tensor>> LoadedProgram::run(std::span<const Tensor> inputs,
                                               const Interrupted& interrupted) {
  const Plugin& plugin = *description_.plugin;
  std::vector<tenon_operand> operands;
  std::vector<std::vector<tenon_string>> strings(inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Tensor& t = inputs[i];
    if (t.is_list())
      return unsupported(
          fmt::format("device '{}' takes tensors only; input {} is a list", description_.name, i));
    tenon_operand& o = operands.emplace_back();
    o.struct_size = sizeof o;
    o.dtype = static_cast<int32_t>(t.dtype());
    o.rank = t.rank();
    o.dims = t.dims().data();
    o.data = const_cast<void*>(t.raw());
    o.byte_size = t.byte_size();
    if (t.dtype() != DType::string) continue;
    for (const std::string& s : t.span<std::string>()) strings[i].push_back({s.data(), s.size()});
    o.data = strings[i].data();
    o.byte_size = strings[i].size() * sizeof(tenon_string);
  }
  const tenon_execute_options options{sizeof options, interrupted ? ask : nullptr,
                                      const_cast<Interrupted*>(&interrupted)};
  Execution done{plugin.api()};
  TRY(plugin.status(plugin.api().execute(program_, nullptr, operands.data(), operands.size(),
                                         &options, &done.execution)));
  std::vector<Tensor> results;
  const size_t count = plugin.api().execution_output_count(done.execution);
  for (size_t i = 0; i < count; ++i) {
    tenon_operand o{};
    o.struct_size = sizeof o;
    TRY(plugin.status(plugin.api().execution_output(done.execution, i, &o)));
    results.push_back(TRY(copy_of(plugin, o)));
  }
  return results;
}

Result<std::vector<Counter>> LoadedProgram::counters() const {
  const Plugin& plugin = *description_.plugin;
  std::vector<Counter> all;
  const size_t count = plugin.api().counter_count(program_);
  for (size_t i = 0; i < count; ++i) {
    tenon_counter c{};
    c.struct_size = sizeof c;
    TRY(plugin.status(plugin.api().counter(program_, i, &c)));
    all.push_back({text_of(c.name), text_of(c.unit), c.value});
  }
  return all;
}

std::vector<std::string> LoadedProgram::notices() const {
  std::vector<std::string> all;
  while (const char* text = description_.plugin->api().notice(program_, all.size()))
    all.emplace_back(text);
  return all;
}

}  // namespace tenon::device
