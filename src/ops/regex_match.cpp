#include "ops/regex_match.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "ops/registry.h"

namespace tenon {
namespace {

constexpr size_t kMaxProgram = 20'000;
constexpr int kMaxDepth = 200;
constexpr uint32_t kLastCodePoint = 0x10FFFF;

// Code points of UTF-8 text; a byte that is no UTF-8 stands for itself.
std::vector<uint32_t> code_points(std::string_view text) {
  std::vector<uint32_t> points;
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t length = lead < 0x80   ? 1
                          : lead < 0xC2 ? 0
                          : lead < 0xE0 ? 2
                          : lead < 0xF0 ? 3
                          : lead < 0xF5 ? 4
                                        : 0;
    uint32_t point = length == 2 ? lead & 0x1Fu : length == 3 ? lead & 0xFu : lead & 7u;
    bool valid = length > 1 && i + length <= text.size();
    for (size_t k = 1; valid && k < length; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      valid = (next & 0xC0) == 0x80;
      point = point << 6 | (next & 0x3Fu);
    }
    points.push_back(valid ? point : lead);
    i += valid ? length : 1;
  }
  return points;
}

using Range = std::pair<uint32_t, uint32_t>;
struct CharSet {
  std::vector<Range> ranges;
  bool negated = false;

  bool contains(uint32_t c) const {
    for (const auto& [low, high] : ranges)
      if (c >= low && c <= high) return !negated;
    return negated;
  }
};

enum class Code : uint8_t { set, split, jump, begin, end, boundary, inside, match };
struct Instruction {
  Code code;
  size_t a = 0;  // of split and jump: where to go on; of set: which one
  size_t b = 0;
};

struct Program {
  std::vector<Instruction> code;
  std::vector<CharSet> sets;
};

// Translates a pattern to instructions by recursive descent.
class Parser {
 public:
  explicit Parser(std::string_view pattern) : text_(code_points(pattern)) {}

  Result<Program> parse() {
    if (starts("(?i)")) at_ += 4, fold_ = true;
    TRY(alternation());
    if (at_ < text_.size()) return bad("has a ) without a (");
    TRY(emit({Code::match}));
    return std::move(program_);
  }

 private:
  Error bad(std::string_view why) const {
    return invalid_argument(fmt::format("regex_match: the pattern {} at character {}", why, at_));
  }
  bool more() const { return at_ < text_.size(); }
  bool starts(std::string_view s) const {
    for (size_t i = 0; i < s.size(); ++i)
      if (at_ + i >= text_.size() || text_[at_ + i] != static_cast<unsigned char>(s[i]))
        return false;
    return true;
  }
  Status emit(Instruction i) {
    if (program_.code.size() >= kMaxProgram) return bad("is too large");
    program_.code.push_back(i);
    return {};
  }
  Status insert(size_t where, Instruction i) {
    TRY(emit(i));
    auto& code = program_.code;
    std::rotate(code.begin() + static_cast<int64_t>(where), code.end() - 1, code.end());
    for (size_t k = where + 1; k < code.size(); ++k)
      for (size_t* target : {&code[k].a, &code[k].b})
        if ((code[k].code == Code::split || code[k].code == Code::jump) && *target >= where)
          ++*target;
    return {};
  }

  Status alternation() {
    if (++depth_ > kMaxDepth) return bad("is nested too deeply");
    const size_t start = program_.code.size();
    std::vector<size_t> jumps;
    TRY(sequence());
    while (more() && text_[at_] == '|') {
      ++at_;
      TRY(insert(start, {Code::split, start + 1, 0}));
      for (size_t& j : jumps) ++j;
      jumps.push_back(program_.code.size());
      TRY(emit({Code::jump}));
      program_.code[start].b = program_.code.size();
      TRY(sequence());
    }
    for (const size_t j : jumps) program_.code[j].a = program_.code.size();
    --depth_;
    return {};
  }

