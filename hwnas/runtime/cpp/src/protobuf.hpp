// Reading protobuf's wire format field by field, never past its end.
#ifndef HWNAS_SRC_PROTOBUF_HPP_
#define HWNAS_SRC_PROTOBUF_HPP_

#include <cstdint>
#include <string_view>

namespace hwnas::core {

enum class Wire : std::uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

struct Field {
  std::uint32_t number = 0;
  Wire wire = Wire::kVarint;
  std::uint64_t varint = 0;  // if wire is kVarint
  std::string_view bytes;    // if wire is kBytes
};

class FieldReader {
 public:
  explicit FieldReader(std::string_view message) : rest_(message) {}

  // The next field. False at the end of the message, or where it is damaged: see good().
  bool next(Field& field) {
    if (rest_.empty() || !good_) return false;
    std::uint64_t tag = 0;
    good_ = varint(tag) && tag <= UINT32_MAX && tag >> 3 != 0 && value(tag, field);
    return good_;
  }

  bool good() const { return good_; }

 private:
  bool value(std::uint64_t tag, Field& field) {
    field.number = static_cast<std::uint32_t>(tag >> 3);
    field.wire = static_cast<Wire>(tag & 7);
    std::uint64_t length = 0;
    switch (field.wire) {
      case Wire::kVarint:
        return varint(field.varint);
      case Wire::kFixed64:
        return take(8, field.bytes);
      case Wire::kBytes:
        return varint(length) && take(length, field.bytes);
      case Wire::kFixed32:
        return take(4, field.bytes);
    }
    return false;  // groups are not used by ONNX
  }

  bool varint(std::uint64_t& result) {
    result = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
      if (rest_.empty()) return false;
      const auto byte = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      if (shift < 64) result |= std::uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }

  bool take(std::uint64_t length, std::string_view& bytes) {
    if (length > rest_.size()) return false;
    bytes = rest_.substr(0, static_cast<std::size_t>(length));
    rest_.remove_prefix(static_cast<std::size_t>(length));
    return true;
  }

  std::string_view rest_;
  bool good_ = true;
};

}  // namespace hwnas::core

#endif  // HWNAS_SRC_PROTOBUF_HPP_
