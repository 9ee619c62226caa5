// Integer arithmetic of the language, and constant expressions.
#include <algorithm>
#include <array>

#include "bang/parser.h"

namespace tenon::bang {

// Not inline: there are many places where they would be.
Expr::Expr() = default;
Expr::~Expr() = default;
Expr::Expr(const Expr& other) = default;
Expr::Expr(Expr&& other) noexcept = default;
Expr& Expr::operator=(const Expr& other) = default;
Expr& Expr::operator=(Expr&& other) noexcept = default;

Statement::Statement() = default;
Statement::~Statement() = default;
Statement::Statement(const Statement& other) = default;
Statement::Statement(Statement&& other) noexcept = default;
Statement& Statement::operator=(const Statement& other) = default;
Statement& Statement::operator=(Statement&& other) noexcept = default;

std::optional<int64_t> apply(Op op, int64_t a, int64_t b) {
  const auto wrap = [](uint64_t x) { return static_cast<int64_t>(x); };
  const auto x = static_cast<uint64_t>(a), y = static_cast<uint64_t>(b);
  switch (op) {
    case Op::add:
      return wrap(x + y);
    case Op::sub:
      return wrap(x - y);
    case Op::mul:
      return wrap(x * y);
    case Op::div:
    case Op::mod:
      if (b == 0 || (b == -1 && a == INT64_MIN)) return std::nullopt;
      return op == Op::div ? a / b : a % b;
    case Op::less:
      return a < b;
    case Op::less_equal:
      return a <= b;
    case Op::equal:
      return a == b;
    case Op::not_equal:
      return a != b;
    case Op::greater_equal:
      return a >= b;
    case Op::greater:
      return a > b;
    case Op::both:
      return a != 0 && b != 0;
    case Op::either:
      return a != 0 || b != 0;
    case Op::shift_left:
    case Op::shift_right:
      if (b < 0 || b > 63) return std::nullopt;
      return op == Op::shift_left ? wrap(x << y) : a >> b;
    case Op::bit_and:
      return a & b;
    case Op::bit_or:
      return a | b;
    case Op::bit_xor:
      return a ^ b;
    default:
      return std::nullopt;
  }
}

std::optional<int64_t> fold(const Expr& e, int64_t generic_size) {
  std::array<int64_t, 3> args{};
  if (e.args.size() > args.size()) return std::nullopt;
  for (size_t i = 0; i < e.args.size(); ++i) {
    const auto arg = fold(e.args[i], generic_size);
    if (!arg) return std::nullopt;
    args[i] = *arg;
  }
  switch (e.kind) {
    case Expr::Kind::integer:
      return e.integer;
    case Expr::Kind::size_of:
      return e.type.element == DType::none ? generic_size
                                           : static_cast<int64_t>(dtype_size(e.type.element));
    case Expr::Kind::unary:
      if (e.op == Op::negate) return apply(Op::sub, 0, args[0]);
      return e.op == Op::invert ? static_cast<int64_t>(args[0] == 0) : ~args[0];
    case Expr::Kind::binary:
      if (e.type.kind != Type::Kind::integer) return std::nullopt;
      return apply(e.op, args[0], args[1]);
    case Expr::Kind::conditional:
      return args[0] != 0 ? args[1] : args[2];
    case Expr::Kind::min:
      return std::min(args[0], args[1]);
    case Expr::Kind::max:
      return std::max(args[0], args[1]);
    default:
      return std::nullopt;
  }
}

std::string_view type_name(const Type& type) {
  switch (type.kind) {
    case Type::Kind::nothing:
      return "nothing";
    case Type::Kind::integer:
      return "an integer";
    case Type::Kind::real:
      return "a real number";
    case Type::Kind::pointer:
      break;
  }
  switch (type.element) {
    case DType::f32:
      return "a float*";
    case DType::f16:
      return "a half*";
    case DType::i32:
      return "an int32_t*";
    case DType::i8:
      return "an int8_t*";
    default:
      return "a T*";
  }
}

}  // namespace tenon::bang
