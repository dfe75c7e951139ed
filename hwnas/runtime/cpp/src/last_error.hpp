// The calling thread's last failure, and the wall that no exception passes.
#ifndef HWNAS_SRC_LAST_ERROR_HPP_
#define HWNAS_SRC_LAST_ERROR_HPP_

#include <new>

#include "failure.hpp"

namespace hwnas::core {

// Text is cut to fixed room per thread: keeping an error must not fail, least of all out of memory.
void keep_error(const char* cause, const char* fix) noexcept;
const char* last_cause() noexcept;
const char* last_fix() noexcept;

// The code of the exception that is being handled; keeps its text.
hwnas_status status_of_current_exception() noexcept;

// Runs `body` and turns whatever it throws into a code and the thread's last error.
template <typename Body>
hwnas_status guarded(Body&& body) noexcept {
  try {
    body();
    return HWNAS_OK;
  } catch (...) {
    return status_of_current_exception();
  }
}

}  // namespace hwnas::core

#endif  // HWNAS_SRC_LAST_ERROR_HPP_
