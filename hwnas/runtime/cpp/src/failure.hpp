// What goes wrong inside the core: a code, a cause and a fix. Never crosses the C ABI as a throw.
#ifndef HWNAS_SRC_FAILURE_HPP_
#define HWNAS_SRC_FAILURE_HPP_

#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "hwnas/switcher.h"

namespace hwnas::core {

class Failure : public std::exception {
 public:
  Failure(hwnas_status code, std::string cause, std::string fix);

  hwnas_status code() const noexcept { return code_; }
  const char* what() const noexcept override { return cause_.c_str(); }
  const char* fix() const noexcept { return fix_.c_str(); }

 private:
  hwnas_status code_;
  std::string cause_;
  std::string fix_;
};

[[noreturn]] void fail(hwnas_status code, std::string cause, std::string fix);

// Something is wrong with the bundle; the fix is to make or copy it again.
[[noreturn]] void fail_bundle(std::string cause);

// The first `room` bytes of `text`, fewer where that would cut a character of UTF-8 in two.
std::string_view cut(std::string_view text, std::size_t room) noexcept;

// `text` in quotes for a message: cut at 200 bytes, nothing in it that drives a terminal.
std::string in_quotes(std::string_view text);

// Names joined for a message: all of them up to 12, then how many are left.
std::string shortened(const std::vector<std::string_view>& names);

}  // namespace hwnas::core

#endif  // HWNAS_SRC_FAILURE_HPP_
