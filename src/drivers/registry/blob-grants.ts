import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";

import type { Clock } from "../../base/time.ts";
import type { Descriptor, ImageReference, RegistryAuth } from "../../core/image/index.ts";
import { HostFailure } from "./failure.ts";
import { lengthOf } from "./registry-blob.ts";

/**
 * How long a registry is not asked again for a blob that it has granted. The manifest is asked for
 * each time, so that credentials that became invalid fail the pull anyway.
 */
const lifeMs = 300_000;
const maxGrants = 4096;

/** The blobs that registries have granted lately, each for one name and one set of credentials. */
export class BlobGrants {
  readonly #clock: Clock;
  /** In the order of their ends, since all live equally long. Milliseconds of the clock. */
  readonly #endsMs = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  has(grant: string): boolean {
    return (this.#endsMs.get(grant) ?? -Infinity) > this.#clock.nowMs();
  }

  /** Removes the oldest grant when there are too many. */
  add(grant: string): void {
    const nowMs = this.#clock.nowMs();
    this.#endsMs.delete(grant);
    for (const [oldest, endMs] of this.#endsMs) {
      if (endMs > nowMs && this.#endsMs.size < maxGrants) break;
      this.#endsMs.delete(oldest);
    }
    this.#endsMs.set(grant, nowMs + lifeMs);
  }
}

/** Identifies a granted blob and the credentials, without containing them. */
export function grantOf(
  { registry, repository }: ImageReference,
  { digest, sizeBytes }: Descriptor,
  auth: RegistryAuth | undefined,
): string {
  const asked = [registry, repository, digest, String(sizeBytes), auth ?? null];
  return createHash("sha256").update(JSON.stringify(asked)).digest("base64");
}

/**
 * How a host is asked whether it serves a blob, in this order: the second is for hosts that do not
 * answer a HEAD for what they serve (distribution-spec, "Pulling blobs", requires both).
 */
export const sizeQuestions = [
  { method: "HEAD", headers: {} },
  { method: "GET", headers: { range: "bytes=0-0" } },
] as const;

/**
 * Checks that an answer to one of {@link sizeQuestions} is about the described blob. `data-loss` for
 * another size or digest, `failed-precondition` for an answer without a size.
 */
export function checkSizeAnswer(message: IncomingMessage, blob: Descriptor): void {
  const size = message.statusCode === 206 ? totalOf(message) : lengthOf(message);
  if (size === undefined) {
    throw new HostFailure("failed-precondition", "does not say how large the blob is");
  }
  if (size !== blob.sizeBytes) {
    throw new HostFailure("data-loss", `has ${size} bytes for a blob of ${blob.sizeBytes} bytes`);
  }
  const digest = message.headers["docker-content-digest"];
  if (typeof digest === "string" && digest.startsWith("sha256:") && digest !== blob.digest) {
    throw new HostFailure("data-loss", "has another digest for the blob");
  }
}

/** The size of the whole in a partial answer (RFC 9110, section 14.4). */
function totalOf(message: IncomingMessage): bigint | undefined {
  const header = message.headers["content-range"] ?? "";
  const total = /^bytes 0-\d{1,18}\/(\d{1,18})$/.exec(header)?.[1];
  return total === undefined ? undefined : BigInt(total);
}
