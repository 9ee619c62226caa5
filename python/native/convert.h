// Between Python objects and tensors. Needs the GIL throughout.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <vector>

#include "runtime/model.h"

namespace tenon::python {

namespace nb = nanobind;

// Once, before anything else here.
void import_numpy();

// Makes tenon.Error, with the error's code, place and notes, Python's current exception.
void set_error(const Error& error);
// Raises it.
[[noreturn]] void raise(const Error& error);

template <typename T>
T value_or_raise(Result<T> result) {
  if (!result.ok()) raise(result.error());
  return std::move(result).value();
}

// The operands of one call. Arrays are used where they lie; what was borrowed is kept alive by this
// object, which must outlive the run.
class Operands {
 public:
  Operands() = default;
  Operands(const Operands&) = delete;
  Operands& operator=(const Operands&) = delete;

  // NumPy and DLPack arrays, anything numpy.asarray takes, None for an absent optional input.
  // Raises tenon.Error naming the port for what cannot be a tensor.
  void add(const runtime::PortInfo& port, nb::handle value);
  // A writable array that receives an output.
  void add_buffer(const runtime::PortInfo& port, nb::handle value);
  const std::vector<Tensor>& tensors() const { return tensors_; }

 private:
  using Array = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;
  Tensor borrow(nb::handle array, bool& usable);
  Tensor convert(const runtime::PortInfo& port, nb::handle value);
  Tensor prepared(const runtime::PortInfo& port, nb::handle pair);

  std::vector<Tensor> tensors_;
  std::vector<Array> arrays_;
  std::vector<nb::object> objects_;
};

// A NumPy array that owns the tensor's storage; strings become an object array of bytes, lists
// become lists, an absent value None.
nb::object to_python(const Tensor& tensor);

}  // namespace tenon::python
