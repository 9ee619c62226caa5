// Error, Result<T> and Status: how every fallible function of Tenon reports failure.
// Not for broken invariants of our own: those use TENON_CHECK (base/check.h).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace tenon {

// Who has to act on an error. The numeric values are part of the C ABI.
enum class Code : int {
  invalid_argument = 1,  // the caller's value is wrong: shape, dtype, name, flag
  invalid_model = 2,     // the model or file is malformed or inconsistent
  not_found = 3,         // a name, file, signature or shard that is not there
  unsupported = 4,  // well-formed, but Tenon cannot do it (yet); the message says what can be done
  resource_exhausted = 5,  // memory ran out
  io = 6,                  // the operating system refused; may succeed when tried again
  cancelled = 7,
  internal = 70,  // our bug
};

std::string_view code_name(Code code);

// Process exit status for an error: 1 the model or its input, 3 environment, 70 our bug.
int exit_status(Code code);

struct Error {
  Code code = Code::internal;
  std::string message;             // what was wrong, what was expected, the way out
  std::string where;               // the place: node of the user's model, file:offset, line
  std::vector<std::string> notes;  // "while …", innermost first

  Error() = default;
  Error(Code c, std::string m, std::string w = {})
      : code(c), message(std::move(m)), where(std::move(w)) {}

  // Appends a note such as "while importing node 'conv1'".
  Error&& note(std::string text) && {
    notes.push_back(std::move(text));
    return std::move(*this);
  }
  // Sets the place unless a more precise one is known already.
  Error&& at(std::string place) && {
    if (where.empty()) where = std::move(place);
    return std::move(*this);
  }
  // One line per fact: "invalid_model: message", "  at …", "  while …".
  std::string to_string() const;
};

inline Error invalid_argument(std::string m) {
  return {Code::invalid_argument, std::move(m)};
}
inline Error invalid_model(std::string m) {
  return {Code::invalid_model, std::move(m)};
}
inline Error not_found(std::string m) {
  return {Code::not_found, std::move(m)};
}
inline Error unsupported(std::string m) {
  return {Code::unsupported, std::move(m)};
}
inline Error resource_exhausted(std::string m) {
  return {Code::resource_exhausted, std::move(m)};
}
inline Error io_error(std::string m) {
  return {Code::io, std::move(m)};
}
inline Error internal_error(std::string m) {
  return {Code::internal, std::move(m)};
}

// Either a T or an Error. Must be looked at.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}
  template <typename U = T>
  requires(std::is_convertible_v<U&&, T> && !std::is_same_v<std::remove_cvref_t<U>, Result> &&
           !std::is_same_v<std::remove_cvref_t<U>, Error>) Result(U&& value)
      : state_(std::in_place_index<0>, std::forward<U>(value)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  T& value() & { return std::get<0>(state_); }
  const T& value() const& { return std::get<0>(state_); }
  T&& value() && { return std::get<0>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  Error& error() & { return std::get<1>(state_); }
  const Error& error() const& { return std::get<1>(state_); }
  Error&& error() && { return std::get<1>(std::move(state_)); }

 private:
  std::variant<T, Error> state_;
};

// Success or an Error.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}

  bool ok() const { return !error_; }
  explicit operator bool() const { return ok(); }
  void value() const {}
  Error& error() & { return *error_; }
  const Error& error() const& { return *error_; }
  Error&& error() && { return std::move(*error_); }

 private:
  std::optional<Error> error_;
};

using Status = Result<void>;
inline Status ok_status() {
  return {};
}

}  // namespace tenon

// Yields the value of a Result expression, or returns its error from the enclosing function.
#define TRY(...)                             \
  __extension__({                            \
    auto try_result_ = (__VA_ARGS__);        \
    if (!try_result_.ok()) [[unlikely]]      \
      return std::move(try_result_).error(); \
    std::move(try_result_).value();          \
  })
