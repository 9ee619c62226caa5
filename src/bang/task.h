// One task of a kernel while it is evaluated.
#pragma once

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "bang/evaluate.h"

namespace tenon::bang {

constexpr std::string_view kSpaceNames[] = {"GDRAM", "NRAM", "WRAM", "SRAM"};

struct Object {
  std::string_view name;
  Space space = Space::gdram;
  std::byte* data = nullptr;
  int64_t bytes = 0;
  bool writable = true;
};

// A number, or a pointer: an object and the byte in it.
struct Value {
  int64_t integer = 0;
  double real = 0;
  int object = -1;
};

enum class Flow : uint8_t { on, leave, next, give_back };

class Task {
 public:
  Task(const Kernel& kernel, const Sizes& sizes, const EvaluateOptions& options)
      : kernel_(kernel), sizes_(sizes), options_(options) {}

  Status run(std::span<const Tensor> inputs, std::span<Tensor> outputs);

 private:
  DType dtype_of(DType element) const { return element == DType::none ? sizes_.generic : element; }
  int64_t size_of(DType element) const {
    return static_cast<int64_t>(dtype_size(dtype_of(element)));
  }
  bool failed() const { return !status_.ok(); }
  void fail(uint32_t at, std::string message) {
    if (!failed()) status_ = kernel_.source.error(at, std::move(message));
  }

  void place_arrays();

  Value call(const Function& function, std::vector<Value> arguments);

  Flow run(const std::vector<Statement>& body) {
    for (const Statement& s : body)
      if (const Flow flow = run(s); flow != Flow::on) return flow;
    return Flow::on;
  }

  Flow run(const Statement& s);

  Flow loop(const Statement& s);

  void assign(const Statement& s);

  // The pointer of a load or an advance: args[0] by args[1] elements.
  Value advanced(const Expr& e);

  std::byte* element(const Value& pointer, DType dtype, uint32_t at, bool writes);

  // Where bytes of an object are; null when they are not all in it.
  std::byte* range(const Value& pointer, int64_t bytes, uint32_t at, bool writes);

  Value value(const Expr& e);
  Value binary(const Expr& e);
  void builtin(const Statement& s);
  void copy(const Statement& s, const std::vector<Value>& args);
  void vectors(const Statement& s, const std::vector<Value>& args);
  void windows(const Statement& s, const std::vector<Value>& args);
  void transpose(const Statement& s, const std::vector<Value>& args);

  // An operand of a vector function: so many elements in NRAM, or WRAM.
  std::byte* operand(const Statement& s, const std::vector<Value>& args, size_t i, int64_t count,
                     Space space = Space::nram);

  const Kernel& kernel_;
  const Sizes& sizes_;
  const EvaluateOptions& options_;
  Status status_;
  std::vector<Object> objects_;
  int first_array_ = 0;
  std::vector<std::byte> memory_;
  std::vector<Value> frame_;
  Value result_;
  int64_t steps_ = 0;
};

}  // namespace tenon::bang
