// Protobuf wire format: a cursor over untrusted bytes that never throws past decode() and bounds
// depth and memory. Included only by the files that decode messages.
#pragma once

#include <protozero/pbf_reader.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace tenon {

// Field keys as they stand on the wire, for switch labels.
constexpr uint32_t varint_key(uint32_t number) {
  return number << 3;
}
constexpr uint32_t fixed64_key(uint32_t number) {
  return number << 3 | 1;
}
constexpr uint32_t length_key(uint32_t number) {
  return number << 3 | 2;
}
constexpr uint32_t fixed32_key(uint32_t number) {
  return number << 3 | 5;
}

// What one decode() shares between its nested messages.
struct WireState {
  const char* begin = nullptr;
  const char* last = nullptr;  // start of the field being read, for the error's offset
  size_t budget = 0;           // bytes of decoded structs still allowed
  int depth = 0;
  std::string error;
};

class WireReader {
 public:
  WireReader(std::string_view bytes, WireState& state)
      : pbf_(bytes.data(), bytes.size()), state_(state) {}

  // Moves to the next field. False at the end and after a failure.
  bool next();
  // number << 3 | wire type of the current field. A field whose wire type is not the expected one
  // matches no label and is skipped like an unknown one, as protobuf does.
  uint32_t key() const { return pbf_.tag_and_type(); }
  void skip() { pbf_.skip(); }

  std::string_view text() {
    const auto view = pbf_.get_view();
    return {view.data(), view.size()};
  }
  Bytes bytes() { return as_bytes(text()); }
  int64_t varint() { return pbf_.get_int64(); }
  float float32() { return pbf_.get_float(); }
  double float64() { return pbf_.get_double(); }
  uint32_t fixed32() { return pbf_.get_fixed32(); }

  template <typename T>
  void push(std::vector<T>& list, T value) {
    if (charge(sizeof(T))) list.push_back(std::move(value));
  }
  // Reads a nested message with the overload of read() for T.
  template <typename T>
  void message(T& out) {
    const std::string_view content = text();
    if (!enter()) return;
    WireReader inner(content, state_);
    read(inner, out);
    --state_.depth;
  }
  template <typename T>
  void push_message(std::vector<T>& list) {
    if (!charge(sizeof(T))) return skip();
    message(list.emplace_back());
  }
  // Appends the values of a packed field.
  template <typename T>
  void packed_varints(std::vector<T>& list) {
    for (const int64_t value : pbf_.get_packed_int64()) {
      if (!charge(sizeof(T))) return;
      list.push_back(static_cast<T>(value));
    }
  }
  // Appends the values of a packed field of little-endian fixed-size values.
  template <typename T>
  void packed_fixed(std::vector<T>& list) {
    const std::string_view raw = text();
    if (raw.size() % sizeof(T) != 0) return fail("a packed field is cut short");
    if (!charge(raw.size())) return;
    const size_t old = list.size();
    list.resize(old + raw.size() / sizeof(T));
    if (!raw.empty()) std::memcpy(list.data() + old, raw.data(), raw.size());
  }
  void fail(std::string message) {
    if (state_.error.empty()) state_.error = std::move(message);
  }

 private:
  bool charge(size_t bytes);
  bool enter();

  protozero::pbf_reader pbf_;
  WireState& state_;
};

// Runs `body` on a reader of `bytes`. `what` names the thing in the error ("GraphDef",
// "attribute 'shape'").
template <typename Body>
Status with_wire(Bytes bytes, std::string_view what, Body&& body);

Error wire_error(const WireState& state, std::string_view what, std::string_view detail);
WireState wire_state(Bytes bytes);

template <typename Body>
Status with_wire(Bytes bytes, std::string_view what, Body&& body) {
  WireState state = wire_state(bytes);
  WireReader reader(as_text(bytes), state);
  try {
    body(reader);
  } catch (const protozero::exception& e) {
    return wire_error(state, what, e.what());
  }
  if (!state.error.empty()) return wire_error(state, what, state.error);
  return ok_status();
}

// Decodes a whole message with the overload of read() for T.
template <typename T>
Result<T> decode_message(Bytes bytes, std::string_view what) {
  T out;
  TRY(with_wire(bytes, what, [&](WireReader& in) { read(in, out); }));
  return out;
}

}  // namespace tenon
