#include "import/einsum.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace tenon {
namespace {

// Letters stand for themselves; the dimensions of an ellipsis are kEllipsis + distance from its
// end, so that they align at the right.
using Label = int;
using Labels = std::vector<Label>;
constexpr Label kEllipsis = 256;

// A value whose dimensions are named; each label occurs once.
struct Term {
  Value* value = nullptr;
  Labels labels;
};

bool has(const Labels& labels, Label label) {
  return std::ranges::find(labels, label) != labels.end();
}

int64_t place_of(const Labels& labels, Label label) {
  return std::ranges::find(labels, label) - labels.begin();
}

Error bad_equation(std::string_view equation, std::string_view why) {
  return invalid_model(fmt::format("the equation '{}' {}", equation, why));
}

// The labels of one term; an ellipsis stands for `ellipsis` dimensions.
Result<Labels> parse_term(std::string_view equation, std::string_view text, int ellipsis) {
  Labels labels;
  bool seen = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char ch = text[i];
    if (ch == ' ') continue;
    if (text.substr(i, 3) == "...") {
      if (seen) return bad_equation(equation, "has two ellipses in one term");
      seen = true;
      for (int k = ellipsis; k-- > 0;) labels.push_back(kEllipsis + k);
      i += 2;
    } else if ((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z')) {
      labels.push_back(ch);
    } else {
      return bad_equation(equation, fmt::format("has the character '{}'", ch));
    }
  }
  return labels;
}

class Einsum {
 public:
  Einsum(Builder& builder, std::string_view equation) : b_(builder), equation_(equation) {}

  Result<Value*> run(const std::vector<Value*>& operands) {
    TRY(parse(operands));
    for (Term& term : terms_) TRY(take_diagonals(term));
    Term result = terms_[0];
    for (size_t i = 1; i <= terms_.size(); ++i) {
      TRY(sum_unneeded(result, i));
      if (i == terms_.size()) break;
      result = TRY(contract(std::move(result), i));
    }
    Labels once;
    for (const Label label : output_) {
      if (!has(result.labels, label))
        return bad_equation(equation_, "names a result dimension no operand has");
      if (!has(once, label)) once.push_back(label);
    }
    return place_on_diagonals({TRY(order(result, once)), once});
  }

 private:
  Status parse(const std::vector<Value*>& operands) {
    const size_t arrow = equation_.find("->");
    std::string_view left = equation_.substr(0, arrow);
    std::vector<std::string_view> texts;
    for (size_t from = 0; from <= left.size();) {
      const size_t comma = std::min(left.find(',', from), left.size());
      texts.push_back(left.substr(from, comma - from));
      from = comma + 1;
    }
    if (texts.size() != operands.size() || operands.empty())
      return bad_equation(
          equation_, fmt::format("has {} terms for {} operands", texts.size(), operands.size()));
    int widest = 0;
    for (size_t i = 0; i < texts.size(); ++i) {
      const Shape& shape = operands[i]->shape();
      if (!shape.ranked())
        return unsupported(fmt::format(
            "the number of dimensions of operand {} must be known; give input sizes with "
            "--input-shape",
            i));
      const auto named = static_cast<int>(TRY(parse_term(equation_, texts[i], 0)).size());
      const bool open = texts[i].find("...") != texts[i].npos;
      const int rest = shape.rank() - named;
      if (rest < 0 || (rest > 0 && !open))
        return bad_equation(equation_, fmt::format("has {} dimensions for operand {}, which is {}",
                                                   named, i, operands[i]->type().to_string()));
      terms_.push_back({operands[i], TRY(parse_term(equation_, texts[i], open ? rest : 0))});
      if (open) widest = std::max(widest, rest);
    }
    if (arrow != equation_.npos) {
      output_ = TRY(parse_term(equation_, equation_.substr(arrow + 2), widest));
    } else {
      Labels all;
      for (const Term& term : terms_) all.insert(all.end(), term.labels.begin(), term.labels.end());
      for (int k = widest; k-- > 0;) output_.push_back(kEllipsis + k);
      for (Label label = 'A'; label <= 'z'; ++label)
        if (std::ranges::count(all, label) == 1) output_.push_back(label);
    }
    return {};
  }

  // Whether the result or an operand from `next` on has the label.
  bool needed(Label label, size_t next) const {
    if (has(output_, label)) return true;
    for (size_t i = next; i < terms_.size(); ++i)
      if (has(terms_[i].labels, label)) return true;
    return false;
  }

  Result<Value*> op(std::string_view name, std::vector<Value*> operands,
                    std::vector<Builder::Attr> attrs = {}) {
    return b_.op(name, std::move(operands), std::move(attrs));
  }

  // The size of a dimension as a vector of one element.
  Result<Value*> size_at(const Term& term, int64_t axis) {
    return op("shape", {term.value}, {{"start", axis}, {"end", axis + 1}});
  }

