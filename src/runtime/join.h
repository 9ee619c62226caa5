// Steps of a plan that one kernel does together.
#pragma once

#include "runtime/plan.h"

namespace tenon::runtime {

// Joins steps one of which alone takes what the other gives, where a kernel does both and that is
// thought to be faster. All steps have their kernels, no value its memory.
void join_steps(Plan& plan);

}  // namespace tenon::runtime
