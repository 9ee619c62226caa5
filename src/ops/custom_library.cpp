#include "ops/custom_library.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/crash_guard.h"
#include "base/elf.h"
#include "ops/custom_call.h"
#include "ops/custom_kernel.h"

namespace tenon {
namespace {

constexpr const char* kSymbol = "tenon_custom_ops";
constexpr uint32_t kMaxOps = 10'000;

Status check_elf(Bytes bytes) {
  if (!is_elf(bytes))
    return invalid_argument(
        "this is no shared library; build one from what `tenon new-op NAME` writes, or give a "
        "decomposition as text in a file that ends in .tn");
  if (is_elf_cut_off(bytes)) return invalid_argument("the library is cut off");
  return {};
}

// The last error of dlopen and dlsym.
std::string dl_error() {
  const char* text = ::dlerror();
  return text == nullptr ? "no reason given" : text;
}

}  // namespace

std::string custom_op_name(std::string_view domain, std::string_view name) {
  if (domain.empty() || domain == "ai.onnx") return std::string(name);
  return fmt::format("{}::{}", domain, name);
}

CustomLibrary::~CustomLibrary() {
  if (handle_ != nullptr) ::dlclose(handle_);
}

Result<std::shared_ptr<const CustomLibrary>> CustomLibrary::load(const std::string& path) {
  const auto file = TRY(MappedFile::open(path));
  if (Status s = check_elf(file->bytes()); !s.ok()) return std::move(s).error().at(path);
  std::shared_ptr<CustomLibrary> library(new CustomLibrary(path, path.substr(path.rfind('/') + 1)));
  // A name without a slash would be looked for in the system's folders.
  const std::string place = path.find('/') == std::string::npos ? "./" + path : path;
  if (Status s = library->open(place); !s.ok()) return std::move(s).error().at(path);
  return library;
}

Result<std::shared_ptr<const CustomLibrary>> CustomLibrary::load(Bytes bytes,
                                                                 const std::string& name) {
  TRY(check_elf(bytes));
  const int fd = ::memfd_create(name.c_str(), MFD_CLOEXEC);
  if (fd < 0) return io_error("cannot make a file in memory for an embedded library");
  std::shared_ptr<CustomLibrary> library(new CustomLibrary({}, name));
  Status status;
  for (Bytes rest = bytes; !rest.empty() && status.ok();) {
    const ssize_t written = ::write(fd, rest.data(), rest.size());
    if (written <= 0)
      status = io_error("cannot write an embedded library to memory");
    else
      rest = rest.subspan(static_cast<size_t>(written));
  }
  if (status.ok()) status = library->open(fmt::format("/proc/self/fd/{}", fd));
  ::close(fd);
  if (!status.ok()) return std::move(status).error().at(name);
  return library;
}

Status CustomLibrary::open(const std::string& file) {
  const tenon_custom_library* description = nullptr;
  std::string failure;
  const std::string crash = call_guarded([&] {
    handle_ = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle_ == nullptr) {
      failure = "it cannot be loaded: " + dl_error();
      return;
    }
    using Entry = const tenon_custom_library* (*)();
    const auto entry = reinterpret_cast<Entry>(::dlsym(handle_, kSymbol));
    if (entry == nullptr)
      failure = fmt::format(
          "it has no symbol '{}': it was not built with tenon/custom_op.h; `tenon new-op NAME` "
          "writes a file that has it",
          kSymbol);
    else
      description = entry();
  });
  if (!crash.empty())
    return invalid_argument(fmt::format("the library crashed while it was loaded: {}", crash));
  if (!failure.empty()) return invalid_argument(std::move(failure));
  return check(description);
}