  Result<Value*> sum_over(Value* x, int64_t axis) {
    return op("sum", {x}, {{"axes", std::vector<int64_t>{axis}}});
  }

  // The numbers of the places along one of `rank` dimensions, broadcastable.
  Result<Value*> positions(Value* size, size_t axis, size_t rank) {
    Value* zero = b_.constant(Tensor::scalar<int64_t>(0));
    Value* step = b_.constant(Tensor::scalar<int64_t>(1));
    std::vector<int64_t> dims(rank, 1);
    dims[axis] = -1;
    return op("reshape", {TRY(op("range", {zero, size, step})), b_.ints(dims)});
  }

  // A result that names a dimension twice has the values on its diagonal, zeros elsewhere.
  Result<Value*> place_on_diagonals(Term term) {
    for (size_t at = 0; at < output_.size(); ++at) {
      if (at < term.labels.size() && term.labels[at] == output_[at]) continue;
      const auto first = static_cast<size_t>(place_of(term.labels, output_[at]));
      Value* size = TRY(size_at(term, static_cast<int64_t>(first)));
      const std::vector<int64_t> axes{static_cast<int64_t>(at)};
      term.value = TRY(op("expand_dims", {term.value}, {{"axes", axes}}));
      term.labels.insert(term.labels.begin() + static_cast<int64_t>(at), output_[at]);
      const size_t rank = term.labels.size();
      Value* mask =
          TRY(op("equal", {TRY(positions(size, first, rank)), TRY(positions(size, at, rank))}));
      Value* none =
          TRY(op("cast", {b_.constant(Tensor::scalar<int64_t>(0))}, {{"to", term.value->dtype()}}));
      term.value = TRY(op("select", {mask, term.value, none}));
    }
    return term.value;
  }

  // A label that occurs twice in a term: all but the diagonal is cleared and summed away.
  Status take_diagonals(Term& term) {
    for (size_t i = 0; i < term.labels.size(); ++i)
      for (size_t j = i + 1; j < term.labels.size();) {
        if (term.labels[i] != term.labels[j]) {
          ++j;
          continue;
        }
        const size_t rank = term.labels.size();
        Value* rows = TRY(size_at(term, static_cast<int64_t>(i)));
        Value* columns = TRY(size_at(term, static_cast<int64_t>(j)));
        Value* mask =
            TRY(op("equal", {TRY(positions(rows, i, rank)), TRY(positions(columns, j, rank))}));
        Value* none = TRY(
            op("cast", {b_.constant(Tensor::scalar<int64_t>(0))}, {{"to", term.value->dtype()}}));
        Value* kept = TRY(op("select", {mask, term.value, none}));
        term.value = TRY(sum_over(kept, static_cast<int64_t>(j)));
        term.labels.erase(term.labels.begin() + static_cast<int64_t>(j));
      }
    return {};
  }

  Status sum_unneeded(Term& term, size_t next) {
    std::vector<int64_t> axes;
    Labels kept;
    for (size_t i = 0; i < term.labels.size(); ++i) {
      if (needed(term.labels[i], next))
        kept.push_back(term.labels[i]);
      else
        axes.push_back(static_cast<int64_t>(i));
    }
    if (axes.empty()) return {};
    term.value = TRY(op("sum", {term.value}, {{"axes", axes}}));
    term.labels = kept;
    return {};
  }

  Result<Value*> order(const Term& term, const Labels& labels) {
    std::vector<int64_t> perm, same(labels.size());
    for (const Label label : labels) perm.push_back(place_of(term.labels, label));
    std::iota(same.begin(), same.end(), 0);
    if (perm == same) return term.value;
    return op("transpose", {term.value}, {{"perm", perm}});
  }

  // The labels' sizes as one vector.
  Result<Value*> sizes(const Term& term, const Labels& labels) {
    std::vector<Value*> parts;
    for (const Label label : labels)
      parts.push_back(TRY(size_at(term, place_of(term.labels, label))));
    if (parts.empty()) return b_.ints({});
    return parts.size() == 1 ? Result<Value*>(parts[0]) : op("concat", parts);
  }

  // x as [batch…, product of rows, product of columns].
  Result<Value*> as_matrices(const Term& term, const Labels& batch, const Labels& rows,
                             const Labels& columns) {
    Labels all = batch;
    all.insert(all.end(), rows.begin(), rows.end());
    all.insert(all.end(), columns.begin(), columns.end());
    const Term ordered{TRY(order(term, all)), all};
    if (rows.size() == 1 && columns.size() == 1) return ordered.value;
    std::vector<Value*> parts;
    if (!batch.empty()) parts.push_back(TRY(sizes(ordered, batch)));
    for (const Labels* group : {&rows, &columns})
      parts.push_back(TRY(op("prod", {TRY(sizes(ordered, *group))},
                             {{"axes", std::vector<int64_t>{0}}, {"keep_dims", true}})));
    return op("reshape", {ordered.value, TRY(op("concat", parts))}, {{"allow_zero", true}});
  }

