#include "calibrate/metric_script.h"

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/bytes.h"
#include "tensor/npy.h"

namespace tenon {
namespace {

// A folder that goes when this does.
class TemporaryFolder {
 public:
  static Result<TemporaryFolder> make() {
    std::error_code error;
    std::string name =
        (std::filesystem::temp_directory_path(error) / "tenon_metric_XXXXXX").string();
    if (error || ::mkdtemp(name.data()) == nullptr)
      return io_error(fmt::format("cannot make a temporary folder '{}'", name));
    TemporaryFolder folder;
    folder.path_ = name;
    return folder;
  }
  TemporaryFolder(TemporaryFolder&& other) noexcept : path_(std::move(other.path_)) {
    other.path_.clear();
  }
  TemporaryFolder& operator=(TemporaryFolder&&) = delete;
  ~TemporaryFolder() {
    std::error_code error;
    if (!path_.empty()) std::filesystem::remove_all(path_, error);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  TemporaryFolder() = default;
  std::filesystem::path path_;
};

// Tensors one behind the other along the first dimension.
Result<Tensor> joined(const std::vector<Tensor>& parts, const std::string& name) {
  const Tensor& first = parts.front();
  std::vector<int64_t> dims(first.dims().begin(), first.dims().end());
  if (dims.empty()) dims = {1};
  dims[0] = 0;
  for (const Tensor& t : parts) {
    std::vector<int64_t> own(t.dims().begin(), t.dims().end());
    if (own.empty()) own = {1};
    const int64_t rows = own[0];
    own[0] = dims[0];
    if (t.is_list() || t.dtype() != first.dtype() || own != dims || t.dtype() == DType::string)
      return unsupported(fmt::format(
          "a metric script gets tensors of one size; '{}' is {} for one sample and {} for another",
          name, first.type().to_string(), t.type().to_string()));
    dims[0] += rows;
  }
  Tensor all = TRY(Tensor::allocate(first.dtype(), dims));
  auto* to = static_cast<std::byte*>(all.mutable_raw());
  for (const Tensor& t : parts) {
    if (t.byte_size() > 0) std::memcpy(to, t.raw(), t.byte_size());
    to += t.byte_size();
  }
  return all;
}

std::string file_name(std::string name) {
  if (name.ends_with(":0")) name.resize(name.size() - 2);
  for (char& c : name)
    if (c == '/' || c == ':' || c == '\0') c = '_';
  return name + ".npy";
}

struct Finished {
  int status = 0;
  std::string text;
};

// Both streams of the program, as far as anybody will read.
Result<Finished> run(const std::vector<std::string>& line) {
  constexpr size_t kMostText = 1 << 20;
  int ends[2];
  if (::pipe(ends) != 0) return io_error("cannot make a pipe");
  std::vector<char*> arguments;
  arguments.reserve(line.size() + 1);
  for (const std::string& a : line) arguments.push_back(const_cast<char*>(a.c_str()));
  arguments.push_back(nullptr);
  const pid_t child = ::fork();
  if (child < 0) {
    ::close(ends[0]);
    ::close(ends[1]);
    return io_error("cannot start a process");
  }
  if (child == 0) {
    ::dup2(ends[1], STDOUT_FILENO);
    ::dup2(ends[1], STDERR_FILENO);
    ::close(ends[0]);
    ::close(ends[1]);
    ::execvp(arguments[0], arguments.data());
    ::_exit(127);
  }
  ::close(ends[1]);
  Finished done;
  char buffer[4096];
  while (true) {
    const ssize_t n = ::read(ends[0], buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    if (done.text.size() < kMostText) done.text.append(buffer, static_cast<size_t>(n));
  }
  ::close(ends[0]);
  while (::waitpid(child, &done.status, 0) < 0 && errno == EINTR) {
  }
  return done;
}

std::string last_line(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0)
    text.remove_suffix(1);
  return std::string(text.substr(text.find_last_of('\n') + 1));
}

Status write_all(const std::filesystem::path& folder, const std::vector<std::string>& names,
                 const std::vector<std::vector<Tensor>>& samples) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  for (size_t k = 0; k < names.size(); ++k) {
    std::vector<Tensor> parts;
    for (const auto& sample : samples)
      if (k < sample.size()) parts.push_back(sample[k]);
    if (parts.empty()) continue;
    TRY(write_npy((folder / file_name(names[k])).string(), TRY(joined(parts, names[k]))));
  }
  return {};
}

}  // namespace

Result<MetricScript> MetricScript::open(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error))
    return not_found(fmt::format(
        "there is no metric '{}'; there are: top1, cosine, mse, and scripts that exist", path));
  MetricScript script;
  script.path_ = path;
  return script;
}

Result<double> MetricScript::score(const Trial& trial, const Outputs& outputs) const {
  const TemporaryFolder folder = TRY(TemporaryFolder::make());
  const NamedGraph& function = trial.function();
  std::string places;
  std::vector<std::vector<Tensor>> inputs;
  for (const Sample& sample : trial.all_samples()) {
    inputs.push_back(sample.inputs);
    places += sample.place + "\n";
  }
  TRY(write_all(folder.path() / "outputs", function.output_names, outputs));
  TRY(write_all(folder.path() / "inputs", function.input_names, inputs));
  TRY(write_file_atomically((folder.path() / "samples.txt").string(), as_bytes(places)));
  std::vector<std::string> line;
  if (path_.ends_with(".py")) line.emplace_back("python3");
  line.push_back(path_.find('/') == std::string::npos ? "./" + path_ : path_);
  line.push_back(folder.path().string());
  const Finished done = TRY(run(line));
  constexpr size_t kShown = 2000;
  const std::string shown =
      done.text.size() > kShown ? "…" + done.text.substr(done.text.size() - kShown) : done.text;
  if (!WIFEXITED(done.status) || WEXITSTATUS(done.status) != 0)
    return invalid_argument(fmt::format(
        "the metric script '{}' failed ({}); it printed:\n{}", path_,
        WIFEXITED(done.status) && WEXITSTATUS(done.status) == 127
            ? fmt::format("'{}' could not be started", line[0])
        : WIFEXITED(done.status) ? fmt::format("exit status {}", WEXITSTATUS(done.status))
                                 : fmt::format("signal {}", WTERMSIG(done.status)),
        shown));
  const std::string text = last_line(done.text);
  char* end = nullptr;
  const double score = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !std::isfinite(score))
    return invalid_argument(fmt::format(
        "the last line that the metric script '{}' printed is no number: '{}'; it must be the "
        "score, of which more is better",
        path_, text));
  return score;
}

}  // namespace tenon
