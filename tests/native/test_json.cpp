#include <doctest/doctest.h>

#include "failure.hpp"
#include "json.hpp"

using namespace hwnas::core;

namespace {

std::string refusal(const std::string& text) {
  try {
    parse_json(text, "m.json");
  } catch (const Failure& failure) {
    CHECK(failure.code() == HWNAS_ERROR_BUNDLE);
    return failure.what();
  }
  return "";
}

bool contains(const std::string& text, const char* part) { return text.find(part) != text.npos; }

}  // namespace

TEST_CASE("objects keep the order of their keys") {
  const JsonValue value = parse_json(R"({"b": 1, "a": [true, null, "x", 2.5]})", "m.json");
  CHECK(value.keys == std::vector<std::string>{"b", "a"});
  CHECK(value.items[1].items.size() == 4);
  CHECK(value.items[1].items[2].text == "x");
}

TEST_CASE("what is not JSON is refused, and named") {
  for (const char* text : {"", "{", "[1,]", "{\"a\":1", "nul", "[1] x", "\"\\q\"", "[1e999]", "NaN",
                           "[Infinity]", "\xff", "\"\xc3\""}) {
    CAPTURE(text);
    CHECK(contains(refusal(text), "m.json is cut off or not JSON"));
  }
}

TEST_CASE("a key that appears twice is refused") {
  CHECK(contains(refusal(R"({"x": {"a": 1, "b": 2, "a": 3}})"), "'a' appears twice"));
}

TEST_CASE("nesting and size are bounded") {
  CHECK(refusal(std::string(kDeepestJson, '[') + std::string(kDeepestJson, ']')).empty());
  CHECK(contains(refusal(std::string(10'000'000, '[')), "nested more than 64 deep"));
  CHECK(contains(refusal(std::string(kLargestJson + 1, ' ')), "more than"));
  std::string many = "[0";
  for (std::size_t i = 0; i < kMostJsonValues; ++i) many += ",0";
  CHECK(contains(refusal(many + "]"), "values"));
}

TEST_CASE("readers say where something is wrong") {
  const JsonValue tree = parse_json(R"({"a": {"b": [1, -1]}, "big": 9223372036854775808})", "m");
  const JsonReader root(tree, "m");
  const JsonReader a = root.at("a"), b = a.at("b"), big = root.at("big");
  CHECK_THROWS_WITH_AS(b.each_item([](const JsonReader& item) { item.count(9); }),
                       "m: 'a'.'b'.[1] is not a whole number from 0 to 9", Failure);
  CHECK_THROWS_AS(big.count(INT64_MAX), Failure);
  CHECK_THROWS_WITH_AS(root.expect({"a"}), "m: has the unknown key 'big'", Failure);
  CHECK_THROWS_WITH_AS(root.expect({"a", "big", "c"}), "m: lacks the key 'c'", Failure);
  CHECK_THROWS_WITH_AS(a.text(), "m: 'a' is not text", Failure);
}