Status CustomLibrary::check(const tenon_custom_library* library) {
  if (library == nullptr) return invalid_argument(fmt::format("its '{}' gives nothing", kSymbol));
  if (library->struct_size < 2 * sizeof(size_t))
    return invalid_argument("its description of itself is not filled in");
  if (library->abi_version != TENON_CUSTOM_OP_ABI_VERSION)
    return unsupported(fmt::format(
        "it was built for version {} of the interface of custom ops, this Tenon has version {}; "
        "build it again with the headers that `tenon new-op` writes",
        library->abi_version, TENON_CUSTOM_OP_ABI_VERSION));
  const bool fits =
      library->struct_size >= sizeof(tenon_custom_library) &&
      library->op_size >= sizeof(tenon_custom_op) && library->attr_size == sizeof(tenon_op_attr) &&
      library->operand_size == sizeof(tenon_op_operand) &&
      library->type_size == sizeof(tenon_op_type) && library->tensor_size == sizeof(tenon_tensor);
  if (!fits)
    return unsupported(
        "its structs have other sizes than this Tenon's; build it again with the headers that "
        "`tenon new-op` writes");
  if (library->op_count == 0 || library->op_count > kMaxOps || library->ops == nullptr)
    return invalid_argument("it describes no ops");
  for (uint32_t i = 0; i < library->op_count; ++i) {
    const auto* at = reinterpret_cast<const char*>(library->ops) + i * library->op_size;
    const auto& op = *reinterpret_cast<const tenon_custom_op*>(at);
    if (op.name == nullptr || op.name[0] == '\0' || op.infer == nullptr || op.run == nullptr ||
        op.min_inputs < 0 || op.outputs > TENON_OP_MAX_OUTPUTS || op.outputs < -1)
      return invalid_argument(
          fmt::format("its op {} ('{}') has no name, shape rule or kernel, or counts out of range",
                      i, op.name == nullptr ? "" : op.name));
    names_.push_back(custom_op_name(op.domain == nullptr ? "" : op.domain, op.name));
    ops_.push_back(op);
  }
  return {};
}

const tenon_custom_op* CustomLibrary::find(std::string_view op) const {
  for (size_t i = 0; i < ops_.size(); ++i)
    if (names_[i] == op) return &ops_[i];
  return nullptr;
}

std::shared_ptr<const CustomLibrary> CustomLibraries::find(std::string_view op,
                                                           std::string_view preferred) const {
  std::shared_ptr<const CustomLibrary> found;
  for (const auto& library : all) {
    if (library->find(op) == nullptr) continue;
    if (library->name() == preferred) return library;
    if (found == nullptr) found = library;
  }
  return found;
}

bool is_kernel_file(std::string_view path) {
  return path.ends_with(".mlu");
}

Status CustomLibraries::add(const std::string& path) {
  if (!is_kernel_file(path)) {
    all.push_back(TRY(CustomLibrary::load(path)));
    return {};
  }
  const auto file = TRY(MappedFile::open(path));
  auto made = TRY(
      bang::parse_kernel(std::string(as_text(file->bytes())), path.substr(path.rfind('/') + 1)));
  if (kernel(made->signature.op) != nullptr)
    return invalid_argument(fmt::format("there are two kernels of op '{}'", made->signature.op))
        .at(path);
  kernels.push_back(std::move(made));
  return {};
}

std::shared_ptr<const bang::Kernel> CustomLibraries::kernel(std::string_view op) const {
  for (const auto& kernel : kernels)
    if (kernel->signature.op == op) return kernel;
  return nullptr;
}

Status bind(Custom& op, const CustomLibraries& libraries) {
  auto kernel = libraries.kernel(op.op);
  auto library = kernel == nullptr ? libraries.find(op.op, op.library) : nullptr;
  if (library != nullptr) {
    const tenon_custom_op& found = *library->find(op.op);
    op.bound = TRY(BoundCustomOp::make(std::move(library), found, op.attributes));
    op.kernel = nullptr;
    return {};
  }
  if (kernel == nullptr && !op.source.empty())
    kernel = TRY(bang::parse_kernel(op.source, op.library));
  if (kernel == nullptr) return {};
  op.library = kernel->source.file;
  op.source = kernel->source.text;
  op.kernel = TRY(CustomKernel::make(std::move(kernel), op.attributes));
  return {};
}

}  // namespace tenon
