#include "predict/sweep.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/html.h"

namespace tenon {
namespace {

double bytes_per_sample(const Prediction& p) {
  return static_cast<double>(p.bytes) / static_cast<double>(p.batch);
}

// The share of the time that goes to what the chip does once a kernel or copy, whatever its size.
double fixed_share(const Prediction& p) {
  double fixed = 0;
  for (const auto& [cause, seconds] : p.spent)
    if (cause == "launch" || cause == "run_start" || cause == "copy_start" || cause == "latency" ||
        cause == "host_start")
      fixed += seconds;
  return p.seconds > 0 ? fixed / p.seconds : 0;
}

// Why a larger batch gives less, or hardly more, than the one before it.
std::string reason_of(const Prediction& before, const Prediction& p) {
  if (p.cache_bytes > 0 && p.beyond_cache > before.beyond_cache)
    return fmt::format(
        "the working set leaves L2 ({:.0f} MiB): {} of {} kernels work on more than it holds, at "
        "batch {} {}; memory moves {:.2f} MB a sample, not {:.2f}",
        static_cast<double>(p.cache_bytes) / 1048576, p.beyond_cache, p.layers.size(), before.batch,
        before.beyond_cache, bytes_per_sample(p) / 1e6, bytes_per_sample(before) / 1e6);
  return fmt::format("most of the time is bound by '{}' at either size", p.bound_by);
}

// Round numbers to label an axis with.
double nice_step(double range, int most) {
  const double rough = range / most, base = std::pow(10, std::floor(std::log10(rough)));
  for (const double f : {1.0, 2.0, 5.0, 10.0})
    if (f * base >= rough) return f * base;
  return rough;
}

constexpr std::string_view kColours[] = {"#1b6ca8", "#c2410c", "#15803d",
                                         "#7e22ce", "#a16207", "#be123c"};

// Throughput over batch, the batch by its logarithm.
std::string chart(const std::vector<std::vector<Prediction>>& sweeps) {
  constexpr double kLeft = 70, kTop = 10, kWidth = 620, kHeight = 300;
  double most = 0, first = 1e18, last = 1;
  for (const auto& sweep : sweeps)
    for (const Prediction& p : sweep) {
      most = std::max(most, p.throughput());
      first = std::min(first, static_cast<double>(p.batch));
      last = std::max(last, static_cast<double>(p.batch));
    }
  const double octaves = std::max(std::log2(last / first), 1.0);
  const auto x = [&](double batch) { return kLeft + kWidth * std::log2(batch / first) / octaves; };
  const auto y = [&](double rate) { return kTop + kHeight * (1 - rate / (1.08 * most)); };
  std::string svg = fmt::format(
      R"(<svg viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img" aria-label="throughput over batch">)",
      kLeft + kWidth + 20, kTop + kHeight + 45);
  const double step = nice_step(most, 6);
  for (double rate = 0; rate <= 1.08 * most; rate += step)
    svg += fmt::format(
        R"(<line x1="{0}" x2="{1}" y1="{2:.1f}" y2="{2:.1f}" class="grid"/><text x="{3}" y="{4:.1f}" class="right">{5:g}</text>)",
        kLeft, kLeft + kWidth, y(rate), kLeft - 8, y(rate) + 4, rate);
  std::vector<int64_t> batches;
  for (const auto& sweep : sweeps)
    for (const Prediction& p : sweep) batches.push_back(p.batch);
  std::ranges::sort(batches);
  batches.erase(std::unique(batches.begin(), batches.end()), batches.end());
  for (const int64_t batch : batches)
    svg += fmt::format(R"(<text x="{:.1f}" y="{}" class="middle">{}</text>)",
                       x(static_cast<double>(batch)), kTop + kHeight + 18, batch);
  svg += fmt::format(
      R"(<text x="{}" y="{}" class="middle">batch</text><text x="{}" y="{}">samples a second</text>)",
      kLeft + kWidth / 2, kTop + kHeight + 38, kLeft + 6, kTop + 10);
  for (size_t i = 0; i < sweeps.size(); ++i) {
    const std::string_view colour = kColours[i % std::size(kColours)];
    std::string line;
    for (const Prediction& p : sweeps[i])
      line += fmt::format("{:.1f},{:.1f} ", x(static_cast<double>(p.batch)), y(p.throughput()));
    svg += fmt::format(R"(<polyline points="{}" fill="none" stroke="{}" stroke-width="2"/>)", line,
                       colour);
    for (const Prediction& p : sweeps[i])
      svg += fmt::format(
          R"(<circle cx="{:.1f}" cy="{:.1f}" r="4" fill="{}"><title>{}: batch {}, {:.1f} a second</title></circle>)",
          x(static_cast<double>(p.batch)), y(p.throughput()), colour, escaped_html(p.target),
          p.batch, p.throughput());
  }
  return svg + "</svg>";
}

std::string table(std::span<const Prediction> sweep) {
  std::string html =
      "<table><tr><th>batch</th><th>latency ms</th><th>expected ms</th><th>a second</th>"
      "<th>MB a sample</th><th>bound by</th>";
  for (const std::string& queue : sweep[0].queues) html += fmt::format("<th>{}</th>", queue);
  html += "</tr>";
  for (const Prediction& p : sweep) {
    html += fmt::format(
        "<tr><td>{}</td><td>{:.3f}</td><td>{:.3f} to {:.3f}</td><td>{:.1f}</td><td>{:.2f}</td>"
        "<td>{}</td>",
        p.batch, p.seconds * 1e3, p.low * 1e3, p.high * 1e3, p.throughput(),
        bytes_per_sample(p) / 1e6, escaped_html(p.bound_by));
    for (const double u : p.utilisation) html += fmt::format("<td>{:.0f} %</td>", 100 * u);
    html += "</tr>";
  }
  return html + "</table>";
}

}  // namespace

