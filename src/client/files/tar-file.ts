import { TarReader } from "../../unpack/tar-reader.ts";

/** The content of the first entry of a tar archive; undefined if that is not a file. Throws as `TarReader`. */
export function fileIn(archive: Buffer): Buffer | undefined {
  const chunks: Buffer[] = [];
  const first = { isFile: false };
  let entries = 0;
  const reader = new TarReader({
    entry: ({ type }) => {
      entries += 1;
      if (entries === 1) first.isFile = type === "file";
    },
    data: (bytes) => {
      if (entries === 1) chunks.push(Buffer.from(bytes));
    },
    hole: (bytes) => {
      if (entries === 1) chunks.push(Buffer.alloc(bytes));
    },
    endEntry: () => undefined,
  });
  reader.write(archive);
  reader.end();
  return first.isFile ? Buffer.concat(chunks) : undefined;
}
