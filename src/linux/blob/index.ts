/** Decompression and digests of blobs on threads of the pool. */
export { GzipInflater, openSha256, openSha256Pair, type Sha256, sha256Here } from "./native.ts";
