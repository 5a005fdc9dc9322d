import { RuntimeError } from "../../../base/errors.ts";

/**
 * A header block that RFC 7541 does not allow. The peer's table and this one may differ from now on, so the
 * connection must end with COMPRESSION_ERROR (RFC 9113, 4.3).
 */
export class HpackError extends RuntimeError {
  constructor(why: string) {
    super("invalid-argument", `read HTTP/2 headers: ${why}; the peer does not follow RFC 7541`);
    this.name = "HpackError";
  }
}

/**
 * The headers of one request exceed a limit. The dynamic table is that of the peer, so the connection can
 * continue, and only this request is refused.
 */
export class HeadersTooLarge extends RuntimeError {
  constructor(maxListBytes: number, maxPairs: number) {
    super(
      "resource-exhausted",
      `read HTTP/2 headers: the limits are ${maxPairs} headers and ${maxListBytes} bytes; send fewer or shorter headers`,
    );
    this.name = "HeadersTooLarge";
  }
}
