/** Header compression of HTTP/2: HPACK, RFC 7541. */
export { HeaderDecoder, type HeaderLimits } from "./decoder.ts";
export { encodeHeaders } from "./encoder.ts";
export { HeadersTooLarge, HpackError } from "./errors.ts";
export type { HeaderField } from "./static-table.ts";
