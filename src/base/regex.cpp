#include "base/regex.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "base/utf8.h"

namespace tenon {
namespace {

using utf8::decode;

constexpr uint32_t kLast = 0x10FFFF;
constexpr int kMaxRepeat = 1000;
constexpr size_t kMaxProgram = 100000;
constexpr int kMaxDepth = 200;

using Set = std::vector<std::pair<uint32_t, uint32_t>>;

Set normal(Set set) {
  std::sort(set.begin(), set.end());
  Set merged;
  for (const auto& range : set) {
    if (!merged.empty() && range.first <= merged.back().second + 1)
      merged.back().second = std::max(merged.back().second, range.second);
    else
      merged.push_back(range);
  }
  return merged;
}

Set inverse(Set set) {
  Set result;
  uint32_t next = 0;
  for (const auto& [low, high] : normal(std::move(set))) {
    if (low > next) result.emplace_back(next, low - 1);
    next = high + 1;
  }
  if (next <= kLast) result.emplace_back(next, kLast);
  return result;
}

Set with_both_cases(Set set) {
  const Set original = set;
  for (const auto& [low, high] : original)
    for (uint32_t c = 'a'; c <= 'z'; ++c) {
      const uint32_t upper = c - 'a' + 'A';
      if (c >= low && c <= high) set.emplace_back(upper, upper);
      if (upper >= low && upper <= high) set.emplace_back(c, c);
    }
  return set;
}

// What a letter behind a backslash stands for; empty for those that stand for no class.
Set perl_class(char letter) {
  Set set;
  switch (letter | 0x20) {
    case 'd':
      set = {{'0', '9'}};
      break;
    case 'w':
      set = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
      break;
    case 's':
      set = {{'\t', '\n'}, {'\f', '\r'}, {' ', ' '}};
      break;
    default:
      return set;
  }
  return letter < 'a' ? inverse(std::move(set)) : set;
}

Set posix_class(std::string_view name) {
  struct Row {
    std::string_view name;
    Set set;
  };
  const Row rows[] = {{"alnum", {{'0', '9'}, {'A', 'Z'}, {'a', 'z'}}},
                      {"alpha", {{'A', 'Z'}, {'a', 'z'}}},
                      {"ascii", {{0, 0x7F}}},
                      {"blank", {{'\t', '\t'}, {' ', ' '}}},
                      {"cntrl", {{0, 0x1F}, {0x7F, 0x7F}}},
                      {"digit", {{'0', '9'}}},
                      {"graph", {{'!', '~'}}},
                      {"lower", {{'a', 'z'}}},
                      {"print", {{' ', '~'}}},
                      {"punct", {{'!', '/'}, {':', '@'}, {'[', '`'}, {'{', '~'}}},
                      {"space", {{'\t', '\r'}, {' ', ' '}}},
                      {"upper", {{'A', 'Z'}}},
                      {"word", {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}},
                      {"xdigit", {{'0', '9'}, {'A', 'F'}, {'a', 'f'}}}};
  for (const Row& row : rows)
    if (row.name == name) return row.set;
  return {};
}

}  // namespace

// Recursive descent straight to the program: each parse_ function appends the code of what it
// reads.
class RegexCompiler {
 public:
  explicit RegexCompiler(std::string_view pattern) : text_(pattern) {}

  Result<Regex> run() {
    emit({Regex::Kind::save, {}, 0, 0});
    TRY(parse_alternatives(0));
    if (at_ < text_.size()) return bad("an unexpected )");
    emit({Regex::Kind::save, {}, 1, 0});
    emit({Regex::Kind::match, {}, 0, 0});
    regex_.find_starts();
    return std::move(regex_);
  }

 private:
  using Code = std::vector<Regex::Instruction>;

  Error bad(std::string_view what) const {
    return invalid_argument(fmt::format("the regular expression '{}' has {}", text_, what));
  }
  bool more() const { return at_ < text_.size(); }
  bool take(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }
  Code& code() { return regex_.program_; }
  int32_t here() { return static_cast<int32_t>(code().size()); }
  void emit(Regex::Instruction instruction) { code().push_back(instruction); }
  void emit_check(Regex::Check check) { emit({Regex::Kind::check, check, 0, 0}); }
  void emit_set(Set set) {
    if (ignore_case_) set = with_both_cases(std::move(set));
    regex_.sets_.push_back(normal(std::move(set)));
    emit({Regex::Kind::set, {}, static_cast<int32_t>(regex_.sets_.size()) - 1, 0});
  }
  // Opens a gap of one instruction at `place`; the code behind it moves. What comes from before the
  // gap to its place now meets the new instruction.
  void insert(int32_t place, Regex::Instruction instruction) {
    for (int32_t at = place; at < here(); ++at) {
      Regex::Instruction& i = code()[static_cast<size_t>(at)];
      if (i.kind != Regex::Kind::split && i.kind != Regex::Kind::jump) continue;
      if (i.a >= place) ++i.a;
      if (i.b >= place) ++i.b;
    }
    code().insert(code().begin() + place, instruction);
  }

