// Shared libraries with custom operators: loading, the handshake, and binding `custom` ops to them.
// Everything a library says is checked; what crashes in it is an error that names it.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bang/kernel.h"
#include "ops/custom.h"
#include "tenon/custom_op.h"

namespace tenon {

// A loaded library. Immutable, thread-safe; unloaded with the last op that is bound to it.
class CustomLibrary {
 public:
  // Errors: not_found, invalid_argument (what is wrong with the library, and what to do).
  static Result<std::shared_ptr<const CustomLibrary>> load(const std::string& path);
  // From its bytes, as a .tenon file carries them.
  static Result<std::shared_ptr<const CustomLibrary>> load(Bytes bytes, const std::string& name);

  ~CustomLibrary();
  CustomLibrary(const CustomLibrary&) = delete;
  CustomLibrary& operator=(const CustomLibrary&) = delete;

  const std::string& name() const { return name_; }  // the file's, without folder
  const std::string& path() const { return path_; }  // empty where it came as bytes
  const std::vector<tenon_custom_op>& ops() const { return ops_; }
  // Null when it has none of this name.
  const tenon_custom_op* find(std::string_view op) const;

 private:
  CustomLibrary(std::string path, std::string name)
      : path_(std::move(path)), name_(std::move(name)) {}
  Status open(const std::string& file);
  Status check(const tenon_custom_library* library);

  std::string path_, name_;
  void* handle_ = nullptr;
  std::vector<tenon_custom_op> ops_;
  std::vector<std::string> names_;  // of ops_, with domain
};

// Whether it is a kernel file, by its name.
bool is_kernel_file(std::string_view path);

// The libraries and kernel files that were given, in order.
struct CustomLibraries {
  std::vector<std::shared_ptr<const CustomLibrary>> all;
  std::vector<std::shared_ptr<const bang::Kernel>> kernels;

  // Loads and adds one. Errors: those of CustomLibrary::load and bang::parse_kernel; two kernels of
  // one op.
  Status add(const std::string& path);
  bool has(std::string_view op) const { return kernel(op) != nullptr || find(op) != nullptr; }
  // Null when there is none.
  std::shared_ptr<const bang::Kernel> kernel(std::string_view op) const;

  // The library that has the op, `preferred` first; null when none has.
  std::shared_ptr<const CustomLibrary> find(std::string_view op,
                                            std::string_view preferred = {}) const;
};

// Binds the op to the kernel or library that has it, else to the kernel that it carries. Nothing
// happens where there is none. Errors: an attribute that cannot be read, those of
// bang::parse_kernel.
Status bind(Custom& op, const CustomLibraries& libraries);

// "Name", or "domain::Name".
std::string custom_op_name(std::string_view domain, std::string_view name);

}  // namespace tenon
