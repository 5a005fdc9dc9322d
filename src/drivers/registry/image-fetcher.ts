import { kindOf, messageOf, RuntimeError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import {
  type BlobStream,
  type Descriptor,
  formatReference,
  type ImageFetcher,
  type ResolvedImage,
} from "../../core/image/index.ts";
import { type BlobGrants, checkSizeAnswer, grantOf, sizeQuestions } from "./blob-grants.ts";
import { type BodyPace, readWhole } from "./body.ts";
import type { FallbackClient, PullSubject } from "./fallback-client.ts";
import { checkDigest, checkSize } from "./manifest.ts";
import type { RangeOptions } from "./ranges.ts";
import { RegistryBlob } from "./registry-blob.ts";

const maxConfigBytes = 8 * 1024 * 1024;

/** What the fetchers of one registry client share. */
export interface FetcherDeps {
  readonly client: FallbackClient;
  readonly grants: BlobGrants;
  readonly pace: BodyPace;
  readonly ranges: RangeOptions;
  readonly log: Logger;
}

/** Config and blobs of one image in its registry. */
export class RegistryFetcher implements ImageFetcher {
  readonly image: ResolvedImage;
  readonly #deps: FetcherDeps;
  readonly #subject: PullSubject;

  constructor(deps: FetcherDeps, subject: PullSubject, image: ResolvedImage) {
    this.#deps = deps;
    this.#subject = subject;
    this.image = image;
  }

  async config(signal: AbortSignal): Promise<Uint8Array> {
    const { config } = this.image;
    if (config.sizeBytes > BigInt(maxConfigBytes)) {
      throw new RuntimeError(
        "failed-precondition",
        `fetch config of "${formatReference(this.#subject.reference)}": it has ${config.sizeBytes} bytes, more than ${maxConfigBytes}`,
      );
    }
    const { client, pace } = this.#deps;
    return await client.ask(this.#subject, {
      capability: "pull",
      path: `/blobs/${config.digest}`,
      headers: {},
      what: `config ${config.digest}`,
      use: async (message) => {
        const bytes = await readWhole(message, maxConfigBytes, pace);
        checkDigest("config", bytes, config.digest);
        checkSize("config", bytes, config.sizeBytes);
        return bytes;
      },
      signal,
    });
  }

  async blob(descriptor: Descriptor, signal: AbortSignal): Promise<BlobStream> {
    try {
      return await this.#open(descriptor, signal);
    } catch (error) {
      if (descriptor.isForeign !== true || kindOf(error) !== "not-found") throw error;
      const advice =
        "the manifest names other places for this layer, which davit never asks: push the image with all its layers, for example by docker push with allow-nondistributable-artifacts";
      throw new RuntimeError("not-found", `${messageOf(error)}; ${advice}`, { cause: error });
    }
  }

  async #open(descriptor: Descriptor, signal: AbortSignal): Promise<BlobStream> {
    const { client, pace, ranges, log } = this.#deps;
    const { digest } = descriptor;
    return await RegistryBlob.open(descriptor, {
      pace,
      log,
      signal,
      ranges,
      request: ({ begin, end, signal: ended }, use) => {
        const isPart = begin > 0n || end !== undefined;
        const last = end === undefined ? "" : end - 1n;
        return client.ask(this.#subject, {
          capability: "pull",
          path: `/blobs/${digest}`,
          headers: isPart ? { range: `bytes=${begin}-${last}` } : {},
          what: `blob ${digest}${begin > 0n ? ` from byte ${begin}` : ""}`,
          use,
          signal: ended,
        });
      },
      avoid: (host) => client.avoid(host),
      fail: (host, error) =>
        client.failure(this.#subject, `read blob ${digest} of`, [{ host, error }]),
    });
  }

  async hasBlob(descriptor: Descriptor, signal: AbortSignal): Promise<boolean> {
    const { client, grants } = this.#deps;
    const grant = grantOf(this.#subject.reference, descriptor, this.#subject.auth);
    if (grants.has(grant)) return true;
    for (const question of sizeQuestions) {
      try {
        await client.ask(this.#subject, {
          ...question,
          capability: "pull",
          path: `/blobs/${descriptor.digest}`,
          what: `size of blob ${descriptor.digest}`,
          use: (message) => {
            checkSizeAnswer(message, descriptor);
            // A HEAD has no body, and the connection is free for the next request.
            if (question.method === "HEAD") message.resume();
            else message.destroy();
          },
          signal,
        });
        grants.add(grant);
        return true;
      } catch (error) {
        if (signal.aborted) throw error;
        // The other question would get the same answer, and a registry with a rate limit would count it.
        if (["unavailable", "unauthenticated", "resource-exhausted"].includes(kindOf(error))) {
          return false;
        }
      }
    }
    return false;
  }
}
