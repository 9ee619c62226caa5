// Mistakes planted in what the lowering made: none goes unseen.
#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "chip/simulated_graph.h"
#include "ir/interpret.h"
#include "ir/text.h"
#include "isa/text.h"
#include "tensor/compare.h"

namespace tenon {
namespace {

// Many images: every core does some tiles, one after the other, through the same places.
constexpr std::string_view kConv = R"(graph @main (%x: f32[80,6,6,24]) {
  %w = const random(seed=1) : f32[3,3,24,40]
  %b = const random(seed=2) : f32[40]
  %y = conv(%x, %w, %b) {pads=[1, 1, 1, 1], activation="relu"}
  return (%y)
}
)";

// Cores share the units out, and need each other's state in every step.
constexpr std::string_view kLstm = R"(graph @main (%x: f32[5,9,24]) {
  %w = const random(seed=1) : f32[1,24,800]
  %r = const random(seed=2) : f32[1,200,800]
  %y, %h, %c = lstm(%x, %w, %r)
  return (%y)
}
)";

using Instructions = std::vector<isa::Statement>;
using Edit = std::function<void(Instructions&)>;

void for_each_body(Instructions& body, const Edit& edit) {
  for (isa::Statement& s : body)
    if (auto* loop = std::get_if<isa::Loop>(&s)) for_each_body(loop->body, edit);
  edit(body);
}

// A chip, what convolutions are computed by, and flags that the order of other instructions makes
// needless for this one.
struct Way {
  std::string target, algorithm;
  std::set<std::string> needless;
};
const Way kWays[] = {
    {"ascend310", "img2col", {}},
    // The vector unit (3) has finished a tile before it begins the next but one, and
    // the filter is there before the first tile.
    {"ascend310", "winograd_f2", {"4 -> 3", "0 -> 1", "1 -> 0", "1 -> 4", "3 -> 2"}},
    {"mlu370-s4", "conv", {}},
    {"mlu370-s4", "winograd_f2", {}}};

class Planted {
 public:
  explicit Planted(const Way& way, std::string_view text = kConv)
      : graph_(parse_graph(text, "planted").value()),
        catalog_(MachineCatalog::load().value()),
        program_(lower_graph(*graph_, **catalog_.find(way.target),
                             {.real = DType::f16, .algorithm = way.algorithm})
                     .value()) {
    Tensor x = Tensor::zeros(DType::f32, graph_->inputs()[0]->shape().sizes()).value();
    for (int64_t i = 0; i < x.elements(); ++i)
      x.mutable_data<float>()[i] = static_cast<float>(i * 37 % 101) / 50 - 1;
    inputs_ = {x};
    expected_ = interpret(*graph_, inputs_).value();
  }

  const isa::Architecture& architecture() const { return program_.architecture; }
  const std::string& algorithm() const { return program_.steps[0].program->algorithm; }
  Instructions& body() { return program_.steps[0].program->body; }

  // What is wrong with the program after the edit; empty: nothing.
  std::string trouble(const Edit& edit) {
    DeviceProgram edited = program_;
    for (DeviceStep& step : edited.steps)
      if (step.program) for_each_body(step.program->body, edit);
    const auto loaded = SimulatedGraph::load(*graph_, edited);
    if (!loaded.ok()) return loaded.error().to_string();
    const auto y = (*loaded)->run(inputs_, {});
    if (!y.ok()) return y.error().to_string();
    const Difference d = compare((*y)[0], expected_[0]);
    return d.within(1e-2) ? "" : d.to_string();
  }

 private:
  std::unique_ptr<Graph> graph_;
  MachineCatalog catalog_;
  DeviceProgram program_;
  std::vector<Tensor> inputs_, expected_;
};

TEST(Planted, WithoutBarriersTheStepsOfARecurrentLayerRace) {
  for (const std::string target : {"ascend310p3", "mlu370-s4"}) {
    Planted planted({target, "", {}}, kLstm);
    ASSERT_EQ(planted.trouble([](Instructions&) {}), "");
    const std::string trouble = planted.trouble([](Instructions& body) {
      std::erase_if(body, [](const isa::Statement& s) {
        const auto* i = std::get_if<isa::Instruction>(&s);
        return i != nullptr && i->op == isa::Opcode::barrier;
      });
    });
    EXPECT_NE(trouble, "") << target;
  }
}

TEST(Planted, WithoutAnyPairOfFlagsThereIsARace) {
  for (const Way& way : kWays) {
    const std::string target = way.target + " " + way.algorithm;
    Planted planted(way);
    ASSERT_EQ(planted.algorithm(), way.algorithm);
    ASSERT_EQ(planted.trouble([](Instructions&) {}), "");
    // What identifies flags: their queues.
    const auto key = [](const isa::Instruction& i) {
      return i.numbers[0].to_string() + " -> " + i.numbers[1].to_string();
    };
    std::set<std::string> kinds;
    for_each_body(planted.body(), [&](Instructions& body) {
      for (const isa::Statement& s : body)
        if (const auto* i = std::get_if<isa::Instruction>(&s);
            i != nullptr && i->numbers.size() == 3)
          if (isa::info(i->op).kind == isa::OpcodeClass::order) kinds.insert(key(*i));
    });
    EXPECT_GE(kinds.size(), 2U) << target;
    for (const std::string& kind : kinds) {
      if (way.needless.contains(kind)) continue;
      EXPECT_NE(planted.trouble([&](Instructions& body) {
        std::erase_if(body, [&](const isa::Statement& s) {
          const auto* i = std::get_if<isa::Instruction>(&s);
          return i != nullptr && isa::info(i->op).kind == isa::OpcodeClass::order &&
                 i->numbers.size() == 3 && key(*i) == kind;
        });
      }),
                "")
          << target << " without flags " << kind;
    }
  }
}

TEST(Planted, AWrongStrideOrOffsetIsSeen) {
  for (const Way& way : kWays) {
    const std::string target = way.target + " " + way.algorithm;
    Planted planted(way);
    ASSERT_EQ(planted.algorithm(), way.algorithm);
    // Of each view of each copy and product, the outermost stride.
    int count = 0;
    for_each_body(planted.body(),
                  [&](Instructions& body) { count += static_cast<int>(body.size()); });
    for (int n = 0; n < count; ++n) {
      int at = 0;
      std::string changed;
      const std::string seen = planted.trouble([&](Instructions& body) {
        for (isa::Statement& s : body) {
          auto* i = std::get_if<isa::Instruction>(&s);
          if (at++ != n || i == nullptr || i->views.size() < 2) continue;
          for (isa::View& v : i->views) {
            if (v.memory != 0 || v.axes.size() < 2) continue;
            v.axes[v.axes.size() - 2].stride = v.axes[v.axes.size() - 2].stride + 1;
            changed = isa::info(i->op).name;
          }
        }
      });
      if (!changed.empty()) {
        EXPECT_NE(seen, "") << target << ": " << changed << " " << n;
      }
    }
  }
}

}  // namespace
}  // namespace tenon
