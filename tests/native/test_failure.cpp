#include <doctest/doctest.h>

#include "failure.hpp"
#include "last_error.hpp"

using namespace hwnas::core;

namespace {

std::string repeated(const std::string& text, int times) {
  std::string result;
  for (int i = 0; i < times; ++i) result += text;
  return result;
}

}  // namespace

TEST_CASE("text is cut between characters") {
  CHECK(cut("abc", 3) == "abc");
  CHECK(cut("abc", 2) == "ab");
  CHECK(cut("abc", 0).empty());
  CHECK(cut("a\xc3\xa9", 2) == "a");                   // two bytes
  CHECK(cut("a\xe2\x82\xac", 3) == "a");               // three
  CHECK(cut("a\xf0\x9f\x98\x80x", 4) == "a");          // four
  CHECK(cut("a\xf0\x9f\x98\x80x", 5).size() == 5);     // just behind it
  CHECK(cut(repeated("\x80", 9), 6).size() == 6);        // no UTF-8: anywhere
  CHECK(cut("\xa9\xa9", 1).size() == 1);
}

TEST_CASE("names and errors are cut between characters") {
  const std::string e = "\xc3\xa9";
  CHECK(in_quotes("x" + repeated(e, 200)) == "'x" + repeated(e, 99) + "...'");
  CHECK(in_quotes(repeated(e, 100)) == "'" + repeated(e, 100) + "'");
  keep_error((repeated(e, 5000)).c_str(), ("x" + repeated(e, 5000)).c_str());
  CHECK(last_cause() == repeated(e, 1023));
  CHECK(last_fix() == "x" + repeated(e, 255));
  keep_error("", "");
  CHECK(std::string(last_cause()).empty());
}
