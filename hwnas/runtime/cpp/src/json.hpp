// JSON that is not trusted: bounded in size, depth and number of values, and no key twice.
#ifndef HWNAS_SRC_JSON_HPP_
#define HWNAS_SRC_JSON_HPP_

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace hwnas::core {

constexpr std::size_t kLargestJson = 64u << 20;   // bytes
constexpr std::size_t kDeepestJson = 64;          // containers in containers
constexpr std::size_t kMostJsonValues = 4u << 20;

// One value. Objects keep the order of their keys: keys[i] is the key of items[i].
struct JsonValue {
  enum class Kind : std::uint8_t { kNull, kBool, kInteger, kReal, kText, kArray, kObject };

  Kind kind = Kind::kNull;
  std::int64_t integer = 0;
  std::string text;
  std::vector<JsonValue> items;
  std::vector<std::string> keys;
};

// Failure HWNAS_ERROR_BUNDLE, naming `what`, if `text` is not such JSON.
JsonValue parse_json(std::string_view text, const std::string& what);

// Reads one value strictly; failures name the place. Refers to its parent: keep that alive.
class JsonReader {
 public:
  JsonReader(const JsonValue& value, std::string_view what) : value_(value), key_(what) {}

  [[noreturn]] void refuse(const std::string& why) const;

  // Exactly these keys may be there; those that end in '?' need not.
  void expect(std::initializer_list<std::string_view> keys) const;

  JsonReader at(std::string_view key) const&;
  JsonReader at(std::string_view key) const&& = delete;  // its parent would be gone
  bool has(std::string_view key) const;                  // and is not null
  const std::string& text() const;
  std::int64_t count(std::int64_t largest) const;  // a whole number from 0
  void expect_object() const;

  template <typename Body>  // body(const JsonReader& item)
  void each_item(Body&& body) const {
    expect_kind(JsonValue::Kind::kArray, "a list");
    for (std::size_t i = 0; i < value_.items.size(); ++i) {
      body(JsonReader(value_.items[i], this, {}, i));
    }
  }

  template <typename Body>  // body(const std::string& key, const JsonReader& item)
  void each_member(Body&& body) const {
    expect_object();
    for (std::size_t i = 0; i < value_.items.size(); ++i) {
      body(value_.keys[i], JsonReader(value_.items[i], this, value_.keys[i], i));
    }
  }

 private:
  JsonReader(const JsonValue& value, const JsonReader* parent, std::string_view key,
             std::size_t index)
      : value_(value), parent_(parent), key_(key), index_(index) {}

  void expect_kind(JsonValue::Kind kind, const char* name) const;
  const JsonValue* find(std::string_view key) const;
  std::string place() const;

  const JsonValue& value_;
  const JsonReader* parent_ = nullptr;
  std::string_view key_;  // empty: an item of a list
  std::size_t index_ = 0;
};

}  // namespace hwnas::core

#endif  // HWNAS_SRC_JSON_HPP_
