#include "progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace tenon::tool {

using std::chrono::milliseconds;

Progress::Progress() : terminal_(::isatty(STDERR_FILENO) != 0), watcher_([this] { watch(); }) {}

Progress::~Progress() {
  {
    const std::lock_guard lock(mutex_);
    done_ = true;
  }
  wake_.notify_one();
  watcher_.join();
  if (terminal_ && shown_) fmt::print(stderr, "\r\x1b[K");
}

void Progress::stage(std::string name, std::chrono::duration<double> expected) {
  {
    const std::lock_guard lock(mutex_);
    stage_ = std::move(name);
    bar_.clear();
    expected_ = expected;
    stage_begin_ = Clock::now();
    new_stage_ = true;
  }
  wake_.notify_one();
}

void Progress::part(std::string_view name, int64_t done, int64_t total) {
  constexpr int64_t kWidth = 24;
  const std::lock_guard lock(mutex_);
  const int64_t full = total > 0 ? std::min(done, total) * kWidth / total : 0;
  bar_ = total > 0 ? fmt::format("{} [{:#<{}}{:.<{}}] {}/{}", name, "", full, "", kWidth - full,
                                 done, total)
                   : fmt::format("{} {}", name, done);
}

// Quiet for a second; then a line per stage, on a terminal also every half second.
void Progress::watch() {
  std::unique_lock lock(mutex_);
  if (wake_.wait_for(lock, milliseconds(1000), [&] { return done_; })) return;
  while (!done_) {
    show();
    const auto due = [&] { return done_ || new_stage_; };
    if (terminal_)
      wake_.wait_for(lock, milliseconds(500), due);
    else
      wake_.wait(lock, due);
  }
}

void Progress::show() {
  if (stage_.empty()) return;
  if (terminal_ && !bar_.empty()) {
    const std::chrono::duration<double> taken = Clock::now() - stage_begin_;
    fmt::print(stderr, "\r\x1b[K{} {:.0f} s", bar_, taken.count());
    shown_ = true;
  } else if (!terminal_) {
    if (new_stage_) fmt::print(stderr, "{} …\n", stage_);
  } else {
    const std::chrono::duration<double> taken = Clock::now() - stage_begin_;
    if (expected_ > taken)
      fmt::print(stderr, "\r\x1b[K{} … {:.0f} s left", stage_, (expected_ - taken).count());
    else
      fmt::print(stderr, "\r\x1b[K{} … {:.0f} s", stage_, taken.count());
    shown_ = true;
  }
  std::fflush(stderr);
  new_stage_ = false;
}

}  // namespace tenon::tool
