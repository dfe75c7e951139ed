#include "graph.hpp"

#include <charconv>
#include <optional>

#include "failure.hpp"
#include "protobuf.hpp"

namespace hwnas::core {
namespace {

// The messages of onnx.proto that tensors can lie in, and the fields that lead to them.
enum class Message : std::uint8_t {
  kModel,
  kGraph,
  kNode,
  kAttribute,
  kTensor,
  kSparse,
  kFunction,
  kTraining
};

struct Child {
  Message in;
  std::uint32_t field;
  Message is;
  bool repeated;
};

constexpr Child kChildren[] = {
    {Message::kModel, 7, Message::kGraph, false},
    {Message::kModel, 20, Message::kTraining, true},
    {Message::kModel, 25, Message::kFunction, true},
    {Message::kGraph, 1, Message::kNode, true},
    {Message::kGraph, 5, Message::kTensor, true},
    {Message::kGraph, 15, Message::kSparse, true},
    {Message::kNode, 5, Message::kAttribute, true},
    {Message::kAttribute, 5, Message::kTensor, false},
    {Message::kAttribute, 6, Message::kGraph, false},
    {Message::kAttribute, 10, Message::kTensor, true},
    {Message::kAttribute, 11, Message::kGraph, true},
    {Message::kAttribute, 22, Message::kSparse, false},
    {Message::kAttribute, 23, Message::kSparse, true},
    {Message::kSparse, 1, Message::kTensor, false},
    {Message::kSparse, 2, Message::kTensor, false},
    {Message::kFunction, 7, Message::kNode, true},
    {Message::kFunction, 11, Message::kAttribute, true},
    {Message::kTraining, 1, Message::kGraph, false},
    {Message::kTraining, 2, Message::kGraph, false},
};

// Protobuf's own readers stop at 100 messages in messages.
constexpr int kDeepest = 100;

const Child* child(Message in, std::uint32_t field) {
  for (const Child& found : kChildren) {
    if (found.in == in && found.field == field) return &found;
  }
  return nullptr;
}

std::optional<std::uint64_t> whole_number(std::string_view text) {
  std::uint64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (text.empty() || error != std::errc() || stop != end) return std::nullopt;
  return number;
}

class Walker {
 public:
  Walker(const std::string& weights, std::uint64_t size, const std::string& what)
      : weights_(weights), size_(size), what_(what) {}

  void model(std::string_view bytes) {
    if (bytes.size() > kLargestGraph) refuse("is too large for an ONNX model");
    walk(Message::kModel, bytes, 0);
    if (!has_graph_) refuse("is not an ONNX model");
  }

 private:
  [[noreturn]] void refuse(const std::string& why) const { fail_bundle(what_ + " " + why); }

  void walk(Message kind, std::string_view bytes, int depth) {
    if (depth > kDeepest) refuse("is nested too deep for an ONNX model");
    if (kind == Message::kTensor) return tensor(bytes);
    FieldReader reader(bytes);
    Field field;
    std::uint32_t seen = 0;
    while (reader.next(field)) {
      const Child* found = child(kind, field.number);
      if (found == nullptr) continue;
      if (field.wire != Wire::kBytes) refuse("is not an ONNX model");
      // A reader would merge two of them into one that was never looked at as a whole.
      const std::uint32_t bit = 1u << field.number;
      if (!found->repeated && (seen & bit) != 0) refuse("has a part twice that can be there once");
      seen |= bit;
      has_graph_ = has_graph_ || found->is == Message::kGraph;
      walk(found->is, field.bytes, depth + 1);
    }
    if (!reader.good()) refuse("is cut off or not an ONNX model");
  }

  void tensor(std::string_view bytes) const {
    constexpr std::uint32_t kExternalData = 13, kDataLocation = 14;
    FieldReader reader(bytes);
    Field field;
    bool external = false;
    Place place;
    while (reader.next(field)) {
      if (field.number == kExternalData) {
        if (field.wire != Wire::kBytes) refuse("is not an ONNX model");
        external = true;
        entry(field.bytes, place);
      } else if (field.number == kDataLocation) {
        if (field.wire != Wire::kVarint || field.varint > 1) refuse("is not an ONNX model");
        external = external || field.varint == 1;
      }
    }
    if (!reader.good()) refuse("is cut off or not an ONNX model");
    if (external) check(place);
  }

  struct Place {
    std::optional<std::string_view> location, offset, length;
  };

  void entry(std::string_view bytes, Place& place) const {
    FieldReader reader(bytes);
    Field field;
    std::optional<std::string_view> key, value;
    while (reader.next(field)) {
      if (field.wire != Wire::kBytes) refuse("is not an ONNX model");
      set(field.number == 1 ? key : value, field.bytes);
    }
    if (!reader.good() || !key || !value) refuse("says where a weight lies in a damaged way");
    if (*key == "location") return set(place.location, *value);
    if (*key == "offset") return set(place.offset, *value);
    if (*key == "length") return set(place.length, *value);
    refuse("says where a weight lies by the unknown key " + in_quotes(*key));
  }

  void set(std::optional<std::string_view>& to, std::string_view value) const {
    if (to) refuse("says twice where a weight lies");
    to = value;
  }

  void check(const Place& place) const {
    if (!place.location || *place.location != weights_) {
      fail(HWNAS_ERROR_UNSAFE_PATH,
           what_ + " has weights in " + in_quotes(place.location.value_or("")) + ", not in " +
               in_quotes(weights_),
           "get the bundle again from where it was made; do not use this one");
    }
    const auto offset = whole_number(place.offset.value_or("0"));
    const auto length = whole_number(place.length.value_or(""));
    if (!offset || !length || *offset > size_ || *length > size_ - *offset) {
      refuse("has a weight that lies outside " + in_quotes(weights_));
    }
  }

  const std::string& weights_;
  const std::uint64_t size_;
  const std::string& what_;
  bool has_graph_ = false;
};

}  // namespace

void check_graph(std::string_view model, const std::string& weights, std::uint64_t size,
                 const std::string& what) {
  Walker(weights, size, what).model(model);
}

}  // namespace hwnas::core
