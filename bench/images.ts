/** The images of the measured containers and pulls, from registries that the bench serves on loopback. */
import { randomBytes, randomFillSync } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { openDemoRegistry } from "../src/cli/demo/registry.ts";
import { type ServedImage, serveImage } from "./image-registry.ts";
import { relayOutside } from "./relay.ts";
import { type Bench, type Side, sidesOf } from "./row.ts";
import { type TarFile, tarOf } from "./tar.ts";

const pullMs = 300_000;

/** Pulls the busybox image on all sides during `use`, which gets its name. Rivals are left without it. */
export async function withBusybox<T>(bench: Bench, use: (image: string) => Promise<T>): Promise<T> {
  await using registry = await openDemoRegistry();
  const port = Number(new URL(registry.url).port);
  await using _relay =
    bench.rivals.length === 0 ? undefined : await relayOutside(port, bench.directory);
  // All servers speak plain HTTP to loopback.
  const image = `${registry.url.replace("http://", "")}/busybox:bench`;
  for (const side of sidesOf(bench)) await pullImage(side, image);
  const result = await use(image);
  for (const side of bench.rivals) await removeImage(side, image);
  return result;
}

/** Pulls an image on one side. */
export async function pullImage({ server }: Side, image: string): Promise<void> {
  await server.client.image.pullImage({ image: { image } }, { timeoutMs: pullMs });
}

/** Removes an image; its layers are deleted in the background. */
export async function removeImage({ server }: Side, image: string): Promise<void> {
  await server.client.image.removeImage({ image: { image } });
}

/** An image whose pull is measured. */
export interface MeasuredImage {
  readonly title: string;
  readonly note: string;
  /** Serves an image of this kind, with layers of its own for each `variant`. */
  readonly serve: (variant: number) => Promise<ServedImage>;
}

/**
 * Serves an image of 1 GiB: 8 layers of 16 files of 8 MiB each, gzipped. Half of each file is noise,
 * half repeats itself, so that decompression has work.
 */
export function serveLargeImage(): Promise<ServedImage> {
  return serveImage(largeLayers(8));
}

function* largeLayers(count: number): Generator<Buffer> {
  for (let layer = 0; layer < count; layer++) {
    const files = Array.from({ length: 16 }, (_, at) => {
      const content = Buffer.alloc(8 << 20);
      const half = content.length / 2;
      randomFillSync(content, 0, half);
      content.fill(content.subarray(0, 4096), half);
      return { name: `file-${layer}-${at}`, content };
    });
    yield tarOf(files);
  }
}

/** Files of 0.2 to 6 KiB, half of them noise: the sizes of a tree of sources or of modules. */
function smallFiles(variant: number): readonly TarFile[] {
  return Array.from({ length: 300 })
    .flatMap((_, directory) => [
      { name: `d${directory}/` },
      ...Array.from({ length: 100 }, (__, file) => {
        const size = 200 + ((directory * 7919 + file * 104_729) % 5800);
        const content = Buffer.alloc(size, `line of ${file}\n`);
        randomFillSync(content, 0, size >> 1);
        return { name: `d${directory}/file-${file}`, content };
      }),
    ])
    .concat({ name: `variant-${variant}/` });
}

/** Where the entries of an archive end. */
function endOf(tar: Buffer): number {
  let end = tar.length;
  while (end > 0 && tar.subarray(end - 512, end).every((byte) => byte === 0)) end -= 512;
  return end;
}

const debianRoot = path.join(import.meta.dirname, "out/debian-root.tar");

/** The images of the rows. scripts/bench.sh makes the Debian root where mmdebstrap is installed. */
export function measuredImages(): readonly MeasuredImage[] {
  const images: MeasuredImage[] = [
    {
      title: "1 GiB in 8 gzipped layers",
      note: "from a registry on loopback; half of it is noise that gzip cannot shrink",
      serve: serveLargeImage,
    },
    {
      title: "30,000 small files in one layer",
      note: "files of 0.2 to 6 KiB in 300 directories",
      serve: (variant) => serveImage([tarOf(smallFiles(variant))]),
    },
    {
      title: "100 tiny layers",
      note: "one file of 1 KiB in each",
      serve: () =>
        serveImage(
          Array.from({ length: 100 }, (_, at) =>
            tarOf([{ name: `file-${at}`, content: randomBytes(1024) }]),
          ),
        ),
    },
  ];
  if (existsSync(debianRoot)) {
    images.push({
      title: "a Debian root in one layer",
      note: "made by mmdebstrap --variant=minbase",
      serve: (variant) => {
        // Two blocks of zeros end an archive.
        const root = readFileSync(debianRoot);
        const content = Buffer.from(String(variant));
        const more = tarOf([{ name: `variant-${variant}`, content }]);
        return serveImage([Buffer.concat([root.subarray(0, endOf(root)), more])]);
      },
    });
  }
  return images;
}
