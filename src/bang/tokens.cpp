#include "bang/tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>

namespace tenon::bang {
namespace {

constexpr size_t kMaxBytes = size_t{1} << 20;
constexpr size_t kMaxTokens = 200'000;
constexpr size_t kMaxConstant = 256;  // tokens

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

class Tokenizer {
 public:
  explicit Tokenizer(const Source& source) : source_(source), text_(source.text) {}

  Result<std::vector<Token>> run() {
    if (text_.size() > kMaxBytes)
      return invalid_argument("a kernel file has at most 1 MiB").at(source_.file);
    bool fresh = true;  // nothing but blanks on the line so far
    while (skip(fresh)) {
      if (text_[i_] == '#' && fresh) {
        TRY(directive());
        continue;
      }
      fresh = false;
      const Token token = TRY(next());
      TRY(push(token));
    }
    tokens_.push_back({Token::Kind::end, static_cast<uint32_t>(text_.size()), "the end", 0, 0});
    return std::move(tokens_);
  }

 private:
  // To the next token; false at the end.
  bool skip(bool& fresh) {
    while (i_ < text_.size()) {
      const char c = text_[i_];
      if (c == '\n') fresh = true;
      if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
        ++i_;
      } else if (text_.substr(i_, 2) == "//") {
        i_ = std::min(text_.find('\n', i_), text_.size());
      } else if (text_.substr(i_, 2) == "/*") {
        const size_t end = text_.find("*/", i_ + 2);
        i_ = end == std::string_view::npos ? text_.size() : end + 2;
      } else {
        return true;
      }
    }
    return false;
  }

  Error fail(size_t at, std::string message) const {
    return source_.error(static_cast<uint32_t>(at), std::move(message));
  }

  Status push(const Token& token) {
    const auto constant =
        token.kind == Token::Kind::name ? constants_.find(token.text) : constants_.end();
    if (constant == constants_.end()) {
      tokens_.push_back(token);
    } else {
      for (Token t : constant->second) {
        t.at = token.at;
        tokens_.push_back(t);
      }
    }
    if (tokens_.size() > kMaxTokens) return fail(token.at, "the file has too many words");
    return {};
  }

  // #define NAME constant; #include and #pragma say nothing to Tenon.
  Status directive() {
    const size_t begin = i_++;
    const size_t end = std::min(text_.find('\n', i_), text_.size());
    const auto in_line = [&] {
      while (i_ < end && (text_[i_] == ' ' || text_[i_] == '\t' || text_[i_] == '\r')) ++i_;
      return i_ < end && text_.substr(i_, 2) != "//" && text_.substr(i_, 2) != "/*";
    };
    const bool named = in_line();
    const std::string_view word = named ? name() : std::string_view();
    if (word == "include" || word == "pragma") {
      i_ = end;
      return {};
    }
    if (word != "define")
      return fail(begin, "of directives there are #define NAME CONSTANT, #include and #pragma");
    if (!in_line() || !is_letter(text_[i_])) return fail(i_, "expected a name after #define");
    const size_t at = i_;
    const std::string_view defined = name();
    if (i_ < end && text_[i_] == '(')
      return fail(i_, "#define takes no parameters here; write a __mlu_func__");
    std::vector<Token> body;
    while (in_line()) {
      const Token token = TRY(next());
      const auto known =
          token.kind == Token::Kind::name ? constants_.find(token.text) : constants_.end();
      if (known == constants_.end())
        body.push_back(token);
      else
        body.insert(body.end(), known->second.begin(), known->second.end());
      if (body.size() > kMaxConstant) return fail(at, "the constant is too long");
    }
    if (body.empty()) return fail(at, fmt::format("'{}' is defined as nothing", defined));
    i_ = std::max(i_, end);
    constants_[defined] = std::move(body);
    return {};
  }

  std::string_view name() {
    const size_t begin = i_;
    while (i_ < text_.size() && (is_letter(text_[i_]) || is_digit(text_[i_]))) ++i_;
    return text_.substr(begin, i_ - begin);
  }

