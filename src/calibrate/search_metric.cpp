#include "calibrate/search_metric.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace tenon {
namespace {

int64_t columns_of(const Tensor& t) {
  return t.rank() == 0 ? 1 : t.dim(t.rank() - 1);
}

bool is_comparable(const Tensor& a, const Tensor& b) {
  return is_float(b.dtype()) && !b.is_list() && a.dims() == b.dims() && b.elements() > 0;
}

// Whether output k is one probability per row.
bool is_probability(const Outputs& outputs, size_t k) {
  return std::ranges::all_of(outputs, [&](const std::vector<Tensor>& sample) {
    for (int64_t i = 0; i < sample[k].elements(); ++i)
      if (!(sample[k].real_at(i) >= 0 && sample[k].real_at(i) <= 1)) return false;
    return true;
  });
}

double logit(double p) {
  constexpr double kLeast = 1e-7;
  p = std::clamp(p, kLeast, 1 - kLeast);
  return std::log(p / (1 - p));
}

// By how much element `first` of a row is more than all others.
double lead(const Tensor& t, int64_t row, int64_t columns, int64_t first) {
  double second = -INFINITY;
  for (int64_t c = 0; c < columns; ++c)
    if (c != first) second = std::max(second, t.real_at(row * columns + c));
  return t.real_at(row * columns + first) - second;
}

class Leads {
 public:
  void add_rows(const Tensor& actual, const Tensor& expected, int64_t columns) {
    for (int64_t row = 0; row < expected.elements() / columns; ++row) {
      int64_t first = 0;
      for (int64_t c = 1; c < columns; ++c)
        if (expected.real_at(row * columns + c) > expected.real_at(row * columns + first))
          first = c;
      add(lead(actual, row, columns, first), lead(expected, row, columns, first));
    }
  }
  void add_probabilities(const Tensor& actual, const Tensor& expected) {
    for (int64_t i = 0; i < expected.elements(); ++i) {
      const double wanted = logit(expected.real_at(i)), sign = wanted < 0 ? -1 : 1;
      add(sign * logit(actual.real_at(i)), sign * wanted);
    }
  }
  bool empty() const { return leads_.empty(); }

  Top1Drop drop() const { return {std::ssize(leads_), lost_, expected()}; }

 private:
  // The density of leads is a sum of normal ones around those seen, as wide as Silverman's rule has
  // it, mirrored at none: as many rows lead by less than others lose.
  double expected() const {
    constexpr size_t kMost = 1000;  // rows, evenly from all
    const size_t step = (leads_.size() + kMost - 1) / kMost;
    std::vector<double> leads, losses;
    for (size_t i = 0; i < leads_.size(); i += step) {
      leads.push_back(leads_[i]);
      losses.push_back(std::max(0.0, -changes_[i]));
    }
    const auto rows = static_cast<double>(leads.size());
    const double width = bandwidth(leads);
    if (width == 0) return 0;
    const auto below = [](double z) { return 0.5 * std::erfc(-z / std::numbers::sqrt2); };
    double sum = 0;
    for (const double loss : losses)
      for (const double lead : loss > 0 ? leads : std::vector<double>())
        sum += below((loss - lead) / width) - below(-(loss + lead) / width);
    return sum / rows / rows;
  }

  static double bandwidth(std::vector<double> x) {
    std::ranges::sort(x);
    const auto n = static_cast<double>(x.size());
    double sum = 0, squares = 0;
    for (const double v : x) sum += v;
    for (const double v : x) squares += (v - sum / n) * (v - sum / n);
    constexpr double kQuartilesOfNormal = 1.34;
    const double middle = (x[x.size() * 3 / 4] - x[x.size() / 4]) / kQuartilesOfNormal;
    const double deviation = std::sqrt(squares / n);
    return 0.9 * (middle > 0 ? std::min(deviation, middle) : deviation) * std::pow(n, -0.2);
  }

  void add(double actual, double expected) {
    // What is no number, or infinitely far ahead in both, leads by nothing that could be compared.
    if (!std::isfinite(expected)) return;
    lost_ += !(actual >= 0);
    leads_.push_back(expected);
    changes_.push_back(std::isfinite(actual) ? actual - expected : -INFINITY);
  }

  std::vector<double> leads_, changes_;
  int64_t lost_ = 0;
};

}  // namespace

Result<Top1Drop> top1_drop(const Outputs& actual, const Outputs& expected) {
  Top1Drop most;
  bool any = false;
  const size_t outputs = expected.empty() ? 0 : expected[0].size();
  for (size_t k = 0; k < outputs; ++k) {
    Leads leads;
    const bool of_one = is_float(expected[0][k].dtype()) && columns_of(expected[0][k]) == 1 &&
                        is_probability(expected, k);
    for (size_t i = 0; i < expected.size(); ++i) {
      const Tensor &a = actual[i][k], &b = expected[i][k];
      if (!is_comparable(a, b)) continue;
      if (columns_of(b) > 1)
        leads.add_rows(a, b, columns_of(b));
      else if (of_one)
        leads.add_probabilities(a, b);
    }
    if (leads.empty()) continue;
    any = true;
    if (const Top1Drop d = leads.drop(); most.rows == 0 || d.drop() > most.drop()) most = d;
  }
  if (any) return most;
  return invalid_argument(
      "the metric top1 needs an output with an element for each class, or with one probability; "
      "there is none: choose cosine, mse or a script");
}

}  // namespace tenon
