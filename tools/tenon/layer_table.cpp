#include "layer_table.h"

#include <fmt/format.h>

#include <map>

namespace tenon::tool {

void print_layers(const LayerReport& report, size_t most) {
  size_t shown = 0;
  for (const LayerAccuracy& l : report.layers)
    if (l.integer && l.share >= 0 && ++shown <= most)
      fmt::print("  {:5.1f} % of the loss by {} ({}): SQNR {:.1f} dB, cosine {:.5f}\n",
                 100 * l.share, l.node, l.op, l.result.sqnr_db, l.result.cosine);
  for (const TechniqueGain& g : report.gains)
    fmt::print("  {}{}: relative L2 {:.4g}, without it {:.4g}\n", g.name,
               g.used ? "" : " (not used)", g.with, g.without);
}

void print_layer_table(const LayerReport& report) {
  std::map<std::string, const quant::TensorChoice*> tensors;
  for (const quant::TensorChoice& t : report.choices.tensors) tensors[t.name] = &t;
  fmt::print("{:>7} {:>9} {:>8} {:>9} {:>9} {:>8} {:<34} {}\n", "share", "cosine", "SQNR dB",
             "rel. L2", "max abs", "clipped", "range", "layer");
  for (const LayerAccuracy& l : report.layers) {
    const auto t = tensors.find(l.name);
    const bool has_range = t != tensors.end();
    fmt::print("{:>7} {:>9.6f} {:>8.1f} {:>9.2g} {:>9.3g} {:>8} {:<34} {} ({})\n",
               l.share < 0 ? "" : fmt::format("{:.1f} %", 100 * l.share), l.result.cosine,
               l.result.sqnr_db, l.result.relative_l2, l.result.max_abs,
               has_range ? fmt::format("{:.2f} %", 100 * t->second->saturation) : "",
               has_range
                   ? fmt::format("{:.4g} … {:.4g} ({})", t->second->range.low,
                                 t->second->range.high, quant::method_name(t->second->range.method))
                   : "",
               l.node, l.op);
  }
  const Accuracy& o = report.outputs;
  fmt::print(
      "outputs on {} samples: cosine {:.6f}, SQNR {:.1f} dB, relative L2 {:.2g}, max abs "
      "{:.3g}, same top-1 {:.1f} %\n",
      report.samples, o.cosine, o.sqnr_db, o.relative_l2, o.max_abs, 100 * o.same_top1);
}

}  // namespace tenon::tool
