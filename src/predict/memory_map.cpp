#include "predict/memory_map.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/html.h"
#include "lower/lowering.h"

namespace tenon {
namespace {

std::vector<TensorLife> lives_of(const DeviceProgram& program,
                                 const std::vector<std::string>& layers) {
  const size_t last = program.steps.empty() ? 0 : program.steps.size() - 1;
  std::vector<TensorLife> lives;
  for (const DeviceTensor& t : program.tensors)
    lives.push_back({t.name, t.role, t.address, t.bytes(), last, 0});
  for (size_t s = 0; s < program.steps.size(); ++s)
    for (const int operand : program.steps[s].operands) {
      TensorLife& life = lives[static_cast<size_t>(operand)];
      life.first = std::min(life.first, s), life.last = std::max(life.last, s);
    }
  std::erase_if(lives, [](const TensorLife& life) { return life.first > life.last; });
  for (TensorLife& life : lives) {
    const bool is_made = life.role != DeviceTensor::Role::constant;
    if (life.name.empty()) life.name = (is_made ? "made by " : "of ") + layers[life.first];
    if (life.role != DeviceTensor::Role::activation) life.first = 0, life.last = last;
  }
  std::ranges::sort(lives, {}, [](const TensorLife& l) { return std::pair{l.address, l.first}; });
  return lives;
}

constexpr double kLeft = 80, kTop = 20, kWidth = 840, kHeight = 420;

// Boxes over time, by address; activations only, since constants lie below them for good.
std::string chart(const MemoryMap& map, const Prediction& p, int64_t base) {
  std::vector<double> begin{0};
  for (const LayerPrediction& l : p.layers) begin.push_back(begin.back() + l.seconds);
  const double all = std::max(begin.back(), 1e-12);
  const auto high = static_cast<double>(std::max<int64_t>(p.peak_bytes - base, 1));
  const auto x = [&](size_t step) { return kLeft + kWidth * begin[step] / all; };
  const auto y = [&](int64_t bytes) {
    return kTop + kHeight * (1 - static_cast<double>(bytes) / high);
  };
  std::string svg = fmt::format(
      R"(<svg viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img" aria-label="tensors over time and address">)"
      R"(<rect x="{2}" y="{3}" width="{4}" height="{5}" class="frame"/>)",
      kLeft + kWidth + 40, kTop + kHeight + 40, kLeft, kTop, kWidth, kHeight);
  const auto [unit, unit_bytes] = high < 1e6 ? std::pair{"kB", 1e3} : std::pair{"MB", 1e6};
  for (int i = 0; i <= 4; ++i) {
    svg += fmt::format(R"(<text x="{}" y="{:.1f}" class="right">{:.2f} {}</text>)", kLeft - 6,
                       kTop + kHeight * (1 - i / 4.0) + 4, high * i / 4 / unit_bytes, unit);
    svg += fmt::format(R"(<text x="{:.1f}" y="{}" class="middle">{:.3g} ms</text>)",
                       kLeft + kWidth * i / 4.0, kTop + kHeight + 18, all * 1e3 * i / 4);
  }
  size_t colour = 0;
  for (const TensorLife& t : map.tensors) {
    if (t.role != DeviceTensor::Role::activation) continue;
    const double left = x(t.first), right = x(t.last + 1);
    const double top = y(t.address - base + t.bytes), bottom = y(t.address - base);
    colour = (colour + 137) % 360;  // neighbours look different
    svg += fmt::format(
        R"svg(<rect x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}" fill="hsl({},55%,70%)" stroke="#fff" stroke-width=".3"><title>{}: {} bytes at {}, from {} to {}</title></rect>)svg",
        left, top, std::max(right - left, .3), std::max(bottom - top, .3), colour,
        escaped_html(t.name), t.bytes, t.address, escaped_html(map.layers[t.first]),
        escaped_html(map.layers[t.last]));
  }
  return svg + "</svg>";
}

