/** Decompresses what is written to it. */
export interface Decompressor {
  /**
   * The plain bytes; fails with `invalid-argument`. A piece is valid until the next one is asked for. After a
   * failure, or after its reader has ended, writes are dropped.
   */
  readonly output: AsyncIterable<Buffer>;
  /** One at a time. When it resolves, the bytes are consumed and the caller may reuse their memory. */
  write(bytes: Buffer): Promise<void>;
  /** Ends the input. */
  end(): void;
}
