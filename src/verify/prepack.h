// Forms of weights that kernels of this processor read, made when a model is compiled and kept in
// its file, so that loading makes none.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "format/model_file.h"
#include "runtime/model.h"

namespace tenon {

// Runs the functions of `model` once on made-up inputs for each size of an open first dimension,
// and puts what their kernels packed into it; returns the bytes that takes. A function that cannot
// be run so is passed over with a warning: what it needs is made when it is loaded. Errors: those
// of loading the model.
Result<int64_t> prepack(FileModel& model, std::span<const int64_t> batches,
                        const runtime::LoadOptions& load, std::vector<std::string>& warnings);

}  // namespace tenon
