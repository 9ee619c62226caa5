#include <fmt/format.h>

#include "bang/parser.h"
#include "base/nearest.h"

namespace tenon::bang {
namespace {

constexpr Type kInteger{Type::Kind::integer, DType::i32};

Statement make(Statement::Kind kind, uint32_t at) {
  Statement s;
  s.kind = kind;
  s.at = at;
  return s;
}

DType dtype_called(std::string_view name) {
  return name == "f32" ? DType::f32 : name == "f16" ? DType::f16 : DType::i32;
}

}  // namespace

Status Parser::block(std::vector<Statement>& into) {
  const uint32_t begin = peek().at;
  TRY(expect("{"));
  scopes_.emplace_back();
  while (!take("}")) {
    if (peek().kind == Token::Kind::end) return fail(begin, "this '{' has no '}'");
    TRY(statement(into));
  }
  scopes_.pop_back();
  return {};
}

Status Parser::statement(std::vector<Statement>& into) {
  const Nested nested(depth_);
  const Token t = peek();
  TRY(too_deep(t.at));
  if (take(";")) return {};
  if (t.text == "{" && t.kind == Token::Kind::sign) {
    Statement s = make(Statement::Kind::block, t.at);
    TRY(block(s.body));
    into.push_back(std::move(s));
    return {};
  }
  if (t.text == "if") {
    into.push_back(TRY(branch()));
    return {};
  }
  if (t.text == "for" || t.text == "while") return loop(into);
  if (t.text == "return") {
    into.push_back(TRY(give_back()));
    return {};
  }
  if (t.text == "break" || t.text == "continue") {
    take();
    TRY(expect(";"));
    if (loops_ == 0) return fail(t.at, fmt::format("'{}' is outside of a loop", t.text));
    into.push_back(make(t.text == "break" ? Statement::Kind::leave : Statement::Kind::next, t.at));
    return {};
  }
  if (t.text == "do" || t.text == "switch" || t.text == "goto")
    return fail(t.at, fmt::format("the language has no '{}'; write if, for or while", t.text));
  if (const auto where = space()) return array(*where);
  if (begins_type()) return declaration(into);
  for (Statement& s : TRY(simple())) into.push_back(std::move(s));
  return expect(";");
}

Status Parser::declaration(std::vector<Statement>& into) {
  const uint32_t begin = peek().at;
  const Type first = TRY(type());
  Type next = first;
  do {
    if (take("*")) next = {Type::Kind::pointer, first.element};
    const Token t = TRY(name("a name"));
    if (next.kind == Type::Kind::nothing) return fail(begin, "a variable is not void");
    if (peek().text == "[")
      return fail(t.at, "arrays are in a memory of the core: write __nram__ before the type");
    // The name is known after its value.
    Statement s = make(Statement::Kind::assign, t.at);
    s.declares = true;
    Expr value;
    value.type = next.kind == Type::Kind::pointer ? next : kInteger;
    value.at = t.at;
    if (take("="))
      value = TRY(expression());
    else if (next.kind == Type::Kind::pointer)
      return fail(t.at, "a pointer is to point somewhere: give it a value");
    const uint32_t at = value.at;
    s.value = TRY(converted(std::move(value), next, at));
    const auto index = static_cast<int>(function_->variables.size());
    function_->variables.push_back({t.text, next});
    TRY(declare(t.text, t.at, {Meaning::Kind::variable, index}));
    Expr target;
    target.kind = Expr::Kind::variable;
    target.type = next;
    target.at = t.at;
    target.index = index;
    s.target = std::move(target);
    into.push_back(std::move(s));
    next = first.kind == Type::Kind::pointer ? Type{Type::Kind::integer, first.element} : first;
    if (first.kind == Type::Kind::pointer && peek().text == ",")
      return fail(peek().at, "declare one pointer a statement");
  } while (take(","));
  return expect(";");
}

Result<Statement> Parser::branch() {
  Statement s = make(Statement::Kind::branch, take().at);
  TRY(expect("("));
  s.value = TRY(expression());
  if (s.value->type.kind != Type::Kind::integer)
    return fail(s.value->at, "a condition is an integer or a comparison");
  TRY(expect(")"));
  scopes_.emplace_back();
  TRY(statement(s.body));
  scopes_.pop_back();
  if (!take("else")) return s;
  scopes_.emplace_back();
  TRY(statement(s.other));
  scopes_.pop_back();
  return s;
}

Status Parser::loop(std::vector<Statement>& into) {
  const Token word = take();
  Statement around = make(Statement::Kind::block, word.at);
  Statement s = make(Statement::Kind::loop, word.at);
  scopes_.emplace_back();
  TRY(expect("("));
  if (word.text == "for" && !take(";")) {
    if (begins_type()) {
      TRY(declaration(around.body));
    } else {
      around.body = TRY(simple());
      TRY(expect(";"));
    }
  }
  const std::string_view end = word.text == "for" ? ";" : ")";
  if (peek().text != end) {
    s.value = TRY(expression());
    if (s.value->type.kind != Type::Kind::integer)
      return fail(s.value->at, "a condition is an integer or a comparison");
  }
  TRY(expect(end));
  if (word.text == "for" && !take(")")) {
    s.other = TRY(simple());
    TRY(expect(")"));
  }
  ++loops_;
  TRY(statement(s.body));
  --loops_;
  scopes_.pop_back();
  around.body.push_back(std::move(s));
  into.push_back(std::move(around));
  return {};
}

Result<Statement> Parser::give_back() {
  Statement s = make(Statement::Kind::give_back, take().at);
  const bool gives = function_->result.kind != Type::Kind::nothing;
  if (peek().text != ";") {
    Expr value = TRY(expression());
    if (!gives)
      return fail(s.at, fmt::format("'{}' is void and gives nothing back", function_->name));
    const uint32_t at = value.at;
    s.value = TRY(converted(std::move(value), function_->result, at));
  } else if (gives) {
    return fail(s.at, fmt::format("'{}' is to give a value back", function_->name));
  }
  TRY(expect(";"));
  return s;
}

Result<std::vector<Statement>> Parser::simple() {
  std::vector<Statement> all;
  do {
    all.push_back(TRY(simple_one()));
  } while (take(","));
  return all;
}

Result<Statement> Parser::simple_one() {
  const Token t = peek();
  if (t.kind == Token::Kind::name && peek(1).text == "(") {
    if (const Builtin* builtin = find_builtin(t.text)) {
      take();
      return builtin_call(*builtin);
    }
  }
  if (t.text == "++" || t.text == "--") {
    take();
    Expr target = TRY(unary());
    return assignment(std::move(target), t);
  }
  Expr target = TRY(unary());
  const Token sign = peek();
  static constexpr std::string_view kAssign[] = {
      "=", "+=", "-=", "*=", "/=", "%=", "<<=", ">>=", "++", "--"};
  for (const std::string_view text : kAssign)
    if (sign.kind == Token::Kind::sign && sign.text == text) {
      take();
      return assignment(std::move(target), sign);
    }
  if (target.kind != Expr::Kind::call)
    return fail(t.at, "this does nothing; expected an assignment or a call");
  Statement s = make(Statement::Kind::evaluate, t.at);
  s.value = std::move(target);
  return s;
}

Result<Statement> Parser::assignment(Expr target, const Token& sign) {
  Statement s = make(Statement::Kind::assign, sign.at);
  if (target.kind != Expr::Kind::variable && target.kind != Expr::Kind::load)
    return fail(sign.at, "what is on the left cannot be assigned");
  const Type type = target.type;
  if (target.kind == Expr::Kind::variable)
    function_->variables[static_cast<size_t>(target.index)].changes = true;
  Expr value;
  value.type = kInteger;
  value.at = sign.at;
  value.integer = 1;
  if (sign.text != "++" && sign.text != "--") value = TRY(expression());
  if (sign.text != "=") {
    static constexpr std::pair<std::string_view, Op> kOps[] = {
        {"+", Op::add}, {"-", Op::sub},        {"*", Op::mul},        {"/", Op::div},
        {"%", Op::mod}, {"<", Op::shift_left}, {">", Op::shift_right}};
    for (const auto& [text, op] : kOps)
      if (sign.text.substr(0, 1) == text) {
        Expr now = target;
        value = TRY(combine(sign, op, std::move(now), std::move(value)));
        break;
      }
  }
  const uint32_t at = value.at;
  s.value = TRY(converted(std::move(value), type, at));
  s.target = std::move(target);
  return s;
}

Result<Statement> Parser::builtin_call(const Builtin& builtin) {
  Statement s = make(Statement::Kind::builtin, tokens_[next_ - 1].at);
  s.builtin = &builtin;
  TRY(expect("("));
  std::string_view kinds = builtin.arguments;
  bool optional = false;
  while (!take(")")) {
    if (!s.args.empty()) TRY(expect(","));
    if (!kinds.empty() && kinds[0] == '?') {
      optional = true;
      kinds.remove_prefix(1);
    }
    const Token t = peek();
    const char kind = kinds.empty() ? 0 : kinds[0];
    if (kind == 'm') {
      take();
      const Direction* direction = find_direction(t.text);
      if (direction == nullptr)
        return fail(t.at, "expected a direction such as GDRAM2NRAM or NRAM2GDRAM");
      Expr e;
      e.type = kInteger;
      e.at = t.at;
      e.integer = index_of(*direction);
      s.args.push_back(std::move(e));
    } else {
      Expr e = TRY(expression());
      if (kind == 0) return fail(t.at, fmt::format("'{}' takes fewer arguments", builtin.name));
      if (kind == 'i' && e.type.kind != Type::Kind::integer)
        return fail(e.at, fmt::format("expected an integer, this is {}", type_name(e.type)));
      if (kind == 'n') e = TRY(converted(std::move(e), {Type::Kind::real, DType::f32}, t.at));
      if (kind >= 'a' && kind <= 'd' && e.type.kind != Type::Kind::pointer)
        return fail(e.at,
                    fmt::format("expected an array or a pointer, this is {}", type_name(e.type)));
      s.args.push_back(std::move(e));
    }
    kinds.remove_prefix(1);
  }
  const bool began = optional && s.args.size() != builtin.arguments.find('?') &&
                     builtin.form != Builtin::Form::convert;
  if (!kinds.empty() && (kinds[0] != '?' && (!optional || began)))
    return fail(
        s.at, fmt::format("'{}' takes more arguments: {} are given", builtin.name, s.args.size()));
  TRY(check_builtin(s));
  return s;
}

Status Parser::check_builtin(const Statement& call) const {
  const Builtin& builtin = *call.builtin;
  using Form = Builtin::Form;
  if (builtin.form == Form::copy || builtin.form == Form::copy_async ||
      builtin.form == Form::sync || builtin.form == Form::sync_blocks)
    return {};
  const DType dst = call.args[0].type.element;
  const auto wrong = [&](const Expr& arg, std::string_view expected) {
    return fail(arg.at, fmt::format("'{}' takes {} here, this is {}", builtin.name, expected,
                                    type_name(arg.type)));
  };
  if (builtin.form == Form::convert) {
    if (dst != dtype_called(builtin.dst))
      return wrong(call.args[0], type_name({Type::Kind::pointer, dtype_called(builtin.dst)}));
    if (call.args[1].type.element != dtype_called(builtin.src))
      return wrong(call.args[1], type_name({Type::Kind::pointer, dtype_called(builtin.src)}));
    return {};
  }
  if (dst == DType::i8) return wrong(call.args[0], "float, half or int32_t");
  for (size_t i = 1; i < call.args.size(); ++i)
    if (call.args[i].type.kind == Type::Kind::pointer && call.args[i].type.element != dst)
      return wrong(call.args[i], type_name(call.args[0].type));
  const bool real = builtin.form == Form::unary && builtin.op != Vector::abs &&
                    builtin.op != Vector::relu && builtin.op != Vector::square;
  if ((real || builtin.form == Form::matmul || builtin.form == Form::conv) && dst == DType::i32)
    return wrong(call.args[0], "float or half");
  return {};
}

}  // namespace tenon::bang
