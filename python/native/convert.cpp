#include "convert.h"

#include <fmt/format.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>

#include <cstring>
#include <memory>

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

nb::dlpack::dtype dlpack_of(DType dtype) {
  using Code = nb::dlpack::dtype_code;
  const Code code = is_float(dtype)          ? Code::Float
                    : is_signed_int(dtype)   ? Code::Int
                    : is_unsigned_int(dtype) ? Code::UInt
                    : is_complex(dtype)      ? Code::Complex
                                             : Code::Bool;
  // What NumPy has no type of: the caller reinterprets the bits.
  if (dtype == DType::bf16) return nb::dtype<uint16_t>();
  if (is_narrow(dtype)) return nb::dtype<uint8_t>();
  return {static_cast<uint8_t>(code), static_cast<uint8_t>(dtype_size(dtype) * 8), 1};
}

// Of the buffer protocol's formats those that NumPy gives numbers of this machine.
DType dtype_of(const char* format) {
  const bool complex = format[0] == 'Z';
  const char letter = complex ? format[1] : format[0];
  if (letter == '\0' || format[complex ? 2 : 1] != '\0') return DType::none;
  if (complex) return letter == 'f' ? DType::c64 : letter == 'd' ? DType::c128 : DType::none;
  switch (letter) {
    case 'f':
      return DType::f32;
    case 'd':
      return DType::f64;
    case 'e':
      return DType::f16;
    case '?':
      return DType::boolean;
    case 'b':
      return DType::i8;
    case 'B':
      return DType::u8;
    case 'h':
      return DType::i16;
    case 'H':
      return DType::u16;
    case 'i':
      return DType::i32;
    case 'I':
      return DType::u32;
    case 'l':
    case 'q':
      return DType::i64;
    case 'L':
    case 'Q':
      return DType::u64;
    default:
      return DType::none;
  }
}

bool is_numpy_array(nb::handle value) {
  return std::strcmp(Py_TYPE(value.ptr())->tp_name, "numpy.ndarray") == 0;
}

// A new NumPy array with what a tensor of numbers holds: quicker than handing over a small one's
// memory.
nb::object numpy_copy(const Tensor& tensor) {
  // For good: they are needed until the interpreter ends.
  static PyObject* const empty =
      nb::object(nb::module_::import_("numpy").attr("empty")).release().ptr();
  static PyObject* dtypes[kDTypeEnd] = {};
  PyObject*& dtype = dtypes[static_cast<size_t>(tensor.dtype())];
  if (dtype == nullptr)
    dtype = nb::module_::import_("numpy")
                .attr("dtype")(std::string(dtype_long_name(tensor.dtype())))
                .release()
                .ptr();
  const nb::object shape = nb::steal(PyTuple_New(tensor.rank()));
  if (!shape.is_valid()) throw nb::python_error();
  for (int i = 0; i < tensor.rank(); ++i)
    PyTuple_SET_ITEM(shape.ptr(), i, PyLong_FromLongLong(tensor.dim(i)));
  PyObject* const arguments[] = {shape.ptr(), dtype};
  nb::object array = nb::steal(PyObject_Vectorcall(empty, arguments, 2, nullptr));
  Py_buffer view;
  if (!array.is_valid() || PyObject_GetBuffer(array.ptr(), &view, PyBUF_CONTIG) != 0)
    throw nb::python_error();
  std::memcpy(view.buf, tensor.raw(), tensor.byte_size());
  PyBuffer_Release(&view);
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

Operands::~Operands() {
  for (Py_buffer& view : views_) PyBuffer_Release(&view);
}

// Not usable: not an array, not contiguous, of a type NumPy only knows, or misaligned.
Tensor Operands::borrow(nb::handle value, bool& usable) {
  // A tenth of the time that DLPack takes.
  if (is_numpy_array(value)) {
    Py_buffer view;
    if (PyObject_GetBuffer(value.ptr(), &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) == 0) {
      const DType dtype = dtype_of(view.format);
      views_.push_back(view);
      usable = dtype != DType::none &&
               reinterpret_cast<uintptr_t>(view.buf) % std::min<size_t>(dtype_size(dtype), 8) == 0;
      if (usable)
        return Tensor::view(dtype, {view.shape, static_cast<size_t>(view.ndim)}, view.buf);
    } else {
      PyErr_Clear();
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
  constexpr size_t kSmall = size_t{16} << 10;
  const bool has_bits = tensor.dtype() == DType::bf16 || is_narrow(tensor.dtype());
  if (tensor.byte_size() <= kSmall && !has_bits) return numpy_copy(tensor);
  auto keeper = std::make_unique<Tensor>(tensor);
  void* data = keeper->mutable_raw();
  const nb::capsule owner(keeper.get(), [](void* p) noexcept { delete static_cast<Tensor*>(p); });
  (void)keeper.release();
  const std::vector<size_t> dims(tensor.dims().begin(), tensor.dims().end());
  const nb::ndarray<nb::numpy> array(data, dims.size(), dims.data(), owner, nullptr,
                                     dlpack_of(tensor.dtype()), nb::device::cpu::value);
  nb::object result = nb::cast(array, nb::rv_policy::reference);
  if (has_bits)
    return arrays_module().attr("from_bits")(result, std::string(dtype_long_name(tensor.dtype())));
  return result;
}

}  // namespace tenon::python
