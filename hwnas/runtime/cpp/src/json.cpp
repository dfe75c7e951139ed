#include "json.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "failure.hpp"

namespace hwnas::core {
namespace {

using Kind = JsonValue::Kind;

// Builds the tree from the parser's events. The library's own tree is not used: it sorts keys,
// takes the last of two equal ones, and its destructor allocates.
class Builder : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool null() override { return add({}) != nullptr; }
  bool boolean(bool) override { return add(of(Kind::kBool)) != nullptr; }
  bool number_integer(number_integer_t number) override { return add_integer(number); }
  bool number_unsigned(number_unsigned_t number) override {
    if (number > INT64_MAX) return add(of(Kind::kReal)) != nullptr;
    return add_integer(static_cast<std::int64_t>(number));
  }
  bool number_float(number_float_t, const string_t&) override {
    return add(of(Kind::kReal)) != nullptr;
  }
  bool string(string_t& text) override {
    JsonValue value = of(Kind::kText);
    value.text = std::move(text);
    return add(std::move(value)) != nullptr;
  }
  bool binary(binary_t&) override { return refuse("binary data"); }
  bool start_object(std::size_t) override { return open(Kind::kObject); }
  bool start_array(std::size_t) override { return open(Kind::kArray); }
  bool end_array() override { return close(); }
  bool key(string_t& text) override {
    open_.back()->keys.push_back(std::move(text));
    return true;
  }
  bool end_object() override {
    std::vector<std::string_view> keys(open_.back()->keys.begin(), open_.back()->keys.end());
    std::sort(keys.begin(), keys.end());
    const auto twice = std::adjacent_find(keys.begin(), keys.end());
    if (twice != keys.end()) return refuse("the key " + in_quotes(*twice) + " appears twice");
    return close();
  }
  bool parse_error(std::size_t at, const std::string&,
                   const nlohmann::detail::exception& error) override {
    // Numbers beyond a double arrive here too, with a place but without "parse_error".
    return refuse("near byte " + std::to_string(at) + ": " + error.what());
  }

  JsonValue root;
  std::string why;

 private:
  static JsonValue of(Kind kind) {
    JsonValue value;
    value.kind = kind;
    return value;
  }

  bool refuse(std::string reason) {
    why = std::move(reason);
    return false;
  }

  bool add_integer(std::int64_t number) {
    JsonValue value = of(Kind::kInteger);
    value.integer = number;
    return add(std::move(value)) != nullptr;
  }

  JsonValue* add(JsonValue value) {
    if (++count_ > kMostJsonValues) {
      refuse("it has more than " + std::to_string(kMostJsonValues) + " values");
      return nullptr;
    }
    if (open_.empty()) {
      root = std::move(value);
      return &root;
    }
    open_.back()->items.push_back(std::move(value));
    return &open_.back()->items.back();
  }

  bool open(Kind kind) {
    if (open_.size() >= kDeepestJson) {
      return refuse("it is nested more than " + std::to_string(kDeepestJson) + " deep");
    }
    // The address stays good while it is open: its parent grows only once it is closed.
    JsonValue* value = add(of(kind));
    if (value != nullptr) open_.push_back(value);
    return value != nullptr;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  std::vector<JsonValue*> open_;
  std::size_t count_ = 0;
};

}  // namespace

JsonValue parse_json(std::string_view text, const std::string& what) {
  if (text.size() > kLargestJson) {
    fail_bundle(what + " has " + std::to_string(text.size()) + " bytes, more than " +
                std::to_string(kLargestJson));
  }
  Builder builder;
  const bool good = nlohmann::json::sax_parse(text.data(), text.data() + text.size(), &builder);
  if (!good) fail_bundle(what + " is cut off or not JSON: " + builder.why);
  return std::move(builder.root);
}

std::string JsonReader::place() const {
  if (parent_ == nullptr) return std::string(key_) + ":";
  const std::string before = parent_->place();
  const std::string here =
      key_.empty() ? "[" + std::to_string(index_) + "]" : in_quotes(key_.substr(0, 80));
  return before + (parent_->parent_ == nullptr ? " " : ".") + here;
}

void JsonReader::refuse(const std::string& why) const { fail_bundle(place() + " " + why); }

void JsonReader::expect_kind(JsonValue::Kind kind, const char* name) const {
  if (value_.kind != kind) refuse(std::string("is not ") + name);
}

void JsonReader::expect_object() const { expect_kind(Kind::kObject, "an object"); }

const JsonValue* JsonReader::find(std::string_view key) const {
  for (std::size_t i = 0; i < value_.keys.size(); ++i) {
    if (value_.keys[i] == key) return &value_.items[i];
  }
  return nullptr;
}

void JsonReader::expect(std::initializer_list<std::string_view> keys) const {
  expect_object();
  for (const std::string& found : value_.keys) {
    const bool known = std::any_of(keys.begin(), keys.end(), [&](std::string_view key) {
      return found == key || (key.back() == '?' && found == key.substr(0, key.size() - 1));
    });
    if (!known) refuse("has the unknown key " + in_quotes(found));
  }
  for (const std::string_view key : keys) {
    if (key.back() != '?' && find(key) == nullptr) refuse("lacks the key " + in_quotes(key));
  }
}

JsonReader JsonReader::at(std::string_view key) const& {
  expect_object();
  const JsonValue* found = find(key);
  if (found == nullptr) refuse("lacks the key " + in_quotes(key));
  return JsonReader(*found, this, key, 0);
}

bool JsonReader::has(std::string_view key) const {
  expect_object();
  const JsonValue* found = find(key);
  return found != nullptr && found->kind != Kind::kNull;
}

const std::string& JsonReader::text() const {
  expect_kind(Kind::kText, "text");
  return value_.text;
}

std::int64_t JsonReader::count(std::int64_t largest) const {
  if (value_.kind != Kind::kInteger || value_.integer < 0 || value_.integer > largest) {
    refuse("is not a whole number from 0 to " + std::to_string(largest));
  }
  return value_.integer;
}

}  // namespace hwnas::core
