// SHA-256 as FIPS 180-4 defines it, sections 4.1.2, 5.1.1 and 6.2.
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct state {
  uint32_t h[8];
  uint64_t length;
  unsigned char block[64];
};

// Section 4.2.2: the first 32 bits of the fractional parts of the cube roots of the first primes.
static const uint32_t kConstants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static const struct state kStart = {.h = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                          0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};

static uint32_t rotated(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void absorb(uint32_t h[8], const unsigned char* block) {
  uint32_t w[64], v[8];
  for (int t = 0; t < 16; ++t)
    w[t] = (uint32_t)block[4 * t] << 24 | (uint32_t)block[4 * t + 1] << 16 |
           (uint32_t)block[4 * t + 2] << 8 | block[4 * t + 3];
  for (int t = 16; t < 64; ++t)
    w[t] = w[t - 16] + w[t - 7] +
           (rotated(w[t - 15], 7) ^ rotated(w[t - 15], 18) ^ w[t - 15] >> 3) +
           (rotated(w[t - 2], 17) ^ rotated(w[t - 2], 19) ^ w[t - 2] >> 10);
  memcpy(v, h, sizeof v);
  for (int t = 0; t < 64; ++t) {
    uint32_t t1 = v[7] + (rotated(v[4], 6) ^ rotated(v[4], 11) ^ rotated(v[4], 25)) +
                  ((v[4] & v[5]) ^ (~v[4] & v[6])) + kConstants[t] + w[t];
    uint32_t t2 = (rotated(v[0], 2) ^ rotated(v[0], 13) ^ rotated(v[0], 22)) +
                  ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
    memmove(v + 1, v, 7 * sizeof *v);
    v[4] += t1;
    v[0] = t1 + t2;
  }
  for (int i = 0; i < 8; ++i) h[i] += v[i];
}

static void update(struct state* state, const unsigned char* data, size_t length) {
  size_t filled = state->length % 64;
  state->length += length;
  while (length > 0) {
    if (filled == 0 && length >= 64) {
      absorb(state->h, data);
      data += 64;
      length -= 64;
      continue;
    }
    size_t part = length < 64 - filled ? length : 64 - filled;
    memcpy(state->block + filled, data, part);
    filled = (filled + part) % 64;
    data += part;
    length -= part;
    if (filled == 0) absorb(state->h, state->block);
  }
}

static void finish(struct state* state, char hex[65]) {
  uint64_t bits = state->length * 8;
  unsigned char tail[72] = {0x80};
  size_t pad = 1 + (119 - state->length % 64) % 64;
  for (int i = 0; i < 8; ++i) tail[pad + (size_t)i] = (unsigned char)(bits >> (56 - 8 * i));
  update(state, tail, pad + 8);
  for (int i = 0; i < 64; ++i)
    hex[i] = "0123456789abcdef"[state->h[i / 8] >> (28 - 4 * (i % 8)) & 15];
  hex[64] = 0;
}

void sha256_text(const void* data, size_t length, char hex[65]) {
  struct state state = kStart;
  update(&state, data, length);
  finish(&state, hex);
}

bool sha256_file(const char* path, int64_t bytes, const char* hex) {
  static const char kFix[] = "send it again";
  int file = open(path, O_RDONLY | O_CLOEXEC);
  struct stat found;
  if (file < 0) return fail(kFix, "%s cannot be read: %s", path, strerror(errno));
  if (fstat(file, &found) != 0 || !S_ISREG(found.st_mode) || found.st_size != bytes) {
    close(file);
    return fail(kFix, "%s is not a file of %lld bytes", path, (long long)bytes);
  }
  static unsigned char buffer[1 << 16];
  struct state state = kStart;
  ssize_t got;
  while ((got = read(file, buffer, sizeof buffer)) > 0) update(&state, buffer, (size_t)got);
  int why = errno;
  close(file);
  if (got < 0) return fail(kFix, "%s cannot be read: %s", path, strerror(why));
  char own[65];
  finish(&state, own);
  return strcmp(own, hex) == 0 || fail(kFix, "%s is damaged: its SHA-256 is %s", path, own);
}
