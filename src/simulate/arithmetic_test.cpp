// Each instruction against a few lines of plain C++.
#include <cmath>
#include <functional>

#include "simulate/simulate_test.h"

namespace tenon::simulate {
namespace {

struct Vector {
  std::string target, global, local, load, store, compute;
};

// The vector units of both families.
std::vector<Vector> vector_units() {
  return {{"ascend310p3", "gm", "ub", "mte2", "mte3", "v"},
          {"mlu370-s4", "gdram", "nram", "io", "io", "compute"}};
}

std::string replaced(std::string text, const Vector& v) {
  const auto all = [&](const std::string& from, const std::string& to) {
    for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
      text.replace(at, from.size(), to);
  };
  all("GM", v.global);
  all("UB", v.local);
  all("LOAD", v.load);
  all("STORE", v.store);
  all("V:", v.compute + ":");
  return text;
}

// y = instruction over x and z, 100 elements of one type each.
std::vector<float> run_vector(const Vector& v, const std::string& type,
                              const std::string& instruction, const std::vector<float>& x,
                              const std::vector<float>& z) {
  const auto as = [&](const std::vector<float>& values) {
    return type == "f16" ? bytes_of(halves(values)) : bytes_of(values);
  };
  std::vector<Bytes> data{as(x), as(z)};
  const std::string text = "x: input " + type + " [100]\nz: input " + type + " [100]\ny: output " +
                           type + " [100]\nLOAD: copy UB[0] " + type + " (100:1) <- GM x[0] " +
                           type + " (100:1)\nLOAD: copy UB[1024] " + type + " (100:1) <- GM z[0] " +
                           type + " (100:1)\nsync all\nV: " + instruction +
                           "\nsync all\nSTORE: copy GM y[0] " + type + " (100:1) <- UB[2048] " +
                           type + " (100:1)";
  std::string body = replaced(text, v);
  for (size_t at = body.find("TYPE"); at != std::string::npos; at = body.find("TYPE"))
    body.replace(at, 4, type);
  const Status status = run_text(v.target, body, data);
  EXPECT_TRUE(status.ok()) << status.error().to_string() << body;
  if (!status.ok()) return std::vector<float>(100);
  return type == "f16" ? floats(values_of<Half>(data[2])) : values_of<float>(data[2]);
}

void expect_vector(const std::string& instruction, const std::function<float(float, float)>& f,
                   bool positive = false) {
  std::vector<float> x = random_values(100, 1), z = random_values(100, 2);
  for (float& value : z) value = value == 0 ? 1 : value;
  if (positive)
    for (float& value : x) value = std::fabs(value) + 0.125F;
  for (const Vector& v : vector_units())
    for (const std::string type : {"f16", "f32"}) {
      const std::string op = instruction.substr(0, instruction.find(' '));
      // The one has no such instructions, the other copies in another queue.
      if ((op == "sigmoid" || op == "tanh") && v.target == "ascend310p3") continue;
      if (op == "copy" && v.target == "mlu370-s4") continue;
      const auto y = run_vector(v, type, instruction, x, z);
      for (size_t i = 0; i < 100; ++i) {
        const float expected = f(x[i], z[i]);
        EXPECT_EQ(y[i], type == "f16" ? static_cast<float>(Half(expected)) : expected)
            << v.target << " " << type << " " << instruction << " of " << x[i] << ", " << z[i];
      }
    }
}

TEST(SimulateVector, InstructionsComputeInFloatAndRound) {
  const std::string one = " UB[2048] TYPE (100:1) <- UB[0] TYPE (100:1)";
  const std::string two = one + ", UB[1024] TYPE (100:1)";
  expect_vector("copy" + one, [](float a, float) { return a; });
  expect_vector("exp" + one, [](float a, float) { return std::exp(a); });
  expect_vector(
      "ln" + one, [](float a, float) { return std::log(a); }, true);
  expect_vector(
      "sqrt" + one, [](float a, float) { return std::sqrt(a); }, true);
  expect_vector(
      "rsqrt" + one, [](float a, float) { return 1 / std::sqrt(a); }, true);
  expect_vector(
      "reciprocal" + one, [](float a, float) { return 1 / a; }, true);
  expect_vector("abs" + one, [](float a, float) { return std::fabs(a); });
  expect_vector("relu" + one, [](float a, float) { return a > 0 ? a : 0; });
  expect_vector("sigmoid" + one, [](float a, float) { return 1 / (1 + std::exp(-a)); });
  expect_vector("tanh" + one, [](float a, float) { return std::tanh(a); });
  expect_vector("add" + two, [](float a, float b) { return a + b; });
  expect_vector("sub" + two, [](float a, float b) { return a - b; });
  expect_vector("mul" + two, [](float a, float b) { return a * b; });
  expect_vector("div" + two, [](float a, float b) { return a / b; });
  expect_vector("max" + two, [](float a, float b) { return std::max(a, b); });
  expect_vector("min" + two, [](float a, float b) { return std::min(a, b); });
  expect_vector("adds" + one + " {scalar = 1.5}", [](float a, float) { return a + 1.5F; });
  expect_vector("muls" + one + " {scalar = -0.25}", [](float a, float) { return a * -0.25F; });
  expect_vector("maxs" + one + " {scalar = 1.5}", [](float a, float) { return std::max(a, 1.5F); });
  expect_vector("mins" + one + " {scalar = 1.5}", [](float a, float) { return std::min(a, 1.5F); });
  expect_vector("fill UB[2048] TYPE (100:1) {scalar = 3.5}", [](float, float) { return 3.5F; });
}

TEST(SimulateVector, StridesRepeatReverseAndTranspose) {
  std::vector<Bytes> data{bytes_of(std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7, 8})};
  const Status status = run_text("ascend310p3", R"(
    x: input f32 [9]
    y: output f32 [32]
    mte2: copy ub[0] f32 (9:1) <- gm x[0] f32 (9:1)
    sync all
    v: copy ub[64] f32 (2:1, 4:2) <- ub[0] f32 (2:4, 4:1)
    v: adds ub[96] f32 (4:2, 2:1) <- ub[0] f32 (4:1, 2:0) {scalar = 10.0}
    v: copy ub[128] f32 (4:1, 2:4) <- ub[0] f32 (4:2, 2:1)
    v: copy ub[160] f32 (8:1) <- ub[32] f32 (8:-1)
    sync all
    mte3: copy gm y[0] f32 (32:1) <- ub[64] f32 (32:1)
)",
                                 data);
  ASSERT_TRUE(status.ok()) << status.error().to_string();
  EXPECT_EQ(values_of<float>(data[1]),
            (std::vector<float>{0, 4, 1, 5, 2, 6, 3, 7, 10, 10, 11, 11, 12, 12, 13, 13,
                                0, 2, 4, 6, 1, 3, 5, 7, 8,  7,  6,  5,  4,  3,  2,  1}));
}

