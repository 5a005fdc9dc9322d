import type { IncomingMessage } from "node:http";
import type { Digest } from "../../base/digest.ts";
import { isKind, kindOf, messageOf, RuntimeError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import {
  type Descriptor,
  formatReference,
  type FoundSignature,
  registryUnavailable,
  type SignatureSource,
} from "../../core/image/index.ts";
import { type BodyPace, readWhole } from "./body.ts";
import type { FallbackClient, PullSubject } from "./fallback-client.ts";
import { checkDigest, checkSize, manifestAccept } from "./manifest.ts";
import {
  parseReferrers,
  parseSignatureManifest,
  type SignatureLayer,
  tagOf,
} from "./signature-manifest.ts";

/** How much is read of the signatures of an image. */
export interface SignatureLimits {
  /** Of each way to find signatures; the newest of a tag count. */
  readonly signatures: number;
  /** Of all signatures. */
  readonly bytes: number;
  /** For all of them. */
  readonly timeoutMs: number;
}

const defaultLimits: SignatureLimits = {
  signatures: 64,
  bytes: 16 * 1024 * 1024,
  timeoutMs: 30_000,
};

const maxManifestBytes = 4 * 1024 * 1024;
const maxPayloadBytes = 64 * 1024;
const maxBundleBytes = 1024 * 1024;
// Pages of the list of referrers.
const maxPages = 5;

interface Deps {
  readonly client: FallbackClient;
  readonly pace: BodyPace;
  readonly log: Logger;
  /** 64 signatures of 16 MiB together within 30 s, if not given. */
  readonly limits: Partial<SignatureLimits>;
}

/**
 * The signatures of an image in its repository: at the tag `sha256-HEX.sig` of cosign, and among the manifests that
 * refer to the image, by the referrers API or by the tag `sha256-HEX` where a registry has no such API.
 */
export class RegistrySignatures implements SignatureSource {
  readonly #deps: Deps;
  readonly #limits: SignatureLimits;
  readonly #subject: PullSubject;
  readonly #digests: readonly Digest[];
  readonly #name: string;
  #found: Promise<readonly FoundSignature[]> | undefined;

  /** `digests`: of the index and of the manifest. */
  constructor(deps: Deps, subject: PullSubject, digests: readonly Digest[]) {
    this.#deps = deps;
    this.#limits = { ...defaultLimits, ...deps.limits };
    this.#subject = subject;
    this.#digests = [...new Set(digests)];
    this.#name = formatReference(subject.reference);
  }

  async signatures(signal: AbortSignal): Promise<readonly FoundSignature[]> {
    this.#found ??= this.#find(signal);
    return await this.#found;
  }

  async #find(caller: AbortSignal): Promise<readonly FoundSignature[]> {
    const { log } = this.#deps;
    const limits = this.#limits;
    const signal = AbortSignal.any([caller, AbortSignal.timeout(limits.timeoutMs)]);
    const budget = { bytes: limits.bytes };
    const results = await Promise.allSettled(
      this.#digests.flatMap((of) => [
        this.#atTag(of, budget, signal),
        this.#referrers(of, budget, signal),
      ]),
    );
    caller.throwIfAborted();
    const found = results.flatMap((each) => (each.status === "fulfilled" ? each.value : []));
    const failure = results.find((each) => each.status === "rejected");
    if (failure === undefined) return found;
    const error: unknown = signal.aborted ? this.#late() : failure.reason;
    // Those that were found may be enough. If they are not, the verdict says what is missing.
    if (found.length === 0) throw error;
    log.warn("not all signatures were found", { image: this.#name, error: messageOf(error) });
    return found;
  }

  #late(): RuntimeError {
    const seconds = this.#limits.timeoutMs / 1000;
    const text = `${registryUnavailable}find signatures of "${this.#name}": the registry did not answer within ${seconds} s; check it, and try again`;
    return new RuntimeError("unavailable", text);
  }

  async #atTag(of: Digest, budget: Budget, signal: AbortSignal): Promise<FoundSignature[]> {
    const tag = tagOf(of, ".sig");
    const bytes = await orNone(this.#manifest(tag, undefined, signal));
    if (bytes === undefined) return [];
    const layers = parseSignatureManifest(bytes).slice(-this.#limits.signatures);
    return await this.#read(of, layers, budget, signal);
  }

  async #referrers(of: Digest, budget: Budget, signal: AbortSignal): Promise<FoundSignature[]> {
    const found: FoundSignature[] = [];
    const listed = (await this.#listed(of, signal)).slice(0, this.#limits.signatures);
    for (const descriptor of listed) {
      const bytes = await orNone(this.#manifest(descriptor.digest, descriptor, signal));
      if (bytes === undefined) continue;
      const left = this.#limits.signatures - found.length;
      const layers = parseSignatureManifest(bytes).slice(0, Math.max(0, left));
      found.push(...(await this.#read(of, layers, budget, signal)));
    }
    return found;
  }

  async #listed(of: Digest, signal: AbortSignal): Promise<readonly Descriptor[]> {
    const all: Descriptor[] = [];
    let query: string | undefined = "";
    try {
      for (let page = 0; page < maxPages && query !== undefined; page += 1) {
        const answer = await this.#page(of, query, signal);
        all.push(...parseReferrers(answer.bytes));
        query = answer.next;
      }
      return all;
    } catch (error) {
      // A registry without this API answers 404, or that the request is invalid.
      const isMissing = isKind(error, "not-found") || isKind(error, "failed-precondition");
      if (!isMissing || signal.aborted) throw error;
    }
    const index = await orNone(this.#manifest(tagOf(of, ""), undefined, signal));
    return index === undefined ? [] : parseReferrers(index, { isAtTag: true });
  }

  async #page(
    of: Digest,
    query: string,
    signal: AbortSignal,
  ): Promise<{ readonly bytes: Uint8Array; readonly next: string | undefined }> {
    const { client, pace } = this.#deps;
    return await client.ask(this.#subject, {
      capability: "resolve",
      path: `/referrers/${of}${query}`,
      headers: { accept: "application/vnd.oci.image.index.v1+json" },
      what: `referrers of ${of}`,
      use: async (message) => ({
        bytes: await readWhole(message, maxManifestBytes, pace),
        next: nextQuery(message),
      }),
      signal,
    });
  }

  async #read(
    of: Digest,
    layers: readonly SignatureLayer[],
    budget: Budget,
    signal: AbortSignal,
  ): Promise<FoundSignature[]> {
    const found: FoundSignature[] = [];
    for (const { kind, blob, annotations } of layers) {
      const max = kind === "bundle" ? maxBundleBytes : maxPayloadBytes;
      const texts = Object.values(annotations).reduce((sum, text) => sum + text.length, 0);
      if (blob.sizeBytes > BigInt(max)) continue;
      budget.bytes -= Number(blob.sizeBytes) + texts;
      if (budget.bytes < 0) break;
      const payload = await orNone(this.#blob(blob, max, signal));
      if (payload === undefined) continue;
      const { digest } = blob;
      if (kind === "simple-signing") found.push({ kind, of, digest, payload, ...annotations });
      else found.push(await this.#bundle(of, digest, payload, signal));
    }
    return found;
  }

  async #bundle(
    of: Digest,
    digest: Digest,
    payload: Uint8Array,
    signal: AbortSignal,
  ): Promise<FoundSignature> {
    const json = Buffer.from(payload).toString("utf8");
    const bundle = { kind: "bundle", of, digest, json } as const;
    if (!json.includes('"messageSignature"')) return bundle;
    const artifact = await orNone(this.#manifest(of, { digest: of }, signal));
    return artifact === undefined ? bundle : { ...bundle, artifact };
  }

  #manifest(
    name: string,
    wanted: { readonly digest: Digest; readonly sizeBytes?: bigint } | undefined,
    signal: AbortSignal,
  ): Promise<Uint8Array> {
    const { client, pace } = this.#deps;
    return client.ask(this.#subject, {
      capability: wanted === undefined ? "resolve" : "pull",
      path: `/manifests/${name}`,
      headers: { accept: manifestAccept },
      what: `signatures at ${name}`,
      use: async (message) => {
        const bytes = await readWhole(message, maxManifestBytes, pace);
        if (wanted !== undefined) checkDigest("manifest", bytes, wanted.digest);
        if (wanted?.sizeBytes !== undefined) checkSize("manifest", bytes, wanted.sizeBytes);
        return bytes;
      },
      signal,
    });
  }

  #blob({ digest, sizeBytes }: Descriptor, max: number, signal: AbortSignal): Promise<Uint8Array> {
    const { client, pace } = this.#deps;
    return client.ask(this.#subject, {
      capability: "pull",
      path: `/blobs/${digest}`,
      headers: {},
      what: `signature ${digest}`,
      use: async (message) => {
        const bytes = await readWhole(message, max, pace);
        checkDigest("signature", bytes, digest);
        checkSize("signature", bytes, sizeBytes);
        return bytes;
      },
      signal,
    });
  }
}

/** What may still be read. */
interface Budget {
  bytes: number;
}

/** The bytes, or undefined where the registry has nothing there. */
async function orNone(reading: Promise<Uint8Array>): Promise<Uint8Array | undefined> {
  try {
    return await reading;
  } catch (error) {
    if (kindOf(error) === "not-found") return undefined;
    throw error;
  }
}

/** The query of the next page: only the query, so that no other path or host is asked. */
function nextQuery({ headers }: IncomingMessage): string | undefined {
  const { link } = headers;
  const target = /^\s*<([^>]{1,2000})>\s*;\s*rel="?next"?/.exec(String(link ?? ""))?.[1];
  const url = target === undefined ? null : URL.parse(target, "http://registry.invalid");
  return url === null || url.search === "" ? undefined : url.search;
}
