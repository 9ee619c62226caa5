#include "convert.h"

#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#include <fmt/format.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <numpy/arrayobject.h>

#include <cstring>
#include <memory>
#include <utility>

#include "tensor/narrow.h"

namespace tenon::python {
namespace {

nb::module_ arrays_module() {
  return nb::module_::import_("tenon._arrays");
}

DType dtype_of(nb::dlpack::dtype dtype) {
  if (dtype.lanes != 1) return DType::none;
  switch (static_cast<nb::dlpack::dtype_code>(dtype.code)) {
    case nb::dlpack::dtype_code::Float:
      return dtype.bits == 32   ? DType::f32
             : dtype.bits == 64 ? DType::f64
             : dtype.bits == 16 ? DType::f16
                                : DType::none;
    case nb::dlpack::dtype_code::Bfloat:
      return dtype.bits == 16 ? DType::bf16 : DType::none;
    case nb::dlpack::dtype_code::Int:
      return dtype.bits == 8    ? DType::i8
             : dtype.bits == 16 ? DType::i16
             : dtype.bits == 32 ? DType::i32
             : dtype.bits == 64 ? DType::i64
                                : DType::none;
    case nb::dlpack::dtype_code::UInt:
      return dtype.bits == 8    ? DType::u8
             : dtype.bits == 16 ? DType::u16
             : dtype.bits == 32 ? DType::u32
             : dtype.bits == 64 ? DType::u64
                                : DType::none;
    case nb::dlpack::dtype_code::Bool:
      return dtype.bits == 8 ? DType::boolean : DType::none;
    case nb::dlpack::dtype_code::Complex:
      return dtype.bits == 64 ? DType::c64 : dtype.bits == 128 ? DType::c128 : DType::none;
    default:
      return DType::none;
  }
}

// NumPy's numbers of its types; bits of what it has no type of come as integers.
constexpr std::pair<DType, int> kNumpyTypes[] = {
    {DType::f32, NPY_FLOAT32},   {DType::f64, NPY_FLOAT64},     {DType::f16, NPY_FLOAT16},
    {DType::i8, NPY_INT8},       {DType::i16, NPY_INT16},       {DType::i32, NPY_INT32},
    {DType::i64, NPY_INT64},     {DType::u8, NPY_UINT8},        {DType::u16, NPY_UINT16},
    {DType::u32, NPY_UINT32},    {DType::u64, NPY_UINT64},      {DType::boolean, NPY_BOOL},
    {DType::c64, NPY_COMPLEX64}, {DType::c128, NPY_COMPLEX128}, {DType::bf16, NPY_UINT16},
};
int numpy_type(DType dtype) {
  for (const auto& [known, type] : kNumpyTypes)
    if (known == dtype) return type;
  return NPY_UINT8;  // the narrow ones
}
DType dtype_of_numpy(int type) {
  static_assert(sizeof(long long) == sizeof(int64_t));
  if (type == NPY_LONGLONG) return DType::i64;
  if (type == NPY_ULONGLONG) return DType::u64;
  for (const auto& [dtype, known] : kNumpyTypes)
    if (known == type) return dtype;
  return DType::none;
}

PyArrayObject* as_numpy(nb::handle value) {
  return PyArray_CheckExact(value.ptr()) ? reinterpret_cast<PyArrayObject*>(value.ptr()) : nullptr;
}

// A new NumPy array with what a tensor of numbers holds. Small ones are copied, which is quicker
// than handing over their memory.
nb::object numpy_array(const Tensor& tensor) {
  constexpr size_t kSmall = size_t{16} << 10;
  const int type = numpy_type(tensor.dtype());
  const npy_intp* const dims = tensor.dims().data();
  const auto checked = [](PyObject* array) {
    if (array == nullptr) throw nb::python_error();
    return nb::steal(array);
  };
  if (tensor.byte_size() <= kSmall) {
    nb::object array = checked(PyArray_SimpleNew(tensor.rank(), dims, type));
    std::memcpy(PyArray_DATA(reinterpret_cast<PyArrayObject*>(array.ptr())), tensor.raw(),
                tensor.byte_size());
    return array;
  }
  auto keeper = std::make_unique<Tensor>(tensor);
  nb::object array =
      checked(PyArray_SimpleNewFromData(tensor.rank(), dims, type, keeper->mutable_raw()));
  nb::capsule owner(keeper.get(), [](void* p) noexcept { delete static_cast<Tensor*>(p); });
  (void)keeper.release();
  auto* const made = reinterpret_cast<PyArrayObject*>(array.ptr());
  if (PyArray_SetBaseObject(made, owner.release().ptr()) != 0) throw nb::python_error();
  return array;
}

Error refused(const runtime::PortInfo& port, const std::string& why) {
  return invalid_argument(fmt::format("input '{}' ({} {}): {}", port.name,
                                      dtype_long_name(port.type.dtype), port.type.shape.to_string(),
                                      why));
}

std::string bytes_of(nb::handle item) {
  char* data = nullptr;
  Py_ssize_t size = 0;
  if (PyBytes_Check(item.ptr())) {
    if (PyBytes_AsStringAndSize(item.ptr(), &data, &size) != 0) throw nb::python_error();
    return {data, static_cast<size_t>(size)};
  }
  const char* text = PyUnicode_AsUTF8AndSize(item.ptr(), &size);
  if (text == nullptr) throw nb::python_error();
  return {text, static_cast<size_t>(size)};
}

nb::object string_array(const Tensor& tensor) {
  nb::list items;
  for (const std::string& s : tensor.span<std::string>())
    items.append(nb::bytes(s.data(), s.size()));
  nb::list dims;
  for (const int64_t d : tensor.dims()) dims.append(d);
  return arrays_module().attr("object_array")(items, dims);
}

}  // namespace

void import_numpy() {
  if (_import_array() < 0) throw nb::python_error();
}

void set_error(const Error& error) {
  // Names in it come from the user's model and need not be UTF-8.
  const auto text = [](const std::string& s) {
    return nb::steal(
        PyUnicode_DecodeUTF8(s.data(), static_cast<Py_ssize_t>(s.size()), "backslashreplace"));
  };
  nb::list notes;
  for (const std::string& note : error.notes) notes.append(text(note));
  const nb::object type = nb::module_::import_("tenon._error").attr("Error");
  const std::string code(code_name(error.code));
  const nb::object instance = type(text(error.message), code, text(error.where), nb::tuple(notes));
  PyErr_SetObject(type.ptr(), instance.ptr());
}

void raise(const Error& error) {
  set_error(error);
  throw nb::python_error();
}

// Not usable: not an array, not contiguous, of a type NumPy only knows, or misaligned.
Tensor Operands::borrow(nb::handle value, bool& usable) {
  // A twentieth of the time that DLPack takes.
  if (PyArrayObject* const array = as_numpy(value)) {
    const DType dtype = dtype_of_numpy(PyArray_TYPE(array));
    usable = dtype != DType::none && PyArray_IS_C_CONTIGUOUS(array) && PyArray_ISALIGNED(array) &&
             PyArray_ISNOTSWAPPED(array);
    if (usable) {
      objects_.push_back(nb::borrow(value));
      return Tensor::view(dtype, {PyArray_DIMS(array), static_cast<size_t>(PyArray_NDIM(array))},
                          PyArray_DATA(array));
    }
  }
  Array array;
  usable = nb::try_cast<Array>(value, array, false);
  if (!usable) return {};
  const DType dtype = dtype_of(array.dtype());
  const auto address = reinterpret_cast<uintptr_t>(array.data());
  usable = dtype != DType::none && address % std::min<size_t>(dtype_size(dtype), 8) == 0;
  if (!usable) return {};
  Tensor tensor = Tensor::view(dtype, {array.shape_ptr(), array.ndim()}, array.data());
  arrays_.push_back(std::move(array));
  return tensor;
}

// What _arrays.prepare made of a value: (kind, payload…).
Tensor Operands::prepared(const runtime::PortInfo& port, nb::handle made) {
  const auto kind = nb::cast<std::string_view>(made[0]);
  if (kind == "absent") return {};
  if (kind == "list") {
    std::vector<Tensor> items;
    for (const nb::handle item : nb::borrow<nb::list>(made[1]))
      items.push_back(prepared(port, item));
    const DType element = items.empty() ? port.type.dtype : items[0].dtype();
    return Tensor::list(element, std::move(items));
  }
  if (kind == "string") {
    std::vector<int64_t> dims;
    for (const nb::handle d : nb::borrow<nb::object>(made[2])) dims.push_back(nb::cast<int64_t>(d));
    Tensor tensor = value_or_raise(Tensor::allocate(DType::string, dims));
    auto* out = tensor.mutable_data<std::string>();
    for (const nb::handle item : nb::borrow<nb::list>(made[1])) *out++ = bytes_of(item);
    return tensor;
  }
  const nb::object payload = made[1];
  bool usable = false;
  Tensor tensor = borrow(payload, usable);
  if (!usable)
    raise(refused(port, fmt::format("an array of dtype {} cannot be used",
                                    nb::str(nb::object(payload.attr("dtype"))).c_str())));
  objects_.push_back(payload);
  if (kind == "bits") {
    const auto dtype = parse_dtype(nb::cast<std::string_view>(made[2]));
    if (!dtype || dtype_size(*dtype) != dtype_size(tensor.dtype()))
      raise(refused(port, fmt::format("an array of dtype {} cannot be used",
                                      nb::str(nb::object(made[2])).c_str())));
    return Tensor::view(*dtype, tensor.dims(), tensor.raw());
  }
  return tensor;
}

Tensor Operands::convert(const runtime::PortInfo& port, nb::handle value) {
  const std::string dtype(dtype_long_name(port.type.dtype));
  nb::object made;
  try {
    made = arrays_module().attr("prepare")(value, dtype, port.type.is_list);
  } catch (nb::python_error& error) {
    if (!error.matches(PyExc_TypeError) && !error.matches(PyExc_ValueError) &&
        !error.matches(PyExc_OverflowError) && !error.matches(PyExc_BufferError))
      throw;
    raise(refused(port, nb::str(error.value()).c_str()));
  }
  return prepared(port, made);
}

void Operands::add(const runtime::PortInfo& port, nb::handle value) {
  bool usable = false;
  Tensor tensor = port.type.is_list ? Tensor() : borrow(value, usable);
  tensors_.push_back(usable ? tensor : convert(port, value));
}

void Operands::add_buffer(const runtime::PortInfo& port, nb::handle value) {
  if (value.is_none()) {
    tensors_.emplace_back();
    return;
  }
  nb::ndarray<nb::c_contig, nb::device::cpu> array;
  const DType dtype = nb::try_cast(value, array, false) ? dtype_of(array.dtype()) : DType::none;
  if (dtype == DType::none)
    raise(invalid_argument(
        fmt::format("the buffer for output '{}' must be a writable, C-contiguous array of {}",
                    port.name, dtype_long_name(port.type.dtype))));
  tensors_.push_back(Tensor::view(dtype, {array.shape_ptr(), array.ndim()}, array.data()));
  objects_.push_back(nb::borrow(value));
}

nb::object to_python(const Tensor& tensor) {
  if (tensor.is_list()) {
    nb::list items;
    for (const Tensor& item : tensor.items())
      // Items may lie in the model or in an input.
      items.append(
          to_python(item.defined() && !item.is_list() ? value_or_raise(item.clone()) : item));
    return items;
  }
  if (!tensor.defined()) return nb::none();
  if (tensor.dtype() == DType::string) return string_array(tensor);
  nb::object array = numpy_array(tensor);
  if (tensor.dtype() == DType::bf16 || is_narrow(tensor.dtype()))
    return arrays_module().attr("from_bits")(array, std::string(dtype_long_name(tensor.dtype())));
  return array;
}

}  // namespace tenon::python
