/** A content digest as OCI writes it: `sha256:` and 64 hexadecimal digits (image-spec, descriptor.md). */
export type Digest = `sha256:${string}`;

/** True for a sha256 digest in its one spelling. */
export function isDigest(text: string): text is Digest {
  return /^sha256:[0-9a-f]{64}$/.test(text);
}

/** The 64 digits without the algorithm. */
export function hexOf(digest: Digest): string {
  return digest.slice("sha256:".length);
}
