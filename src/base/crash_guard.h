// Calls of foreign code (custom operators) that may crash: what would end the process becomes text.
#pragma once

#include <string>

namespace tenon {

// Calls function(argument) in this thread. Empty when it returned; otherwise what ended it: "a
// segmentation fault (SIGSEGV)", "abort (SIGABRT)", or the message of an exception. What the
// function held then (memory, locks) stays held. Handlers for SIGSEGV, SIGBUS, SIGFPE, SIGILL and
// SIGABRT are installed by the first call; outside of guarded calls they hand on to those there
// were. May be nested; thread-safe.
std::string call_guarded(void (*function)(void*), void* argument);

// The same for a callable without arguments.
template <typename F>
std::string call_guarded(F&& body) {
  return call_guarded([](void* f) { (*static_cast<F*>(f))(); }, &body);
}

}  // namespace tenon
