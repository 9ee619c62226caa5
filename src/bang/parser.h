// The parser of kernel files: recursive descent that resolves names and types as it goes.
#pragma once

#include <map>

#include "bang/kernel.h"

namespace tenon::bang {

class Parser {
 public:
  explicit Parser(Kernel& kernel) : kernel_(kernel) {}
  Status run();

 private:
  // Tokens (parse_file.cpp).
  const Token& peek(size_t ahead = 0) const {
    return tokens_[std::min(next_ + ahead, tokens_.size() - 1)];
  }
  Token take() { return tokens_[next_ < tokens_.size() - 1 ? next_++ : next_]; }
  bool take(std::string_view text);  // a sign or a word
  Status expect(std::string_view sign);
  Result<Token> name(std::string_view what);
  Error fail(uint32_t at, std::string message) const {
    return kernel_.source.error(at, std::move(message));
  }
  Error expected(std::string_view what) const;

  // What stands outside of functions (parse_file.cpp).
  Status file_item();
  Status constant();
  Status function(Type result, bool entry);
  Status bind_entry();
  std::optional<Space> space();
  bool begins_type(size_t ahead = 0) const;
  Result<Type> type();
  Status array(Space space);

  // TENON_OP (parse_op.cpp).
  Status op();
  Status op_item(std::vector<std::string>& known);
  Status operand(bool input);
  Status attribute();
  Status derived_size();
  Result<Expr> size_expression();
  int find_name(std::string_view name) const;
  Status add_name(Signature::Name name);

  // Statements (parse_statement.cpp).
  Status statement(std::vector<Statement>& into);
  Status block(std::vector<Statement>& into);
  Status declaration(std::vector<Statement>& into);
  Result<std::vector<Statement>> simple();  // an assignment or a call, without ';'
  Result<Statement> simple_one();
  Result<Statement> branch();
  Status loop(std::vector<Statement>& into);
  Result<Statement> give_back();
  Result<Statement> builtin_call(const Builtin& builtin);
  Status check_builtin(const Statement& call) const;
  Result<Statement> assignment(Expr target, const Token& sign);

  // Expressions (parse_expression.cpp).
  Result<Expr> expression();
  Result<Expr> binary(int strength);
  Result<Expr> unary();
  Result<Expr> postfix();
  Result<Expr> primary();
  Result<Expr> named(const Token& token);
  Result<Expr> indexed(Expr base);
  Result<Expr> array_element(int index, uint32_t at);
  Result<Expr> call(const Token& token);
  Result<Expr> combine(const Token& sign, Op op, Expr a, Expr b) const;
  Result<Expr> converted(Expr e, Type to, uint32_t at) const;
  Result<int64_t> constant_value(const Expr& e) const;

  struct Meaning {
    enum class Kind : uint8_t { variable, array, constant, op_name } kind;
    int index;
    int64_t value = 0;
  };
  const Meaning* find(std::string_view name) const;
  Status declare(std::string_view name, uint32_t at, Meaning meaning);

  // Nesting of what is parsed, bounded.
  struct Nested {
    explicit Nested(int& depth) : depth_(++depth) {}
    ~Nested() { --depth_; }
    Nested(const Nested&) = delete;
    Nested& operator=(const Nested&) = delete;
    int& depth_;
  };
  Status too_deep(uint32_t at) const;

  Kernel& kernel_;
  std::vector<Token> tokens_;
  size_t next_ = 0;
  int depth_ = 0, loops_ = 0;
  std::string_view generic_;  // the T of the template that is read
  bool has_op_ = false;
  Function* function_ = nullptr;
  std::vector<std::map<std::string_view, Meaning>> scopes_;
};

std::string_view type_name(const Type& type);

}  // namespace tenon::bang
