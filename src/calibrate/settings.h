// What a user says about quantisation, as text, for every way to compile.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "calibrate/layer_report.h"
#include "calibrate/trial.h"
#include "compiler/compile.h"
#include "runtime/model.h"

namespace tenon {

struct CalibrationSettings {
  std::string data;  // file or folder; empty: made-up numbers
  std::string method = "auto";
  std::string preprocess;  // see preprocess.h
  std::string statistics;  // file to keep them in
  int64_t samples = 256;
  std::string config;  // TOML file (quant/config.h)
  std::string report;  // page to write: FILE.html, or .json
  // The precision also where it is predicted to be slower on this CPU.
  bool force_precision = false;
};

// How far the outputs of a function are from those in f32, on some of the calibration data.
struct FunctionAccuracy {
  std::string key;
  size_t samples = 0;
  Accuracy accuracy;
  std::vector<TechniqueGain> gains;
};

// What was measured while quantising.
struct CalibrationFindings {
  std::vector<FunctionAccuracy> functions;
  std::vector<LayerReport> layers;  // where a report is wanted
  quant::Statistics statistics;
};

// Mends what the layers lose that are of integers by the options, with all techniques but those
// that keep more layers in f32. What it gives lasts until it is called again.
using Polish = std::function<Result<Quantised>(const quant::QuantizeOptions& options)>;
// Chooses which layers are: a search. True where what `polish` gave for them is to be used. May be
// null.
using RefineChoices = std::function<Result<bool>(
    const NamedGraph& function, const Trial& trial, const quant::FunctionStatistics& statistics,
    quant::QuantizeOptions& options, const Polish& polish)>;

// The error that apply_calibration would give for the texts themselves.
Status check_calibration(const CalibrationSettings& settings);
// Sets what compile_model needs for a precision of integers; nothing for another one. Error:
// invalid_argument for settings without effect.
Status apply_calibration(const CalibrationSettings& settings, const runtime::LoadOptions& load,
                         std::function<void(int64_t done, int64_t total)> progress,
                         CompileOptions& options,
                         std::shared_ptr<CalibrationFindings> findings = {},
                         RefineChoices refine = {});
// The layers as JSON.
std::string report_json(const CalibrationFindings& findings);
// Writes the report that the settings ask for; nothing where they do not.
Status write_report(const CalibrationSettings& settings, const CalibrationFindings& findings);

}  // namespace tenon
