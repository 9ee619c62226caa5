#include "ops/text_summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "ops/movement.h"
#include "ops/registry.h"

namespace tenon {
namespace {

// The text of a string constant in C.
std::string escaped(std::string_view text) {
  std::string out = "\"";
  for (const char ch : text) {
    const auto byte = static_cast<uint8_t>(ch);
    if (ch == '\n' || ch == '\r' || ch == '\t')
      out += ch == '\n' ? "\\n" : ch == '\r' ? "\\r" : "\\t";
    else if (ch == '"' || ch == '\'' || ch == '\\')
      out += fmt::format("\\{}", ch);
    else if (byte < 0x20 || byte == 0x7F)
      out += fmt::format("\\{:03o}", byte);
    else
      out += ch;
  }
  return out + '"';
}

// As many digits as tell the number from others, few where few do.
std::string real_text(const Tensor& x, int64_t i) {
  const double v = x.real_at(i);
  const bool wide = x.dtype() == DType::f64;
  std::string text = fmt::format("{:.{}g}", v, wide ? 15 : 6);
  const bool exact = wide ? std::strtod(text.c_str(), nullptr) == v
                          : std::strtof(text.c_str(), nullptr) == static_cast<float>(v);
  return exact || v != v ? text : fmt::format("{:.{}g}", v, wide ? 17 : 9);
}

class Printer {
 public:
  Printer(const Tensor& x, int64_t most) : x_(x), most_(most) {}

  std::string print() {
    dimension(0, 0);
    return std::move(out_);
  }

 private:
  void value(int64_t i) {
    if (x_.dtype() == DType::string)
      out_ += escaped(x_.data<std::string>()[i]);
    else if (is_float(x_.dtype()))
      out_ += real_text(x_, i);
    else if (is_unsigned_int(x_.dtype()))
      out_ += fmt::format("{}", static_cast<uint64_t>(x_.int_at(i)));
    else
      out_ += fmt::format("{}", x_.int_at(i));
  }
  void space(int axis) {
    if (axis == x_.rank() - 1) {
      out_ += ' ';
      return;
    }
    out_.append(static_cast<size_t>(x_.rank() - axis - 1), '\n');
    out_.append(static_cast<size_t>(axis) + 1, ' ');
  }
  void dimension(int axis, int64_t at) {
    if (axis == x_.rank()) return value(at);
    const int64_t size = x_.dim(axis), step = product(x_.dims(), axis + 1, x_.rank());
    const int64_t ends = most_ < 0 ? size : most_;
    out_ += '[';
    for (int64_t i = 0; i < size; ++i) {
      if (i > 0) space(axis);
      if (i >= ends && i < size - ends) {
        out_ += "...";
        i = size - ends - 1;
      } else {
        dimension(axis + 1, at + i * step);
      }
    }
    out_ += ']';
  }

  const Tensor& x_;
  int64_t most_;
  std::string out_;
};

}  // namespace

Result<TensorTypes> TextSummary::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  if (is_complex(context.dtype(0)))
    return unsupported("text_summary does not print complex numbers");
  return TensorTypes{{DType::string, Shape{}}};
}

Status TextSummary::eval(EvalContext& context) const {
  context.out(0).mutable_data<std::string>()[0] = Printer(context.in(0), most).print();
  return {};
}

constinit const OpDef TextSummary::def = define<TextSummary>();
OpDefs text_summary_ops() {
  return {&TextSummary::def};
}

}  // namespace tenon
