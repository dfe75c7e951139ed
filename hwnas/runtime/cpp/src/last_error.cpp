#include "last_error.hpp"

#include <cstring>

namespace hwnas::core {
namespace {

struct Text {
  char cause[2048];
  char fix[512];
};

thread_local Text last = {};

template <std::size_t kRoom>
void copy(char (&to)[kRoom], const char* from) noexcept {
  const std::string_view text = cut(from, kRoom - 1);
  std::memmove(to, text.data(), text.size());
  to[text.size()] = '\0';
}

}  // namespace

void keep_error(const char* cause, const char* fix) noexcept {
  copy(last.cause, cause);
  copy(last.fix, fix);
}

const char* last_cause() noexcept { return last.cause; }
const char* last_fix() noexcept { return last.fix; }

hwnas_status status_of_current_exception() noexcept {
  try {
    throw;
  } catch (const Failure& failure) {
    keep_error(failure.what(), failure.fix());
    return failure.code();
  } catch (const std::bad_alloc&) {
    keep_error("out of memory", "free some memory, or run a smaller subnet or fewer threads");
    return HWNAS_ERROR_MEMORY;
  } catch (const std::exception& error) {
    keep_error(error.what(), "this is a bug in hwnas: report it with what led to it");
  } catch (...) {
    keep_error("an unknown exception", "this is a bug in hwnas: report it with what led to it");
  }
  return HWNAS_ERROR_INTERNAL;
}

}  // namespace hwnas::core
