// What a user says about quantisation, as text, for every way to compile.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

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
};

// How far the outputs of a function are from those in f32, on some of the calibration data.
struct FunctionAccuracy {
  std::string key;
  size_t samples = 0;
  Accuracy accuracy;
};

// What was measured while quantising.
struct CalibrationFindings {
  std::vector<FunctionAccuracy> functions;
};

// The error that apply_calibration would give for the texts themselves.
Status check_calibration(const CalibrationSettings& settings);
// Sets what compile_model needs for a precision of integers; nothing for another one. Error:
// invalid_argument for settings without effect.
Status apply_calibration(const CalibrationSettings& settings, const runtime::LoadOptions& load,
                         std::function<void(int64_t done, int64_t total)> progress,
                         CompileOptions& options,
                         std::shared_ptr<CalibrationFindings> findings = {});

}  // namespace tenon
