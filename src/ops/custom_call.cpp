#include "ops/custom_call.h"

#include <fmt/format.h>

#include <cstring>
#include <map>

#include "base/crash_guard.h"
#include "tensor/narrow.h"

namespace tenon {
namespace {

constexpr size_t kMessageSize = 512;
// Dimensions that are not known but named, in the C interface: far apart, so that arithmetic on one
// does not give another.
constexpr int64_t kFirstSymbol = INT64_MIN / 2;
constexpr int64_t kSymbolDistance = int64_t{1} << 20;

tenon_string view_of(const std::string& s) {
  return {s.data(), s.size()};
}

tenon_tensor view_of(const Tensor& t) {
  return {sizeof(tenon_tensor), static_cast<int32_t>(t.dtype()), t.rank(),
          t.dims().data(),      const_cast<void*>(t.raw()),      t.byte_size()};
}

bool is_dtype(int32_t dtype) {
  return dtype > 0 && dtype < kDTypeEnd;
}

// Dimensions to numbers and back, for one call of a shape rule.
class Symbols {
 public:
  int64_t number(Dim d) {
    if (d.known()) return d.size();
    if (!d.is_symbol()) return TENON_OP_UNKNOWN;
    for (size_t i = 0; i < dims_.size(); ++i)
      if (dims_[i] == d) return number_of(i);
    dims_.push_back(d);
    return number_of(dims_.size() - 1);
  }
  Dim dim(int64_t number) const {
    if (number >= 0) return Dim(number);
    for (size_t i = 0; i < dims_.size(); ++i)
      if (number_of(i) == number) return dims_[i];
    return Dim::unknown();
  }

