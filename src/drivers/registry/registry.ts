import type { Digest } from "../../base/digest.ts";
import { RuntimeError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { type Clock, systemClock } from "../../base/time.ts";
import type {
  Descriptor,
  ExplainedHost,
  ImageFetcher,
  ImageReference,
  ImageSource,
  PlatformChoice,
  RegistryAuth,
  ResolvedImage,
  SignatureRegistry,
  SignatureSource,
} from "../../core/image/index.ts";
import { formatReference } from "../../core/image/index.ts";
import type { ProxyEnv } from "../../wire/local-address.ts";
import { Authorizer } from "./authorizer.ts";
import { BlobGrants } from "./blob-grants.ts";
import { readWhole } from "./body.ts";
import { CredentialChain, shownSource } from "./credential-chain.ts";
import { Connections } from "./connections.ts";
import { FallbackClient, type PullSubject } from "./fallback-client.ts";
import { HostClient, type RegistryTiming } from "./host-client.ts";
import { type FetcherDeps, RegistryFetcher } from "./image-fetcher.ts";
import { candidatesOf, configRuns, noPlatform } from "./index-entries.ts";
import {
  checkDigest,
  checkSize,
  digestOf,
  type ImageIndex,
  type ImageManifest,
  type IndexEntry,
  manifestAccept,
  parseManifest,
} from "./manifest.ts";
import type { NodeCredentialSettings } from "./node-credentials/node-credentials.ts";
import { formatPlatform, type Platform, thisPlatform } from "./platform.ts";
import { defaultRanges, type RangeOptions } from "./ranges.ts";
import type { RegistriesConf } from "./registries-conf/registries-conf.ts";
import type { RegistryHost } from "./registry-hosts.ts";
import type { SignatureLimits } from "./signatures.ts";

const maxManifestBytes = 4 * 1024 * 1024;
const maxIndexDepth = 3;
// Manifests of one pull. More than a few are only read of an index whose entries name no platform.
const maxManifests = 32;

const defaultTiming: RegistryTiming = {
  dialTimeoutMs: 30_000,
  answerTimeoutMs: 60_000,
  idleTimeoutMs: 60_000,
  rateWindowMs: 60_000,
  minBytesPerSecond: 1024,
  backoffMs: [200, 1000],
};

const noNodeCredentials: NodeCredentialSettings = {
  dockerConfig: "",
  providersConfig: "",
  providersBinDir: "",
  env: {},
};

/** What a {@link Registry} needs to know. */
export interface RegistryOptions {
  /** `images.registry_config_path`; need not exist. */
  readonly configDir: string;
  /** Used where `configDir` has nothing. Not used, if not given. */
  readonly registriesConf?: RegistriesConf | undefined;
  readonly log: Logger;
  /** Tokens expire by it. */
  readonly clock?: Clock;
  /** The platform whose images are chosen from an index. This machine's, if not given. */
  readonly platform?: Platform;
  readonly timing?: Partial<RegistryTiming>;
  /** The credentials of this node. None, if not given. */
  readonly nodeCredentials?: NodeCredentialSettings;
  /** How large blobs are fetched by several requests side by side. */
  readonly ranges?: Partial<RangeOptions>;
  /** The daemon's environment, for `HTTPS_PROXY` and similar variables. No proxy, if not given. */
  readonly proxyEnv?: ProxyEnv;
  /** How much is read of the signatures of an image. */
  readonly signatures?: Partial<SignatureLimits>;
}

/** What is known of a manifest before it is fetched. */
interface ManifestName extends Partial<Omit<Descriptor, "digest">> {
  readonly digest: Digest | undefined;
}

interface Manifest {
  readonly descriptor: Descriptor;
  readonly content: ImageManifest | ImageIndex;
  /** The host that it is from. */
  readonly host: string;
  /** What that host accepted, for messages. */
  readonly credentials: string;
}

/** One search for the image of this platform. */
interface Search {
  readonly subject: PullSubject;
  /** The manifest that the reference names. */
  readonly named: Manifest;
  /** How many more manifests may be fetched. */
  left: number;
  readonly signal: AbortSignal;
}

/**
 * Images from registries that speak the OCI distribution specification or Docker's v2 of it.
 *
 * Requests go to the hosts of {@link hostsFor} as described at {@link FallbackClient}. Nothing is cached
 * but connections, tokens, which hosts did not answer lately and which blobs were granted.
 */
export class Registry implements ImageSource, SignatureRegistry, Disposable {
  readonly #platform: Platform;
  readonly #timing: RegistryTiming;
  readonly #connections: Connections;
  readonly #client: FallbackClient;
  readonly #fetching: FetcherDeps;
  readonly #signatureLimits: Partial<SignatureLimits>;

  constructor(options: RegistryOptions) {
    const { configDir, log, clock = systemClock } = options;
    const timing = { ...defaultTiming, ...options.timing };
    const connections = new Connections(options.proxyEnv ?? {});
    const userAgent = "davit";
    const limits = { timeoutMs: timing.answerTimeoutMs, pace: timing };
    const authorizer = new Authorizer({ connections, clock, userAgent, limits });
    const client = new HostClient({ connections, authorizer, timing, userAgent, log });
    this.#platform = options.platform ?? thisPlatform();
    this.#timing = timing;
    this.#connections = connections;
    const settings = options.nodeCredentials ?? noNodeCredentials;
    const credentials = new CredentialChain({ settings, clock, log });
    const { registriesConf } = options;
    this.#client = new FallbackClient({ configDir, client, credentials, registriesConf, clock });
    const grants = new BlobGrants(clock);
    const ranges = { ...defaultRanges, ...options.ranges };
    this.#fetching = { client: this.#client, grants, pace: timing, ranges, log };
    this.#signatureLimits = options.signatures ?? {};
  }

  /** Closes all connections: reads in progress fail. */
  [Symbol.dispose](): void {
    this.#connections[Symbol.dispose]();
  }

  /**
   * The hosts that would be asked for the image, in this order, with where each is configured.
   * `failed-precondition` with file and key for a configuration that cannot be used.
   */
  hostsFor(reference: ImageReference): Promise<readonly RegistryHost[]> {
    return this.#client.hostsFor(reference);
  }

  hosts(
    reference: ImageReference,
    auth: RegistryAuth | undefined,
    signal: AbortSignal,
  ): Promise<readonly ExplainedHost[]> {
    return this.#client.explain({ reference, auth }, signal);
  }

  async resolve(
    reference: ImageReference,
    auth: RegistryAuth | undefined,
    signal: AbortSignal,
  ): Promise<ImageFetcher> {
    const subject = { reference, auth };
    const named = await this.#fetchManifest(subject, { digest: reference.digest }, signal);
    const { digest } = named.descriptor;
    const { host, credentials } = named;
    const image = formatReference(reference);
    this.#fetching.log.info("resolved image", { image, digest, host, credentials });
    const search = { subject, named, left: maxManifests, signal };
    const found = await this.#choose(search, named, 0);
    if (found !== undefined) return found;
    const error = noPlatform(named.content, this.#platform);
    throw this.#client.failure(subject, "resolve", [{ host: reference.registry, error }]);
  }

  /**
   * The image for this platform, as containerd chooses it: the manifest itself, or that of the best entry of an
   * index. An entry that names no platform counts if the config of its image does. Undefined for none.
   */
  async #choose(
    search: Search,
    { descriptor, content }: Manifest,
    depth: number,
    platform?: PlatformChoice,
  ): Promise<ImageFetcher | undefined> {
    const { subject, signal } = search;
    if (content.kind === "manifest") {
      const { kind: _kind, mediaType: _type, ...image } = content;
      const { digest } = search.named.descriptor;
      const isIndex = search.named.content.kind === "index";
      const index = isIndex ? search.named.descriptor : undefined;
      const resolved = { digest, index, manifest: descriptor, ...image, platform };
      return this.fetcherOf(resolved, subject.reference, subject.auth);
    }
    const doing = `resolve "${formatReference(subject.reference)}"`;
    if (depth > maxIndexDepth) {
      const why = `it is an index of indexes, more than ${maxIndexDepth} deep`;
      throw new RuntimeError("failed-precondition", `${doing}: ${why}`);
    }
    for (const entry of candidatesOf(content, this.#platform)) {
      search.left -= 1;
      if (search.left < 0) {
        const why = `its index has more than ${maxManifests} manifests without a platform`;
        throw new RuntimeError("failed-precondition", `${doing}: ${why}`);
      }
      const manifest = await this.#fetchManifest(subject, entry.descriptor, signal);
      const found = await this.#choose(search, manifest, depth + 1, choiceOf(content, entry));
      const isCertain = entry.platform !== undefined || manifest.content.kind === "index";
      if (found === undefined) continue;
      if (isCertain || found.image.artifact !== undefined) return found;
      if (configRuns(await found.config(signal), this.#platform)) return found;
    }
    return undefined;
  }

  signaturesOf(
    { reference, target, manifest }: Parameters<SignatureRegistry["signaturesOf"]>[0],
    auth: RegistryAuth | undefined,
  ): SignatureSource {
    const { client, pace, log } = this.#fetching;
    const deps = { client, pace, log, limits: this.#signatureLimits };
    const digests = [target.digest, manifest.digest];
    // Only nodes with a policy load this code.
    const source = import("./signatures.ts").then(
      (loaded) => new loaded.RegistrySignatures(deps, { reference, auth }, digests),
    );
    return { signatures: async (signal) => (await source).signatures(signal) };
  }

  /** Reads an image whose manifest is known, by this name and with these credentials. */
  fetcherOf(
    image: ResolvedImage,
    reference: ImageReference,
    auth: RegistryAuth | undefined,
  ): ImageFetcher {
    return new RegistryFetcher(this.#fetching, { reference, auth }, image);
  }

  /**
   * A manifest by digest, or by the reference's tag where there is none. An index is checked by
   * its digest, so the media type and size that it gives for its entries count, not those that the
   * server sends.
   */
  async #fetchManifest(
    subject: PullSubject,
    { digest, mediaType, sizeBytes }: ManifestName | Descriptor,
    signal: AbortSignal,
  ): Promise<Manifest> {
    const name = digest ?? subject.reference.tag ?? "latest";
    let from = { host: "", credentials: "" };
    const manifest = await this.#client.ask(subject, {
      capability: digest === undefined ? "resolve" : "pull",
      path: `/manifests/${name}`,
      headers: { accept: manifestAccept },
      what: `manifest ${name}`,
      use: async (message) => {
        const bytes = await readWhole(message, maxManifestBytes, this.#timing);
        const said = message.headers["docker-content-digest"];
        if (digest !== undefined) checkDigest("manifest", bytes, digest);
        if (sizeBytes !== undefined) checkSize("manifest", bytes, sizeBytes);
        // Manifests are identified by sha256 here; digests of other algorithms cannot be compared.
        if (typeof said === "string" && said.startsWith("sha256:")) {
          checkDigest("manifest", bytes, said);
        }
        const content = parseManifest(bytes, mediaType ?? message.headers["content-type"] ?? "");
        const found = { digest: digestOf(bytes), sizeBytes: BigInt(bytes.length) };
        return { descriptor: { mediaType: content.mediaType, ...found }, content };
      },
      granted: (host, credentials) => {
        from = { host: host.name, credentials: shownSource(host, credentials) };
      },
      signal,
    });
    return { ...manifest, ...from };
  }
}

/** The number of platforms of an index that are kept. */
const maxOffered = 100;

function choiceOf({ entries }: ImageIndex, { platform }: IndexEntry): PlatformChoice {
  const all = entries.flatMap((entry) =>
    entry.platform === undefined ? [] : [formatPlatform(entry.platform).slice(0, 100)],
  );
  // Attestations are entries of the platform "unknown".
  const offered = all.filter((text) => !text.startsWith("unknown")).slice(0, maxOffered);
  return { chosen: platform === undefined ? "" : formatPlatform(platform), offered };
}
