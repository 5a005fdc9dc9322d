import type { BlobInput } from "./blob-input.ts";
import type { LimitedSink } from "./limits.ts";
import type { TarEntry } from "./tar-entry.ts";

const common = {
  linkPath: "",
  uid: 0,
  gid: 0,
  // The same for every pull of the same artifact.
  time: { seconds: 0, nanoseconds: 0 },
  major: 0,
  minor: 0,
  xattrs: new Map<string, string>(),
};

/**
 * Makes the whole blob, as it is, the only file of the layer: with mode 0644, of root, and of 1970, as its
 * directories. `path` is relative, without `.` and `..`.
 */
export async function writeWholeFile(
  blob: BlobInput,
  path: string,
  sink: LimitedSink,
): Promise<void> {
  const bytes = Buffer.from(path, "utf8").toString("latin1");
  const directory = (upTo: string): TarEntry => ({
    ...common,
    type: "dir",
    path: upTo,
    mode: 0o755,
    size: 0,
  });
  for (const at of ends(bytes)) {
    sink.entry(directory(bytes.slice(0, at)));
    sink.endEntry();
  }
  // The size is not known before the end, and nothing here needs it.
  sink.entry({ ...common, type: "file", path: bytes, mode: 0o644, size: 0 });
  await blob.head();
  await blob.forEach((piece) => {
    sink.archive(piece.length);
    sink.data(piece);
    return Promise.resolve();
  });
  sink.endEntry();
}

/** Where the parents of a path end, topmost first. */
function ends(path: string): readonly number[] {
  return Array.from(path.matchAll(/\//g), ({ index }) => index);
}