TEST(SimulateVector, ConversionsRoundAsToldAndSaturate) {
  const std::vector<float> x{0.5F, 1.5F, -0.5F, -1.5F, 2.4F, 300.0F, -300.0F, NAN};
  const std::vector<std::vector<int8_t>> expected{{0, 2, 0, -2, 2, 127, -128, 0},
                                                  {0, 1, -1, -2, 2, 127, -128, 0},
                                                  {1, 2, 0, -1, 3, 127, -128, 0},
                                                  {0, 1, 0, -1, 2, 127, -128, 0},
                                                  {1, 2, -1, -2, 2, 127, -128, 0}};
  for (size_t rounding = 0; rounding < expected.size(); ++rounding) {
    std::vector<Bytes> data{bytes_of(x)};
    const Status status = run_text("mlu370-s4",
                                   "x: input f32 [8]\ny: output i8 [8]\n"
                                   "io: copy nram[0] f32 (8:1) <- gdram x[0] f32 (8:1)\nsync io\n"
                                   "compute: convert nram[128] i8 (8:1) <- nram[0] f32 (8:1) "
                                   "{rounding = " +
                                       std::to_string(rounding) +
                                       "}\nsync compute\n"
                                       "io: copy gdram y[0] i8 (8:1) <- nram[128] i8 (8:1)",
                                   data);
    ASSERT_TRUE(status.ok()) << status.error().to_string();
    EXPECT_EQ(values_of<int8_t>(data[1]), expected[rounding]) << rounding;
  }
}