  Status parse_alternatives(int depth) {
    if (depth > kMaxDepth) return bad("groups nested too deep");
    const bool ignore_case = ignore_case_, dot_all = dot_all_, lines = lines_;
    int32_t start = here();
    std::vector<int32_t> ends;
    TRY(parse_sequence(depth));
    while (take("|")) {
      insert(start, {Regex::Kind::split, {}, start + 1, 0});
      ends.push_back(here());
      emit({Regex::Kind::jump, {}, 0, 0});
      code()[static_cast<size_t>(start)].b = here();
      start = here();
      TRY(parse_sequence(depth));
    }
    // Later insertions moved none of the jumps: they are before them.
    for (const int32_t end : ends) code()[static_cast<size_t>(end)].a = here();
    ignore_case_ = ignore_case, dot_all_ = dot_all, lines_ = lines;
    return {};
  }

  Status parse_sequence(int depth) {
    while (more() && text_[at_] != '|' && text_[at_] != ')') {
      const int32_t start = here();
      TRY(parse_atom(depth));
      TRY(parse_repeats(start));
      if (code().size() > kMaxProgram) return bad("too many repetitions");
    }
    return {};
  }

  Status parse_repeats(int32_t start) {
    int most = -1, least = 0;
    if (take("*")) {
    } else if (take("+")) {
      least = 1;
    } else if (take("?")) {
      most = 1;
    } else if (!parse_counts(least, most)) {
      return {};
    }
    if (least > kMaxRepeat || most > kMaxRepeat || (most >= 0 && most < least))
      return bad("a repetition that is out of range");
    const bool lazy = take("?");
    if (more() && (text_[at_] == '*' || text_[at_] == '+' || text_[at_] == '?'))
      return bad("a repetition of a repetition");
    const Code body(code().begin() + start, code().end());
    code().resize(static_cast<size_t>(start));
    const size_t copies = static_cast<size_t>(most < 0 ? least + 1 : most);
    if (body.size() * copies > kMaxProgram) return bad("too many repetitions");
    for (int i = 0; i < least; ++i) append(body, start);
    if (most < 0) {
      const int32_t loop = here();
      emit({Regex::Kind::split, {}, 0, 0});
      append(body, start);
      emit({Regex::Kind::jump, {}, loop, 0});
      aim(loop, here(), lazy);
    } else {
      std::vector<int32_t> splits;
      for (int i = least; i < most; ++i) {
        splits.push_back(here());
        emit({Regex::Kind::split, {}, 0, 0});
        append(body, start);
      }
      for (const int32_t split : splits) aim(split, here(), lazy);
    }
    return {};
  }

  void aim(int32_t split, int32_t end, bool lazy) {
    Regex::Instruction& i = code()[static_cast<size_t>(split)];
    i.a = lazy ? end : split + 1;
    i.b = lazy ? split + 1 : end;
  }

  // A copy of code that was made at `from`.
  void append(const Code& body, int32_t from) {
    const int32_t by = here() - from;
    for (Regex::Instruction i : body) {
      if (i.kind == Regex::Kind::split || i.kind == Regex::Kind::jump) i.a += by, i.b += by;
      emit(i);
    }
  }

  // {n}, {n,} or {n,m}; anything else is literal text.
  bool parse_counts(int& least, int& most) {
    const size_t start = at_;
    const auto digits = [&](int& value) {
      const size_t first = at_;
      for (value = 0; more() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_)
        value = std::min(value * 10 + (text_[at_] - '0'), kMaxRepeat + 1);
      return at_ > first;
    };
    if (take("{") && digits(least)) {
      most = least;
      if (take(",") && !digits(most)) most = -1;
      if (take("}")) return true;
    }
    at_ = start;
    return false;
  }

  Status parse_atom(int depth) {
    if (take("(")) return parse_group(depth);
    if (take("[")) return parse_set();
    if (take("\\")) return parse_escape();
    if (take(".")) {
      emit_set(dot_all_ ? Set{{0, kLast}} : inverse({{'\n', '\n'}}));
    } else if (take("^")) {
      emit_check(lines_ ? Regex::Check::line_begin : Regex::Check::text_begin);
    } else if (take("$")) {
      emit_check(lines_ ? Regex::Check::line_end : Regex::Check::text_end);
    } else if (text_[at_] == '*' || text_[at_] == '+' || text_[at_] == '?') {
      return bad("nothing to repeat");
    } else {
      const auto [point, length] = decode(text_, at_);
      at_ += length;
      emit_set({{point, point}});
    }
    return {};
  }

