#include "failure.hpp"

#include <utility>

namespace hwnas::core {

Failure::Failure(hwnas_status code, std::string cause, std::string fix)
    : code_(code), cause_(std::move(cause)), fix_(std::move(fix)) {}

void fail(hwnas_status code, std::string cause, std::string fix) {
  throw Failure(code, std::move(cause), std::move(fix));
}

void fail_bundle(std::string cause) {
  fail(HWNAS_ERROR_BUNDLE, std::move(cause),
       "make it again with 'hwnas export', or copy it again in full");
}

std::string_view cut(std::string_view text, std::size_t room) noexcept {
  if (text.size() <= room) return text;
  const auto inside = [&](std::size_t at) {  // a character
    return (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80;
  };
  std::size_t end = room;
  while (end > 0 && room - end < 3 && inside(end)) --end;
  if (inside(end)) end = room;  // not UTF-8
  return {text.data(), end};
}

std::string in_quotes(std::string_view text) {
  constexpr std::size_t kLongest = 200;
  constexpr char kHex[] = "0123456789abcdef";
  std::string result = "'";
  for (const char c : cut(text, kLongest)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      result += "\\x";
      result += kHex[byte >> 4];
      result += kHex[byte & 15];
    } else {
      result += c;
    }
  }
  return result + (text.size() > kLongest ? "...'" : "'");
}

std::string shortened(const std::vector<std::string_view>& names) {
  constexpr std::size_t kMost = 12;
  std::string result;
  for (std::size_t i = 0; i < names.size() && i < kMost; ++i) {
    if (i > 0) result += ", ";
    result += names[i];
  }
  if (names.size() > kMost) result += " and " + std::to_string(names.size() - kMost) + " more";
  return result;
}

}  // namespace hwnas::core
