// A user's own measure of accuracy: a script that is run on what a model computed.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "calibrate/trial.h"

namespace tenon {

// Runs `SCRIPT FOLDER` (a .py file by python3) and reads the score, a number of which more is
// better, from the last line it prints. In the folder are outputs/NAME.npy and inputs/NAME.npy, all
// samples one behind the other along the first dimension, and samples.txt with a line for each
// sample that says where it is from.
class MetricScript {
 public:
  // Error: not_found without the file.
  static Result<MetricScript> open(const std::string& path);

  // Errors: invalid_argument with what the script printed where it fails or prints no number.
  Result<double> score(const Trial& trial, const Outputs& outputs) const;

 private:
  std::string path_;
};

}  // namespace tenon
