// Drives the fuzz targets: a child process runs mutants while the parent watches it die, and saves
// the input that killed it. Every mutant is a function of the seed and its index.
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>

#include "fuzz/mutate.h"
#include "fuzz/targets.h"

namespace tenon::fuzz {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr size_t kMaxSeedBytes = 200'000;  // larger seeds only slow the mutants down
constexpr int kMaxFailures = 20;

struct Options {
  std::vector<std::string> names;
  std::string shard = "0/1";
  std::string root = ".", output = "fuzz-failures";
  double seconds = 5;
  uint64_t mutants = 0;  // 0: as many as fit in the time
  uint64_t seed = 1;
  double hang_seconds = 10;
  std::string replay;
};

// What the child tells the parent, in shared memory.
struct Progress {
  uint64_t index = 0;  // the mutant being run
  uint64_t done = 0;
  uint64_t accepted = 0;
};

std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<std::string> files_below(const fs::path& folder, std::string_view ending) {
  std::vector<std::string> paths;
  if (!fs::is_directory(folder)) return paths;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file() && entry.path().string().ends_with(ending) &&
        entry.file_size() <= kMaxSeedBytes)
      paths.push_back(entry.path().string());
  std::sort(paths.begin(), paths.end());
  return paths;
}

std::vector<std::string> corpus_of(const Target& target, const Options& options) {
  std::vector<std::string> corpus;
  for (const auto& [folder, ending] : target.seeds)
    for (const std::string& path : files_below(fs::path(options.root) / folder, ending)) {
      std::string seed = target.prepare == nullptr ? read_file(path) : target.prepare(path);
      if (!seed.empty() && seed.size() <= kMaxSeedBytes) corpus.push_back(std::move(seed));
    }
  return corpus;
}

// Twice the input and 512 MB on top of what the process has: the product's promise. Sanitizers map
// terabytes and cannot be bounded this way.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
void bound_memory(size_t) {}
#else
int64_t address_space_now() {
  std::ifstream statm("/proc/self/statm");
  int64_t pages = 0;
  statm >> pages;
  return pages * ::sysconf(_SC_PAGESIZE);
}

void bound_memory(size_t input_bytes) {
  static const int64_t before = address_space_now();
  rlimit limit{};
  ::getrlimit(RLIMIT_AS, &limit);
  limit.rlim_cur = static_cast<rlim_t>(before) + 2 * input_bytes + (512u << 20);
  ::setrlimit(RLIMIT_AS, &limit);
}
#endif

// The processor's time, so that a busy machine is no hang.
void bound_time(double seconds) {
  itimerval timer{};
  timer.it_value.tv_sec = static_cast<time_t>(seconds);
  ::setitimer(ITIMER_PROF, &timer, nullptr);
}

std::string death_of(int status) {
  if (WIFEXITED(status)) return fmt::format("ended with status {}", WEXITSTATUS(status));
  const int signal = WTERMSIG(status);
  if (signal == SIGPROF) return "did not end in time";
  return fmt::format("killed by signal {} ({})", signal, strsignal(signal));
}

[[noreturn]] void run_child(const Target& target, std::span<const std::string> corpus,
                            const Options& options, Progress& progress, uint64_t first,
                            uint64_t last, Clock::time_point deadline) {
  const fs::path scratch =
      fs::temp_directory_path() / fmt::format("tenon-fuzz-{}-{}", target.name, ::getpid());
  fs::create_directories(scratch);
  for (uint64_t i = first; i < last; ++i) {
    if (options.mutants == 0 && Clock::now() >= deadline) break;
    progress.index = i;
    Random random(options.seed * 0x10001 + i);
    const std::string bytes = mutant_of(corpus, random, target.form);
    bound_memory(bytes.size());
    bound_time(options.hang_seconds);
    progress.accepted += target.run(bytes, scratch.string()).ok();
    ++progress.done;
  }
  fs::remove_all(scratch);
  ::_exit(0);
}

// Runs `body` in a child; its wait status.
template <typename Body>
int in_child(Body&& body) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) body();
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (child > 0)
    for (const auto& entry : fs::directory_iterator(fs::temp_directory_path()))
      if (entry.path().filename().string().starts_with("tenon-fuzz-") &&
          entry.path().string().ends_with(fmt::format("-{}", child)))
        fs::remove_all(entry.path());
  return status;
}

