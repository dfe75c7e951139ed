// SHA-256 by the x86 SHA extensions, chosen at run time; elsewhere the portable code runs.
#include "sha256.hpp"

#if defined(__x86_64__) && defined(__GNUC__)

#include <cpuid.h>
#include <immintrin.h>

namespace hwnas::core {
namespace {

__attribute__((target("sha,sse4.1,ssse3"))) void blocks_x86(std::uint32_t* state,
                                                            const std::uint8_t* data,
                                                            std::size_t count) {
  const __m128i bytes = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  // The instructions want the state as the words ABEF and CDGH.
  const __m128i cdab =
      _mm_shuffle_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(state)), 0xb1);
  const __m128i efgh =
      _mm_shuffle_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(state + 4)), 0x1b);
  __m128i abef = _mm_alignr_epi8(cdab, efgh, 8);
  __m128i cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);
  for (; count > 0; --count, data += 64) {
    const __m128i abef_before = abef, cdgh_before = cdgh;
    __m128i w[4];  // the last 16 words of the schedule
#pragma GCC unroll 16
    for (int group = 0; group < 16; ++group) {
      __m128i& now = w[group & 3];
      if (group < 4) {
        now = _mm_shuffle_epi8(
            _mm_loadu_si128(reinterpret_cast<const __m128i*>(data + 16 * group)), bytes);
      } else {
        const __m128i back1 = w[(group + 3) & 3], back2 = w[(group + 2) & 3];
        const __m128i mixed = _mm_add_epi32(_mm_sha256msg1_epu32(now, w[(group + 1) & 3]),
                                            _mm_alignr_epi8(back1, back2, 4));
        now = _mm_sha256msg2_epu32(mixed, back1);
      }
      const __m128i constants = _mm_loadu_si128(
          reinterpret_cast<const __m128i*>(kSha256Constants.data() + 4 * group));
      const __m128i sum = _mm_add_epi32(now, constants);
      cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
      abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0e));
    }
    abef = _mm_add_epi32(abef, abef_before);
    cdgh = _mm_add_epi32(cdgh, cdgh_before);
  }
  const __m128i feba = _mm_shuffle_epi32(abef, 0x1b);
  const __m128i dchg = _mm_shuffle_epi32(cdgh, 0xb1);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(state), _mm_blend_epi16(feba, dchg, 0xf0));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}

// By cpuid, because not every compiler's __builtin_cpu_supports knows "sha".
bool has_sha() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0) return false;
  const bool sse = (c & (1u << 9)) != 0 && (c & (1u << 19)) != 0;  // SSSE3, SSE4.1
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  return sse && (b & (1u << 29)) != 0;
}

}  // namespace

Sha256Blocks sha256_blocks_for_this_cpu() {
  static const bool accelerated = has_sha();
  return accelerated ? blocks_x86 : sha256_blocks_portable;
}

}  // namespace hwnas::core

#else

namespace hwnas::core {

Sha256Blocks sha256_blocks_for_this_cpu() { return sha256_blocks_portable; }

}  // namespace hwnas::core

#endif
