// Calling a custom op without Tenon: for the test that stands in its own file.
#ifndef TENON_CUSTOM_OP_TEST_HPP
#define TENON_CUSTOM_OP_TEST_HPP

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "tenon/custom_op.hpp"

namespace tenon::custom {

// A tensor of numbers of its own.
struct TestTensor {
  int32_t dtype = TENON_NONE;
  std::vector<int64_t> dims;
  std::vector<char> bytes;

  template <typename T>
  static TestTensor of(std::vector<int64_t> dims, const std::vector<T>& values) {
    TestTensor t{dtype_of<T>(), std::move(dims), std::vector<char>(values.size() * sizeof(T))};
    if (!values.empty()) std::memcpy(t.bytes.data(), values.data(), t.bytes.size());
    return t;
  }
  template <typename T>
  std::vector<T> values() const {
    std::vector<T> out(bytes.size() / sizeof(T));
    if (!out.empty()) std::memcpy(out.data(), bytes.data(), bytes.size());
    return out;
  }
  tenon_tensor view() {
    return {sizeof(tenon_tensor), dtype, static_cast<int32_t>(dims.size()), dims.data(), bytes.data(),
            bytes.size()};
  }
};

inline size_t size_of(int32_t dtype) {
  switch (dtype) {
    case TENON_FLOAT64: case TENON_INT64: case TENON_UINT64: case TENON_COMPLEX64: return 8;
    case TENON_FLOAT32: case TENON_INT32: case TENON_UINT32: return 4;
    case TENON_FLOAT16: case TENON_BFLOAT16: case TENON_INT16: case TENON_UINT16: return 2;
    case TENON_COMPLEX128: return 16;
    default: return 1;
  }
}

// Attributes for a call.
class TestAttributes {
 public:
  TestAttributes& set(const char* name, int64_t value) {
    ints_.push_back(std::make_unique<int64_t>(value));
    return add({sizeof(tenon_op_attr), name, TENON_ATTR_INT, 0, 1, ints_.back().get(), nullptr, nullptr, nullptr});
  }
  TestAttributes& set(const char* name, double value) {
    floats_.push_back(std::make_unique<double>(value));
    return add({sizeof(tenon_op_attr), name, TENON_ATTR_FLOAT, 0, 1, nullptr, floats_.back().get(), nullptr, nullptr});
  }
  const std::vector<tenon_op_attr>& all() const { return all_; }

 private:
  TestAttributes& add(const tenon_op_attr& attr) {
    all_.push_back(attr);
    return *this;
  }
  std::vector<std::unique_ptr<int64_t>> ints_;
  std::vector<std::unique_ptr<double>> floats_;
  std::vector<tenon_op_attr> all_;
};

// Runs the shape rule and the kernel of op `name` of this library. Throws what they refuse.
inline std::vector<TestTensor> run(const std::string& name, std::vector<TestTensor> inputs,
                                   const TestAttributes& attributes = {}) {
  const tenon_custom_library* library = tenon_custom_ops();
  const tenon_custom_op* op = nullptr;
  for (uint32_t i = 0; i < library->op_count; ++i)
    if (name == library->ops[i].name) op = &library->ops[i];
  if (op == nullptr) throw Refusal("there is no op " + name);
  char message[256] = {};
  std::vector<tenon_op_operand> operands;
  std::vector<tenon_tensor> views, result_views;
  for (TestTensor& t : inputs) {
    views.push_back(t.view());
    tenon_op_operand operand{{t.dtype, static_cast<int32_t>(t.dims.size()), {}}, t.bytes.data()};
    for (size_t d = 0; d < t.dims.size(); ++d) operand.type.dims[d] = t.dims[d];
    operands.push_back(operand);
  }
  std::vector<tenon_op_type> types(TENON_OP_MAX_OUTPUTS, {TENON_NONE, TENON_OP_UNKNOWN, {}});
  tenon_shape_call shape{sizeof shape, message, sizeof message, attributes.all().data(),
                         attributes.all().size(), operands.data(), operands.size(), types.data(),
                         static_cast<size_t>(op->outputs < 0 ? 1 : op->outputs)};
  if (op->infer(&shape) != 0) throw Refusal(message);
  std::vector<TestTensor> results(shape.output_count);
  for (size_t i = 0; i < results.size(); ++i) {
    int64_t elements = types[i].rank < 0 ? 0 : 1;
    for (int32_t d = 0; d < types[i].rank; ++d) {
      results[i].dims.push_back(types[i].dims[d]);
      elements *= types[i].dims[d] < 0 ? 0 : types[i].dims[d];
    }
    results[i].dtype = types[i].dtype;
    results[i].bytes.resize(static_cast<size_t>(elements) * size_of(types[i].dtype));
  }
  for (TestTensor& t : results) result_views.push_back(t.view());
  struct Host {
    std::vector<TestTensor>& results;
    std::vector<tenon_tensor>& views;
  } host{results, result_views};
  const auto allocate = [](tenon_kernel_call* call, size_t i, int32_t dtype, int32_t rank,
                           const int64_t* dims) -> void* {
    auto& h = *static_cast<Host*>(call->host);
    TestTensor& t = h.results[i];
    t.dtype = dtype;
    t.dims.assign(dims, dims + rank);
    size_t bytes = size_of(dtype);
    for (const int64_t d : t.dims) bytes *= static_cast<size_t>(d);
    t.bytes.resize(bytes);
    h.views[i] = t.view();
    return t.bytes.data();
  };
  const auto set_string = [](tenon_kernel_call*, size_t, int64_t, const char*, size_t) { return 1; };
  tenon_kernel_call call{sizeof call, message, sizeof message, attributes.all().data(),
                         attributes.all().size(), views.data(), views.size(), result_views.data(),
                         result_views.size(), &host, allocate, set_string};
  if (op->run(&call) != 0) throw Refusal(message);
  return results;
}

// Ends the program where two lists of numbers are further apart than the tolerance.
template <typename T>
void expect_near(const std::vector<T>& actual, const std::vector<T>& expected, double tolerance = 1e-6) {
  bool same = actual.size() == expected.size();
  for (size_t i = 0; same && i < actual.size(); ++i)
    same = std::abs(static_cast<double>(actual[i]) - static_cast<double>(expected[i])) <= tolerance;
  if (same) return;
  std::fprintf(stderr, "got     ");
  for (const T& x : actual) std::fprintf(stderr, " %g", static_cast<double>(x));
  std::fprintf(stderr, "\nexpected");
  for (const T& x : expected) std::fprintf(stderr, " %g", static_cast<double>(x));
  std::fprintf(stderr, "\n");
  std::exit(1);
}

}  // namespace tenon::custom

#endif
