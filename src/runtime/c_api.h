// What the handles of the C interface are. Nothing throws past it.
#pragma once

#include <deque>
#include <exception>
#include <mutex>
#include <new>
#include <set>
#include <string>
#include <vector>

#include "runtime/model.h"
#include "runtime/state.h"
#include "tenon/runtime.h"

struct tenon_error {
  tenon::Error error;
};
struct tenon_model {
  tenon::runtime::Model model;
  std::vector<std::string> keys;
};
struct tenon_function {
  struct Port {
    tenon::runtime::PortInfo info;
    std::vector<int64_t> dims;
  };
  tenon::runtime::Function function;
  std::vector<Port> inputs, outputs;
  mutable std::mutex mutex;  // of what follows
  mutable std::set<std::string> names;
  mutable std::deque<std::string> notices;
};
struct tenon_result {
  std::vector<tenon::Tensor> tensors;
  std::vector<std::vector<tenon_string>> strings;
};
struct tenon_state {
  std::shared_ptr<tenon::runtime::State> state;
  std::vector<tenon_function::Port> variables;
};

namespace tenon::runtime {

// Given out where there is no memory for an error of its own; never freed.
inline tenon_error& out_of_memory() {
  static tenon_error error{resource_exhausted("out of memory")};
  return error;
}

template <typename F>
tenon_error* guarded(F&& body) noexcept {
  try {
    Status status = body();
    return status.ok() ? nullptr : new tenon_error{std::move(status).error()};
  } catch (const std::bad_alloc&) {
    return &out_of_memory();
  } catch (const std::exception& e) {
    return new (std::nothrow) tenon_error{internal_error(e.what())};
  }
}

// Ownership goes to `out`.
Status hand_out(Result<Function> function, tenon_function** out);

}  // namespace tenon::runtime
