import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";

import { RuntimeError } from "../../../base/errors.ts";
import type { OciSpec } from "../../../core/oci/index.ts";
import { pathInRoot } from "../../../linux/file/index.ts";
import { hasClaims, readClaims } from "./images/claims.ts";
import { findExcess } from "./images/excess.ts";
import { readImage } from "./read-image.ts";

/** One image for each thread of the container, and a few more. */
const maxImages = 20_000;
/** Of all of them: the image of a thread has a few kilobytes. */
const maxTotalBytes = 256 << 20;

/**
 * Checks what images would make of the node before CRIU reads them; also those of this node, since the request may have
 * less than the container that was captured. `permission-denied`, with the first thing that exceeds the spec.
 */
export async function checkImages(images: string, spec: OciSpec): Promise<void> {
  const names = (await readdir(images)).filter(hasClaims);
  if (names.length > maxImages) {
    throw new RuntimeError(
      "resource-exhausted",
      `check images: they have ${names.length} processes and threads, more than ${maxImages}`,
    );
  }
  const files = new Map<string, Uint8Array>();
  let total = 0;
  for (const name of names) {
    const file = await readImage(join(images, name));
    total += file.length;
    if (total > maxTotalBytes) {
      const text = `check images: those of processes and mounts have more than ${maxTotalBytes} bytes`;
      throw new RuntimeError("resource-exhausted", text);
    }
    files.set(name, file);
  }
  const { maskedPaths = [], readonlyPaths = [] } = spec.linux;
  const existing = new Set([...maskedPaths, ...readonlyPaths].filter((path) => existsSync(path)));
  const links = new Map<string, string>();
  for (const { destination } of spec.mounts) {
    links.set(destination, await pathInRoot(spec.root.path, destination));
  }
  const excess = findExcess(readClaims(files), spec, { existing, links });
  if (excess === undefined) return;
  throw new RuntimeError(
    "permission-denied",
    `the checkpoint has ${excess}: restore it with a request that has what the captured container had`,
  );
}
