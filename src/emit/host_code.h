// The host's side of an emitted model: where tensors lie, the layers in order, loading and running.
#pragma once

#include <string>
#include <vector>

#include "emit/folder.h"

namespace tenon::emit {

// A step of the model as the host runs it.
struct Call {
  std::string comment;
  std::string function;              // launch_… or host_…
  std::vector<int> reads, operands;  // tensors; a kernel has operands alone
  bool on_host = false;
};

struct HostParts {
  std::string family;               // "ascend", "cambricon"
  std::vector<std::string> places;  // identifiers of the tensors
  std::vector<Call> calls;
  std::string declarations;  // of the launch functions
};

std::string layers_header(const EmitRequest& request, const HostParts& parts);
std::string layers_source(const EmitRequest& request, const HostParts& parts);
std::string host_layers_source(const EmittedModel& model, const HostParts& parts);
std::string main_source(const EmitRequest& request, const HostParts& parts);

}  // namespace tenon::emit
