// Custom operators in C++17: custom_op.h without pointers. A rule and a kernel are functions that
// throw to refuse; the library describes its ops by TENON_CUSTOM_OPS. Header only.
#ifndef TENON_CUSTOM_OP_HPP
#define TENON_CUSTOM_OP_HPP

#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "tenon/custom_op.h"

namespace tenon::custom {

// Throw one to refuse; the text reaches the user with the names of the op and the node.
using Refusal = std::runtime_error;

// Element type and shape; see tenon_op_type for negative dimensions.
struct Type {
  int32_t dtype = TENON_NONE;
  std::vector<int64_t> dims;
  bool ranked = true;
};

template <typename T>
constexpr int32_t dtype_of() {
  if constexpr (std::is_same_v<T, float>) return TENON_FLOAT32;
  else if constexpr (std::is_same_v<T, double>) return TENON_FLOAT64;
  else if constexpr (std::is_same_v<T, int8_t>) return TENON_INT8;
  else if constexpr (std::is_same_v<T, int16_t>) return TENON_INT16;
  else if constexpr (std::is_same_v<T, int32_t>) return TENON_INT32;
  else if constexpr (std::is_same_v<T, int64_t>) return TENON_INT64;
  else if constexpr (std::is_same_v<T, uint8_t>) return TENON_UINT8;
  else if constexpr (std::is_same_v<T, uint16_t>) return TENON_UINT16;
  else if constexpr (std::is_same_v<T, uint32_t>) return TENON_UINT32;
  else if constexpr (std::is_same_v<T, uint64_t>) return TENON_UINT64;
  else if constexpr (std::is_same_v<T, bool>) return TENON_BOOL;
  else if constexpr (std::is_same_v<T, tenon_string>) return TENON_STRING;
  else static_assert(!sizeof(T), "no tenon_dtype for this type");
}

// The node's attributes by name. A missing one gives the fallback; one of another kind is refused.
template <typename Call>
class WithAttributes {
 public:
  explicit WithAttributes(Call* call) : call_(call) {}

  int64_t attr(std::string_view name, int64_t fallback) const {
    const tenon_op_attr* a = find(name, TENON_ATTR_INT, TENON_ATTR_BOOL, TENON_ATTR_DTYPE);
    return a == nullptr ? fallback : one(a).ints[0];
  }
  double attr(std::string_view name, double fallback) const {
    const tenon_op_attr* a = find(name, TENON_ATTR_FLOAT);
    return a == nullptr ? fallback : one(a).floats[0];
  }
  std::string attr(std::string_view name, const char* fallback) const {
    const tenon_op_attr* a = find(name, TENON_ATTR_STRING);
    return a == nullptr ? fallback : std::string(one(a).strings[0].data, a->strings[0].size);
  }
  std::vector<int64_t> ints(std::string_view name) const {
    const tenon_op_attr* a = find(name, TENON_ATTR_INT);
    return a == nullptr ? std::vector<int64_t>() : std::vector(a->ints, a->ints + a->count);
  }
  std::vector<double> floats(std::string_view name) const {
    const tenon_op_attr* a = find(name, TENON_ATTR_FLOAT);
    return a == nullptr ? std::vector<double>() : std::vector(a->floats, a->floats + a->count);
  }
  size_t inputs() const { return call_->input_count; }
  size_t outputs() const { return call_->output_count; }

 protected:
  size_t checked(size_t i, size_t count, const char* what) const {
    if (i >= count) throw Refusal(std::string("there is no ") + what + " " + std::to_string(i));
    return i;
  }
  Call* call_;

