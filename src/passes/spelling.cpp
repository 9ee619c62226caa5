#include "passes/spelling.h"

#include <algorithm>
#include <unordered_set>

#include "rewrite/match.h"

namespace tenon {
namespace {

constexpr size_t kMaxTerms = 4;

void add_terms(Value* value, bool is_negated, std::vector<Term>& terms) {
  const Node* node = value->producer();
  const bool sub = node != nullptr && node->is("sub");
  if (node != nullptr && (sub || node->is("add")) && terms.size() + 2 <= kMaxTerms) {
    add_terms(node->input(0), is_negated, terms);
    add_terms(node->input(1), is_negated != sub, terms);
  } else if (node != nullptr && node->is("neg")) {
    add_terms(node->input(0), !is_negated, terms);
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
    const auto by = node->is("div") || node->is("pow") ? splat_value(node->input(1)) : std::nullopt;
    if (node->is("div") && by && *by != 0) {
      p.factor /= *by;
      return add_factors(node->input(0), whole, p);
    }
    const int power = node->is("square") ? 2 : by == 2.0 ? 2 : by == 3.0 ? 3 : 0;
    if (power > 0 && !node->is("div")) {
      for (int i = 0; i < power; ++i) add_factors(node->input(0), whole, p);
      return;
    }
  }
  p.terms.push_back(value);
}

}  // namespace

std::vector<Term> sum_of(Value* value) {
  std::vector<Term> terms;
  add_terms(value, false, terms);
  return terms;
}

Product product_of(Value* value, Value* whole) {
  Product p;
  add_factors(value, whole, p);
  return p;
}

Value* unscaled(Value* value, double& factor) {
  factor = 1;
  while (const Node* node = value->producer()) {
    const auto left = node->is("mul") ? splat_value(node->input(0)) : std::nullopt;
    const auto right =
        node->is("mul") || node->is("div") ? splat_value(node->input(1)) : std::nullopt;
    if (node->is("neg"))
      factor = -factor;
    else if (left)
      factor *= *left;
    else if (right && *right != 0)
      factor *= node->is("mul") ? *right : 1 / *right;
    else
      break;
    value = node->input(left ? 1 : 0);
  }
  return value;
}

std::vector<std::string> origins_between(const Node& root, Value* end) {
  constexpr size_t kMaxNodes = 24;
  std::vector<std::string> names;
  std::vector<const Node*> pending{&root};
  std::unordered_set<const Node*> seen{&root};
  for (size_t i = 0; i < pending.size() && i < kMaxNodes; ++i) {
    for (const std::string& name : pending[i]->origins)
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    for (Value* v : pending[i]->inputs())
      if (v != nullptr && v != end && v->producer() != nullptr && !v->producer()->is("const") &&
          v->uses().size() <= 2 && seen.insert(v->producer()).second)
        pending.push_back(v->producer());
  }
  return names;
}

}  // namespace tenon
