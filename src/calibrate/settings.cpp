#include "calibrate/settings.h"

#include <fmt/format.h>

#include "calibrate/calibrate.h"
#include "calibrate/choose_methods.h"

namespace tenon {
namespace {

constexpr int64_t kTrialSamples = 32;

}  // namespace

Status check_calibration(const CalibrationSettings& s) {
  if (!quant::method_of(s.method)) {
    std::string names;
    for (const auto& info : quant::kMethodInfos)
      names += (names.empty() ? "" : ", ") + std::string(info.name);
    return invalid_argument(
        fmt::format("there is no calibration method '{}'; there are: {}", s.method, names));
  }
  if (s.samples < 1)
    return invalid_argument(fmt::format("{} samples are too few to calibrate with", s.samples));
  TRY(parse_preprocess(s.preprocess));
  return {};
}

Status apply_calibration(const CalibrationSettings& s, const runtime::LoadOptions& load,
                         std::function<void(int64_t, int64_t)> progress, CompileOptions& options,
                         std::shared_ptr<CalibrationFindings> findings) {
  TRY(check_calibration(s));
  const std::string precision = TRY(known_precision(options.precision));
  if (precision != "int8") {
    if (!s.data.empty() || !s.statistics.empty())
      return invalid_argument(
          fmt::format("calibration data have no effect with precision {}; give --precision int8",
                      options.precision));
    return {};
  }
  CalibrationOptions how;
  how.data = s.data;
  how.preprocess = TRY(parse_preprocess(s.preprocess));
  how.samples = s.samples;
  how.statistics_file = s.statistics;
  how.load = load;
  how.progress = std::move(progress);
  const quant::Method method = *quant::method_of(s.method);
  options.calibrate = [how = std::move(how), method, findings](
                          const NamedGraph& function,
                          std::vector<std::string>& warnings) -> Result<QuantizationInput> {
    Calibration calibration = TRY(calibrate(function, how));
    warnings.insert(warnings.end(), calibration.warnings.begin(), calibration.warnings.end());
    QuantizationInput input{std::move(calibration.statistics), {}};
    input.options.method = method;
    // Without data of the user's there is nothing that a measurement would say of them.
    auto samples = TRY(some_samples(function, how, how.data.empty() ? 0 : kTrialSamples));
    if (samples.empty()) return input;
    const Trial trial = TRY(Trial::make(function, std::move(samples), how.load));
    if (method == quant::Method::automatic)
      TRY(choose_methods(trial, input.statistics, input.options));
    if (findings != nullptr)
      findings->functions.push_back(
          {function.key, trial.samples(), TRY(trial.run(input.statistics, input.options))});
    return input;
  };
  return {};
}

}  // namespace tenon