TEST(SimulateVector, ReductionsComparisonsAndSelections) {
  std::vector<Bytes> data{bytes_of(halves(random_values(96, 3)))};
  const Status status = run_text("ascend910b3", R"(
    x: input f16 [96]
    sums: output f32 [4]
    largest: output f16 [4]
    smallest: output f16 [4]
    bits: output bool [96]
    y: output f16 [96]
    mte2: copy ub[0] f16 (96:1) <- gm x[0] f16 (96:1)
    sync all
    v: reduce_sum ub[256] f32 (4:1, 1:1) <- ub[0] f16 (4:24, 24:1)
    v: reduce_max ub[288] f16 (4:1, 1:1) <- ub[0] f16 (4:24, 24:1)
    v: reduce_min ub[320] f16 (4:1, 1:1) <- ub[0] f16 (4:24, 24:1)
    v: compare ub[352] bool (4:24, 24:1) <- ub[0] f16 (4:24, 24:1), ub[288] f16 (4:1, 24:0) {relation = 2}
    v: select ub[512] f16 (4:24, 24:1) <- ub[352] bool (4:24, 24:1), ub[0] f16 (4:24, 24:1), ub[320] f16 (4:1, 24:0)
    sync all
    mte3: copy gm sums[0] f32 (4:1) <- ub[256] f32 (4:1)
    mte3: copy gm largest[0] f16 (4:1) <- ub[288] f16 (4:1)
    mte3: copy gm smallest[0] f16 (4:1) <- ub[320] f16 (4:1)
    mte3: copy gm bits[0] bool (96:1) <- ub[352] bool (96:1)
    mte3: copy gm y[0] f16 (96:1) <- ub[512] f16 (96:1)
)",
                                 data);
  ASSERT_TRUE(status.ok()) << status.error().to_string();
  const auto x = floats(values_of<Half>(data[0]));
  const auto sums = values_of<float>(data[1]);
  const auto largest = floats(values_of<Half>(data[2])),
             smallest = floats(values_of<Half>(data[3]));
  const auto bits = values_of<uint8_t>(data[4]);
  const auto y = floats(values_of<Half>(data[5]));
  for (size_t r = 0; r < 4; ++r) {
    float sum = 0, most = -100, least = 100;
    for (size_t i = r * 24; i < r * 24 + 24; ++i) {
      sum += x[i];
      most = std::max(most, x[i]);
      least = std::min(least, x[i]);
    }
    EXPECT_EQ(sums[r], sum);
    EXPECT_EQ(largest[r], most);
    EXPECT_EQ(smallest[r], least);
    for (size_t i = r * 24; i < r * 24 + 24; ++i) {
      EXPECT_EQ(bits[i], x[i] == most);
      EXPECT_EQ(y[i], x[i] == most ? x[i] : least);
    }
  }
}

