#include "import/wire.h"

#include <fmt/format.h>

namespace tenon {
namespace {
constexpr int kMaxDepth = 64;
// Structs may take a few times the bytes they come from; a file of empty messages may not take
// more.
constexpr size_t kBudgetBase = size_t{128} << 20;
constexpr size_t kBudgetPerByte = 8;
}  // namespace

WireState wire_state(Bytes bytes) {
  WireState state;
  state.begin = state.last = reinterpret_cast<const char*>(bytes.data());
  state.budget = kBudgetBase + std::min(bytes.size(), size_t{1} << 40) * kBudgetPerByte;
  return state;
}

Error wire_error(const WireState& state, std::string_view what, std::string_view detail) {
  return invalid_model(
      fmt::format("{} is not a valid protobuf message: {} (at byte {}); the file is "
                  "truncated, damaged or of another kind",
                  what, detail, state.last - state.begin));
}

bool WireReader::next() {
  if (!state_.error.empty()) return false;
  state_.last = pbf_.data().data();
  return pbf_.next();
}

bool WireReader::charge(size_t bytes) {
  if (!state_.error.empty()) return false;
  if (bytes > state_.budget) {
    fail("it unpacks to far more data than the file holds");
    return false;
  }
  state_.budget -= bytes;
  return true;
}

bool WireReader::enter() {
  if (!state_.error.empty()) return false;
  if (state_.depth >= kMaxDepth) {
    fail(fmt::format("messages are nested deeper than {}", kMaxDepth));
    return false;
  }
  ++state_.depth;
  return true;
}

}  // namespace tenon