  Status sequence() {
    while (more() && text_[at_] != '|' && text_[at_] != ')') {
      const size_t start = program_.code.size();
      TRY(atom());
      while (more()) {
        const uint32_t c = text_[at_];
        if (c != '*' && c != '+' && c != '?' && !(c == '{' && is_count())) break;
        TRY(repeat(start));
      }
    }
    return {};
  }

  bool is_count() const {
    size_t i = at_ + 1;
    if (i >= text_.size() || text_[i] < '0' || text_[i] > '9') return false;
    while (i < text_.size() && ((text_[i] >= '0' && text_[i] <= '9') || text_[i] == ',')) ++i;
    return i < text_.size() && text_[i] == '}';
  }

  Result<int> number() {
    int value = 0;
    while (more() && text_[at_] >= '0' && text_[at_] <= '9') {
      value = value * 10 + static_cast<int>(text_[at_++] - '0');
      if (value > 1000) return bad("repeats more than 1000 times");
    }
    return value;
  }

  // The quantifier of what starts at `start`: copies of it, so many needed, the others optional.
  Status repeat(size_t start) {
    int least = 0, most = -1;
    const uint32_t c = text_[at_++];
    if (c == '+') least = 1;
    if (c == '?') most = 1;
    if (c == '{') {
      least = TRY(number());
      most = least;
      if (text_[at_] == ',') {
        ++at_;
        most = text_[at_] == '}' ? -1 : TRY(number());
      }
      if (!more() || text_[at_] != '}' || (most >= 0 && most < least))
        return bad("has a malformed count");
      ++at_;
    }
    if (more() && text_[at_] == '?') ++at_;
    const std::vector<Instruction> unit(program_.code.begin() + static_cast<int64_t>(start),
                                        program_.code.end());
    program_.code.resize(start);
    for (int i = 0; i < least; ++i) TRY(copy(unit, start));
    if (most < 0) {
      const size_t loop = program_.code.size();
      TRY(emit({Code::split, loop + 1, 0}));
      TRY(copy(unit, start));
      TRY(emit({Code::jump, loop}));
      program_.code[loop].b = program_.code.size();
    }
    std::vector<size_t> exits;
    for (int i = least; i < most; ++i) {
      exits.push_back(program_.code.size());
      TRY(emit({Code::split, program_.code.size() + 1, 0}));
      TRY(copy(unit, start));
    }
    for (const size_t e : exits) program_.code[e].b = program_.code.size();
    return {};
  }

  // Appends instructions that stood at `from`.
  Status copy(const std::vector<Instruction>& unit, size_t from) {
    const size_t shift = program_.code.size() - from;
    for (Instruction i : unit) {
      if (i.code == Code::split || i.code == Code::jump) i.a += shift, i.b += shift;
      TRY(emit(i));
    }
    return {};
  }

  Status add_set(CharSet set) {
    if (fold_) {
      const auto ranges = set.ranges;
      for (const auto& [low, high] : ranges)
        for (uint32_t c = 'a'; c <= 'z'; ++c)
          for (const auto& [x, y] : {Range{c, c - 32}, Range{c - 32, c}})
            if (x >= low && x <= high) set.ranges.push_back({y, y});
    }
    program_.sets.push_back(std::move(set));
    return emit({Code::set, program_.sets.size() - 1});
  }

  Status atom() {
    const uint32_t c = text_[at_++];
    switch (c) {
      case '(': {
        if (starts("?:"))
          at_ += 2;
        else if (starts("?P<") || starts("?<")) {
          while (more() && text_[at_] != '>') ++at_;
          if (more()) ++at_;
        } else if (starts("?"))
          return bad("has a kind of group that is not supported");
        TRY(alternation());
        if (!more()) return bad("has a ( without a )");
        ++at_;
        return {};
      }
      case '.':
        return add_set({{{'\n', '\n'}}, true});
      case '^':
        return emit({Code::begin});
      case '$':
        return emit({Code::end});
      case '[':
        return add_set(TRY(bracket()));
      case '\\':
        if (starts("A")) return ++at_, emit({Code::begin});
        if (starts("z")) return ++at_, emit({Code::end});
        if (starts("b")) return ++at_, emit({Code::boundary});
        if (starts("B")) return ++at_, emit({Code::inside});
        return add_set(TRY(escape()));
      case '*':
      case '+':
      case '?':
        return bad("repeats nothing");
      default:
        return add_set({{{c, c}}});
    }
  }

