// Writing protobuf's wire format, also wrongly.
#ifndef HWNAS_TESTS_PROTOBUFS_HPP_
#define HWNAS_TESTS_PROTOBUFS_HPP_

#include <cstdint>
#include <string>

namespace protobufs {

inline std::string varint(std::uint64_t number) {
  std::string bytes;
  for (; number >= 0x80; number >>= 7) bytes += static_cast<char>((number & 0x7f) | 0x80);
  return bytes + static_cast<char>(number);
}

inline std::string number(std::uint32_t field, std::uint64_t value) {
  return varint(field << 3) + varint(value);
}

inline std::string bytes(std::uint32_t field, const std::string& content) {
  return varint(field << 3 | 2) + varint(content.size()) + content;
}

inline std::string entry(const std::string& key, const std::string& value) {
  return bytes(13, bytes(1, key) + bytes(2, value));
}

// A TensorProto whose data lies elsewhere.
inline std::string external(const std::string& location, const std::string& offset,
                            const std::string& length) {
  return number(1, 4) + number(2, 1) + bytes(8, "w") + entry("location", location) +
         entry("offset", offset) + entry("length", length) + number(14, 1);
}

inline std::string model_of_graph(const std::string& graph) {
  return number(1, 10) + bytes(7, graph) + bytes(8, number(2, 20));
}

inline std::string model_of(const std::string& tensor) { return model_of_graph(bytes(5, tensor)); }

}  // namespace protobufs

#endif  // HWNAS_TESTS_PROTOBUFS_HPP_
