// SHA-256 (FIPS 180-4), with the CPU's own instructions where it has them.
#ifndef HWNAS_SRC_SHA256_HPP_
#define HWNAS_SRC_SHA256_HPP_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace hwnas::core {

// Mixes `count` blocks of 64 bytes into `state`.
using Sha256Blocks = void (*)(std::uint32_t* state, const std::uint8_t* data, std::size_t count);

extern const std::array<std::uint32_t, 64> kSha256Constants;

void sha256_blocks_portable(std::uint32_t* state, const std::uint8_t* data, std::size_t count);

// The fastest that this CPU can run; the portable one where it has nothing better.
Sha256Blocks sha256_blocks_for_this_cpu();

class Sha256 {
 public:
  explicit Sha256(Sha256Blocks blocks = sha256_blocks_for_this_cpu());

  void update(const void* data, std::size_t size);

  // The digest in lower-case hex. The object is used up.
  std::string hex();

 private:
  Sha256Blocks blocks_;
  std::array<std::uint32_t, 8> state_;
  std::array<std::uint8_t, 64> rest_{};
  std::size_t used_ = 0;     // bytes in rest_
  std::uint64_t total_ = 0;  // bytes so far
};

std::string sha256_hex(const void* data, std::size_t size);

}  // namespace hwnas::core

#endif  // HWNAS_SRC_SHA256_HPP_
