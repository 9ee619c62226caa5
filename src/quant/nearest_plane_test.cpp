#include "quant/nearest_plane.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace tenon::quant {
namespace {

// Sums of products of inputs that go together in pairs: a few that all are made of, and noise.
std::vector<double> correlated_form(int64_t terms, std::mt19937& random) {
  std::normal_distribution<double> normal;
  std::vector<double> form(static_cast<size_t>(terms * terms)), x(static_cast<size_t>(terms));
  for (int sample = 0; sample < 200; ++sample) {
    const double a = normal(random), b = normal(random);
    for (int64_t i = 0; i < terms; ++i)
      x[static_cast<size_t>(i)] = (i % 3 == 0 ? a : b) + 0.1 * normal(random);
    for (int64_t i = 0; i < terms; ++i)
      for (int64_t j = i; j < terms; ++j)
        form[static_cast<size_t>(i * terms + j)] +=
            x[static_cast<size_t>(i)] * x[static_cast<size_t>(j)];
  }
  return form;
}

double error_of(const std::vector<double>& form, const std::vector<double>& exact,
                const std::vector<int8_t>& integers) {
  double sum = 0;
  for (size_t i = 0; i < exact.size(); ++i)
    for (size_t j = i; j < exact.size(); ++j)
      sum += (i == j ? 1 : 2) * form[i * exact.size() + j] * (integers[i] - exact[i]) *
             (integers[j] - exact[j]);
  return sum;
}

TEST(NearestPlane, LosesLessThanTheNearest) {
  std::mt19937 random(1);
  std::uniform_real_distribution<double> uniform(-100, 100);
  const std::vector<double> form = correlated_form(40, random);
  const NearestPlane plane(form, 40, 0.01);
  for (int column = 0; column < 10; ++column) {
    std::vector<double> exact(40);
    std::vector<int8_t> nearest(40);
    for (size_t i = 0; i < 40; ++i) {
      exact[i] = uniform(random);
      nearest[i] = static_cast<int8_t>(std::nearbyint(exact[i]));
    }
    EXPECT_LT(error_of(form, exact, plane.round(exact).integers),
              error_of(form, exact, nearest) / 4);
  }
}

TEST(NearestPlane, KeepsTheEnds) {
  std::mt19937 random(2);
  const NearestPlane plane(correlated_form(6, random), 6, 0.01);
  const std::vector<double> exact{127, -0.4, 0.4, -127.00001, 300, -0.4};
  const std::vector<int8_t> rounded = plane.round(exact).integers;
  EXPECT_EQ(rounded[0], 127);
  EXPECT_EQ(rounded[3], -127);
  EXPECT_EQ(rounded[4], 127);
}

TEST(NearestPlane, SaysWhatIsLost) {
  std::mt19937 random(3);
  const std::vector<double> form = correlated_form(12, random);
  std::uniform_real_distribution<double> uniform(-150, 150);
  std::vector<double> exact(12);
  for (double& v : exact) v = uniform(random);
  const auto rounded = NearestPlane(form, 12, 1e-12).round(exact);
  const double error = error_of(form, exact, rounded.integers);
  EXPECT_NEAR(rounded.error, error, 1e-6 * error);
}

TEST(NearestPlane, RoundsToTheNearestWhatGoesWithNothing) {
  const std::vector<double> form(9, 0.0), exact{0.4, -3.6, 126.4};
  EXPECT_EQ(NearestPlane(form, 3, 0.05).round(exact).integers, (std::vector<int8_t>{0, -4, 126}));
}

}  // namespace
}  // namespace tenon::quant
