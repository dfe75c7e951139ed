#include "sha256.hpp"

#include <algorithm>
#include <cstring>

namespace hwnas::core {

// Section 4.2.2: the first 32 bits of the fractional parts of the cube roots of the first primes.
const std::array<std::uint32_t, 64> kSha256Constants = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

namespace {

std::uint32_t rotated(std::uint32_t x, unsigned n) { return (x >> n) | (x << (32 - n)); }

std::uint32_t big_endian(const std::uint8_t* p) {
  return (std::uint32_t{p[0]} << 24) | (std::uint32_t{p[1]} << 16) | (std::uint32_t{p[2]} << 8) |
         std::uint32_t{p[3]};
}

}  // namespace

void sha256_blocks_portable(std::uint32_t* state, const std::uint8_t* data, std::size_t count) {
  for (; count > 0; --count, data += 64) {
    std::uint32_t w[64];
    for (unsigned t = 0; t < 16; ++t) w[t] = big_endian(data + 4 * t);
    for (unsigned t = 16; t < 64; ++t) {
      const std::uint32_t a = w[t - 15], b = w[t - 2];
      const std::uint32_t s0 = rotated(a, 7) ^ rotated(a, 18) ^ (a >> 3);
      const std::uint32_t s1 = rotated(b, 17) ^ rotated(b, 19) ^ (b >> 10);
      w[t] = w[t - 16] + s0 + w[t - 7] + s1;
    }
    std::uint32_t v[8];
    std::copy_n(state, 8, v);
    // Eight rounds at a time, in which the eight words change their roles once around: so they
    // stay in registers, and nothing is moved.
    for (unsigned t = 0; t < 64; t += 8) {
#pragma GCC unroll 8
      for (unsigned r = 0; r < 8; ++r) {
        const std::uint32_t a = v[(8 - r) % 8], e = v[(12 - r) % 8];
        const std::uint32_t b = v[(9 - r) % 8], c = v[(10 - r) % 8];
        const std::uint32_t f = v[(13 - r) % 8], g = v[(14 - r) % 8];
        std::uint32_t& h = v[(15 - r) % 8];
        h += (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) + ((e & f) ^ (~e & g)) +
             kSha256Constants[t + r] + w[t + r];
        v[(11 - r) % 8] += h;
        h += (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      }
    }
    for (unsigned i = 0; i < 8; ++i) state[i] += v[i];
  }
}

Sha256::Sha256(Sha256Blocks blocks)
    : blocks_(blocks),
      state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
             0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19} {}

void Sha256::update(const void* data, std::size_t size) {
  const auto* bytes = static_cast<const std::uint8_t*>(data);
  total_ += size;
  if (used_ > 0) {
    const std::size_t taken = std::min(size, rest_.size() - used_);
    std::copy_n(bytes, taken, rest_.data() + used_);
    used_ += taken, bytes += taken, size -= taken;
    if (used_ < rest_.size()) return;
    blocks_(state_.data(), rest_.data(), 1);
    used_ = 0;
  }
  blocks_(state_.data(), bytes, size / 64);
  used_ = size % 64;
  if (used_ > 0) std::copy_n(bytes + (size - used_), used_, rest_.data());
}

std::string Sha256::hex() {
  const std::uint64_t bits = total_ * 8;
  static constexpr std::uint8_t kPadding[64] = {0x80};
  update(kPadding, used_ < 56 ? 56 - used_ : 120 - used_);
  std::uint8_t length[8];
  for (unsigned i = 0; i < 8; ++i) length[i] = static_cast<std::uint8_t>(bits >> (56 - 8 * i));
  update(length, sizeof length);
  static constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  text.reserve(64);
  for (const std::uint32_t word : state_) {
    for (int shift = 28; shift >= 0; shift -= 4) text += kHex[(word >> shift) & 15];
  }
  return text;
}

std::string sha256_hex(const void* data, std::size_t size) {
  Sha256 hash;
  hash.update(data, size);
  return hash.hex();
}

}  // namespace hwnas::core
