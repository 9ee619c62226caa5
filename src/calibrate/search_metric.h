// How much of what a classifier says a precision changes, from few samples.
#pragma once

#include <algorithm>

#include "calibrate/trial.h"

namespace tenon {

// Of the rows of an output, and of other data like them.
struct Top1Drop {
  int64_t rows = 0, changed = 0;
  double expected = 0;

  double drop() const {
    return std::max(rows > 0 ? static_cast<double>(changed) / static_cast<double>(rows) : 0.0,
                    expected);
  }
};

// The part of rows whose largest element is another one than expected, or is to be expected to be,
// whichever is more: a hundred samples of which none changes say little of two in a thousand. What
// is to be expected is how often the lead of a row's first element over its second would be gone
// if any row's lead had changed as any other's did. The outputs are those before a softmax. Of
// outputs of one column that are probabilities, those of two classes, the lead is that of the
// likelier. Of several outputs the one that drops most. Error: invalid_argument where no output has
// classes.
Result<Top1Drop> top1_drop(const Outputs& actual, const Outputs& expected);

}  // namespace tenon
