// What `tenon new-op` writes, with {{MARKS}} for what differs from op to op.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tenon::tool {

// The op of which files are made.
struct NewOp {
  std::string full, name, domain, stem;  // domain::Name, its parts, and as a file name
  int inputs = 1, outputs = 1;
};

struct NewFile {
  std::string path, text;
};

std::string cpp_source(const NewOp& op);
std::string decomposition(const NewOp& op);
std::string kernel_source(const NewOp& op);
// A model of the op alone, the test that runs it on the CPU and on a simulated chip, and how to use
// them. `kernel_file` is the file that the op is in.
std::vector<NewFile> test_files(const NewOp& op, bool kernel);

}  // namespace tenon::tool
