#include "ops/regex_match.h"

#include "base/regex.h"
#include "ops/registry.h"

namespace tenon {

Result<TensorTypes> RegexMatch::infer(const InferContext& context) const {
  if (context.type(0).is_list || context.dtype(0) != DType::string)
    return invalid_argument("regex_match needs strings, not " + context.type(0).to_string());
  TRY(Regex::compile(pattern));
  return TensorTypes{{DType::boolean, context.shape(0)}};
}

Status RegexMatch::eval(EvalContext& context) const {
  const Regex regex = TRY(Regex::compile(pattern));
  bool* out = context.out(0).mutable_data<bool>();
  for (const std::string& text : context.in(0).span<std::string>()) *out++ = regex.matches(text);
  return {};
}

constinit const OpDef RegexMatch::def = define<RegexMatch>();
OpDefs regex_match_ops() {
  return {&RegexMatch::def};
}

}  // namespace tenon
