/**
 * What ttrpc needs of a connection. A socket of node:net is one, and so is a logical connection of a {@link Multiplexer}.
 */
export interface TtrpcTransport {
  readonly destroyed: boolean;
  /** Bytes that were written and not yet sent. */
  readonly writableLength: number;
  write(bytes: Uint8Array): unknown;
  destroy(): unknown;
  /** The connection keeps the process running. */
  ref(): unknown;
  unref(): unknown;
  on(event: "data", listener: (chunk: Buffer) => void): unknown;
  on(event: "error", listener: (error: Error) => void): unknown;
  on(event: "close", listener: () => void): unknown;
}
