// Decoders of nested messages that more than one file of this folder needs.
#pragma once

#include "import/tensorflow/proto.h"
#include "import/wire.h"

// Found by the namespace of WireReader: the other argument has none of ours.
namespace tenon {

inline void read(WireReader& in, std::pair<std::string_view, std::string_view>& out) {
  while (in.next()) {
    switch (in.key()) {
      case length_key(1):
        out.first = in.text();
        break;
      case length_key(2):
        out.second = in.text();
        break;
      default:
        in.skip();
    }
  }
}
inline void read(WireReader& in, std::pair<std::string_view, Bytes>& out) {
  while (in.next()) {
    switch (in.key()) {
      case length_key(1):
        out.first = in.text();
        break;
      case length_key(2):
        out.second = in.bytes();
        break;
      default:
        in.skip();
    }
  }
}

}  // namespace tenon

namespace tenon::tf {

// VersionDef: of what wrote a graph or a checkpoint, and the least version that may read it.
struct Versions {
  int64_t producer = 0, min_consumer = 0;
};

void read(WireReader& in, Versions& out);
void read(WireReader& in, ShapeProto& out);
void read(WireReader& in, TensorProto& out);
void read(WireReader& in, GraphDef& out);
void read(WireReader& in, OpDef& out);

// An entry of a map<string, V>, V being a message with a read() overload.
template <typename V>
void read(WireReader& in, std::pair<std::string_view, V>& out) {
  while (in.next()) {
    switch (in.key()) {
      case length_key(1):
        out.first = in.text();
        break;
      case length_key(2):
        in.message(out.second);
        break;
      default:
        in.skip();
    }
  }
}

}  // namespace tenon::tf
