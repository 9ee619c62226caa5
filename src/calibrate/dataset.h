// The user's data as inputs of a model, one run after the other, in bounded memory.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "calibrate/preprocess.h"
#include "runtime/model.h"

namespace tenon {

struct Sample {
  std::vector<Tensor> inputs;  // in the order of the model's
  std::string place;           // where it is from, for errors
};

class Dataset {
 public:
  virtual ~Dataset() = default;
  // How many samples there are, where that is known without reading all; else -1.
  virtual int64_t size() const = 0;
  // The next one; none at the end. Errors name the file and say what was expected.
  virtual Result<std::optional<Sample>> next() = 0;
  // What it is, in a few words.
  virtual std::string description() const = 0;
};

// A folder of .npy or .npz files, of pictures or of TFRecord files, or one such file. Arrays hold
// one sample, or many along their first dimension. Samples have the batch size that the model says,
// or 1. Errors: not_found, invalid_argument for a folder without data or of several kinds.
Result<std::unique_ptr<Dataset>> open_dataset(const std::string& path,
                                              std::vector<runtime::PortInfo> ports,
                                              const Preprocess& preprocess);
// What tells the data there from others that have the same name: how many bytes they are, and a
// hash of some of them. Errors as those of open_dataset().
Result<std::string> data_fingerprint(const std::string& path);
// Made-up samples without an end.
std::unique_ptr<Dataset> random_dataset(std::vector<runtime::PortInfo> ports, uint32_t seed);

// The samples of TFRecord files of tf.Example, whose features have the names of the inputs.
std::unique_ptr<Dataset> record_dataset(std::vector<std::string> files,
                                        std::vector<runtime::PortInfo> ports);

// Error: the first real number of the sample that is not finite, by input and place in it.
Status check_finite(const Sample& sample, std::span<const runtime::PortInfo> ports);

}  // namespace tenon