 private:
  template <typename... Kinds>
  const tenon_op_attr* find(std::string_view name, Kinds... kinds) const {
    for (size_t i = 0; i < call_->attr_count; ++i) {
      const tenon_op_attr& a = call_->attrs[i];
      if (name != a.name) continue;
      if (((a.kind == kinds) || ...)) return &a;
      throw Refusal("attribute '" + std::string(name) + "' is of another kind than expected");
    }
    return nullptr;
  }
  static const tenon_op_attr& one(const tenon_op_attr* a) {
    if (a->count != 1) throw Refusal("attribute '" + std::string(a->name) + "' must be one value");
    return *a;
  }
};

class ShapeCall : public WithAttributes<tenon_shape_call> {
 public:
  using WithAttributes::WithAttributes;
  Type input(size_t i) const {
    const tenon_op_type& t = call_->inputs[checked(i, call_->input_count, "input")].type;
    if (t.rank < 0) return {t.dtype, {}, false};
    return {t.dtype, {t.dims, t.dims + t.rank}, true};
  }
  // The value of an input where it is known, else null.
  template <typename T>
  const T* data(size_t i) const {
    const tenon_op_operand& in = call_->inputs[checked(i, call_->input_count, "input")];
    if (in.type.dtype != dtype_of<T>()) throw Refusal("input " + std::to_string(i) + " has another element type");
    return static_cast<const T*>(in.data);
  }
  void set_output(size_t i, const Type& type) const {
    tenon_op_type& t = call_->outputs[checked(i, TENON_OP_MAX_OUTPUTS, "output")];
    t.dtype = type.dtype;
    t.rank = type.ranked ? static_cast<int32_t>(type.dims.size()) : TENON_OP_UNKNOWN;
    if (type.dims.size() > TENON_OP_MAX_RANK) throw Refusal("a rank over 16");
    for (size_t d = 0; d < type.dims.size(); ++d) t.dims[d] = type.dims[d];
  }
};

class KernelCall : public WithAttributes<tenon_kernel_call> {
 public:
  using WithAttributes::WithAttributes;
  bool has(size_t i) const { return i < call_->input_count && call_->inputs[i].dtype != TENON_NONE; }
  std::vector<int64_t> dims(size_t i) const { return dims_of(raw_input(i)); }
  int64_t elements(size_t i) const { return count(dims(i)); }
  template <typename T>
  const T* input(size_t i) const {
    return static_cast<const T*>(typed<T>(raw_input(i), "input"));
  }
  std::vector<int64_t> output_dims(size_t i) const { return dims_of(raw_output(i)); }
  template <typename T>
  T* output(size_t i) const {
    return static_cast<T*>(typed<T>(raw_output(i), "output"));
  }
  // Gives an output its size where the shape rule left it open.
  template <typename T>
  T* allocate(size_t i, const std::vector<int64_t>& dims) const {
    void* data = call_->allocate(call_, i, dtype_of<T>(), static_cast<int32_t>(dims.size()), dims.data());
    if (data == nullptr && count(dims) > 0) throw Refusal("no memory for an output");
    return static_cast<T*>(data);
  }
  void set_string(size_t i, int64_t element, std::string_view text) const {
    if (call_->set_string(call_, i, element, text.data(), text.size()) != 0)
      throw Refusal("there is no such element of a string output");
  }
  const tenon_tensor& raw_input(size_t i) const {
    return call_->inputs[checked(i, call_->input_count, "input")];
  }
  const tenon_tensor& raw_output(size_t i) const {
    return call_->outputs[checked(i, call_->output_count, "output")];
  }

 private:
  static std::vector<int64_t> dims_of(const tenon_tensor& t) { return {t.dims, t.dims + t.rank}; }
  static int64_t count(const std::vector<int64_t>& dims) {
    int64_t n = 1;
    for (const int64_t d : dims) n *= d;
    return n;
  }
  template <typename T>
  static void* typed(const tenon_tensor& t, const char* what) {
    if (t.dtype != dtype_of<T>()) throw Refusal(std::string("an ") + what + " has another element type");
    return t.data;
  }
};

// What an exception says, as the C interface wants it.
template <typename Call, typename Wrapped, void (*kFunction)(Wrapped&)>
int32_t guarded(Call* call) {
  const auto refuse = [&](const char* text) {
    std::strncpy(call->message, text, call->message_size - 1);
    return 1;
  };
  try {
    Wrapped wrapped(call);
    kFunction(wrapped);
    return 0;
  } catch (const std::exception& error) {
    return refuse(error.what());
  } catch (...) {
    return refuse("an unknown exception");
  }
}

// One row of TENON_CUSTOM_OPS. max_inputs -1: any number; outputs -1: as many as the node has.
template <void (*kShape)(ShapeCall&), void (*kKernel)(KernelCall&)>
constexpr tenon_custom_op op(const char* name, const char* domain, int32_t min_inputs,
                             int32_t max_inputs, int32_t outputs) {
  return {sizeof(tenon_custom_op), name, domain, min_inputs, max_inputs, outputs,
          guarded<tenon_shape_call, ShapeCall, kShape>,
          guarded<tenon_kernel_call, KernelCall, kKernel>};
}

}  // namespace tenon::custom

#define TENON_CUSTOM_OPS(...)                                                                     \
  extern "C" TENON_API const tenon_custom_library* tenon_custom_ops(void) {                       \
    static const tenon_custom_op ops[] = {__VA_ARGS__};                                           \
    static const tenon_custom_library library = {                                                 \
        sizeof(tenon_custom_library), TENON_CUSTOM_OP_ABI_VERSION,                                \
        sizeof ops / sizeof ops[0],   sizeof(tenon_custom_op),                                    \
        sizeof(tenon_op_attr),        sizeof(tenon_op_operand),                                   \
        sizeof(tenon_op_type),        sizeof(tenon_tensor), ops};                                 \
    return &library;                                                                              \
  }

#endif
