#include <fmt/format.h>

#include "base/bytes.h"
#include "compiler/compile.h"
#include "ir/text.h"

namespace tenon {

Error write_reproducer(Error error, const PassContext& context, const std::string& path) {
  if (context.failed_input == nullptr) return error;
  std::string disabled;
  for (const std::string& name : context.disabled) disabled += (disabled.empty() ? "" : ";") + name;
  if (!disabled.empty()) disabled = "{disable=" + disabled + "}";
  const std::string text = fmt::format("// opt: {}{}\n{}", context.failed_pass, disabled,
                                       print_graph(*context.failed_input, TextForm::kFull));
  if (!write_file_atomically(path, as_bytes(text)).ok()) return error;
  return std::move(error).note(
      fmt::format("this is a bug of Tenon; `tenon opt {}` shows it again, please send that file "
                  "(it holds the weights of the graph); --disable {} may get around it",
                  path, context.failed_pass));
}

}  // namespace tenon
