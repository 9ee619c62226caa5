// What the numbers of a machine must have to do with each other.
#pragma once

#include "machine/machine.h"

namespace tenon {

// An error at the line of the first number that cannot be, given the others.
Status check_machine(const Machine& machine);

}  // namespace tenon
