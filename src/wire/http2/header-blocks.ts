import { Gatherer } from "../gatherer.ts";
import { HeaderDecoder, type HeaderField, HeadersTooLarge, HpackError } from "./hpack/index.ts";
import { limits } from "./limits.ts";
import { ConnectionError, errorCode, flag } from "./protocol.ts";

/** A header block that a client has sent whole. */
export interface HeaderBlock {
  readonly streamId: number;
  /** The flags of its HEADERS frame. */
  readonly flags: number;
  /** Undefined when they exceed a limit. */
  readonly fields: readonly HeaderField[] | undefined;
}

/**
 * Joins and decodes the header blocks of a connection. All must pass here in their order, also those of requests that are
 * refused: the dynamic table depends on them (RFC 9113, section 4.3).
 */
export class HeaderBlocks {
  readonly #decoder = new HeaderDecoder({
    maxTableBytes: limits.headerTableBytes,
    maxListBytes: limits.maxHeaderListBytes,
    maxPairs: limits.maxHeaderPairs,
  });
  #unfinished: Gatherer | undefined;
  #streamId = 0;
  #flags = 0;
  #continuations = 0;

  /** The stream whose header block is incomplete, so that its CONTINUATION must be the next frame; 0: none. */
  get openStreamId(): number {
    return this.#unfinished === undefined ? 0 : this.#streamId;
  }

  /**
   * A HEADERS frame; the part of the block in it is without padding. Undefined when the block continues.
   *
   * @throws ConnectionError for a block that is malformed.
   */
  begin(streamId: number, flags: number, part: Buffer): HeaderBlock | undefined {
    if ((flags & flag.endHeaders) !== 0) return { streamId, flags, fields: this.#decode(part) };
    this.#unfinished = new Gatherer();
    this.#unfinished.fill(part, limits.maxHeaderBlockBytes);
    this.#streamId = streamId;
    this.#flags = flags;
    this.#continuations = 0;
    return undefined;
  }

  /**
   * A CONTINUATION frame.
   *
   * @throws ConnectionError for a block that is malformed, or much too long.
   */
  continue(flags: number, part: Buffer): HeaderBlock | undefined {
    const block = this.#unfinished;
    if (block === undefined) {
      throw new ConnectionError(errorCode.protocolError, "CONTINUATION without HEADERS");
    }
    this.#continuations += 1;
    const isSmall = block.length + part.length <= limits.maxHeaderBlockBytes;
    if (!isSmall || this.#continuations > limits.maxContinuations) {
      throw new ConnectionError(errorCode.enhanceYourCalm, "a header block that is too long");
    }
    block.fill(part, limits.maxHeaderBlockBytes);
    if ((flags & flag.endHeaders) === 0) return undefined;
    this.#unfinished = undefined;
    return { streamId: this.#streamId, flags: this.#flags, fields: this.#decode(block.take()) };
  }

  #decode(block: Buffer): readonly HeaderField[] | undefined {
    try {
      return this.#decoder.decode(block);
    } catch (error) {
      if (error instanceof HeadersTooLarge) return undefined;
      if (!(error instanceof HpackError)) throw error;
      throw new ConnectionError(errorCode.compressionError, error.message);
    }
  }
}
