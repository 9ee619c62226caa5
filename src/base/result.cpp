#include "base/result.h"

namespace tenon {

std::string_view code_name(Code code) {
  switch (code) {
    case Code::invalid_argument:
      return "invalid_argument";
    case Code::invalid_model:
      return "invalid_model";
    case Code::not_found:
      return "not_found";
    case Code::unsupported:
      return "unsupported";
    case Code::resource_exhausted:
      return "resource_exhausted";
    case Code::io:
      return "io";
    case Code::cancelled:
      return "cancelled";
    case Code::internal:
      return "internal";
  }
  return "internal";
}

int exit_status(Code code) {
  switch (code) {
    case Code::io:
    case Code::resource_exhausted:
    case Code::cancelled:
      return 3;
    case Code::internal:
      return 70;
    default:
      return 1;
  }
}

std::string Error::to_string() const {
  std::string text(code_name(code));
  text += ": ";
  text += message;
  if (!where.empty()) text += "\n  at " + where;
  for (const std::string& note : notes) text += "\n  " + note;
  return text;
}

}  // namespace tenon
