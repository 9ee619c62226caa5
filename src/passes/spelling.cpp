#include "passes/spelling.h"

#include <algorithm>
#include <unordered_set>

#include "rewrite/match.h"

namespace tenon {
namespace {

constexpr size_t kMaxTerms = 4;

void add_terms(Value* value, Value* whole, bool is_negated, std::vector<Term>& terms) {
  const Node* node = value == whole ? nullptr : value->producer();
  const bool sub = node != nullptr && node->is("sub");
  if (node != nullptr && (sub || node->is("add")) && terms.size() + 2 <= kMaxTerms) {
    add_terms(node->input(0), whole, is_negated, terms);
    add_terms(node->input(1), whole, is_negated != sub, terms);
  } else if (node != nullptr && node->is("neg")) {
    add_terms(node->input(0), whole, !is_negated, terms);
  } else {
    terms.push_back({value, is_negated});
  }
}

void add_factors(Value* value, Value* whole, Product& p) {
  if (const auto constant = splat_value(value)) {
    p.factor *= *constant;
    return;
  }
  const Node* node = value->producer();
  if (node != nullptr && value != whole && p.terms.size() + 2 <= kMaxTerms) {
    if (node->is("neg")) {
      p.factor = -p.factor;
      return add_factors(node->input(0), whole, p);
    }
    if (node->is("mul")) {
      add_factors(node->input(0), whole, p);
      return add_factors(node->input(1), whole, p);
    }
    // 0 where it is none.
    const double by = node->input_count() < 2 ? 0 : splat_value(node->input(1)).value_or(0);
    if (node->is("div") && by != 0) {
      p.factor /= by;
      return add_factors(node->input(0), whole, p);
    }
    const int power = node->is("square") || (node->is("pow") && by == 2) ? 2
                      : node->is("pow") && by == 3                       ? 3
                                                                         : 0;
    if (power > 0) {
      for (int i = 0; i < power; ++i) add_factors(node->input(0), whole, p);
      return;
    }
  }
  p.terms.push_back(value);
}

}  // namespace

std::vector<Term> sum_of(Value* value, Value* whole) {
  std::vector<Term> terms;
  add_terms(value, whole, false, terms);
  return terms;
}

Product product_of(Value* value, Value* whole) {
  Product p;
  add_factors(value, whole, p);
  return p;
}

Value* unscaled(Value* value, double& factor, bool only_one) {
  factor = 1;
  while (const Node* node = value->producer()) {
    const bool is_mul = node->is("mul"), is_neg = node->is("neg");
    if (!is_mul && !is_neg && !node->is("div")) break;
    const int at = is_mul && splat_value(node->input(0)) ? 0 : 1;
    const double constant = is_neg ? -1 : splat_value(node->input(at)).value_or(0);
    if (constant == 0) break;
    factor *= is_mul || is_neg ? constant : 1 / constant;
    value = node->input(is_neg ? 0 : 1 - at);
    if (only_one) break;
  }
  return value;
}

Line line_of(Value* value) {
  Line line{value};
  double sign = 1;
  if (const Node* node = value->producer();
      node != nullptr && (node->is("add") || node->is("sub"))) {
    const int at = splat_value(node->input(1)) ? 1 : 0;
    const auto constant = splat_value(node->input(at));
    if (!constant) return line;
    const double second = node->is("sub") ? -1 : 1;
    line.shift = *constant * (at == 1 ? second : 1);
    sign = at == 1 ? 1 : second;
    line.x = node->input(1 - at);
  }
  line.x = unscaled(line.x, line.scale, true);
  line.scale *= sign;
  return line;
}

std::vector<std::string> origins_between(const Node& root, Value* end) {
  constexpr size_t kMaxNodes = 24;
  std::vector<std::string> names;
  std::vector<const Node*> pending{&root};
  std::unordered_set<const Node*> seen{&root};
  for (size_t i = 0; i < pending.size() && i < kMaxNodes; ++i) {
    // In the model's order: what the root stands for last comes last.
    std::vector<std::string> own;
    for (const std::string& name : pending[i]->origins)
      if (std::find(names.begin(), names.end(), name) == names.end()) own.push_back(name);
    names.insert(names.begin(), own.begin(), own.end());
    for (Value* v : pending[i]->inputs())
      if (v != nullptr && v != end && v->producer() != nullptr && !v->producer()->is("const") &&
          v->uses().size() <= 2 && seen.insert(v->producer()).second)
        pending.push_back(v->producer());
  }
  return names;
}

}  // namespace tenon