 private:
  static int64_t number_of(size_t i) {
    return kFirstSymbol + static_cast<int64_t>(i) * kSymbolDistance;
  }
  std::vector<Dim> dims_;
};

Result<tenon_op_type> to_c(const TensorType& type, Symbols& symbols) {
  if (type.is_list) return unsupported("custom ops take tensors, not lists");
  tenon_op_type out{static_cast<int32_t>(type.dtype), TENON_OP_UNKNOWN, {}};
  if (!type.shape.ranked()) return out;
  out.rank = type.shape.rank();
  if (out.rank > TENON_OP_MAX_RANK)
    return unsupported(fmt::format("custom ops take tensors of rank {} at most, not {}",
                                   TENON_OP_MAX_RANK, out.rank));
  for (int i = 0; i < out.rank; ++i) out.dims[i] = symbols.number(type.shape[i]);
  return out;
}

Result<TensorType> from_c(const tenon_op_type& type, const Symbols& symbols) {
  if (!is_dtype(type.dtype))
    return invalid_argument(fmt::format("set no element type, or an unknown one ({})", type.dtype));
  TensorType out{static_cast<DType>(type.dtype), Shape::unranked()};
  if (type.rank == TENON_OP_UNKNOWN) return out;
  if (type.rank < 0 || type.rank > TENON_OP_MAX_RANK)
    return invalid_argument(fmt::format("set rank {}", type.rank));
  out.shape = Shape();
  for (int i = 0; i < type.rank; ++i) out.shape.dims().push_back(symbols.dim(type.dims[i]));
  return out;
}

// The text a function left, which need not end.
std::string text_of(const char* message) {
  const std::string text(message, ::strnlen(message, kMessageSize));
  return text.empty() ? "it gave no reason" : text;
}

// Strings of an operand as the C interface has them.
tenon_tensor string_view_of(const Tensor& t, std::vector<tenon_string>& strings) {
  for (const std::string& s : t.span<std::string>()) strings.push_back(view_of(s));
  tenon_tensor out = view_of(t);
  out.data = strings.data();
  out.byte_size = strings.size() * sizeof(tenon_string);
  return out;
}

// The host's side of one call of a kernel.
struct KernelHost {
  EvalContext& context;
  std::vector<tenon_tensor>& outputs;
  bool out_of_memory = false;
};

void* allocate(tenon_kernel_call* call, size_t index, int32_t dtype, int32_t rank,
               const int64_t* dims) {
  auto& host = *static_cast<KernelHost*>(call->host);
  if (index >= host.outputs.size() || !is_dtype(dtype) || rank < 0 || rank > TENON_OP_MAX_RANK ||
      (rank > 0 && dims == nullptr))
    return nullptr;
  const auto i = static_cast<int>(index);
  const std::span sizes(dims, static_cast<size_t>(rank));
  for (const int64_t size : sizes)
    if (size < 0) return nullptr;
  if (!host.context.allocate(i, static_cast<DType>(dtype), sizes).ok()) {
    host.out_of_memory = true;
    return nullptr;
  }
  tenon_tensor& out = host.outputs[index];
  out = view_of(host.context.out(i));
  // Strings are set one by one; what is given says only that there is room.
  return out.data;
}

int32_t set_string(tenon_kernel_call* call, size_t index, int64_t element, const char* data,
                   size_t size) {
  auto& host = *static_cast<KernelHost*>(call->host);
  if (index >= host.outputs.size() || (data == nullptr && size > 0)) return 1;
  Tensor& out = host.context.out(static_cast<int>(index));
  if (out.dtype() != DType::string || element < 0 || element >= out.elements()) return 1;
  out.mutable_data<std::string>()[element].assign(size > 0 ? data : "", size);
  return 0;
}

}  // namespace

Result<std::shared_ptr<const BoundCustomOp>> BoundCustomOp::make(
    std::shared_ptr<const CustomLibrary> library, const tenon_custom_op& op,
    std::span<const std::string> attributes) {
  std::shared_ptr<BoundCustomOp> bound(new BoundCustomOp(std::move(library), op));
  for (const std::string& text : attributes) bound->add(TRY(decode_custom_attr(text)));
  return bound;
}

void BoundCustomOp::add(CustomAttr given) {
  Storage& s = *storage_.emplace_back(std::make_unique<Storage>());
  s.attr = std::move(given);
  const AttrValue& v = s.attr.value;
  tenon_op_attr attr{sizeof attr, s.attr.name.c_str(), 0, 0, 0, nullptr, nullptr, nullptr, nullptr};
  const auto ints = [&](std::vector<int64_t> values, int kind) {
    s.ints = std::move(values);
    attr.kind = kind;
    attr.count = s.ints.size();
    attr.ints = s.ints.data();
  };
  const auto floats = [&](std::vector<double> values) {
    s.floats = std::move(values);
    attr.kind = TENON_ATTR_FLOAT;
    attr.count = s.floats.size();
    attr.floats = s.floats.data();
  };
  const auto strings = [&](std::span<const std::string> values) {
    for (const std::string& value : values) s.strings.push_back(view_of(value));
    attr.kind = TENON_ATTR_STRING;
    attr.count = s.strings.size();
    attr.strings = s.strings.data();
  };
  if (const auto* i = std::get_if<int64_t>(&v)) {
    ints({*i}, TENON_ATTR_INT);
  } else if (const auto* b = std::get_if<bool>(&v)) {
    ints({*b ? 1 : 0}, TENON_ATTR_BOOL);
  } else if (const auto* d = std::get_if<DType>(&v)) {
    ints({static_cast<int64_t>(*d)}, TENON_ATTR_DTYPE);
  } else if (const auto* f = std::get_if<double>(&v)) {
    floats({*f});
  } else if (const auto* text = std::get_if<std::string>(&v)) {
    strings({text, 1});
  } else if (const auto* int_list = std::get_if<std::vector<int64_t>>(&v)) {
    ints(*int_list, TENON_ATTR_INT);
    attr.is_list = 1;
  } else if (const auto* float_list = std::get_if<std::vector<double>>(&v)) {
    floats(*float_list);
    attr.is_list = 1;
  } else if (const auto* string_list = std::get_if<std::vector<std::string>>(&v)) {
    strings(*string_list);
    attr.is_list = 1;
  } else if (const auto* t = std::get_if<Tensor>(&v)) {
    s.tensors.push_back(view_of(*t));
    attr.kind = TENON_ATTR_TENSOR;
    attr.count = 1;
    attr.tensors = s.tensors.data();
  }
  attrs_.push_back(attr);
}

std::string BoundCustomOp::place(std::string_view part) const {
  return fmt::format("the {} of custom op '{}' (library '{}')", part,
                     custom_op_name(op_.domain == nullptr ? "" : op_.domain, op_.name),
                     library_->name());
}

Result<TensorTypes> BoundCustomOp::infer(const InferContext& context, int64_t results) const {
  const int n = context.size();
  if (n < op_.min_inputs || (op_.max_inputs >= 0 && n > op_.max_inputs))
    return invalid_argument(
        fmt::format("custom op '{}' takes {} operands or more, at most {}; the "
                    "node has {}",
                    op_.name, op_.min_inputs, op_.max_inputs, n));
  Symbols symbols;
  std::vector<tenon_op_operand> inputs;
  std::vector<std::vector<tenon_string>> strings(static_cast<size_t>(n));
  for (int i = 0; i < n; ++i) {
    tenon_op_operand& in = inputs.emplace_back();
    in.type = TRY(to_c(context.type(i), symbols));
    const Tensor* known = context.constant(i);
    if (known == nullptr || !known->defined() || known->is_list()) continue;
    in.data = known->dtype() == DType::string
                  ? string_view_of(*known, strings[static_cast<size_t>(i)]).data
                  : known->raw();
  }
  std::vector<tenon_op_type> outputs(TENON_OP_MAX_OUTPUTS, {TENON_NONE, TENON_OP_UNKNOWN, {}});
  char message[kMessageSize] = {};
  tenon_shape_call call{
      sizeof call,   message,        sizeof message,
      attrs_.data(), attrs_.size(),  inputs.data(),
      inputs.size(), outputs.data(), static_cast<size_t>(op_.outputs >= 0 ? op_.outputs : results)};
  int32_t status = 0;
  const std::string crash = call_guarded([&] { status = op_.infer(&call); });
  const std::string rule = place("shape rule");
  if (!crash.empty()) return invalid_argument(fmt::format("{} crashed: {}", rule, crash));
  if (status != 0) return invalid_argument(fmt::format("{} refuses: {}", rule, text_of(message)));
  const size_t count = op_.outputs >= 0 ? static_cast<size_t>(op_.outputs) : call.output_count;
  if (count > TENON_OP_MAX_OUTPUTS)
    return invalid_argument(fmt::format("{} says there are {} outputs; at most {} are possible",
                                        rule, count, TENON_OP_MAX_OUTPUTS));
  TensorTypes types;
  for (size_t i = 0; i < count; ++i) {
    auto type = from_c(outputs[i], symbols);
    if (!type.ok())
      return invalid_argument(
          fmt::format("{} {} for output {}", rule, std::move(type).error().message, i));
    types.push_back(std::move(*type));
  }
  return types;
}

Status BoundCustomOp::eval(EvalContext& context) const {
  std::vector<tenon_tensor> inputs, outputs;
  std::vector<std::vector<tenon_string>> strings(static_cast<size_t>(context.size()));
  for (int i = 0; i < context.size(); ++i) {
    const Tensor& in = context.in(i);
    if (in.is_list()) return unsupported("custom ops take tensors, not lists");
    inputs.push_back(in.dtype() == DType::string
                         ? string_view_of(in, strings[static_cast<size_t>(i)])
                         : view_of(in));
  }
  for (int i = 0; i < context.outputs(); ++i) outputs.push_back(view_of(context.out(i)));
  for (tenon_tensor& out : outputs)
    if (out.dtype == TENON_STRING) out.data = nullptr;
  char message[kMessageSize] = {};
  KernelHost host{context, outputs};
  tenon_kernel_call call{sizeof call,    message,       sizeof message, attrs_.data(),
                         attrs_.size(),  inputs.data(), inputs.size(),  outputs.data(),
                         outputs.size(), &host,         allocate,       set_string};
  int32_t status = 0;
  const std::string crash = call_guarded([&] { status = op_.run(&call); });
  const std::string kernel = place("kernel");
  if (!crash.empty()) return invalid_argument(fmt::format("{} crashed: {}", kernel, crash));
  if (status != 0 && host.out_of_memory)
    return resource_exhausted(fmt::format("{} asks for more memory than there is", kernel));
  if (status != 0) return invalid_argument(fmt::format("{} failed: {}", kernel, text_of(message)));
  for (int i = 0; i < context.outputs(); ++i)
    if (!context.out(i).defined())
      return invalid_argument(
          fmt::format("{} did not allocate output {}, whose size the shape rule "
                      "left open",
                      kernel, i));
  return {};
}

}  // namespace tenon
