#include "isa/text.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "isa/parse_program.h"

namespace tenon::isa {
namespace {

Architecture chip(std::string_view name) {
  const MachineCatalog catalog = MachineCatalog::load().value();
  return architecture_of(**catalog.find(name));
}

Expr random_expr(std::mt19937& random, int depth) {
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  if (depth == 0 || below(4) == 0) {
    if (below(2) == 0) return Expr::variable(below(4));
    static constexpr int64_t kNumbers[] = {0, 1, 2, -3, 128, std::numeric_limits<int64_t>::min()};
    return kNumbers[below(6)];
  }
  const auto kind = static_cast<Expr::Kind>(2 + below(7));
  return Expr::make(kind, random_expr(random, depth - 1), random_expr(random, depth - 1));
}

// A program of every instruction over every kind of view, not one that the verifier would let pass.
Program random_program(std::mt19937& random, const Architecture& a) {
  const auto expr = [&] { return random_expr(random, 4); };
  Program p;
  p.name = "layer one \"quoted\"\n";
  p.algorithm = "img2col";
  p.origins = {"conv1", "a // b"};
  p.blocks = 8;
  p.variables = 4;
  p.buffers = {{"x", Buffer::Role::input, DType::f16, 100},
               {"a b", Buffer::Role::output, DType::i8, 7},
               {"m", Buffer::Role::scratch, DType::boolean, 7}};
  Loop loop{3, expr(), {}};
  for (int op = 0; op < kOpcodes; ++op) {
    Instruction i;
    i.op = static_cast<Opcode>(op);
    const OpcodeInfo& opcode = info(i.op);
    i.queue = static_cast<int>(random() % a.queues.size());
    for (int v = 0; v < opcode.views; ++v) {
      View view{static_cast<int>(random() % a.memories.size()), -1, DType::f32, expr(), {}};
      if (view.memory == 0) view.buffer = static_cast<int>(random() % 3);
      for (auto axes = random() % 4; axes > 0; --axes) view.axes.push_back({expr(), expr()});
      i.views.push_back(view);
    }
    for (size_t n = 0; n < opcode.numbers.size(); ++n) i.numbers.push_back(expr());
    if (opcode.kind != OpcodeClass::order && random() % 2 == 0) i.line = 1 + random() % 1000;
    if (opcode.has_scalar) i.scalar = std::ldexp(static_cast<double>(random()), -40);
    if (opcode.kind == OpcodeClass::order) {
      i.queue = 0;
      if (i.op == Opcode::sync) i.numbers = {-1};
      if (i.numbers.size() == 3) {
        i.numbers = {1, 2, expr()};
        i.queue = i.op == Opcode::set_flag ? 1 : 2;
      }
    }
    (op % 3 == 0 ? p.body : loop.body).emplace_back(i);
  }
  p.body.emplace_back(loop);
  return p;
}

TEST(TileText, ReadsBackAsTheSameProgram) {
  std::mt19937 random(1);
  for (const char* name : {"ascend310p3", "ascend910b3", "mlu370-s4"}) {
    const Architecture a = chip(name);
    for (int i = 0; i < 100; ++i) {
      const Program p = random_program(random, a);
      const std::string text = print_program(p, a);
      const auto parsed = parse_program(text, a, "t");
      ASSERT_TRUE(parsed.ok()) << parsed.error().to_string() << "\n" << text;
      EXPECT_TRUE(*parsed == p) << text << print_program(*parsed, a);
      EXPECT_EQ(target_of_program(text, "t").value(), name);
    }
  }
}

TEST(TileText, ExpressionsThatAreTooDeepOrLongAreRefused) {
  const Architecture a = chip("ascend310p3");
  const auto parse = [&](const std::string& offset) {
    return parse_program("program p target=ascend310p3 {\n  for i0 in " + offset + " {\n  }\n}\n",
                         a, "t");
  };
  EXPECT_TRUE(parse("(((4)))").ok());
  EXPECT_FALSE(parse(std::string(100000, '(')).ok());
  std::string sum = "block";
  for (int i = 0; i < 1000; ++i) sum += " + block";
  EXPECT_FALSE(parse(sum).ok());
}

TEST(TileText, LinesOfStatementsAreThoseOfTheText) {
  const Architecture a = chip("ascend310p3");
  const Program p = parse_program(R"(program p target=ascend310p3 {
  x: input f16 [16]
  sync all
  for i0 in 2 {
    for i1 in 2 {
      barrier
    }
    sync m
  }
})",
                                  a, "t")
                        .value();
  const auto& loop = std::get<Loop>(p.body[1]);
  EXPECT_EQ(line_of(p, &std::get<Instruction>(p.body[0])), 3);
  EXPECT_EQ(line_of(p, &loop), 4);
  EXPECT_EQ(line_of(p, &std::get<Instruction>(loop.body[1])), 8);
  EXPECT_EQ(line_of(p, &p), 0);
}

}  // namespace
}  // namespace tenon::isa
