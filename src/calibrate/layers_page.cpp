// The report of a quantisation as a page.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/html.h"
#include "calibrate/layer_report.h"

namespace tenon {
namespace {

constexpr std::string_view kStyles =
    "table{width:100%}td:first-child,th:first-child{text-align:left;overflow-wrap:anywhere}"
    ".fp32{color:#888}svg{background:#f6f6f6}"
    ".bar{display:inline-block;height:.8em;background:#c44;vertical-align:middle}";

// Counts on a logarithmic scale, the range chosen in darker colour.
std::string histogram(const quant::TensorStatistics& s, const quant::TensorChoice& choice) {
  constexpr int kColumns = 160, kHeight = 48;
  const quant::Histogram& h = s.histogram;
  if (h.empty()) return {};
  const double low = static_cast<double>(h.first()) * h.width();
  const double width = static_cast<double>(h.counts().size()) * h.width();
  std::vector<double> columns(kColumns);
  for (size_t i = 0; i < h.counts().size(); ++i) {
    const double at = (h.centre(i) - low) / width * kColumns;
    columns[std::min<size_t>(kColumns - 1, static_cast<size_t>(std::max(at, 0.0)))] +=
        static_cast<double>(h.counts()[i]);
  }
  const double most = std::log1p(*std::ranges::max_element(columns));
  std::string svg = fmt::format("<svg width=\"{}\" height=\"{}\">", 2 * kColumns, kHeight);
  for (int i = 0; i < kColumns; ++i) {
    if (columns[static_cast<size_t>(i)] == 0) continue;
    const double x = low + (i + 0.5) / kColumns * width;
    const double height =
        most > 0 ? std::log1p(columns[static_cast<size_t>(i)]) / most * kHeight : 0;
    svg += fmt::format("<rect x=\"{}\" y=\"{:.1f}\" width=\"2\" height=\"{:.1f}\" fill=\"{}\"/>",
                       2 * i, kHeight - height, height,
                       x >= choice.range.low && x <= choice.range.high ? "#357" : "#c44");
  }
  return svg + "</svg>";
}

std::string layers_table(const LayerReport& report) {
  std::string html =
      "<h3>Layers</h3><p>Share: of what is lost at the outputs where each layer alone is of "
      "integers, its weights as they came. The other numbers compare the layer's result in the "
      "whole model with "
      "fp32.</p><table><tr><th>layer</th><th>op</th><th>share</th><th></th><th>cosine</th><th>SQNR"
      "</th><th>relative L2</th><th>max abs</th></tr>";
  for (const LayerAccuracy& l : report.layers) {
    if (!l.integer) {
      html += fmt::format(
          "<tr class=\"fp32\"><td>{}</td><td>{}</td><td colspan=\"6\">fp32: {}</td></tr>",
          escaped_html(l.node), escaped_html(l.op), escaped_html(l.reason));
      continue;
    }
    const double share = std::max(l.share, 0.0);
    html += fmt::format(
        "<tr><td>{}</td><td>{}</td><td>{}</td><td><span class=\"bar\" "
        "style=\"width:{:.1f}em\"></span>"
        "</td><td>{:.5f}</td><td>{:.1f} dB</td><td>{:.2g}</td><td>{:.3g}</td></tr>",
        escaped_html(l.node), escaped_html(l.op),
        l.share < 0 ? "" : fmt::format("{:.1f} %", 100 * share), 10 * share, l.result.cosine,
        l.result.sqnr_db, l.result.relative_l2, l.result.max_abs);
  }
  return html + "</table>";
}

std::string tensors_table(const LayerReport& report, const quant::FunctionStatistics& statistics) {
  std::string html =
      "<h3>Tensors</h3><p>Counts on a logarithmic scale; what lies outside of the range is "
      "red.</p><table><tr><th>tensor</th><th>range</th><th>by</th><th>clipped</th><th>SQNR</th>"
      "<th></th></tr>";
  for (const quant::TensorChoice& t : report.choices.tensors) {
    const auto it = statistics.tensors.find(t.name);
    html += fmt::format(
        "<tr><td>{}</td><td>{:.4g} … {:.4g}</td><td>{}{}</td><td>{:.3f} %</td><td>{:.1f} dB</td>"
        "<td>{}</td></tr>",
        escaped_html(t.name), t.range.low, t.range.high, quant::method_name(t.range.method),
        t.bits == 16 ? ", two bytes" : "", 100 * t.saturation, t.sqnr_db,
        it == statistics.tensors.end() ? "" : histogram(it->second, t));
  }
  return html + "</table>";
}

}  // namespace

std::string layers_page(const std::vector<LayerReport>& reports,
                        const quant::Statistics& statistics, const std::string& title) {
  std::string html;
  for (const LayerReport& r : reports) {
    html += fmt::format(
        "<h2>{}</h2><p>On {} samples the outputs have a cosine of {:.6f} with those in fp32, an "
        "SQNR "
        "of {:.1f} dB, a largest difference of {:.3g}, and the same largest element in {:.2f} % of "
        "rows.</p>",
        escaped_html(r.key), r.samples, r.outputs.cosine, r.outputs.sqnr_db, r.outputs.max_abs,
        100 * r.outputs.same_top1);
    for (const TechniqueGain& g : r.gains)
      html += fmt::format("<p>{}{}: relative L2 {:.4g}, without it {:.4g}.</p>",
                          escaped_html(g.name), g.used ? "" : " (not used)", g.with, g.without);
    html += layers_table(r);
    if (const auto it = statistics.find(r.key); it != statistics.end())
      html += tensors_table(r, it->second);
  }
  return html_page(title, kStyles, html);
}

}  // namespace tenon