std::vector<std::vector<Prediction>> sweeps_of(std::span<const Prediction> predictions) {
  std::vector<std::vector<Prediction>> sweeps;
  for (const Prediction& p : predictions) {
    const auto found = std::ranges::find_if(sweeps, [&](const auto& sweep) {
      return sweep[0].target == p.target && sweep[0].precision == p.precision;
    });
    (found == sweeps.end() ? sweeps.emplace_back() : *found).push_back(p);
  }
  for (auto& sweep : sweeps) std::ranges::stable_sort(sweep, {}, &Prediction::batch);
  return sweeps;
}

std::vector<std::string> explain_sweep(std::span<const Prediction> sweep) {
  std::vector<std::string> said;
  if (sweep.size() < 2) return said;
  const auto best = std::ranges::max_element(sweep, {}, &Prediction::throughput);
  said.push_back(fmt::format("{}: the most a second, {:.1f}, is at batch {}", sweep[0].target,
                             best->throughput(), best->batch));
  for (size_t i = 1; i < sweep.size(); ++i) {
    const Prediction &before = sweep[i - 1], &p = sweep[i];
    const double gain = p.throughput() / before.throughput();
    if (gain > 1.15)
      said.push_back(fmt::format(
          "batch {} gives {:.2f} times as much as batch {}: starts and latencies take {:.0f} % of "
          "the time, not {:.0f} %",
          p.batch, gain, before.batch, 100 * fixed_share(p), 100 * fixed_share(before)));
    else if (gain < 0.99)
      said.push_back(fmt::format("at batch {} throughput falls to {:.2f} of batch {}: {}", p.batch,
                                 gain, before.batch, reason_of(before, p)));
    else
      said.push_back(fmt::format("batch {} gives {:.2f} times as much as batch {}: {}", p.batch,
                                 gain, before.batch, reason_of(before, p)));
  }
  return said;
}

std::string sweep_page(const std::string& model, std::span<const Prediction> predictions) {
  const auto sweeps = sweeps_of(predictions);
  std::string html =
      "<p>Simulated: nothing here ran on a chip. <em>Expected</em> is where eight published "
      "measurements of ten were beside predictions of networks the machine's numbers were not "
      "fitted to.</p>";
  html += chart(sweeps);
  for (size_t i = 0; i < sweeps.size(); ++i) {
    html += fmt::format("<h2 style=\"color:{}\">{}, {}</h2>", kColours[i % std::size(kColours)],
                        escaped_html(sweeps[i][0].target), sweeps[i][0].precision);
    html += table(sweeps[i]) + "<ul>";
    for (const std::string& s : explain_sweep(sweeps[i]))
      html += fmt::format("<li>{}</li>", escaped_html(s));
    html += "</ul>";
  }
  return html_page(model + ": predictions", ".grid{stroke:#e3e3e3}", html);
}

}  // namespace tenon
