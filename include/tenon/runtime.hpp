// Running .tenon models from C++: RAII over the C interface (runtime.h), header only. Errors are
// thrown as tenon::RuntimeError. A Model and its Functions may be used by many threads at once.
#ifndef TENON_RUNTIME_HPP
#define TENON_RUNTIME_HPP

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "tenon/runtime.h"

namespace tenon::api {

class RuntimeError : public std::runtime_error {
 public:
  RuntimeError(tenon_code code, const std::string& message, std::string where)
      : std::runtime_error(message), code_(code), where_(std::move(where)) {}
  tenon_code code() const noexcept { return code_; }
  const std::string& where() const noexcept { return where_; }

 private:
  tenon_code code_;
  std::string where_;
};

inline void check(tenon_error* error) {
  if (error == nullptr) return;
  const std::unique_ptr<tenon_error, decltype(&tenon_error_free)> owner(error, tenon_error_free);
  throw RuntimeError(static_cast<tenon_code>(tenon_error_code(error)), tenon_error_message(error),
                     tenon_error_where(error));
}

template <typename T>
constexpr tenon_dtype dtype_of() {
  if constexpr (std::is_same_v<T, float>)
    return TENON_FLOAT32;
  else if constexpr (std::is_same_v<T, double>)
    return TENON_FLOAT64;
  else if constexpr (std::is_same_v<T, int8_t>)
    return TENON_INT8;
  else if constexpr (std::is_same_v<T, int16_t>)
    return TENON_INT16;
  else if constexpr (std::is_same_v<T, int32_t>)
    return TENON_INT32;
  else if constexpr (std::is_same_v<T, int64_t>)
    return TENON_INT64;
  else if constexpr (std::is_same_v<T, uint8_t>)
    return TENON_UINT8;
  else if constexpr (std::is_same_v<T, bool>)
    return TENON_BOOL;
  else
    static_assert(!sizeof(T), "no tenon_dtype for this type");
}

// A view of the caller's data; shape and data must outlive it.
template <typename T>
tenon_tensor view(T* data, const std::vector<int64_t>& dims) {
  size_t elements = 1;
  for (const int64_t d : dims) elements *= static_cast<size_t>(d);
  return {sizeof(tenon_tensor),
          dtype_of<std::remove_const_t<T>>(),
          static_cast<int32_t>(dims.size()),
          dims.data(),
          const_cast<std::remove_const_t<T>*>(data),
          elements * sizeof(T)};
}

// The outputs of one run; the tensors it gives live as long as it does.
class Outputs {
 public:
  explicit Outputs(tenon_result* result) : result_(result, tenon_result_free) {}
  size_t size() const { return tenon_result_count(result_.get()); }
  tenon_tensor operator[](size_t index) const {
    tenon_tensor tensor{};
    tensor.struct_size = sizeof tensor;
    check(tenon_result_output(result_.get(), index, &tensor));
    return tensor;
  }

 private:
  std::unique_ptr<tenon_result, decltype(&tenon_result_free)> result_;
};

// The variables that a model keeps between runs, shared with the functions that use them.
class State {
 public:
  explicit State(tenon_state* state) : state_(state, tenon_state_free) {}
  size_t size() const { return tenon_state_count(state_.get()); }
  tenon_port variable(size_t index) const {
    tenon_port port{};
    port.struct_size = sizeof port;
    check(tenon_state_variable(state_.get(), index, &port));
    return port;
  }
  // A copy of the value: element 0 of what comes back.
  Outputs get(size_t index) const {
    tenon_result* result = nullptr;
    check(tenon_state_get(state_.get(), index, &result));
    return Outputs(result);
  }
  void set(size_t index, const tenon_tensor& value) const {
    check(tenon_state_set(state_.get(), index, &value));
  }
  void reset() const { check(tenon_state_reset(state_.get())); }
  const tenon_state* handle() const { return state_.get(); }

 private:
  std::unique_ptr<tenon_state, decltype(&tenon_state_free)> state_;
};

class Function {
 public:
  explicit Function(tenon_function* function) : function_(function, tenon_function_free) {}
  Outputs run(const std::vector<tenon_tensor>& inputs) const {
    tenon_result* result = nullptr;
    check(tenon_function_run(function_.get(), inputs.data(), inputs.size(), nullptr, 0, &result));
    return Outputs(result);
  }
  // Ends the runs that are under way, from any thread; they throw TENON_CANCELLED.
  void cancel() const { tenon_function_cancel(function_.get()); }
  tenon_port input(size_t index) const { return port(tenon_function_input, index); }
  tenon_port output(size_t index) const { return port(tenon_function_output, index); }
  State state() const {
    tenon_state* state = nullptr;
    check(tenon_function_state(function_.get(), &state));
    return State(state);
  }
  // What the device counted; what it has to say.
  std::vector<std::pair<std::string, double>> counters() const {
    std::vector<std::pair<std::string, double>> all;
    const size_t count = tenon_function_counter_count(function_.get());
    for (size_t i = 0; i < count; ++i) {
      tenon_counter c{};
      c.struct_size = sizeof c;
      check(tenon_function_counter(function_.get(), i, &c));
      all.emplace_back(c.name, c.value);
    }
    return all;
  }
  std::vector<std::string> notices() const {
    std::vector<std::string> all;
    while (const char* text = tenon_function_notice(function_.get(), all.size()))
      all.emplace_back(text);
    return all;
  }
  std::string device() const { return tenon_function_device(function_.get()); }
  size_t inputs() const { return tenon_function_input_count(function_.get()); }
  size_t outputs() const { return tenon_function_output_count(function_.get()); }

 private:
  template <typename Get>
  tenon_port port(Get get, size_t index) const {
    tenon_port p{};
    p.struct_size = sizeof p;
    check(get(function_.get(), index, &p));
    return p;
  }
  std::unique_ptr<tenon_function, decltype(&tenon_function_free)> function_;
};

class Model {
 public:
  explicit Model(const std::string& path, int threads = 0) : Model(path, with_threads(threads)) {}
  // The options' struct_size is set here.
  Model(const std::string& path, tenon_options options) : model_(nullptr, tenon_model_free) {
    check(tenon_check_abi(TENON_ABI_VERSION));
    options.struct_size = sizeof options;
    tenon_model* model = nullptr;
    check(tenon_model_load(path.c_str(), &options, &model));
    model_.reset(model);
  }
  Function function(const char* key = nullptr) const {
    tenon_function* function = nullptr;
    check(tenon_model_function(model_.get(), key, &function));
    return Function(function);
  }
  // On a device: "cpu", or what tenon_device_name lists. `precision` is that of real numbers there.
  Function function_on(const std::string& device, const char* key = nullptr,
                       const char* precision = nullptr) const {
    tenon_function_options options{};
    options.struct_size = sizeof options;
    options.key = key;
    options.device = device.c_str();
    options.precision = precision;
    tenon_function* function = nullptr;
    check(tenon_model_function_on(model_.get(), &options, &function));
    return Function(function);
  }
  // With the variables of another function.
  Function function(const char* key, const State& state) const {
    tenon_function* function = nullptr;
    check(tenon_model_function_with_state(model_.get(), key, state.handle(), &function));
    return Function(function);
  }

 private:
  static tenon_options with_threads(int threads) {
    tenon_options options{};
    options.threads = threads;
    return options;
  }
  std::unique_ptr<tenon_model, decltype(&tenon_model_free)> model_;
};

}  // namespace tenon::api

#endif