  Result<Token> next() {
    Token t;
    const size_t begin = i_;
    t.at = static_cast<uint32_t>(begin);
    const char c = text_[i_];
    if (is_letter(c)) {
      t.kind = Token::Kind::name;
      t.text = name();
      return t;
    }
    if (is_digit(c) || (c == '.' && i_ + 1 < text_.size() && is_digit(text_[i_ + 1])))
      return number();
    if (c == '"') {
      const size_t end = text_.find_first_of("\"\n\\", i_ + 1);
      if (end == std::string_view::npos || text_[end] != '"')
        return fail(begin, "the string does not end on its line, or has an escape in it");
      t.kind = Token::Kind::string;
      t.text = text_.substr(begin + 1, end - begin - 1);
      i_ = end + 1;
      return t;
    }
    static constexpr std::string_view kSigns[] = {
        "<<=", ">>=", "==", "!=", "<=", ">=", "&&", "||", "<<",
        ">>",  "++",  "--", "+=", "-=", "*=", "/=", "%=", "::"};
    t.kind = Token::Kind::sign;
    for (const std::string_view sign : kSigns)
      if (text_.substr(i_, sign.size()) == sign) {
        t.text = text_.substr(i_, sign.size());
        i_ += sign.size();
        return t;
      }
    if (std::string_view("+-*/%<>=!&|^~?:;,.()[]{}").find(c) == std::string_view::npos)
      return fail(begin, "the language has no such character");
    t.text = text_.substr(i_++, 1);
    return t;
  }

  Result<Token> number() {
    Token t;
    const size_t begin = i_;
    t.at = static_cast<uint32_t>(begin);
    const bool hex = text_.substr(i_, 2) == "0x" || text_.substr(i_, 2) == "0X";
    bool real = false;
    size_t end = i_;
    for (; end < text_.size(); ++end) {
      const char c = text_[end];
      const bool exponent = !hex && end > begin && (text_[end - 1] == 'e' || text_[end - 1] == 'E');
      if (!is_letter(c) && !is_digit(c) && c != '.' && !(exponent && (c == '+' || c == '-'))) break;
      real |= !hex && (c == '.' || c == 'e' || c == 'E');
    }
    t.text = text_.substr(begin, end - begin);
    i_ = end;
    std::string_view digits = t.text;
    while (!digits.empty() &&
           std::string_view(hex ? "uUlL" : "uUlLfF").find(digits.back()) != std::string_view::npos)
      digits.remove_suffix(1);
    const bool suffix_f =
        !hex && digits.size() < t.text.size() && (t.text.back() == 'f' || t.text.back() == 'F');
    real |= suffix_f;
    t.kind = real ? Token::Kind::real : Token::Kind::integer;
    std::from_chars_result read{};
    if (real)
      read = std::from_chars(digits.data(), digits.data() + digits.size(), t.real);
    else if (hex)
      read = std::from_chars(digits.data() + 2, digits.data() + digits.size(), t.integer, 16);
    else
      read = std::from_chars(digits.data(), digits.data() + digits.size(), t.integer);
    if (read.ec != std::errc() || read.ptr != digits.data() + digits.size())
      return fail(begin, fmt::format("'{}' is no number that fits", t.text.substr(0, 40)));
    return t;
  }

  const Source& source_;
  std::string_view text_;
  size_t i_ = 0;
  std::vector<Token> tokens_;
  std::map<std::string_view, std::vector<Token>> constants_;
};

}  // namespace

std::string Source::place(uint32_t at) const {
  const std::string_view before = std::string_view(text).substr(0, at);
  const auto line = std::ranges::count(before, '\n') + 1;
  const size_t begin = before.rfind('\n') + 1;  // 0 where there is none
  return fmt::format("{}:{}:{}", file, line, before.size() - begin + 1);
}

Error Source::error(uint32_t at, std::string message) const {
  at = std::min(at, static_cast<uint32_t>(text.size()));
  const size_t begin = std::string_view(text).substr(0, at).rfind('\n') + 1;
  std::string line = text.substr(begin, std::min(text.find('\n', begin), text.size()) - begin);
  std::string mark;
  for (size_t i = begin; i < at; ++i) mark += text[i] == '\t' ? '\t' : ' ';
  constexpr size_t kLongest = 200;
  if (line.size() <= kLongest) message += fmt::format("\n    {}\n    {}^", line, mark);
  return invalid_argument(std::move(message)).at(place(at));
}

Result<std::vector<Token>> tokenize(const Source& source) {
  return Tokenizer(source).run();
}

}  // namespace tenon::bang
