// The variables of a model that keep their values between runs: one set of values. Runs that share
// a set follow one another; runs with sets of their own are independent.
#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "runtime/model.h"

namespace tenon::runtime {

class State {
 public:
  // The variables with their types; every value begins as the initial one.
  State(std::vector<PortInfo> variables, std::vector<Tensor> initial);

  // In the order of the file; `get` and `set` take the index.
  std::span<const PortInfo> variables() const { return variables_; }
  // A copy. Error: invalid_argument for an index that is not there.
  Result<Tensor> get(size_t index) const;
  // Copies the value. Error: invalid_argument where it is of another type.
  Status set(size_t index, const Tensor& value);
  // Every variable gets its initial value.
  void reset();

  // What the types of the variables are now.
  TensorTypes types() const;

 private:
  friend class Function;
  struct Slot {
    Tensor value;
    Tensor spare;           // memory that the next value is written to
    bool is_owned = false;  // else the value is part of the file
  };
  // Tensors of one function's calls, kept so that a call allocates nothing.
  struct Call {
    std::vector<Tensor> inputs, outputs;
  };

  std::vector<PortInfo> variables_;
  std::vector<Tensor> initial_;
  mutable std::mutex mutex_;  // held during a run
  std::vector<Slot> slots_;
  std::vector<Call> calls_;  // by function
};

}  // namespace tenon::runtime
