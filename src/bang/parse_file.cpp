#include <fmt/format.h>

#include <algorithm>

#include "bang/parser.h"
#include "base/nearest.h"

namespace tenon::bang {
namespace {

constexpr int64_t kMaxArrayBytes = int64_t{1} << 26;
constexpr size_t kMaxArrays = 1000;

struct TypeName {
  std::string_view name;
  Type type;
};
constexpr TypeName kTypes[] = {
    {"void", {Type::Kind::nothing, DType::none}},   {"int", {Type::Kind::integer, DType::i32}},
    {"int32_t", {Type::Kind::integer, DType::i32}}, {"uint32_t", {Type::Kind::integer, DType::i32}},
    {"int64_t", {Type::Kind::integer, DType::i32}}, {"uint64_t", {Type::Kind::integer, DType::i32}},
    {"size_t", {Type::Kind::integer, DType::i32}},  {"unsigned", {Type::Kind::integer, DType::i32}},
    {"long", {Type::Kind::integer, DType::i32}},    {"bool", {Type::Kind::integer, DType::i32}},
    {"int8_t", {Type::Kind::integer, DType::i8}},   {"char", {Type::Kind::integer, DType::i8}},
    {"float", {Type::Kind::real, DType::f32}},      {"half", {Type::Kind::real, DType::f16}}};

bool is_qualifier(std::string_view word) {
  return word == "const" || word == "constexpr" || word == "static" || word == "volatile" ||
         word == "inline" || word == "__restrict__";
}

}  // namespace

bool Parser::take(std::string_view text) {
  const Token& t = peek();
  if (t.text != text || t.kind == Token::Kind::string || t.kind == Token::Kind::end) return false;
  ++next_;
  return true;
}

Error Parser::expected(std::string_view what) const {
  const Token& t = peek();
  const std::string found = t.kind == Token::Kind::end ? std::string("the end")
                                                       : fmt::format("'{}'", t.text.substr(0, 40));
  return fail(t.at, fmt::format("expected {}, found {}", what, found));
}

Status Parser::expect(std::string_view sign) {
  if (take(sign)) return {};
  return expected(fmt::format("'{}'", sign));
}

Result<Token> Parser::name(std::string_view what) {
  const Token t = peek();
  if (t.kind != Token::Kind::name || begins_type()) return expected(what);
  return take();
}

std::optional<Space> Parser::space() {
  if (take("__nram__")) return Space::nram;
  if (take("__wram__")) return Space::wram;
  if (take("__mlu_shared__")) return Space::sram;
  return std::nullopt;
}

bool Parser::begins_type(size_t ahead) const {
  const Token& t = peek(ahead);
  if (t.kind != Token::Kind::name) return false;
  return is_qualifier(t.text) || t.text == "struct" || (!generic_.empty() && t.text == generic_) ||
         std::ranges::find(kTypes, t.text, &TypeName::name) != std::end(kTypes);
}

// With at most one star.
Result<Type> Parser::type() {
  while (is_qualifier(peek().text)) take();
  const Token t = peek();
  Type type;
  const auto* known = std::ranges::find(kTypes, t.text, &TypeName::name);
  if (t.kind == Token::Kind::name && t.text == generic_ && !generic_.empty())
    type = {Type::Kind::real, DType::none};
  else if (t.kind == Token::Kind::name && known != std::end(kTypes))
    type = known->type;
  else
    return expected(
        "a type: float, half, int, or in a function behind template <typename T> its T");
  take();
  // "unsigned int", "long long".
  while ((t.text == "unsigned" || t.text == "long") &&
         (peek().text == "int" || peek().text == "long"))
    take();
  while (is_qualifier(peek().text)) take();
  if (take("*")) type.kind = Type::Kind::pointer;
  while (is_qualifier(peek().text)) take();
  if (peek().text == "*" && type.kind == Type::Kind::pointer)
    return fail(peek().at, "the language has no pointers to pointers");
  if (type.kind == Type::Kind::pointer && t.text == "void")
    return fail(t.at, "say what a pointer points to: float, half or int32_t");
  if (type.kind == Type::Kind::pointer && known != std::end(kTypes) && type.element == DType::i32 &&
      (t.text == "size_t" || t.text == "int64_t" || t.text == "uint64_t" || t.text == "long"))
    return fail(t.at, "elements are float, half, int32_t or int8_t");
  return type;
}

const Parser::Meaning* Parser::find(std::string_view name) const {
  for (size_t i = scopes_.size(); i-- > 0;)
    if (const auto found = scopes_[i].find(name); found != scopes_[i].end()) return &found->second;
  return nullptr;
}

Status Parser::declare(std::string_view name, uint32_t at, Meaning meaning) {
  if (scopes_.back().emplace(name, meaning).second) return {};
  return fail(at, fmt::format("'{}' is declared here already", name));
}

Status Parser::array(Space where) {
  const Type element = TRY(type());
  if (element.kind == Type::Kind::pointer || element.kind == Type::Kind::nothing)
    return expected("an element type: float, half or int32_t");
  do {
    const Token t = TRY(name("a name"));
    Array array{t.text, t.at, where, element.element, {}};
    while (take("[")) {
      Expr size = TRY(expression());
      TRY(expect("]"));
      array.dims.push_back(std::move(size));
    }
    if (array.dims.empty())
      return fail(t.at, "an array has its size behind the name, such as [1024]");
    int64_t bytes = 4;
    for (const Expr& dim : array.dims)
      for (const int64_t generic : {4, 2}) {
        const auto size = fold(dim, generic);
        if (!size) return fail(dim.at, "the size of an array is a constant");
        if (*size < 1) return fail(dim.at, fmt::format("an array cannot have {} elements", *size));
        if (*size > kMaxArrayBytes || (generic == 4 && (bytes *= *size) > kMaxArrayBytes))
          return fail(dim.at, "the array is larger than any memory of a core");
      }
    if (kernel_.arrays.size() >= kMaxArrays) return fail(t.at, "there are too many arrays");
    kernel_.arrays.push_back(std::move(array));
    TRY(declare(t.text, t.at, {Meaning::Kind::array, static_cast<int>(kernel_.arrays.size()) - 1}));
  } while (take(","));
  return expect(";");
}

Status Parser::constant() {
  const Type of = TRY(type());
  if (of.kind != Type::Kind::integer)
    return expected("an integer constant; for others use #define");
  const Token t = TRY(name("a name"));
  TRY(expect("="));
  const Expr value = TRY(expression());
  const int64_t number = TRY(constant_value(value));
  TRY(declare(t.text, t.at, {Meaning::Kind::constant, 0, number}));
  return expect(";");
}

Status Parser::function(Type result, bool entry) {
  const Token t = TRY(name("the function's name"));
  if (find_builtin(t.text) != nullptr ||
      std::ranges::any_of(kernel_.functions, [&](const auto& f) { return f->name == t.text; }))
    return fail(t.at, fmt::format("there is a function '{}' already", t.text));
  if (entry && kernel_.entry != nullptr)
    return fail(t.at, "a file has one __mlu_entry__; others are __mlu_func__");
  if (entry && result.kind != Type::Kind::nothing) return fail(t.at, "the __mlu_entry__ is void");
  auto made = std::make_unique<Function>();
  made->name = t.text;
  made->at = t.at;
  made->result = result;
  kernel_.functions.push_back(std::move(made));
  function_ = kernel_.functions.back().get();
  scopes_.emplace_back();
  TRY(expect("("));
  while (!take(")")) {
    if (function_->parameters > 0) TRY(expect(","));
    if (function_->parameters == 0 && peek().text == "void" && peek(1).text == ")") {
      take();
      continue;
    }
    const Type of = TRY(type());
    if (of.kind == Type::Kind::nothing)
      return fail(tokens_[next_ - 1].at, "a parameter is not void");
    const Token parameter = TRY(name("the parameter's name"));
    TRY(declare(parameter.text, parameter.at, {Meaning::Kind::variable, function_->parameters++}));
    function_->variables.push_back({parameter.text, of});
  }
  TRY(block(function_->body));
  scopes_.pop_back();
  if (entry) {
    kernel_.entry = function_;
    kernel_.generic = !generic_.empty();
  }
  function_ = nullptr;
  return {};
}

Status Parser::file_item() {
  const Token t = peek();
  if (take(";")) return {};
  if (take("TENON_OP")) return op();
  generic_ = {};
  if (take("template")) {
    TRY(expect("<"));
    if (!take("typename") && !take("class")) return expected("'typename'");
    generic_ = TRY(name("the name of the type")).text;
    TRY(expect(">"));
  }
  if (take("extern") && peek().kind == Token::Kind::string) take();
  if (const auto where = space()) return array(*where);
  bool function_follows = false, entry = false;
  while (peek().kind == Token::Kind::name) {
    const std::string_view word = peek().text;
    if (word == "__mlu_entry__" || word == "__mlu_global__")
      entry = function_follows = true;
    else if (word == "__mlu_func__" || word == "__mlu_device__")
      function_follows = true;
    else if (word != "static" && word != "inline")
      break;
    take();
  }
  if (function_follows) return function(TRY(type()), entry);
  if (begins_type()) {
    for (size_t i = 0; i < 6; ++i)
      if (peek(i).text == "(")
        return fail(t.at, "a function begins with __mlu_entry__ or __mlu_func__");
    return constant();
  }
  return expected(
      "TENON_OP, __mlu_entry__, __mlu_func__, an array such as __nram__ float buffer[1024], or a "
      "constant");
}

// Parameters of the entry are called as what they stand for.
Status Parser::bind_entry() {
  const Signature& s = kernel_.signature;
  const Function& f = *kernel_.entry;
  const bool t_used =
      std::ranges::any_of(s.inputs, [](const auto& i) { return i.dtype == DType::none; });
  if (kernel_.generic && !t_used)
    return fail(f.at, "the entry is a template of T, but no input of the op is of T");
  for (int i = 0; i < f.parameters; ++i) {
    const Variable& v = f.variables[static_cast<size_t>(i)];
    const auto as_operand = [&](const std::vector<Signature::Operand>& operands,
                                Binding::Kind kind) -> Result<bool> {
      const auto found = std::ranges::find(operands, v.name, &Signature::Operand::name);
      if (found == operands.end()) return false;
      if (v.type.kind != Type::Kind::pointer || v.type.element != found->dtype)
        return fail(f.at,
                    fmt::format("parameter '{}' of '{}' is {}, the op has it as {}", v.name, f.name,
                                type_name(v.type), type_name({Type::Kind::pointer, found->dtype})));
      kernel_.bindings.push_back({kind, static_cast<int>(found - operands.begin())});
      return true;
    };
    if (TRY(as_operand(s.inputs, Binding::Kind::input)) ||
        TRY(as_operand(s.outputs, Binding::Kind::output)))
      continue;
    const int index = find_name(v.name);
    if (index < 0) {
      std::vector<std::string> known;
      for (const auto* operands : {&s.inputs, &s.outputs})
        for (const auto& operand : *operands) known.push_back(operand.name);
      for (const auto& n : s.names) known.push_back(n.name);
      return fail(f.at,
                  fmt::format("parameter '{}' of '{}' is no input, output, size or attribute of "
                              "TENON_OP{}; there are: {}",
                              v.name, f.name, did_you_mean(v.name, known), fmt::join(known, ", ")));
    }
    const bool real = s.names[static_cast<size_t>(index)].kind == Signature::Name::Kind::real;
    const auto wanted = real ? Type::Kind::real : Type::Kind::integer;
    if (v.type.kind != wanted)
      return fail(f.at, fmt::format("parameter '{}' of '{}' is {}, it is to be {}", v.name, f.name,
                                    type_name(v.type), real ? "a float" : "an int"));
    kernel_.bindings.push_back({Binding::Kind::name, index});
  }
  for (size_t i = 0; i < s.outputs.size(); ++i)
    if (std::ranges::none_of(kernel_.bindings, [&](const Binding& b) {
          return b.kind == Binding::Kind::output && b.index == static_cast<int>(i);
        }))
      return fail(f.at, fmt::format("'{}' has no parameter for the output '{}'", f.name,
                                    s.outputs[i].name));
  return {};
}

Status Parser::run() {
  tokens_ = TRY(tokenize(kernel_.source));
  scopes_.emplace_back();
  while (peek().kind != Token::Kind::end) TRY(file_item());
  const uint32_t end = peek().at;
  if (!has_op_)
    return fail(end, "the file has no TENON_OP(…), which says what the op takes and gives");
  if (kernel_.entry == nullptr) return fail(end, "the file has no __mlu_entry__ function");
  return bind_entry();
}

Result<std::shared_ptr<const Kernel>> parse_kernel(std::string text, std::string file) {
  auto kernel = std::make_shared<Kernel>();
  kernel->source = {std::move(text), std::move(file)};
  TRY(Parser(*kernel).run());
  return std::shared_ptr<const Kernel>(std::move(kernel));
}

}  // namespace tenon::bang
