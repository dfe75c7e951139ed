#include <doctest/doctest.h>

#include <random>

#include "sha256.hpp"

using namespace hwnas::core;

namespace {

std::string hex_by(Sha256Blocks blocks, const std::string& text, std::size_t piece) {
  Sha256 hash(blocks);
  for (std::size_t at = 0; at < text.size(); at += piece) {
    hash.update(text.data() + at, std::min(piece, text.size() - at));
  }
  return hash.hex();
}

}  // namespace

TEST_CASE("SHA-256 gives the digests of FIPS 180-4's examples") {
  const struct {
    std::string text;
    const char* digest;
  } vectors[] = {
      {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
      {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
      {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
       "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
      {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlm"
       "nopqrsmnopqrstnopqrstu",
       "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
      {std::string(1000000, 'a'),
       "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
  };
  for (const auto& [text, digest] : vectors) {
    for (const auto blocks : {sha256_blocks_portable, sha256_blocks_for_this_cpu()}) {
      CHECK(hex_by(blocks, text, 1u << 20) == digest);
      CHECK(hex_by(blocks, text, 61) == digest);
    }
  }
}

TEST_CASE("the CPU's own SHA-256 agrees with the portable one at every length") {
  std::mt19937 random(1);
  std::string text;
  for (int length = 0; length < 400; ++length) {
    CHECK(hex_by(sha256_blocks_for_this_cpu(), text, 1000) ==
          hex_by(sha256_blocks_portable, text, 7));
    text += static_cast<char>(random());
  }
}