  // What follows a backslash.
  Result<CharSet> escape() {
    if (!more()) return bad("ends in a backslash");
    const uint32_t c = text_[at_++];
    static const std::map<uint32_t, CharSet> kClasses{
        {'d', {{{'0', '9'}}}},
        {'D', {{{'0', '9'}}, true}},
        {'w', {{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}}},
        {'W', {{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}, true}},
        {'s', {{{'\t', '\n'}, {'\f', '\r'}, {' ', ' '}}}},
        {'S', {{{'\t', '\n'}, {'\f', '\r'}, {' ', ' '}}, true}},
        {'n', {{{'\n', '\n'}}}},
        {'t', {{{'\t', '\t'}}}},
        {'r', {{{'\r', '\r'}}}},
        {'f', {{{'\f', '\f'}}}},
        {'v', {{{'\v', '\v'}}}},
        {'a', {{{'\a', '\a'}}}}};
    const auto it = kClasses.find(c);
    if (it != kClasses.end()) return it->second;
    if (c == 'x') return hexadecimal();
    const bool word = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    if (word) return bad(fmt::format("has the escape \\{}, which is not supported,", char(c)));
    return CharSet{{{c, c}}};
  }

  Result<CharSet> hexadecimal() {
    const bool braces = more() && text_[at_] == '{';
    if (braces) ++at_;
    uint32_t value = 0;
    int digits = 0;
    for (; more() && digits < (braces ? 6 : 2); ++digits, ++at_) {
      const uint32_t c = text_[at_] | 0x20;
      if (c >= '0' && c <= '9')
        value = value * 16 + (c - '0');
      else if (c >= 'a' && c <= 'f')
        value = value * 16 + (c - 'a' + 10);
      else
        break;
    }
    if (digits == 0 || value > kLastCodePoint || (braces && !starts("}")))
      return bad("has a malformed \\x");
    if (braces) ++at_;
    return CharSet{{{value, value}}};
  }

  // A class, after its [.
  Result<CharSet> bracket() {
    CharSet set;
    if (more() && text_[at_] == '^') set.negated = true, ++at_;
    for (bool first = true; !more() || text_[at_] != ']' || first; first = false) {
      if (!more()) return bad("has a [ without a ]");
      CharSet part = TRY(bracket_item());
      const bool single =
          part.ranges.size() == 1 && part.ranges[0].first == part.ranges[0].second && !part.negated;
      if (single && at_ + 1 < text_.size() && text_[at_] == '-' && text_[at_ + 1] != ']') {
        ++at_;
        const CharSet high = TRY(bracket_item());
        if (high.negated || high.ranges.size() != 1 || high.ranges[0].first < part.ranges[0].first)
          return bad("has a malformed range");
        part.ranges[0].second = high.ranges[0].second;
      }
      append(set, part);
    }
    ++at_;
    return set;
  }

  Result<CharSet> bracket_item() {
    static const std::map<std::string_view, std::vector<Range>> kNamed{
        {"[:alpha:]", {{'A', 'Z'}, {'a', 'z'}}},
        {"[:digit:]", {{'0', '9'}}},
        {"[:alnum:]", {{'0', '9'}, {'A', 'Z'}, {'a', 'z'}}},
        {"[:upper:]", {{'A', 'Z'}}},
        {"[:lower:]", {{'a', 'z'}}},
        {"[:space:]", {{'\t', '\r'}, {' ', ' '}}},
        {"[:punct:]", {{'!', '/'}, {':', '@'}, {'[', '`'}, {'{', '~'}}},
        {"[:xdigit:]", {{'0', '9'}, {'A', 'F'}, {'a', 'f'}}}};
    for (const auto& [name, ranges] : kNamed)
      if (starts(name)) {
        at_ += name.size();
        return CharSet{ranges};
      }
    const uint32_t c = text_[at_++];
    if (c == '\\') return escape();
    return CharSet{{{c, c}}};
  }

