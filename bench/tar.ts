/** Archives of layers (POSIX.1-1988, "ustar Interchange Format"), made in memory. */

/** A regular file, or a directory when there is no content. Names have at most 100 bytes. */
export interface TarFile {
  readonly name: string;
  readonly content?: Uint8Array;
}

const block = 512;

/** The archive of these files. */
export function tarOf(files: readonly TarFile[]): Buffer {
  const sizes = files.map(({ content }) => block + padded(content?.length ?? 0));
  const tar = Buffer.alloc(sizes.reduce((sum, size) => sum + size, 2 * block));
  let at = 0;
  for (const [index, file] of files.entries()) {
    writeHeader(tar.subarray(at, at + block), file);
    if (file.content !== undefined) tar.set(file.content, at + block);
    at += sizes[index] ?? 0;
  }
  return tar;
}

function writeHeader(header: Buffer, { name, content }: TarFile): void {
  const octal = (value: number, offset: number, length: number): void => {
    header.write(`${value.toString(8).padStart(length - 1, "0")}\0`, offset, "latin1");
  };
  header.write(name, 0, "latin1");
  octal(content === undefined ? 0o755 : 0o644, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(content?.length ?? 0, 124, 12);
  octal(1_700_000_000, 136, 12);
  header.write(" ".repeat(8), 148, "latin1");
  header.write(content === undefined ? "5" : "0", 156, "latin1");
  header.write("ustar\x0000", 257, "latin1");
  octal(
    header.reduce((sum, byte) => sum + byte, 0),
    148,
    7,
  );
}

function padded(size: number): number {
  return Math.ceil(size / block) * block;
}
