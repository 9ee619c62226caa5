#include "bang/evaluate.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "bang/task.h"
#include "bang/vector_functions.h"

namespace tenon::bang {

Status Task::run(std::span<const Tensor> inputs, std::span<Tensor> outputs) {
  const Signature& s = kernel_.signature;
  for (size_t i = 0; i < inputs.size(); ++i)
    objects_.push_back({s.inputs[i].name, Space::gdram,
                        static_cast<std::byte*>(const_cast<void*>(inputs[i].raw())),
                        static_cast<int64_t>(inputs[i].byte_size()), false});
  for (size_t i = 0; i < outputs.size(); ++i) {
    // What the kernel leaves unwritten shows: NaN, or -1.
    std::memset(outputs[i].mutable_raw(), 0xff, outputs[i].byte_size());
    objects_.push_back({s.outputs[i].name, Space::gdram,
                        static_cast<std::byte*>(outputs[i].mutable_raw()),
                        static_cast<int64_t>(outputs[i].byte_size()), true});
  }
  place_arrays();
  std::vector<Value> arguments;
  for (const Binding& b : kernel_.bindings) {
    const auto i = static_cast<size_t>(b.index);
    if (b.kind == Binding::Kind::name)
      arguments.push_back(
          {sizes_.values[i].integer, static_cast<float>(sizes_.values[i].real), -1});
    else
      arguments.push_back(
          {0, 0,
           b.index + (b.kind == Binding::Kind::output ? static_cast<int>(inputs.size()) : 0)});
  }
  (void)call(*kernel_.entry, std::move(arguments));
  return std::move(status_);
}

void Task::place_arrays() {
  first_array_ = static_cast<int>(objects_.size());
  int64_t total = 0;
  for (const Array& a : kernel_.arrays) {
    int64_t bytes = size_of(a.element);
    for (const Expr& dim : a.dims) bytes *= fold(dim, size_of(DType::none)).value_or(1);
    objects_.push_back({a.name, a.space, nullptr, bytes, true});
    total += (bytes + 63) / 64 * 64;
  }
  memory_.resize(static_cast<size_t>(total) + 64);
  std::byte* at = memory_.data();
  for (auto i = static_cast<size_t>(first_array_); i < objects_.size(); ++i) {
    objects_[i].data = at;
    at += (objects_[i].bytes + 63) / 64 * 64;
  }
}

Value Task::call(const Function& function, std::vector<Value> arguments) {
  arguments.resize(function.variables.size());
  std::vector<Value> outer = std::exchange(frame_, std::move(arguments));
  result_ = {};
  (void)run(function.body);
  frame_ = std::move(outer);
  return result_;
}

Flow Task::run(const Statement& s) {
  if (++steps_ > options_.max_steps)
    fail(s.at, fmt::format("the kernel does not end within {} steps", options_.max_steps));
  if (failed()) return Flow::give_back;
  switch (s.kind) {
    case Statement::Kind::assign:
      assign(s);
      break;
    case Statement::Kind::evaluate:
      (void)value(*s.value);
      break;
    case Statement::Kind::builtin:
      builtin(s);
      break;
    case Statement::Kind::branch:
      return run(value(*s.value).integer != 0 ? s.body : s.other);
    case Statement::Kind::loop:
      return loop(s);
    case Statement::Kind::give_back:
      if (s.value) result_ = value(*s.value);
      return Flow::give_back;
    case Statement::Kind::leave:
      return Flow::leave;
    case Statement::Kind::next:
      return Flow::next;
    case Statement::Kind::block:
      return run(s.body);
  }
  return failed() ? Flow::give_back : Flow::on;
}

Flow Task::loop(const Statement& s) {
  while (!s.value || value(*s.value).integer != 0) {
    if (++steps_ > options_.max_steps)
      fail(s.at, fmt::format("this loop does not end: the kernel has taken {} steps",
                             options_.max_steps));
    if (failed()) return Flow::give_back;
    const Flow flow = run(s.body);
    if (flow == Flow::give_back) return flow;
    if (flow == Flow::leave) break;
    if (const Flow step = run(s.other); step == Flow::give_back) return step;
  }
  return failed() ? Flow::give_back : Flow::on;
}

void Task::assign(const Statement& s) {
  const Value v = value(*s.value);
  if (failed()) return;
  const Expr& target = *s.target;
  if (target.kind == Expr::Kind::variable) {
    frame_[static_cast<size_t>(target.index)] = v;
    return;
  }
  const Value pointer = advanced(target);
  const DType dtype = dtype_of(target.type.element);
  std::byte* to = element(pointer, dtype, target.at, true);
  if (to == nullptr) return;
  if (target.type.kind == Type::Kind::integer)
    store_integer(v.integer, to, dtype);
  else
    store_real(v.real, to, dtype);
}

Value Task::advanced(const Expr& e) {
  Value pointer = value(e.args[0]);
  const Value distance = value(e.args[1]);
  const int64_t size = size_of(e.args[0].type.element);
  int64_t bytes = 0;
  if (__builtin_mul_overflow(distance.integer, size, &bytes) ||
      __builtin_add_overflow(pointer.integer, bytes, &pointer.integer))
    fail(e.at, "this index is too large");
  return pointer;
}

std::byte* Task::element(const Value& pointer, DType dtype, uint32_t at, bool writes) {
  if (failed()) return nullptr;
  const Object& object = objects_[static_cast<size_t>(pointer.object)];
  if (object.space == Space::wram) {
    fail(at, "elements of WRAM cannot be read or written one by one");
    return nullptr;
  }
  return range(pointer, static_cast<int64_t>(dtype_size(dtype)), at, writes);
}

std::byte* Task::range(const Value& pointer, int64_t bytes, uint32_t at, bool writes) {
  if (failed() || pointer.object < 0) return nullptr;
  if (bytes == 0) return memory_.data();
  const Object& object = objects_[static_cast<size_t>(pointer.object)];
  if (writes && !object.writable)
    fail(at, fmt::format("'{}' is an input, which is not written to", object.name));
  if (pointer.integer < 0 || bytes < 0 || bytes > object.bytes ||
      pointer.integer > object.bytes - bytes)
    fail(at, fmt::format("this reaches bytes {} to {} of '{}', which has {}", pointer.integer,
                         static_cast<double>(pointer.integer) + static_cast<double>(bytes),
                         object.name, object.bytes));
  return failed() ? nullptr : object.data + pointer.integer;
}

std::byte* Task::operand(const Statement& s, const std::vector<Value>& args, size_t i,
                         int64_t count, Space space) {
  if (failed()) return nullptr;
  const Object& object = objects_[static_cast<size_t>(args[i].object)];
  const uint32_t at = s.args[i].at;
  if (object.space != space) {
    fail(at, fmt::format("'{}' takes an array in {} here, '{}' is in {}", s.builtin->name,
                         kSpaceNames[static_cast<size_t>(space)], object.name,
                         kSpaceNames[static_cast<size_t>(object.space)]));
    return nullptr;
  }
  const int64_t size = size_of(s.args[i].type.element);
  if (count < 0 || count > (int64_t{1} << 40))
    fail(at, fmt::format("'{}' is given a number of elements of {}", s.builtin->name, count));
  if (failed()) return nullptr;
  // What a vector function does is work, too.
  steps_ += count / 64;
  return range(args[i], count * size, at, i == 0);
}

Value Task::binary(const Expr& e) {
  const Value a = value(e.args[0]);
  // The right side of && and || only where it decides.
  if (e.op == Op::both && a.integer == 0) return {};
  if (e.op == Op::either && a.integer != 0) return {1, 0, -1};
  const Value b = value(e.args[1]);
  if (e.args[0].type.kind == Type::Kind::integer) {
    const auto result = apply(e.op, a.integer, b.integer);
    if (!result) fail(e.at, "this divides by zero, or shifts by more than there are bits");
    return {result.value_or(0), 0, -1};
  }
  const double x = a.real, y = b.real;
  switch (e.op) {
    case Op::add:
      return {0, x + y, -1};
    case Op::sub:
      return {0, x - y, -1};
    case Op::mul:
      return {0, x * y, -1};
    case Op::div:
      return {0, x / y, -1};
    case Op::less:
      return {x < y, 0, -1};
    case Op::less_equal:
      return {x <= y, 0, -1};
    case Op::equal:
      return {x == y, 0, -1};
    case Op::not_equal:
      return {x != y, 0, -1};
    case Op::greater_equal:
      return {x >= y, 0, -1};
    default:
      return {x > y, 0, -1};
  }
}

Value Task::value(const Expr& e) {
  switch (e.kind) {
    case Expr::Kind::integer:
      return {e.integer, 0, -1};
    case Expr::Kind::real:
      return {0, static_cast<float>(e.real), -1};
    case Expr::Kind::size_of:
      return {size_of(e.type.element), 0, -1};
    case Expr::Kind::variable:
      return frame_[static_cast<size_t>(e.index)];
    case Expr::Kind::array:
      return {0, 0, first_array_ + e.index};
    case Expr::Kind::special: {
      const auto special = static_cast<Special>(e.index);
      return {special == Special::task_dim || special == Special::core_dim ||
                  special == Special::cluster_dim,
              0, -1};
    }
    case Expr::Kind::unary: {
      Value v = value(e.args[0]);
      if (e.op == Op::negate) {
        v.integer = apply(Op::sub, 0, v.integer).value_or(0);
        v.real = -v.real;
      } else {
        v.integer = e.op == Op::invert ? static_cast<int64_t>(v.integer == 0) : ~v.integer;
      }
      return v;
    }
    case Expr::Kind::binary: {
      Value v = binary(e);
      v.real = static_cast<float>(v.real);
      return v;
    }
    case Expr::Kind::conditional:
      return value(e.args[value(e.args[0]).integer != 0 ? 1 : 2]);
    case Expr::Kind::convert: {
      Value v = value(e.args[0]);
      if (e.type.kind == Type::Kind::real) v.real = static_cast<float>(v.integer);
      if (e.type.kind == Type::Kind::integer && e.args[0].type.kind == Type::Kind::real)
        v.integer = std::isnan(v.real) ? 0 : static_cast<int64_t>(std::clamp(v.real, -9e18, 9e18));
      return v;
    }
    case Expr::Kind::advance:
      return advanced(e);
    case Expr::Kind::load: {
      const Value pointer = advanced(e);
      const DType dtype = dtype_of(e.type.element);
      const std::byte* from = element(pointer, dtype, e.at, false);
      if (from == nullptr) return {};
      if (e.type.kind == Type::Kind::integer) return {load_integer(from, dtype), 0, -1};
      return {0, load_real(from, dtype), -1};
    }
    case Expr::Kind::min:
    case Expr::Kind::max: {
      const Value a = value(e.args[0]), b = value(e.args[1]);
      const bool smaller =
          e.type.kind == Type::Kind::real ? b.real < a.real : b.integer < a.integer;
      return smaller == (e.kind == Expr::Kind::min) ? b : a;
    }
    case Expr::Kind::call: {
      if (++steps_ > options_.max_steps)
        fail(e.at, fmt::format("the kernel does not end within {} steps", options_.max_steps));
      std::vector<Value> arguments;
      for (const Expr& arg : e.args) arguments.push_back(value(arg));
      return failed() ? Value() : call(*e.function, std::move(arguments));
    }
  }
  return {};
}

Status evaluate(const Kernel& kernel, const Sizes& sizes, std::span<const Tensor> inputs,
                std::span<Tensor> outputs, const EvaluateOptions& options) {
  return Task(kernel, sizes, options).run(inputs, outputs);
}

}  // namespace tenon::bang
