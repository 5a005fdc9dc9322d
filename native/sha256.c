/*
 * SHA-256 (FIPS 180-4) of two streams at once, by the instructions of x86 for it.
 *
 * Each of the 64 rounds needs the result of the one before, so that one stream leaves the processor idle for most of
 * the time. Two streams take turns, instruction by instruction. A single stream is as fast here as with OpenSSL.
 */
#include "davit.h"

#include <string.h>

#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>

enum { BLOCK = 64, WORDS = 4 /* in a vector */, STEPS = 16 /* of four rounds each */ };

#define SHA_CODE __attribute__((target("sha,ssse3,sse4.1")))
#define SHA_INLINE SHA_CODE __attribute__((always_inline)) static inline

/* FIPS 180-4, 4.2.2 */
static const uint32_t constants[STEPS * WORDS] __attribute__((aligned(16))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

/*
 * A stream while its blocks are read. The instructions want the working variables a to h in two vectors, named after
 * them from the highest word to the lowest one.
 */
struct lane {
  __m128i abef, cdgh;
  __m128i words[WORDS]; /* the last 16 of the message schedule */
  const uint8_t *in;
};

SHA_INLINE void load_lane(struct lane *lane, const struct sha256 *hash, const uint8_t *in) {
  __m128i dcba = _mm_loadu_si128((const __m128i *)hash->state);
  __m128i hgfe = _mm_loadu_si128((const __m128i *)(hash->state + WORDS));
  __m128i cdab = _mm_shuffle_epi32(dcba, _MM_SHUFFLE(2, 3, 0, 1));
  __m128i efgh = _mm_shuffle_epi32(hgfe, _MM_SHUFFLE(0, 1, 2, 3));
  lane->abef = _mm_alignr_epi8(cdab, efgh, 8);
  lane->cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);
  lane->in = in;
}

SHA_INLINE void store_lane(const struct lane *lane, struct sha256 *hash) {
  __m128i feba = _mm_shuffle_epi32(lane->abef, _MM_SHUFFLE(0, 1, 2, 3));
  __m128i dchg = _mm_shuffle_epi32(lane->cdgh, _MM_SHUFFLE(2, 3, 0, 1));
  _mm_storeu_si128((__m128i *)hash->state, _mm_blend_epi16(feba, dchg, 0xf0));
  _mm_storeu_si128((__m128i *)(hash->state + WORDS), _mm_alignr_epi8(dchg, feba, 8));
}

/* The next four words of the message schedule (6.2.2, step 1). */
SHA_INLINE __m128i next_words(const struct lane *lane, int step) {
  const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  if (step < WORDS) return _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)lane->in + step), big_endian);
  __m128i last = lane->words[(step + 3) % WORDS], before = lane->words[(step + 2) % WORDS];
  __m128i sum = _mm_sha256msg1_epu32(lane->words[step % WORDS], lane->words[(step + 1) % WORDS]);
  sum = _mm_add_epi32(sum, _mm_alignr_epi8(last, before, 4));
  return _mm_sha256msg2_epu32(sum, last);
}

/* Four rounds (step 3). An instruction does two of them: the old a, b, e and f are then c, d, g and h. */
SHA_INLINE void run_step(struct lane *lane, int step) {
  __m128i words = next_words(lane, step);
  lane->words[step % WORDS] = words;
  words = _mm_add_epi32(words, _mm_load_si128((const __m128i *)constants + step));
  lane->cdgh = _mm_sha256rnds2_epu32(lane->cdgh, lane->abef, words);
  lane->abef = _mm_sha256rnds2_epu32(lane->abef, lane->cdgh, _mm_shuffle_epi32(words, _MM_SHUFFLE(1, 0, 3, 2)));
}

/* Takes a block of each lane. `count` is a constant, so that all loops are unrolled. */
SHA_INLINE void take_block(struct lane *lanes, int count) {
  __m128i abef[2], cdgh[2];
  for (int i = 0; i < count; i++) {
    abef[i] = lanes[i].abef;
    cdgh[i] = lanes[i].cdgh;
  }
#pragma GCC unroll 16
  for (int step = 0; step < STEPS; step++) {
#pragma GCC unroll 2
    for (int i = 0; i < count; i++) run_step(&lanes[i], step);
  }
  for (int i = 0; i < count; i++) {
    lanes[i].abef = _mm_add_epi32(lanes[i].abef, abef[i]);
    lanes[i].cdgh = _mm_add_epi32(lanes[i].cdgh, cdgh[i]);
    lanes[i].in += BLOCK;
  }
}

