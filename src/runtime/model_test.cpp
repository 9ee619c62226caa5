// Models built by hand, through the file's bytes, run by the executor.
#include "runtime/model.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <thread>

#include "format/model_file.h"
#include "ops/registry.h"
#include "runtime/state.h"

namespace {
thread_local int64_t allocations = 0;
}
// Counted, so that a test can show what does not allocate; a sanitizer brings its own.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
[[gnu::noinline]] void* operator new(size_t size) {
  ++allocations;
  if (void* p = std::malloc(size == 0 ? 1 : size)) return p;
  std::abort();
}
[[gnu::noinline]] void operator delete(void* p) noexcept {
  std::free(p);
}
[[gnu::noinline]] void operator delete(void* p, size_t) noexcept {
  std::free(p);
}
#endif

namespace tenon::runtime {
namespace {

struct Maker {
  FileGraph graph;

  int value(TensorType type, std::string name = {}) {
    graph.values.push_back({std::move(type), std::move(name)});
    return static_cast<int>(graph.values.size()) - 1;
  }
  int input(TensorType type) {
    graph.inputs.push_back(value(std::move(type)));
    return graph.inputs.back();
  }
  int constant(Tensor t) {
    const int v = value(t.type());
    graph.constants.push_back({v, std::move(t)});
    return v;
  }
  int step(std::string_view op, std::vector<int> inputs, TensorType type) {
    FileStep s;
    s.op = create_op(op);
    EXPECT_NE(s.op, nullptr) << op;
    s.inputs = std::move(inputs);
    s.outputs = {value(std::move(type))};
    s.origins = {std::string(op) + "_node"};
    graph.steps.push_back(std::move(s));
    return graph.steps.back().outputs[0];
  }
};

Result<Model> load(FileGraph graph, std::vector<std::string> in, std::vector<std::string> out,
                   std::vector<FileState> state = {}, int threads = 1) {
  FileModel file;
  FileFunction f{"serving_default", std::move(graph), std::move(in), std::move(out),
                 std::move(state)};
  file.functions.push_back(std::move(f));
  auto bytes = TRY(encode_model(file));
  auto owner = std::make_shared<std::vector<std::byte>>(std::move(bytes));
  return Model::load(Blob{{owner->data(), owner->size()}, owner}, {.threads = threads});
}

Tensor matrix(std::vector<int64_t> dims, std::vector<float> values) {
  return Tensor::vector(values).reshaped(std::move(dims));
}

// y = relu(x w), z = reshape(y, [-1])
Result<Model> small_model() {
  const TensorType rows{DType::f32, Shape{Dim::symbol("n"), 2}};
  Maker m;
  const int x = m.input(rows);
  const int w = m.constant(matrix({2, 2}, {1, 2, 3, -4}));
  const int shape = m.constant(Tensor::vector<int64_t>({-1}));
  const int product = m.step("matmul", {x, w}, rows);
  const int y = m.step("relu", {product}, rows);
  const int z = m.step("reshape", {y, shape}, {DType::f32, Shape{Dim::unknown()}});
  m.graph.outputs = {y, z};
  return load(std::move(m.graph), {"x"}, {"y", "z"});
}

TEST(Model, RunsAnyBatch) {
  const Model model = small_model().value();
  const Function f = model.function().value();
  for (int repeat = 0; repeat < 2; ++repeat) {
    auto out = f.run({{"x", matrix({1, 2}, {1, 1})}});
    ASSERT_TRUE(out.ok()) << out.error().to_string();
    EXPECT_TRUE(bitwise_equal(out->at("y"), matrix({1, 2}, {4, 0})));
    EXPECT_TRUE(bitwise_equal(out->at("z"), matrix({2}, {4, 0})));
    EXPECT_NE(out->at("y").raw(), out->at("z").raw());
    out = f.run({{"x", matrix({2, 2}, {1, 0, 0, 1})}});
    ASSERT_TRUE(out.ok()) << out.error().to_string();
    EXPECT_TRUE(bitwise_equal(out->at("z"), matrix({4}, {1, 2, 3, 0})));
  }
}

TEST(Model, WritesIntoTheCallersBuffer) {
  const Function f = small_model().value().function().value();
  std::map<std::string, Tensor> buffers{
      {"y", Tensor::zeros(DType::f32, std::vector<int64_t>{1, 2}).value()}};
  const auto out = f.run({{"x", matrix({1, 2}, {1, 1})}}, {.outputs = &buffers});
  ASSERT_TRUE(out.ok()) << out.error().to_string();
  EXPECT_EQ(out->at("y").raw(), buffers["y"].raw());
  EXPECT_EQ(buffers["y"].real_at(0), 4);
  buffers["y"] = Tensor::zeros(DType::f32, std::vector<int64_t>{3, 2}).value();
  EXPECT_FALSE(f.run({{"x", matrix({1, 2}, {1, 1})}}, {.outputs = &buffers}).ok());
}

// y = total * 2 and total = total + x, from [1, 2].
Result<Model> summing_model(size_t written = 1) {
  const TensorType pair{DType::f32, Shape{2}};
  Maker m;
  const int x = m.input(pair), total = m.input(pair);
  const int y = m.step("add", {total, total}, pair);
  const int next = m.step("add", {total, x}, pair);
  m.graph.outputs = {y, next};
  std::vector<FileState> state{{"total", matrix({2}, {1, 2}), true}};
  state.resize(written);
  return load(std::move(m.graph), {"x"}, {"y"}, std::move(state));
}

TEST(State, RunsFollowOneAnotherWithoutAllocating) {
  const Function f = summing_model().value().function().value();
  ASSERT_EQ(f.inputs().size(), 1u);
  ASSERT_EQ(f.outputs().size(), 1u);
  const Tensor x = matrix({2}, {1, 1});
  std::vector<Tensor> outputs = {Tensor::zeros(DType::f32, std::vector<int64_t>{2}).value()};
  for (int run = 0; run < 6; ++run) {
    const int64_t before = allocations;
    const Status status = f.run_into(std::span(&x, 1), outputs);
    const int64_t after = allocations;
    ASSERT_TRUE(status.ok()) << status.error().to_string();
    // The second run still makes the second of the two places that values take turns in.
    if (run > 1) {
      EXPECT_EQ(after, before);
    }
    EXPECT_EQ(outputs[0].real_at(0), 2 * (1 + run));
    EXPECT_EQ(outputs[0].real_at(1), 2 * (2 + run));
  }
  EXPECT_EQ(x.owner().use_count(), 1) << "a run must not keep the caller's memory";
  EXPECT_EQ(f.state()->get(0).value().real_at(0), 7);
  f.state()->reset();
  EXPECT_EQ(f.state()->get(0).value().real_at(0), 1);
}

TEST(State, IsSharedWhereTheCallerSaysSo) {
  const Model model = summing_model().value();
  const Function a = model.function().value(), b = model.function().value();
  const Function c = model.function({}, a.state()).value();
  ASSERT_TRUE(a.run({{"x", matrix({2}, {5, 5})}}).ok());
  EXPECT_EQ(b.state()->get(0).value().real_at(0), 1);
  EXPECT_EQ(c.state()->get(0).value().real_at(0), 6);
  EXPECT_TRUE(c.state()->set(0, matrix({2}, {0, 0})).ok());
  EXPECT_FALSE(c.state()->set(0, matrix({3}, {0, 0, 0})).ok());
  EXPECT_FALSE(c.state()->set(1, matrix({2}, {0, 0})).ok());
  EXPECT_EQ(a.run({{"x", matrix({2}, {5, 5})}})->at("y").real_at(0), 0);
}

TEST(State, ADamagedFileIsRefused) {
  EXPECT_FALSE(summing_model(0).ok());
}

TEST(Model, AllocatesNothingInTheSteadyState) {
  const Function f = small_model().value().function().value();
  const Tensor x = matrix({1, 2}, {1, 1});
  std::vector<Tensor> outputs = {Tensor::zeros(DType::f32, std::vector<int64_t>{1, 2}).value(),
                                 Tensor::zeros(DType::f32, std::vector<int64_t>{2}).value()};
  for (int run = 0; run < 5; ++run) {
    const int64_t before = allocations;
    const Status status = f.run_into(std::span(&x, 1), outputs);
    const int64_t after = allocations;
    ASSERT_TRUE(status.ok()) << status.error().to_string();
    if (run > 0) {
      EXPECT_EQ(after, before);
    }
    EXPECT_EQ(outputs[0].real_at(0), 4);
    EXPECT_EQ(outputs[1].real_at(0), 4);
  }
  EXPECT_EQ(x.owner().use_count(), 1) << "a run must not keep the caller's memory";
}

TEST(Model, SaysWhatIsWrongWithInputs) {
  const Function f = small_model().value().function().value();
  const auto message = [&](std::map<std::string, Tensor> inputs) {
    const auto out = f.run(inputs);
    return out.ok() ? std::string("fine") : out.error().message;
  };
  EXPECT_NE(message({}).find("'x'"), std::string::npos);
  EXPECT_NE(message({{"x", matrix({3}, {1, 2, 3})}}).find("[3]"), std::string::npos);
  EXPECT_NE(message({{"x", Tensor::scalar<int64_t>(1)}}).find("int64"), std::string::npos);
  EXPECT_NE(message({{"x", matrix({1, 2}, {1, 1})}, {"q", matrix({1}, {1})}}).find("'q'"),
            std::string::npos);
  EXPECT_FALSE(small_model().value().function("nope").ok());
}

// One model, one pool of three threads, six callers with batches of their own.
TEST(Model, ManyRunAtOnce) {
  constexpr int64_t kWidth = 96;
  const TensorType rows{DType::f32, Shape{Dim::symbol("n"), kWidth}};
  Maker m;
  const int x = m.input(rows);
  const int w = m.constant(matrix({kWidth, kWidth}, std::vector<float>(kWidth * kWidth, 1)));
  m.graph.outputs = {m.step("softmax", {m.step("matmul", {x, w}, rows)}, rows),
                     m.step("matmul", {x, w}, rows)};
  const Model model = load(std::move(m.graph), {"x"}, {"p", "y"}, {}, 3).value();
  const Function f = model.function().value();
  std::vector<std::thread> callers;
  callers.reserve(6);
  std::atomic<int> wrong = 0;
  for (int t = 0; t < 6; ++t)
    callers.emplace_back([&, t] {
      for (int i = 0; i < 30; ++i) {
        const int64_t n = 1 + (t + i) % 4 * 20;
        const auto v = static_cast<float>(t + 1);
        const auto count = static_cast<size_t>(n * kWidth);
        const auto out = f.run({{"x", matrix({n, kWidth}, std::vector<float>(count, v))}});
        if (!out.ok() || out->at("y").elements() != n * kWidth ||
            out->at("y").real_at(n * kWidth - 1) != static_cast<double>(kWidth) * v)
          ++wrong;
      }
    });
  for (std::thread& t : callers) t.join();
  EXPECT_EQ(wrong, 0);
}

TEST(Model, LoopsAndTheirState) {
  // while (i < 5) { i = i + 1; x = x + x }
  const TensorType counter{DType::i64, Shape{}}, number{DType::f32, Shape{1}};
  Maker condition;
  const int ci = condition.input(counter);
  condition.input(number);
  const int five = condition.constant(Tensor::scalar<int64_t>(5));
  condition.graph.outputs = {condition.step("less", {ci, five}, {DType::boolean, Shape{}})};
  Maker body;
  const int bi = body.input(counter), bx = body.input(number);
  const int one = body.constant(Tensor::scalar<int64_t>(1));
  const int next = body.step("add", {bi, one}, counter);
  body.graph.outputs = {next, body.step("add", {bx, bx}, number)};
  Maker m;
  const int x = m.input(number);
  const int zero = m.constant(Tensor::scalar<int64_t>(0));
  FileStep loop;
  loop.op = create_op("while");
  ASSERT_NE(loop.op, nullptr);
  loop.inputs = {zero, x};
  loop.outputs = {m.value(counter), m.value(number)};
  loop.regions.push_back(std::move(condition.graph));
  loop.regions.push_back(std::move(body.graph));
  m.graph.outputs = loop.outputs;
  m.graph.steps.push_back(std::move(loop));
  auto model = load(std::move(m.graph), {"x"}, {"i", "y"});
  ASSERT_TRUE(model.ok()) << model.error().to_string();
  const auto out = model->function().value().run({{"x", matrix({1}, {3})}});
  ASSERT_TRUE(out.ok()) << out.error().to_string();
  EXPECT_EQ(out->at("i").int_at(0), 5);
  EXPECT_EQ(out->at("y").real_at(0), 96);
}

TEST(ModelFile, DamageIsAnErrorNeverACrash) {
  FileModel file;
  Maker m;
  const int x = m.input({DType::f32, Shape{2}});
  const int c = m.constant(matrix({2}, {1, 2}));
  m.graph.outputs = {m.step("add", {x, c}, {DType::f32, Shape{2}})};
  file.functions.push_back({"f", std::move(m.graph), {"x"}, {"y"}});
  const auto bytes = encode_model(file).value();
  const auto read = [](const std::vector<std::byte>& damaged) {
    auto owner = allocate_aligned(damaged.size() + 1);
    std::copy(damaged.begin(), damaged.end(), owner.get());
    return read_model(Blob{{owner.get(), damaged.size()}, owner}).ok();
  };
  EXPECT_TRUE(read(bytes));
  for (size_t n = 0; n < bytes.size(); n += 7)
    read(std::vector<std::byte>(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(n)));
  for (size_t i = 0; i < bytes.size() * 8; i += 5) {
    auto damaged = bytes;
    damaged[i / 8] ^= std::byte{static_cast<uint8_t>(1u << (i % 8))};
    read(damaged);
  }
}

}  // namespace
}  // namespace tenon::runtime
