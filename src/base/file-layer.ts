import { createHash } from "node:crypto";

import type { Digest } from "./digest.ts";

/**
 * The id of a layer that is one file of an artifact, in place of a diff id: of the digest of its content and its path.
 *
 * No archive has this digest: what is hashed here is shorter than one block of an archive.
 */
export function fileLayerId(content: Digest, path: string): Digest {
  const name = createHash("sha256").update(path).digest("hex");
  const text = `davit: a file of an artifact\n${content}\n${name}\n`;
  return `sha256:${createHash("sha256").update(text).digest("hex")}`;
}
