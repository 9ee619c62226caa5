#include "base/crash_guard.h"

#include <csetjmp>
#include <csignal>
#include <exception>
#include <memory>
#include <mutex>

namespace tenon {
namespace {

constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
constexpr size_t kAlternateStack = size_t{64} << 10;

struct sigaction previous[std::size(kSignals)];
// The guarded call this thread is in.
thread_local sigjmp_buf* active = nullptr;

void on_signal(int signal, siginfo_t* info, void* context) {
  if (active != nullptr) siglongjmp(*active, signal);
  for (size_t i = 0; i < std::size(kSignals); ++i) {
    if (kSignals[i] != signal) continue;
    const struct sigaction& old = previous[i];
    if ((old.sa_flags & SA_SIGINFO) != 0) return old.sa_sigaction(signal, info, context);
    if (old.sa_handler != SIG_DFL && old.sa_handler != SIG_IGN) return old.sa_handler(signal);
    // Back at the faulting instruction, or here, the default ends the process.
    ::sigaction(signal, &old, nullptr);
    if (info->si_code <= 0 || signal == SIGABRT) ::raise(signal);
  }
}

void install() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action {};
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < std::size(kSignals); ++i)
      ::sigaction(kSignals[i], &action, &previous[i]);
  });
}

// A stack for the handler, so that a stack overflow can be told, where the thread has none.
class HandlerStack {
 public:
  HandlerStack() {
    stack_t current{};
    if (::sigaltstack(nullptr, &current) != 0 || (current.ss_flags & SS_DISABLE) == 0) return;
    memory_ = std::make_unique<char[]>(kAlternateStack);
    stack_t own{};
    own.ss_sp = memory_.get();
    own.ss_size = kAlternateStack;
    ::sigaltstack(&own, nullptr);
  }
  ~HandlerStack() {
    if (memory_ == nullptr) return;
    stack_t none{};
    none.ss_flags = SS_DISABLE;
    ::sigaltstack(&none, nullptr);
  }
  HandlerStack(const HandlerStack&) = delete;
  HandlerStack& operator=(const HandlerStack&) = delete;

 private:
  std::unique_ptr<char[]> memory_;
};

std::string describe(int signal) {
  switch (signal) {
    case SIGSEGV:
      return "a segmentation fault (SIGSEGV)";
    case SIGBUS:
      return "a bus error (SIGBUS)";
    case SIGFPE:
      return "an arithmetic error such as a division by zero (SIGFPE)";
    case SIGILL:
      return "an instruction that this processor does not have (SIGILL)";
    default:
      return "abort (SIGABRT)";
  }
}

}  // namespace

std::string call_guarded(void (*function)(void*), void* argument) {
  install();
  thread_local const HandlerStack stack;
  sigjmp_buf* const outer = active;
  sigjmp_buf here;
  // Without the signal mask: SA_NODEFER leaves it as it is.
  const int signal = sigsetjmp(here, 0);
  if (signal != 0) {
    active = outer;
    return describe(signal);
  }
  active = &here;
  std::string thrown;
  try {
    function(argument);
  } catch (const std::exception& error) {
    thrown = std::string("an exception: ") + error.what();
  } catch (...) {
    thrown = "an exception";
  }
  active = outer;
  return thrown;
}

}  // namespace tenon