// Inputs that once broke the target must stay harmless.
int replay(const Target& target, const Options& options, const std::vector<std::string>& paths) {
  int failures = 0;
  for (const std::string& path : paths) {
    const std::string bytes = read_file(path);
    const int status = in_child([&] {
      const fs::path scratch =
          fs::temp_directory_path() / fmt::format("tenon-fuzz-{}-{}", target.name, ::getpid());
      fs::create_directories(scratch);
      bound_memory(bytes.size());
      bound_time(options.hang_seconds);
      (void)target.run(bytes, scratch.string());
      ::_exit(0);
    });
    if (status == 0) continue;
    ++failures;
    fmt::print("{}: {} {}\n", target.name, path, death_of(status));
  }
  return failures;
}

bool fuzz(const Target& target, const Options& options) {
  const std::vector<std::string> corpus = corpus_of(target, options);
  const std::vector<std::string> known =
      files_below(fs::path(options.root) / "tests/reproducers" / target.name, "");
  int failures = replay(target, options, known);
  if (corpus.empty()) {
    fmt::print("{}: no seeds under {}\n", target.name, options.root);
    return false;
  }
  auto* progress = static_cast<Progress*>(
      ::mmap(nullptr, sizeof(Progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  if (progress == MAP_FAILED) return false;
  *progress = {};
  const auto deadline =
      Clock::now() + std::chrono::milliseconds(static_cast<int64_t>(options.seconds * 1000));
  const uint64_t last = options.mutants == 0 ? ~uint64_t{0} : options.mutants;
  uint64_t next = 0;
  while (next < last && failures < kMaxFailures) {
    const int status =
        in_child([&] { run_child(target, corpus, options, *progress, next, last, deadline); });
    if (status == 0) break;
    ++failures;
    Random random(options.seed * 0x10001 + progress->index);
    const std::string bytes = mutant_of(corpus, random, target.form);
    fs::create_directories(options.output);
    const fs::path path = fs::path(options.output) /
                          fmt::format("{}-{}-{}", target.name, options.seed, progress->index);
    std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<int64_t>(bytes.size()));
    fmt::print("{}: mutant {} {}; kept as {}\n", target.name, progress->index, death_of(status),
               path.string());
    next = progress->index + 1;
    if (options.mutants == 0 && Clock::now() >= deadline) break;
  }
  fmt::print("{}: {} seeds, {} mutants, {} accepted, {} known inputs, {} failures\n", target.name,
             corpus.size(), progress->done, progress->accepted, known.size(), failures);
  ::munmap(progress, sizeof *progress);
  return failures == 0;
}

int run(const Options& options) {
  int passed = 0, failed = 0;
  size_t shard = 0, shards = 1, index = 0;
  std::sscanf(options.shard.c_str(), "%zu/%zu", &shard, &shards);
  for (const Target& target : targets()) {
    if (index++ % shards != shard) continue;
    if (!options.names.empty() &&
        std::find(options.names.begin(), options.names.end(), target.name) == options.names.end())
      continue;
    const bool fine = options.replay.empty() ? fuzz(target, options)
                                             : replay(target, options, {options.replay}) == 0;
    ++(fine ? passed : failed);
    std::fflush(stdout);
  }
  fmt::print("{} passed, {} failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace tenon::fuzz

int main(int argc, char** argv) {
  CLI::App app{"Feeds mutated model files to every parser; none may crash, hang or eat memory."};
  tenon::fuzz::Options options;
  std::string list = "Targets:\n";
  for (const auto& target : tenon::fuzz::targets())
    list += fmt::format("  {:12} {}\n", target.name, target.doc);
  app.footer(list + "Example:\n  tenon_fuzz onnx --mutants 100000 --seed 2");
  app.add_option("TARGET", options.names, "which targets (default: all)");
  app.add_option("--shard", options.shard,
                 "I/N: every Nth target, beginning with the one of index I")
      ->check([](const std::string& text) {
        size_t shard = 0, shards = 0;
        const bool fits =
            std::sscanf(text.c_str(), "%zu/%zu", &shard, &shards) == 2 && shard < shards;
        return fits ? std::string() : "is not I/N with I below N";
      });
  app.add_option("--root", options.root, "the project's root, where the seeds are");
  app.add_option("--seconds", options.seconds, "time for each target")->check(CLI::PositiveNumber);
  app.add_option("--mutants", options.mutants, "this many for each target, whatever it takes");
  app.add_option("--seed", options.seed, "another seed, other mutants");
  app.add_option("--hang-seconds", options.hang_seconds, "processor time a mutant may take");
  app.add_option("--output", options.output, "folder for inputs that broke a target");
  app.add_option("--replay", options.replay, "run one file through the target instead");
  CLI11_PARSE(app, argc, argv);
  return tenon::fuzz::run(options);
}
