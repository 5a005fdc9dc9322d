const pieceBytes = 256 * 1024;

/** Bytes in pieces for messages: a server limits the size of one (davit: server.max_message_bytes). */
export function* pieces(bytes: Uint8Array): Generator<Uint8Array, void, undefined> {
  for (let at = 0; at < bytes.length; at += pieceBytes) yield bytes.subarray(at, at + pieceBytes);
}
