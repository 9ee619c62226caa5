#include "rewrite/match.h"

#include <cctype>
#include <charconv>
#include <cmath>

#include "base/check.h"

namespace tenon {
namespace {

constexpr double kLiteralTolerance =
    1e-5;  // constants of models are rounded to float, or typed by hand

bool is_commutative(std::string_view op) {
  return op == "add" || op == "mul" || op == "min" || op == "max" || op == "squared_difference";
}

}  // namespace

struct Pattern::Term {
  enum class Kind { capture, literal, op } kind = Kind::capture;
  std::string_view name;  // of a capture or a named sub-pattern; may be empty
  std::string_view op;
  double literal = 0;
  std::vector<const Term*> operands;
};

struct Pattern::Parser {
  Pattern& pattern;
  std::string_view rest;
  std::map<std::string_view, Term*> names;

  void skip() {
    while (!rest.empty() && std::isspace(static_cast<unsigned char>(rest[0])))
      rest.remove_prefix(1);
  }
  bool take(char c) {
    skip();
    if (rest.empty() || rest[0] != c) return false;
    rest.remove_prefix(1);
    return true;
  }
  std::string_view word() {
    skip();
    size_t n = 0;
    while (n < rest.size() && (std::isalnum(static_cast<unsigned char>(rest[n])) || rest[n] == '_'))
      ++n;
    TENON_CHECK(n > 0);
    const std::string_view w = rest.substr(0, n);
    rest.remove_prefix(n);
    return w;
  }
  Term* make(Term::Kind kind) {
    pattern.terms_.push_back(std::make_unique<Term>());
    pattern.terms_.back()->kind = kind;
    return pattern.terms_.back().get();
  }
  Term* expression() {
    skip();
    TENON_CHECK(!rest.empty());
    if (std::isdigit(static_cast<unsigned char>(rest[0])) || rest[0] == '-') {
      Term* t = make(Term::Kind::literal);
      const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), t->literal);
      TENON_CHECK(error == std::errc());
      rest.remove_prefix(static_cast<size_t>(end - rest.data()));
      return t;
    }
    const std::string_view w = word();
    if (take('(')) {
      Term* t = make(Term::Kind::op);
      t->op = w;
      while (!take(')')) {
        t->operands.push_back(expression());
        take(',');
      }
      return t;
    }
    Term*& known = names[w];
    if (known == nullptr) {
      known = make(Term::Kind::capture);
      known->name = w;
    }
    return known;
  }
  const Term* parse() {
    while (true) {
      const std::string_view before = rest;
      skip();
      if (std::isalpha(static_cast<unsigned char>(rest[0]))) {
        const std::string_view name = word();
        if (take('=')) {
          Term* t = expression();
          t->name = name;
          names[name] = t;
          TENON_CHECK(take(';'));
          continue;
        }
      }
      rest = before;
      const Term* root = expression();
      skip();
      TENON_CHECK(rest.empty());
      return root;
    }
  }
};

Pattern::Pattern(std::string_view text) : text_(text) {
  root_ = Parser{*this, text_, {}}.parse();
}
Pattern::~Pattern() = default;

std::optional<double> splat_value(const Value* value) {
  const Tensor* t = value == nullptr ? nullptr : value->constant();
  if (t == nullptr || t->is_list() || !(is_float(t->dtype()) || is_int(t->dtype())) ||
      t->elements() < 1)
    return std::nullopt;
  const double first = t->real_at(0);
  for (int64_t i = 1; i < t->elements(); ++i)
    if (t->real_at(i) != first) return std::nullopt;
  return first;
}

bool Pattern::match_term(const Term& term, Value* value, Match& match) const {
  if (value == nullptr) return false;
  if (term.kind == Term::Kind::literal) {
    const auto splat = splat_value(value);
    return splat && std::abs(*splat - term.literal) <=
                        kLiteralTolerance * std::max(1e-3, std::abs(term.literal));
  }
  if (!term.name.empty()) {
    const auto [it, fresh] = match.values_.emplace(term.name, value);
    if (!fresh) return it->second == value;
  }
  if (term.kind == Term::Kind::capture) return true;
  Node* node = value->producer();
  if (node == nullptr || !node->is(term.op) || value->index() != 0) return false;
  if (node->input_count() < static_cast<int>(term.operands.size())) return false;
  match.inner_.push_back(node);
  const Match saved = match;
  const auto try_order = [&](bool swapped) {
    for (size_t i = 0; i < term.operands.size(); ++i) {
      const size_t from = swapped ? term.operands.size() - 1 - i : i;
      if (!match_term(*term.operands[i], node->input(static_cast<int>(from)), match)) return false;
    }
    return true;
  };
  if (try_order(false)) return true;
  if (!is_commutative(term.op) || term.operands.size() != 2) return false;
  match = saved;
  return try_order(true);
}

bool Pattern::match(Node& node, Match& match) const {
  if (!node.is(root_->op) || node.output_count() == 0) return false;
  match = Match();
  if (!match_term(*root_, node.output(), match)) return false;
  match.inner_.erase(match.inner_.begin());
  return true;
}

}  // namespace tenon