std::string spills_table(const MemoryMap& map, const Prediction& p) {
  std::string html =
      "<table><tr><th>layer</th><th>algorithm</th><th>ms</th><th>tensors alive MB</th><th>moved "
      "MB</th><th>DDR MB</th><th>read again MB</th><th>between its kernels MB</th><th>fetched "
      "again MB</th></tr>";
  const auto mb = [](int64_t bytes) { return static_cast<double>(bytes) / 1e6; };
  for (size_t s = 0; s < p.layers.size(); ++s) {
    const LayerPrediction& l = p.layers[s];
    html += fmt::format(
        "<tr{}><td>{}</td><td>{}</td><td>{:.4f}</td><td>{:.3f}</td><td>{:.3f}</td><td>{:.3f}</td>"
        "<td>{:.3f}</td><td>{:.3f}</td><td>{:.3f}</td></tr>",
        s == map.fullest ? " class=\"fullest\"" : "", escaped_html(l.name),
        escaped_html(l.algorithm), l.seconds * 1e3, mb(map.live[s]), mb(l.moved), mb(l.bytes),
        mb(l.spills.reread), mb(l.spills.passed), mb(l.spills.refetched));
  }
  return html + "</table>";
}

}  // namespace

MemoryMap memory_map(const DeviceProgram& program) {
  MemoryMap map;
  for (const DeviceStep& step : program.steps)
    map.layers.push_back(step.program ? step.program->name : lower::layer_of(*step.node));
  map.tensors = lives_of(program, map.layers);
  map.live.resize(program.steps.size());
  for (const TensorLife& t : map.tensors)
    for (size_t s = t.first; s <= t.last && s < map.live.size(); ++s) map.live[s] += t.bytes;
  if (!map.live.empty())
    map.fullest = static_cast<size_t>(std::ranges::max_element(map.live) - map.live.begin());
  for (const DeviceStep& step : program.steps) {
    map.cores.emplace_back();
    std::vector<std::string>& names = map.buffers.emplace_back();
    if (!step.program) continue;
    map.cores.back() = isa::residents(*step.program);
    for (const isa::Buffer& b : step.program->buffers) names.push_back(b.name);
  }
  return map;
}

std::string contents_of(const isa::Resident& resident, const std::vector<std::string>& buffers) {
  std::string text;
  for (const int b : resident.buffers)
    text += (text.empty() ? "" : ", ") + buffers[static_cast<size_t>(b)];
  if (!text.empty()) return text;
  for (const isa::Opcode op : resident.written_by)
    text += fmt::format("{}{}", text.empty() ? "what is made by " : ", ", isa::info(op).name);
  return text;
}

std::string memory_page(const std::string& model, const MemoryMap& map, const Prediction& p) {
  int64_t base = p.peak_bytes, fixed = 0;
  for (const TensorLife& t : map.tensors) {
    if (t.role == DeviceTensor::Role::activation)
      base = std::min(base, t.address);
    else
      fixed += t.bytes;
  }
  std::string html = fmt::format(
      "<p>Batch {}, {}. Simulated: nothing here ran on a chip.</p>"
      "<p>{:.3f} MB of the chip's memory: {:.3f} MB of weights, inputs and results for good, the "
      "rest activations, most of them at '{}'. DDR moves {:.3f} MB, the cores {:.3f} MB. Of that "
      "are spills: {:.3f} MB read again for lack of room on a core, {:.3f} MB between kernels of "
      "one layer, {:.3f} MB fetched again from DDR since the cache did not hold it.</p>",
      p.batch, escaped_html(p.precision), static_cast<double>(p.peak_bytes) / 1e6,
      static_cast<double>(fixed) / 1e6,
      map.layers.empty() ? "" : escaped_html(map.layers[map.fullest]),
      static_cast<double>(p.bytes) / 1e6, static_cast<double>(p.moved) / 1e6,
      static_cast<double>(p.spills.reread) / 1e6, static_cast<double>(p.spills.passed) / 1e6,
      static_cast<double>(p.spills.refetched) / 1e6);
  html += "<h2>Activations by time and address</h2>" + chart(map, p, base);
  html += "<h2>Layers</h2>" + spills_table(map, p);
  return html_page(model + " on " + p.target,
                   "td:first-child,th:first-child{text-align:left;overflow-wrap:anywhere}"
                   ".frame{fill:#fafafa;stroke:#ccc}.fullest{background:#fff3d6}",
                   html);
}

}  // namespace tenon