  Status parse_group(int depth) {
    int group = -1;
    if (take("?P<") || (text_.substr(at_, 2) == "?<" && take("?<"))) {
      const size_t end = text_.find('>', at_);
      if (end == std::string_view::npos) return bad("a group without a name");
      at_ = end + 1;
      group = regex_.groups_++;
    } else if (take("?")) {
      if (!parse_flags()) return bad("an unknown kind of group");
      if (take(")")) return {};
      if (!take(":")) return bad("an unknown kind of group");
    } else {
      group = regex_.groups_++;
    }
    if (group >= 0) emit({Regex::Kind::save, {}, 2 * group, 0});
    TRY(parse_alternatives(depth + 1));
    if (!take(")")) return bad("a ( without its )");
    if (group >= 0) emit({Regex::Kind::save, {}, 2 * group + 1, 0});
    return {};
  }

  bool parse_flags() {
    bool on = true;
    for (; more() && text_[at_] != ')' && text_[at_] != ':'; ++at_) {
      if (text_[at_] == '-')
        on = false;
      else if (text_[at_] == 'i')
        ignore_case_ = on;
      else if (text_[at_] == 's')
        dot_all_ = on;
      else if (text_[at_] == 'm')
        lines_ = on;
      else
        return false;
    }
    return more();
  }

  // The code point an escape stands for, behind its backslash.
  Result<uint32_t> parse_escaped() {
    if (!more()) return bad("a backslash at its end");
    constexpr std::string_view kLetters = "nrtfva", kValues = "\n\r\t\f\v\a";
    const auto [point, length] = decode(text_, at_);
    at_ += length;
    if (point < 0x80)
      if (const size_t i = kLetters.find(static_cast<char>(point)); i != std::string_view::npos)
        return static_cast<uint32_t>(kValues[i]);
    if (point == 'x') {
      const bool braces = take("{");
      uint32_t value = 0;
      int count = 0;
      for (; more() && count < (braces ? 6 : 2) && std::isxdigit(static_cast<uint8_t>(text_[at_]));
           ++at_, ++count) {
        const char c = text_[at_];
        value = value * 16 + static_cast<uint32_t>(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
      }
      if (count == 0 || (braces && !take("}")) || value > kLast) return bad("a bad \\x");
      return value;
    }
    if (Regex::is_word(point)) return bad("an escape that is not supported");
    return point;
  }

  Status parse_escape() {
    if (!more()) return bad("a backslash at its end");
    const char c = text_[at_];
    if (Set set = perl_class(c); !set.empty()) {
      ++at_;
      emit_set(std::move(set));
      return {};
    }
    struct Row {
      char letter;
      Regex::Check check;
    };
    constexpr Row kRows[] = {{'A', Regex::Check::text_begin},
                             {'z', Regex::Check::text_end},
                             {'b', Regex::Check::word},
                             {'B', Regex::Check::not_word}};
    for (const Row& row : kRows)
      if (row.letter == c) {
        ++at_;
        emit_check(row.check);
        return {};
      }
    if (c == 'Q') {
      const size_t end = std::min(text_.find("\\E", ++at_), text_.size());
      while (at_ < end) {
        const auto [point, length] = decode(text_, at_);
        at_ += length;
        emit_set({{point, point}});
      }
      take("\\E");
      return {};
    }
    const uint32_t point = TRY(parse_escaped());
    emit_set({{point, point}});
    return {};
  }

  Result<uint32_t> parse_set_member() {
    if (take("\\")) return parse_escaped();
    const auto [point, length] = decode(text_, at_);
    at_ += length;
    return point;
  }

  Status parse_set() {
    const bool negated = take("^");
    Set set;
    for (bool first = true; more() && (first || text_[at_] != ']'); first = false) {
      if (text_.substr(at_, 2) == "[:") {
        const size_t end = text_.find(":]", at_);
        if (end == std::string_view::npos) return bad("a [: without its :]");
        std::string_view name = text_.substr(at_ + 2, end - at_ - 2);
        const bool inverted = name.starts_with('^');
        if (inverted) name.remove_prefix(1);
        Set named = posix_class(name);
        if (named.empty()) return bad("an unknown class of characters");
        if (inverted) named = inverse(std::move(named));
        set.insert(set.end(), named.begin(), named.end());
        at_ = end + 2;
        continue;
      }
      if (text_[at_] == '\\' && at_ + 1 < text_.size())
        if (const Set named = perl_class(text_[at_ + 1]); !named.empty()) {
          set.insert(set.end(), named.begin(), named.end());
          at_ += 2;
          continue;
        }
      const uint32_t low = TRY(parse_set_member());
      uint32_t high = low;
      if (at_ + 1 < text_.size() && text_[at_] == '-' && text_[at_ + 1] != ']') {
        ++at_;
        high = TRY(parse_set_member());
      }
      if (high < low) return bad("a range of characters that runs backwards");
      set.emplace_back(low, high);
    }
    if (!take("]")) return bad("a [ without its ]");
    if (ignore_case_) set = with_both_cases(std::move(set));
    emit_set(negated ? inverse(std::move(set)) : std::move(set));
    return {};
  }

  std::string_view text_;
  size_t at_ = 0;
  bool ignore_case_ = false, dot_all_ = false, lines_ = false;
  Regex regex_;
};

Result<Regex> Regex::compile(std::string_view pattern) {
  return RegexCompiler(pattern).run();
}

}  // namespace tenon
