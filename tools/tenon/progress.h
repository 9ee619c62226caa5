// What a command is doing, told on stderr once it has taken a second: a line kept up to date on a
// terminal, one plain line per stage in a pipe. Not for results or errors.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

namespace tenon::tool {

class Progress {
 public:
  Progress();
  ~Progress();  // clears the line
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // A new stage, which is thought to take so long where that is known.
  void stage(std::string name, std::chrono::duration<double> expected = {});
  // How far a stage is, as a bar; total 0: nobody knows.
  void part(std::string_view name, int64_t done, int64_t total);

 private:
  using Clock = std::chrono::steady_clock;
  void watch();
  void show();

  const bool terminal_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool done_ = false;
  bool new_stage_ = false;
  bool shown_ = false;
  std::string stage_, bar_;
  std::chrono::duration<double> expected_{};
  Clock::time_point stage_begin_;
  std::thread watcher_;
};

}  // namespace tenon::tool