TEST(SimulateVector, IntegersAreExactAndSaturate) {
  std::vector<Bytes> data{bytes_of(std::vector<int32_t>{16777217, -5, 2147483647, 7}),
                          bytes_of(std::vector<int32_t>{1, 2, 3, 0})};
  const Status status = run_text("ascend310p3", R"(
    x: input i32 [4]
    z: input i32 [4]
    y: output i32 [16]
    mte2: copy ub[0] i32 (4:1) <- gm x[0] i32 (4:1)
    mte2: copy ub[32] i32 (4:1) <- gm z[0] i32 (4:1)
    sync all
    v: add ub[64] i32 (4:1) <- ub[0] i32 (4:1), ub[32] i32 (4:1)
    v: div ub[96] i32 (4:1) <- ub[0] i32 (4:1), ub[32] i32 (4:1)
    sync all
    mte3: copy gm y[0] i32 (4:1) <- ub[64] i32 (4:1)
    mte3: copy gm y[16] i32 (4:1) <- ub[96] i32 (4:1)
)",
                                 data);
  ASSERT_TRUE(status.ok()) << status.error().to_string();
  auto y = values_of<int32_t>(data[2]);
  y.resize(8);
  EXPECT_EQ(y, (std::vector<int32_t>{16777218, -3, 2147483647, 7, 16777217, -2, 715827882, 0}));
}

TEST(SimulateMove, RowsAreGatheredByIndexAndOutsideIsZero) {
  std::vector<Bytes> data{bytes_of(random_values(40, 4)),
                          bytes_of(std::vector<int32_t>{3, 9, -1, 10, 0, 5})};
  const Status status = run_text("mlu370-s4", R"(
    table: constant f32 [40]
    i: input i32 [6]
    y: output f32 [24]
    io: copy nram[0] i32 (6:1) <- gdram i[0] i32 (6:1)
    io: gather nram[128] f32 (2:12, 3:4, 4:1) <- gdram table[0] f32 (10:4, 4:1), nram[0] i32 (2:3, 3:1)
    io: copy gdram y[0] f32 (24:1) <- nram[128] f32 (24:1)
)",
                                 data);
  ASSERT_TRUE(status.ok()) << status.error().to_string();
  const auto table = values_of<float>(data[0]), y = values_of<float>(data[2]);
  const int rows[] = {3, 9, -1, -1, 0, 5};
  for (size_t i = 0; i < 24; ++i) {
    const int row = rows[i / 4];
    EXPECT_EQ(y[i], row < 0 ? 0 : table[static_cast<size_t>(row) * 4 + i % 4]) << i;
  }
}

// Of rows at one place the last is there, or all are added; outside of the table nothing is
// written.
TEST(SimulateMove, RowsAreScatteredByIndexInTheirOrder) {
  for (const bool adds : {false, true}) {
    std::vector<Bytes> data{bytes_of(std::vector<int32_t>{9, 10, 7, 9, 11, -1}),
                            bytes_of(random_values(24, 4))};
    const Status status = run_text("mlu370-s4",
                                   std::string(R"(
    i: input i32 [6]
    u: input f32 [24]
    y: output f32 [12]
    compute: fill nram[1024] f32 (12:1) {scalar = 8}
    sync compute
    io: copy gdram y[0] f32 (12:1) <- nram[1024] f32 (12:1)
    io: copy nram[0] i32 (6:1) <- gdram i[0] i32 (6:1)
    io: copy nram[128] f32 (24:1) <- gdram u[0] f32 (24:1)
    io: scatter gdram y[0] f32 (3:4, 4:1) <- nram[128] f32 (2:12, 3:4, 4:1), nram[0] i32 (2:3, 3:1) {first = 8, accumulate = )") +
                                       (adds ? "1}\n" : "0}\n"),
                                   data);
    ASSERT_TRUE(status.ok()) << status.error().to_string();
    const auto u = values_of<float>(data[1]), y = values_of<float>(data[2]);
    for (size_t c = 0; c < 4; ++c) {
      EXPECT_EQ(y[c], 8);
      EXPECT_EQ(y[4 + c], adds ? 8 + u[c] + u[12 + c] : u[12 + c]);
      EXPECT_EQ(y[8 + c], adds ? 8 + u[4 + c] : u[4 + c]);
    }
  }
}

}  // namespace
}  // namespace tenon::simulate
