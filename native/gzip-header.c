/*
 * Reads the header of a gzip member (RFC 1952, 2.3), a byte at a time. ISA-L has a parser as well, which loses its place
 * when a header is split, or when its extra field is long.
 */
#include "davit.h"

enum { FLAG_CHECKSUM = 2, FLAG_EXTRA = 4, FLAG_NAME = 8, FLAG_COMMENT = 16, FLAGS_RESERVED = 0xe0 };
enum { BAD_MAGIC = 1, BAD_METHOD, BAD_FLAGS, BAD_CHECKSUM };

/* The next part of the header that is there. */
static void next_part(struct gzip_header *header, int part) {
  header->at = 0;
  if (part == GZIP_EXTRA_SIZE && !(header->flags & FLAG_EXTRA)) part = GZIP_NAME;
  if (part == GZIP_EXTRA && header->extra == 0) part = GZIP_NAME;
  if (part == GZIP_NAME && !(header->flags & FLAG_NAME)) part = GZIP_COMMENT;
  if (part == GZIP_COMMENT && !(header->flags & FLAG_COMMENT)) part = GZIP_CHECKSUM;
  if (part == GZIP_CHECKSUM && !(header->flags & FLAG_CHECKSUM)) part = GZIP_BODY;
  header->part = part;
}

static int fixed_byte(struct gzip_header *header, uint8_t byte) {
  switch (header->at++) {
    case 0: return byte == 0x1f ? 0 : BAD_MAGIC;
    case 1: return byte == 0x8b ? 0 : BAD_MAGIC;
    case 2: return byte == 8 ? 0 : BAD_METHOD;
    case 3:
      header->flags = byte;
      return (byte & FLAGS_RESERVED) == 0 ? 0 : BAD_FLAGS;
    case 9: /* after the time, the flags of the compressor and the system */
      next_part(header, GZIP_EXTRA_SIZE);
  }
  return 0;
}

static uint32_t crc_of(uint32_t crc, uint8_t byte) {
  crc ^= byte;
  for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (crc & 1 ? 0xedb88320u : 0);
  return crc;
}

int gzip_header_byte(struct gzip_header *header, uint8_t byte) {
  if ((header->flags & FLAG_CHECKSUM) != 0 || header->part == GZIP_FIXED) {
    if (header->part != GZIP_CHECKSUM) header->crc = crc_of(header->crc, byte);
  }
  switch (header->part) {
    case GZIP_FIXED: return fixed_byte(header, byte);
    case GZIP_EXTRA_SIZE:
      header->extra |= (uint32_t)byte << (8 * header->at);
      if (++header->at == 2) next_part(header, GZIP_EXTRA);
      return 0;
    case GZIP_EXTRA:
      if (++header->at == header->extra) next_part(header, GZIP_NAME);
      return 0;
    case GZIP_NAME:
      if (byte == 0) next_part(header, GZIP_COMMENT);
      return 0;
    case GZIP_COMMENT:
      if (byte == 0) next_part(header, GZIP_CHECKSUM);
      return 0;
    case GZIP_CHECKSUM:
      header->stored |= (uint32_t)byte << (8 * header->at);
      if (++header->at < 2) return 0;
      next_part(header, GZIP_BODY);
      return header->stored == (~header->crc & 0xffff) ? 0 : BAD_CHECKSUM;
    case GZIP_BODY: break;
  }
  return 0;
}

void gzip_header_begin(struct gzip_header *header) {
  *header = (struct gzip_header){.part = GZIP_FIXED, .crc = 0xffffffffu};
}