SHA_CODE static void take_blocks(struct sha256 *hash, const uint8_t *in, size_t blocks) {
  struct lane lane;
  load_lane(&lane, hash, in);
  for (; blocks > 0; blocks--) take_block(&lane, 1);
  store_lane(&lane, hash);
}

SHA_CODE static void take_blocks_of_two(struct sha256 *hashes, const uint8_t *one, const uint8_t *other, size_t blocks) {
  struct lane lanes[2];
  load_lane(&lanes[0], &hashes[0], one);
  load_lane(&lanes[1], &hashes[1], other);
  for (; blocks > 0; blocks--) take_block(lanes, 2);
  store_lane(&lanes[0], &hashes[0]);
  store_lane(&lanes[1], &hashes[1]);
}

/* Fills up the block that was begun. Returns how many bytes of the input that takes. */
static size_t fill_block(struct sha256 *hash, const uint8_t *in, size_t size) {
  size_t begun = hash->size % BLOCK;
  if (begun == 0) return 0;
  size_t taken = size < BLOCK - begun ? size : BLOCK - begun;
  memcpy(hash->rest + begun, in, taken);
  hash->size += taken;
  if (begun + taken == BLOCK) take_blocks(hash, hash->rest, 1);
  return taken;
}

void sha256_update_pair(struct sha256 hashes[2], const struct input inputs[2]) {
  const uint8_t *in[2] = {NULL, NULL};
  size_t blocks[2] = {0, 0}, left[2] = {0, 0};
  for (int i = 0; i < 2; i++) {
    if (inputs[i].size == 0) continue;
    size_t filled = fill_block(&hashes[i], inputs[i].bytes, inputs[i].size);
    in[i] = inputs[i].bytes + filled;
    left[i] = inputs[i].size - filled;
    blocks[i] = left[i] / BLOCK;
  }
  size_t both = blocks[0] < blocks[1] ? blocks[0] : blocks[1];
  if (both > 0) take_blocks_of_two(hashes, in[0], in[1], both);
  for (int i = 0; i < 2; i++) {
    if (blocks[i] > both) take_blocks(&hashes[i], in[i] + both * BLOCK, blocks[i] - both);
    if (left[i] == 0) continue;
    memcpy(hashes[i].rest, in[i] + blocks[i] * BLOCK, left[i] % BLOCK);
    hashes[i].size += left[i];
  }
}

static void put_big_endian(uint8_t *at, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; i++) at[i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
}

void sha256_end(const struct sha256 *hash, uint8_t digest[SHA256_SIZE]) {
  struct sha256 last = *hash;
  /* The padding (5.1.1): a bit, zeros, and the number of bits at the end of a block. */
  uint8_t padding[2 * BLOCK] = {0x80};
  size_t size = BLOCK - hash->size % BLOCK;
  if (size < 1 + sizeof(uint64_t)) size += BLOCK;
  put_big_endian(padding + size - sizeof(uint64_t), hash->size * 8, sizeof(uint64_t));
  size_t filled = fill_block(&last, padding, size);
  take_blocks(&last, padding + filled, (size - filled) / BLOCK);
  for (int i = 0; i < 8; i++) put_big_endian(digest + 4 * i, last.state[i], 4);
}

bool sha256_available(void) {
  unsigned a, b, c, d;
  bool has_vectors = __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSSE3) && (c & bit_SSE4_1);
  return has_vectors && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA);
}

void sha256_begin(struct sha256 *hash) {
  /* FIPS 180-4, 5.3.3 */
  *hash = (struct sha256){.state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c,
                                    0x1f83d9ab, 0x5be0cd19}};
}

#else

bool sha256_available(void) { return false; }
void sha256_begin(struct sha256 *hash) { memset(hash, 0, sizeof *hash); }
void sha256_update_pair(struct sha256 hashes[2], const struct input inputs[2]) {
  (void)hashes;
  (void)inputs;
}
void sha256_end(const struct sha256 *hash, uint8_t digest[SHA256_SIZE]) {
  (void)hash;
  memset(digest, 0, SHA256_SIZE);
}

#endif
