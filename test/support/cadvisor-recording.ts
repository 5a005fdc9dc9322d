/**
 * What cAdvisor 0.49.2 with grpc-go 1.64 sent on a connection to containerd's socket: the preface
 * and the frames of HTTP/2, byte for byte except for the ids. Streams: 1 Version; 3 to 33 Containers.Get of
 * cgroups that other programs made; 35 and 37 Containers.Get and 39 Tasks.Get of one object.
 */
import { connect } from "node:net";

const recorded = Buffer.from(
  [
    "UFJJICogSFRUUC8yLjANCg0KU00NCg0KAAAABAAAAAAAAAAABAEAAAAAAABnAQQAAAABg4ZFoWCHqSM1RbJF0Fs7mIVC/ctiDHqX",
    "7hX4lsQY9THEtiDHq0GGoOQdE50JX4sdddBiDSY9TE1lZHqKmsrItMdgK7jS4EACdGWGTYM1BbEfQI4h6kjNUWyRaodJUVjIX4Xq",
    "8hcx/wAABQABAAAAAQAAAAAAAAAECAAAAAAAAAAAEgAACAYAAAAAAAIEEBAJDgcHAAArAQQAAAADg4ZFomCHqSM1RbJF0Fs7mIVC",
    "5D1JGaotiF+4V7x6kjNUWxDGIqfDwsHAvwAARwABAAAAAwAAAABCCkAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAw",
    "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwAAAIAQQAAAAFg4a+w8LBwL8AAEcAAQAAAAUAAAAAQgpAMDAwMDAwMDAwMDAw",
    "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMAAACAEEAAAAB4OGvsPCwcC/AABHAAEA",
    "AAAHAAAAAEIKQDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAA",
    "AAQIAAAAAAAAAAG+AAAIBgAAAAAAAgQQEAkOBwcAAAgBBAAAAAmDhr7DwsHAvwAARwABAAAACQAAAABCCkAwMDAwMDAwMDAwMDAw",
    "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwAAAECAAAAAAAAAABvgAACAYAAAAAAAIE",
    "EBAJDgcHAAAlAQQAAAALg4ZFnGCHqSM1RbJF0Fs7mIVC6Ro6oX7hX3jR1QxiKn/Ew8LBwAAARwABAAAACwAAAABCCkAwMDAwMDAw",
    "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwAAAECAAAAAAAAAAAkQAACAYA",
    "AAAAAAIEEBAJDgcHAAAIAQQAAAANg4a/xMPCwcAAAEcAAQAAAA0AAAAAQgpAMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAw",
    "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMAAACAEEAAAAD4OGv8TDwsHAAABHAAEAAAAPAAAAAEIKQDAwMDAwMDAw",
    "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAAAAgBBAAAABGDhr/Ew8LBwAAA",
    "RwABAAAAEQAAAABCCkAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAw",
    "MDAwAAAIAQQAAAATg4a/xMPCwcAAAEcAAQAAABMAAAAAQgpAMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAw",
    "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMAAACAEEAAAAFYOGv8TDwsHAAABHAAEAAAAVAAAAAEIKQDAwMDAwMDAwMDAwMDAwMDAw",
    "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAAAAgBBAAAABeDhr/Ew8LBwAAARwABAAAAFwAA",
    "AABCCkAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwAAAIAQQA",
    "AAAZg4a/xMPCwcAAAEcAAQAAABkAAAAAQgpAMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAw",
    "MDAwMDAwMDAwMDAwMDAwMAAACAEEAAAAG4OGv8TDwsHAAABHAAEAAAAbAAAAAEIKQDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAw",
    "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAAAAgBBAAAAB2Dhr/Ew8LBwAAARwABAAAAHQAAAABCCkAwMDAw",
    "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwAAAIAQQAAAAfg4a/xMPC",
    "wcAAAEcAAQAAAB8AAAAAQgpAMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAw",
    "MDAwMDAwMAAACAEEAAAAIYOGv8TDwsHAAABHAAEAAAAhAAAAAEIKQDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAw",
    "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAAAAgBBAAAACODhr/Ew8LBwAAARwABAAAAIwAAAABCCkAxMTExMTExMTExMTEx",
    "MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTExAAAECAAAAAAAAAABvgAACAYAAAAAAAIE",
    "EBAJDgcHAAAIAQQAAAAlg4a/xMPCwcAAAEcAAQAAACUAAAAAQgpAMTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTEx",
    "MTExMTExMTExMTExMTExMTExMTExMTExMTExMQAABAgAAAAAAAAAAb4AAAgGAAAAAAACBBAQCQ4HBwAACAEEAAAAJ4OGvsTDwsHA",
    "AABHAAEAAAAnAAAAAEIKQDExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTEx",
    "MTExMTE=",
  ].join(""),
  "base64",
);

/** The id of the objects that the server does not know. */
export const foreignId = "0".repeat(64);

/** The streams of the questions about the object. */
export const questions = {
  version: 1,
  foreign: [3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31, 33],
  accept: 35,
  load: 37,
  task: 39,
} as const;

/**
 * Sends the recording with the id of an object in place of the recorded one. Resolves when the last question
 * has an answer, with the gRPC message of each stream that got one.
 */
export async function replay(socket: string, id: string): Promise<ReadonlyMap<number, Buffer>> {
  const bytes = Buffer.from(recorded.toString("latin1").replaceAll("1".repeat(64), id), "latin1");
  const connection = connect(socket);
  connection.write(bytes);
  const answers = new Map<number, Buffer>();
  let rest = Buffer.alloc(0);
  for await (const chunk of connection as AsyncIterable<Buffer>) {
    rest = Buffer.concat([rest, chunk]);
    // A frame: length (3), type, flags, stream (4), payload: RFC 9113, 4.1.
    for (let end; rest.length >= 9 && rest.length >= (end = 9 + rest.readUIntBE(0, 3)); ) {
      const [type, flags, stream] = [rest[3], rest[4] ?? 0, rest.readUInt32BE(5)];
      const payload = rest.subarray(9, end);
      rest = rest.subarray(end);
      // DATA, without the prefix of a gRPC message.
      if (type === 0 && payload.length > 5) answers.set(stream, payload.subarray(5));
      // HEADERS with END_STREAM are the trailers.
      if (type === 1 && (flags & 1) === 1 && stream === questions.task) return answers;
    }
  }
  throw new Error("replay cAdvisor's questions: the server closed the connection");
}
