/** The smallest EROFS image: an empty root directory (fs/erofs/erofs_fs.h). */
export function probeImage(): Buffer {
  const image = Buffer.alloc(4096);
  const [superblock, root, names] = [1024, 1152, 1152 + 64];
  image.writeUInt32LE(0xe0f5e1e2, superblock);
  image[superblock + 12] = 12; // blocks of 4096 bytes
  image.writeUInt16LE(root / 32, superblock + 14);
  image.writeUInt32LE(1, superblock + 16); // inodes
  image.writeUInt32LE(1, superblock + 36); // blocks
  image.writeUInt16LE(1 | (2 << 1), root); // 64 bytes, the content follows
  image.writeUInt16LE(0o040755, root + 4);
  image.writeUInt32LE(2 * 12 + 3, root + 8); // size
  image.writeUInt32LE(2, root + 44); // links
  for (const [at, nameAt] of [
    [names, 24],
    [names + 12, 25],
  ] as const) {
    image.writeUInt32LE(root / 32, at);
    image.writeUInt16LE(nameAt, at + 8);
    image[at + 10] = 2; // a directory
  }
  image.write("...", names + 24);
  return image;
}
