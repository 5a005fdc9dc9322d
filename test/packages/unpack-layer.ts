/**
 * Unpacks a gzip layer into an EROFS image with the native parts, and prints the digests of layer and archive and the
 * size of the image: `node unpack-layer.ts SOURCES LAYER IMAGE`. SOURCES is `src` of the copy whose addon is tried. The
 * unpacker does the same in a confined process, which an emulator of user programs cannot start.
 */
import { closeSync, openSync, readFileSync, statSync } from "node:fs";
import process from "node:process";
import { pathToFileURL } from "node:url";
import type * as blobs from "../../src/linux/blob/index.ts";
import type * as decompress from "../../src/unpack/decompress.ts";
import type * as erofs from "../../src/unpack/erofs/erofs-files.ts";
import type * as writers from "../../src/unpack/layer-writer.ts";
import type * as limitsOfLayers from "../../src/unpack/limits.ts";
import type * as tarReader from "../../src/unpack/tar-reader.ts";

type Unpack = typeof blobs &
  typeof decompress &
  typeof erofs &
  typeof limitsOfLayers &
  typeof tarReader &
  typeof writers;

const [sources = "", layer = "", image = ""] = process.argv.slice(2);
const files = ["decompress", "tar-reader", "layer-writer", "limits", "erofs/erofs-files"];
const names = [...files.map((file) => `unpack/${file}.ts`), "linux/blob/index.ts"];
const modules = await Promise.all(
  names.map(async (name) => (await import(pathToFileURL(`${sources}/${name}`).href)) as object),
);
const unpack = Object.assign({}, ...modules) as Unpack;

const blob = readFileSync(layer);
const [blobHash, archiveHash] = [unpack.openSha256(), unpack.openSha256()];
await blobHash.update(blob);
const decompressor = unpack.decompressorFor(unpack.detectCompression(blob));
const feeding = decompressor.write(blob).finally(() => decompressor.end());
const fd = openSync(image, "wx", 0o600);
const writer = new unpack.LayerWriter(new unpack.ErofsFiles(fd, { seconds: 0, nanoseconds: 0 }));
const limits = unpack.parseLimits({ disk: "the image" });
const reader = new unpack.TarReader(new unpack.LimitedSink(writer, limits), unpack.defaultLimits);
for await (const piece of decompressor.output) {
  const hashed = archiveHash.update(piece);
  reader.write(piece);
  await hashed;
}
await feeding;
reader.end();
writer.finish();
closeSync(fd);
process.stdout.write(`${blobHash.digest()} ${archiveHash.digest()} ${statSync(image).size}\n`);
