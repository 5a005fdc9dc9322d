/** Decompression and digests of blobs on threads of the pool. */
export { GzipInflater, openSha256, type Sha256, sha256Here } from "./native.ts";