  // Of the dimensions two operands share, those of size 1 in one of them only stretch.
  Status stretch(Term& a, Term& b, const Labels& shared) {
    for (const Label label : shared) {
      const Dim p = a.value->shape()[static_cast<int>(place_of(a.labels, label))];
      const Dim q = b.value->shape()[static_cast<int>(place_of(b.labels, label))];
      if (p.known() == q.known() && (!p.known() || p.size() == q.size())) continue;
      for (auto [term, other, one] : {std::tuple{&a, &b, p}, std::tuple{&b, &a, q}}) {
        if (!one.known() || one.size() != 1) continue;
        std::vector<Value*> dims;
        for (const Label l : term->labels)
          dims.push_back(TRY(size_at(l == label ? *other : *term,
                                     place_of((l == label ? other : term)->labels, l))));
        term->value =
            TRY(op("expand", {term->value, dims.size() == 1 ? dims[0] : TRY(op("concat", dims))}));
      }
    }
    return {};
  }

  // a and terms_[next] as one term: a product over what only they have, by matmul; by an
  // elementwise product where nothing is summed.
  Result<Term> contract(Term a, size_t next) {
    Term b = terms_[next];
    TRY(sum_alone(b, a, next));
    Labels batch, summed, rows, columns;
    for (const Label label : a.labels) {
      if (!has(b.labels, label))
        rows.push_back(label);
      else
        (needed(label, next + 1) ? batch : summed).push_back(label);
    }
    for (const Label label : b.labels)
      if (!has(a.labels, label)) columns.push_back(label);
    Labels result = batch;
    result.insert(result.end(), rows.begin(), rows.end());
    result.insert(result.end(), columns.begin(), columns.end());
    if (summed.empty()) return multiply(a, b, batch, rows, columns, result);
    TRY(stretch(a, b, summed));
    if (rows.size() != 1 || columns.size() != 1) TRY(stretch(a, b, batch));
    Value* left = TRY(as_matrices(a, batch, rows, summed));
    Value* right = TRY(as_matrices(b, batch, summed, columns));
    Value* product = TRY(op("matmul", {left, right}));
    if (rows.size() == 1 && columns.size() == 1) return Term{product, result};
    std::vector<Value*> parts;
    if (!batch.empty()) parts.push_back(TRY(sizes(a, batch)));
    if (!rows.empty()) parts.push_back(TRY(sizes(a, rows)));
    if (!columns.empty()) parts.push_back(TRY(sizes(b, columns)));
    Value* dims = parts.empty() ? b_.ints({}) : parts[0];
    if (parts.size() > 1) dims = TRY(op("concat", parts));
    return Term{TRY(op("reshape", {product, dims}, {{"allow_zero", true}})), result};
  }

  // Sums b over what neither a, the result nor a later operand has.
  Status sum_alone(Term& b, const Term& a, size_t next) {
    Term other = b;
    std::vector<int64_t> axes;
    Labels kept;
    for (size_t i = 0; i < b.labels.size(); ++i) {
      if (has(a.labels, b.labels[i]) || needed(b.labels[i], next + 1))
        kept.push_back(b.labels[i]);
      else
        axes.push_back(static_cast<int64_t>(i));
    }
    if (axes.empty()) return {};
    b.value = TRY(op("sum", {other.value}, {{"axes", axes}}));
    b.labels = kept;
    return {};
  }

  Result<Term> multiply(const Term& a, const Term& b, const Labels& batch, const Labels& rows,
                        const Labels& columns, const Labels& result) {
    Labels left = batch, right = batch;
    left.insert(left.end(), rows.begin(), rows.end());
    right.insert(right.end(), columns.begin(), columns.end());
    Value* x = TRY(order(a, left));
    Value* y = TRY(order(b, right));
    const auto axes = [](size_t from, size_t count) {
      std::vector<int64_t> list(count);
      std::iota(list.begin(), list.end(), static_cast<int64_t>(from));
      return list;
    };
    if (!columns.empty() && !rows.empty()) {
      x = TRY(op("expand_dims", {x}, {{"axes", axes(left.size(), columns.size())}}));
      y = TRY(op("expand_dims", {y}, {{"axes", axes(batch.size(), rows.size())}}));
    } else if (!rows.empty() && !batch.empty()) {
      y = TRY(op("expand_dims", {y}, {{"axes", axes(batch.size(), rows.size())}}));
    } else if (!columns.empty() && !batch.empty()) {
      x = TRY(op("expand_dims", {x}, {{"axes", axes(batch.size(), columns.size())}}));
    }
    return Term{TRY(op("mul", {x, y})), result};
  }

  Builder& b_;
  std::string_view equation_;
  std::vector<Term> terms_;
  Labels output_;
};

}  // namespace

Result<Value*> add_einsum(Builder& builder, std::string_view equation,
                          const std::vector<Value*>& operands) {
  return Einsum(builder, equation).run(operands);
}

}  // namespace tenon
