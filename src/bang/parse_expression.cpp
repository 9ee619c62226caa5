#include <fmt/format.h>

#include "bang/parser.h"
#include "base/nearest.h"

namespace tenon::bang {
namespace {

constexpr Type kInteger{Type::Kind::integer, DType::i32};
constexpr Type kReal{Type::Kind::real, DType::f32};

struct Operator {
  std::string_view sign;
  Op op;
  int strength;
};
constexpr Operator kOperators[] = {
    {"||", Op::either, 1},
    {"&&", Op::both, 2},
    {"|", Op::bit_or, 3},
    {"^", Op::bit_xor, 4},
    {"&", Op::bit_and, 5},
    {"==", Op::equal, 6},
    {"!=", Op::not_equal, 6},
    {"<", Op::less, 7},
    {"<=", Op::less_equal, 7},
    {">", Op::greater, 7},
    {">=", Op::greater_equal, 7},
    {"<<", Op::shift_left, 8},
    {">>", Op::shift_right, 8},
    {"+", Op::add, 9},
    {"-", Op::sub, 9},
    {"*", Op::mul, 10},
    {"/", Op::div, 10},
    {"%", Op::mod, 10},
};

const Operator* operator_of(const Token& t) {
  if (t.kind != Token::Kind::sign) return nullptr;
  for (const Operator& o : kOperators)
    if (o.sign == t.text) return &o;
  return nullptr;
}

constexpr std::pair<std::string_view, Special> kSpecials[] = {
    {"taskId", Special::task_id},       {"taskIdX", Special::task_id},
    {"taskDim", Special::task_dim},     {"taskDimX", Special::task_dim},
    {"coreId", Special::core_id},       {"coreDim", Special::core_dim},
    {"clusterId", Special::cluster_id}, {"clusterDim", Special::cluster_dim}};

bool is_scalar(const Type& t) {
  return t.kind == Type::Kind::integer || t.kind == Type::Kind::real;
}
bool is_comparison(Op op) {
  return op >= Op::less && op <= Op::greater;
}
bool is_arithmetic(Op op) {
  return op <= Op::div;
}

Expr make(Expr::Kind kind, Type type, uint32_t at, std::vector<Expr> args = {}) {
  Expr e;
  e.kind = kind;
  e.type = type;
  e.at = at;
  e.args = std::move(args);
  return e;
}

// Without copies, unlike what is in braces.
template <typename... Exprs>
std::vector<Expr> list(Exprs... exprs) {
  std::vector<Expr> all;
  all.reserve(sizeof...(exprs));
  (all.push_back(std::move(exprs)), ...);
  return all;
}

DType element_of(const Expr& e) {
  return e.type.element;
}
// What an element of the type is as a scalar.
Type scalar_of(DType element) {
  const bool whole = element == DType::i32 || element == DType::i8;
  return {whole ? Type::Kind::integer : Type::Kind::real, element};
}

Expr integer(int64_t value, uint32_t at) {
  Expr e = make(Expr::Kind::integer, kInteger, at);
  e.integer = value;
  return e;
}

}  // namespace

Status Parser::too_deep(uint32_t at) const {
  constexpr int kMaxDepth = 150;
  if (depth_ <= kMaxDepth) return {};
  return fail(at, fmt::format("this is nested over {} deep", kMaxDepth));
}

Result<int64_t> Parser::constant_value(const Expr& e) const {
  const auto four = fold(e, 4), two = fold(e, 2);
  if (!four || !two) return fail(e.at, "expected a constant");
  if (*four != *two)
    return fail(e.at, "this constant depends on sizeof(T); write it where it is used");
  return *four;
}

Result<Expr> Parser::converted(Expr e, Type to, uint32_t at) const {
  if (e.type == to || (e.type.kind == to.kind && is_scalar(to))) return e;
  if (!is_scalar(e.type) || !is_scalar(to))
    return fail(at, fmt::format("expected {}, this is {}", type_name(to), type_name(e.type)));
  if (e.kind == Expr::Kind::integer && to.kind == Type::Kind::real) {
    Expr real = make(Expr::Kind::real, to, e.at);
    real.real = static_cast<double>(e.integer);
    return real;
  }
  const uint32_t begin = e.at;
  return make(Expr::Kind::convert, to, begin, list(std::move(e)));
}

Result<Expr> Parser::combine(const Token& sign, Op op, Expr a, Expr b) const {
  const uint32_t at = sign.at;
  if (a.type.kind == Type::Kind::pointer && b.type.kind == Type::Kind::integer &&
      (op == Op::add || op == Op::sub)) {
    const Type type = a.type;
    if (op == Op::sub) b = TRY(combine(sign, Op::sub, integer(0, at), std::move(b)));
    const uint32_t begin = a.at;
    return make(Expr::Kind::advance, type, begin, list(std::move(a), std::move(b)));
  }
  if (a.type.kind == Type::Kind::integer && b.type.kind == Type::Kind::pointer && op == Op::add)
    return combine(sign, op, std::move(b), std::move(a));
  if (!is_scalar(a.type) || !is_scalar(b.type))
    return fail(at, fmt::format("'{}' is not for {} and {}", sign.text, type_name(a.type),
                                type_name(b.type)));
  const bool real = a.type.kind == Type::Kind::real || b.type.kind == Type::Kind::real;
  if (real && !is_arithmetic(op) && !is_comparison(op))
    return fail(at, fmt::format("'{}' is for integers, not for {} and {}", sign.text,
                                type_name(a.type), type_name(b.type)));
  if (real) {
    a = TRY(converted(std::move(a), kReal, at));
    b = TRY(converted(std::move(b), kReal, at));
  }
  Expr e = make(Expr::Kind::binary, real && !is_comparison(op) ? kReal : kInteger, at,
                list(std::move(a), std::move(b)));
  e.op = op;
  // Numbers are folded, so that constants are seen.
  if (e.args[0].kind == Expr::Kind::integer && e.args[1].kind == Expr::Kind::integer) {
    const auto value = apply(op, e.args[0].integer, e.args[1].integer);
    if (!value) return fail(at, "this divides by zero, or shifts by more than there are bits");
    return integer(*value, e.args[0].at);
  }
  return e;
}

Result<Expr> Parser::expression() {
  const Nested nested(depth_);
  TRY(too_deep(peek().at));
  Expr condition = TRY(binary(1));
  if (!take("?")) return condition;
  const uint32_t at = condition.at;
  if (condition.type.kind != Type::Kind::integer)
    return fail(at, "a condition is an integer or a comparison");
  Expr a = TRY(expression());
  TRY(expect(":"));
  Expr b = TRY(expression());
  if (a.type.kind != b.type.kind && is_scalar(a.type) && is_scalar(b.type)) {
    a = TRY(converted(std::move(a), kReal, at));
    b = TRY(converted(std::move(b), kReal, at));
  }
  if (a.type.kind != b.type.kind || (a.type.kind == Type::Kind::pointer && a.type != b.type))
    return fail(b.at, fmt::format("both sides of ':' are to be of one type, not {} and {}",
                                  type_name(a.type), type_name(b.type)));
  const Type type = a.type;
  return make(Expr::Kind::conditional, type, at,
              list(std::move(condition), std::move(a), std::move(b)));
}

Result<Expr> Parser::binary(int strength) {
  constexpr int kMaxTerms = 500;
  Expr a = TRY(unary());
  int terms = 0;
  for (const Operator* o = operator_of(peek()); o != nullptr && o->strength >= strength;
       o = operator_of(peek())) {
    const Token sign = take();
    if (++terms > kMaxTerms)
      return fail(sign.at, fmt::format("an expression has at most {} terms in a row", kMaxTerms));
    Expr b = TRY(binary(o->strength + 1));
    a = TRY(combine(sign, o->op, std::move(a), std::move(b)));
  }
  return a;
}

Result<Expr> Parser::unary() {
  const Nested nested(depth_);
  const Token t = peek();
  TRY(too_deep(t.at));
  if (take("+")) return unary();
  if (take("-")) {
    Expr e = TRY(unary());
    if (!is_scalar(e.type)) return fail(t.at, fmt::format("'-' is not for {}", type_name(e.type)));
    if (e.kind == Expr::Kind::integer)
      return integer(apply(Op::sub, 0, e.integer).value_or(0), t.at);
    if (e.kind == Expr::Kind::real) {
      e.real = -e.real;
      return e;
    }
    const Type type = e.type;
    Expr negated = make(Expr::Kind::unary, type, t.at, list(std::move(e)));
    negated.op = Op::negate;
    return negated;
  }
  if (peek().text == "!" || peek().text == "~") {
    take();
    Expr e = TRY(unary());
    if (e.type.kind != Type::Kind::integer)
      return fail(t.at, fmt::format("'{}' is for integers", t.text));
    Expr inverted = make(Expr::Kind::unary, kInteger, t.at, list(std::move(e)));
    inverted.op = t.text == "!" ? Op::invert : Op::bit_not;
    return inverted;
  }
  if (take("*")) {
    Expr pointer = TRY(unary());
    if (pointer.type.kind != Type::Kind::pointer)
      return fail(t.at, fmt::format("'*' is for pointers, not for {}", type_name(pointer.type)));
    const Type type = scalar_of(element_of(pointer));
    return make(Expr::Kind::load, type, t.at, list(std::move(pointer), integer(0, t.at)));
  }
  if (take("&")) {
    Expr e = TRY(unary());
    if (e.kind != Expr::Kind::load) return fail(t.at, "'&' is for elements of arrays");
    e.kind = Expr::Kind::advance;
    e.type = e.args[0].type;
    return e;
  }
  if (t.text == "(" && begins_type(1)) {
    take();
    const Type to = TRY(type());
    TRY(expect(")"));
    Expr e = TRY(unary());
    if (e.type.kind == Type::Kind::pointer && to.kind == Type::Kind::pointer)
      return make(Expr::Kind::convert, to, t.at, list(std::move(e)));
    return converted(std::move(e), to, t.at);
  }
  return postfix();
}

Result<Expr> Parser::postfix() {
  Expr e = TRY(primary());
  while (peek().text == "[" && peek().kind == Token::Kind::sign) e = TRY(indexed(std::move(e)));
  return e;
}

Result<Expr> Parser::indexed(Expr base) {
  const Token bracket = take();
  if (base.type.kind != Type::Kind::pointer)
    return fail(bracket.at,
                fmt::format("'[' is for arrays and pointers, not for {}", type_name(base.type)));
  Expr index = TRY(expression());
  TRY(expect("]"));
  if (index.type.kind != Type::Kind::integer) return fail(index.at, "an index is an integer");
  const DType element = base.type.element;
  const uint32_t at = base.at;
  return make(Expr::Kind::load, scalar_of(element), at, list(std::move(base), std::move(index)));
}

// An array, or what is left of it when it is indexed.
Result<Expr> Parser::array_element(int index, uint32_t at) {
  const Array& array = kernel_.arrays[static_cast<size_t>(index)];
  const Type pointer{Type::Kind::pointer, array.element};
  Expr base = make(Expr::Kind::array, pointer, at);
  base.index = index;
  if (array.dims.size() < 2) return base;
  Expr offset = integer(0, at);
  Token times{Token::Kind::sign, at, "*", 0, 0}, plus{Token::Kind::sign, at, "+", 0, 0};
  size_t given = 0;
  for (; given < array.dims.size() && peek().text == "[" && peek().kind == Token::Kind::sign;
       ++given) {
    take();
    Expr i = TRY(expression());
    TRY(expect("]"));
    if (i.type.kind != Type::Kind::integer) return fail(i.at, "an index is an integer");
    offset = TRY(combine(times, Op::mul, std::move(offset), array.dims[given]));
    offset = TRY(combine(plus, Op::add, std::move(offset), std::move(i)));
  }
  const bool all = given == array.dims.size();
  for (; given < array.dims.size(); ++given)
    offset = TRY(combine(times, Op::mul, std::move(offset), array.dims[given]));
  return make(all ? Expr::Kind::load : Expr::Kind::advance,
              all ? scalar_of(array.element) : pointer, at,
              list(std::move(base), std::move(offset)));
}

Result<Expr> Parser::primary() {
  const Token t = peek();
  if (t.kind == Token::Kind::integer) {
    take();
    return integer(t.integer, t.at);
  }
  if (t.kind == Token::Kind::real) {
    take();
    Expr e = make(Expr::Kind::real, kReal, t.at);
    e.real = t.real;
    return e;
  }
  if (take("(")) {
    Expr e = TRY(expression());
    TRY(expect(")"));
    return e;
  }
  if (t.kind != Token::Kind::name) return expected("a value");
  if (t.text == "true" || t.text == "false") {
    take();
    return integer(t.text == "true", t.at);
  }
  if (t.text == "sizeof") {
    take();
    TRY(expect("("));
    const Type of = TRY(type());
    TRY(expect(")"));
    if (of.kind == Type::Kind::pointer || of.kind == Type::Kind::nothing)
      return fail(t.at, "sizeof is for element types here");
    if (of.element != DType::none)
      return integer(static_cast<int64_t>(dtype_size(of.element)), t.at);
    Expr e = make(Expr::Kind::size_of, kInteger, t.at);
    e.type.element = DType::none;
    return e;
  }
  if (begins_type()) {
    const Type to = TRY(type());
    TRY(expect("("));
    Expr e = TRY(expression());
    TRY(expect(")"));
    return converted(std::move(e), to, t.at);
  }
  take();
  return named(t);
}

Result<Expr> Parser::named(const Token& t) {
  if (peek().text == "(" && peek().kind == Token::Kind::sign) return call(t);
  if (const Meaning* meaning = find(t.text)) {
    switch (meaning->kind) {
      case Meaning::Kind::constant:
        return integer(meaning->value, t.at);
      case Meaning::Kind::array:
        return array_element(meaning->index, t.at);
      case Meaning::Kind::op_name:
      case Meaning::Kind::variable:
        break;
    }
    Expr e = make(Expr::Kind::variable, kInteger, t.at);
    e.index = meaning->index;
    if (meaning->kind == Meaning::Kind::variable)
      e.type = function_->variables[static_cast<size_t>(e.index)].type;
    else if (kernel_.signature.names[static_cast<size_t>(e.index)].kind ==
             Signature::Name::Kind::real)
      return fail(t.at, "sizes are integers");
    return e;
  }
  for (const auto& [name, special] : kSpecials)
    if (name == t.text) {
      Expr e = make(Expr::Kind::special, kInteger, t.at);
      e.index = static_cast<int>(special);
      return e;
    }
  // Kernels are launched in one dimension.
  if (t.text == "taskIdY" || t.text == "taskIdZ") return integer(0, t.at);
  if (t.text == "taskDimY" || t.text == "taskDimZ") return integer(1, t.at);
  std::vector<std::string> known;
  for (const auto& scope : scopes_)
    for (const auto& [name, meaning] : scope) known.emplace_back(name);
  for (const auto& [name, special] : kSpecials) known.emplace_back(name);
  return fail(t.at, fmt::format("'{}' is not declared{}", t.text, did_you_mean(t.text, known)));
}

Result<Expr> Parser::call(const Token& t) {
  if (find_builtin(t.text) != nullptr)
    return fail(t.at, fmt::format("'{}' gives nothing; call it as a statement", t.text));
  TRY(expect("("));
  std::vector<Expr> args;
  while (!take(")")) {
    if (!args.empty()) TRY(expect(","));
    args.push_back(TRY(expression()));
  }
  if (t.text == "min" || t.text == "max") {
    if (args.size() != 2)
      return fail(t.at, fmt::format("'{}' takes 2 arguments, not {}", t.text, args.size()));
    if (!is_scalar(args[0].type) || !is_scalar(args[1].type))
      return fail(t.at, fmt::format("'{}' is for numbers", t.text));
    const bool real =
        args[0].type.kind == Type::Kind::real || args[1].type.kind == Type::Kind::real;
    for (Expr& arg : args) arg = TRY(converted(std::move(arg), real ? kReal : kInteger, t.at));
    return make(t.text == "min" ? Expr::Kind::min : Expr::Kind::max, real ? kReal : kInteger, t.at,
                std::move(args));
  }
  const Function* function = nullptr;
  for (const auto& f : kernel_.functions)
    if (f->name == t.text && f.get() != function_) function = f.get();
  if (function == nullptr) {
    std::vector<std::string> known{"min", "max"};
    for (const std::string_view name : builtin_names()) known.emplace_back(name);
    for (const auto& f : kernel_.functions) known.emplace_back(f->name);
    const bool itself = function_ != nullptr && function_->name == t.text;
    return fail(t.at, itself ? fmt::format("'{}' calls itself, which kernels cannot", t.text)
                             : fmt::format("there is no function '{}'{}", t.text,
                                           did_you_mean(t.text, known)));
  }
  if (std::ssize(args) != function->parameters)
    return fail(t.at, fmt::format("'{}' takes {} arguments, not {}", t.text, function->parameters,
                                  args.size()));
  for (size_t i = 0; i < args.size(); ++i) {
    const uint32_t at = args[i].at;
    args[i] = TRY(converted(std::move(args[i]), function->variables[i].type, at));
  }
  Expr e = make(Expr::Kind::call, function->result, t.at, std::move(args));
  e.function = function;
  return e;
}

}  // namespace tenon::bang