  // A negated class within a class is spelt out.
  static void append(CharSet& set, CharSet part) {
    if (!part.negated) {
      set.ranges.insert(set.ranges.end(), part.ranges.begin(), part.ranges.end());
      return;
    }
    std::ranges::sort(part.ranges);
    uint32_t from = 0;
    for (const auto& [low, high] : part.ranges) {
      if (low > from) set.ranges.push_back({from, low - 1});
      from = std::max(from, high + 1);
    }
    set.ranges.push_back({from, kLastCodePoint});
  }

  std::vector<uint32_t> text_;
  size_t at_ = 0;
  int depth_ = 0;
  bool fold_ = false;
  Program program_;
};

// Runs all ways through the program at once.
class Matcher {
 public:
  explicit Matcher(const Program& program) : program_(program) {}

  bool matches(std::string_view text) {
    const auto points = code_points(text);
    std::vector<size_t> now;
    start(now);
    follow(now, 0, 0, points);
    for (size_t i = 0; i < points.size(); ++i) {
      std::vector<size_t> next;
      start(next);
      for (const size_t at : now) {
        const Instruction& instruction = program_.code[at];
        if (instruction.code == Code::set && program_.sets[instruction.a].contains(points[i]))
          follow(next, at + 1, i + 1, points);
      }
      now = std::move(next);
    }
    return std::ranges::any_of(now,
                               [&](size_t at) { return program_.code[at].code == Code::match; });
  }

 private:
  void start(std::vector<size_t>& list) {
    list.clear();
    seen_.assign(program_.code.size(), false);
  }

  // Adds the instructions that consume something and can be reached from `at`.
  void follow(std::vector<size_t>& list, size_t at, size_t place,
              const std::vector<uint32_t>& text) {
    const auto is_word = [&](size_t i) {
      const uint32_t c = i < text.size() ? text[i] : 0;
      return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
    };
    const bool boundary = (place > 0 && is_word(place - 1)) != is_word(place);
    std::vector<size_t> open{at};
    while (!open.empty()) {
      at = open.back();
      open.pop_back();
      if (seen_[at]) continue;
      seen_[at] = true;
      const Instruction& i = program_.code[at];
      if (i.code == Code::split) open.push_back(i.b);
      if (i.code == Code::split || i.code == Code::jump) open.push_back(i.a);
      if ((i.code == Code::begin && place == 0) || (i.code == Code::end && place == text.size()) ||
          (i.code == Code::boundary && boundary) || (i.code == Code::inside && !boundary))
        open.push_back(at + 1);
      if (i.code == Code::set || i.code == Code::match) list.push_back(at);
    }
  }

  const Program& program_;
  std::vector<bool> seen_;
};

}  // namespace

Result<TensorTypes> RegexMatch::infer(const InferContext& context) const {
  if (context.type(0).is_list || context.dtype(0) != DType::string)
    return invalid_argument("regex_match needs strings, not " + context.type(0).to_string());
  TRY(Parser(pattern).parse());
  return TensorTypes{{DType::boolean, context.shape(0)}};
}

Status RegexMatch::eval(EvalContext& context) const {
  const Program program = TRY(Parser(pattern).parse());
  Matcher matcher(program);
  bool* out = context.out(0).mutable_data<bool>();
  for (const std::string& text : context.in(0).span<std::string>()) *out++ = matcher.matches(text);
  return {};
}

constinit const OpDef RegexMatch::def = define<RegexMatch>();
OpDefs regex_match_ops() {
  return {&RegexMatch::def};
}

}  // namespace tenon
