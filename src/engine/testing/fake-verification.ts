import { once } from "node:events";
import type { Digest } from "../../base/digest.ts";
import { RuntimeError } from "../../base/errors.ts";
import { silentLogger } from "../../base/logger.ts";
import {
  type FoundSignature,
  type ImageToVerify,
  type ImageVerifier,
  type KeptVerification,
  type KeptVerifications,
  repositoryName,
  type SignatureRegistry,
  type SignatureSource,
  type Verdict,
} from "../../core/image/index.ts";
import { ImageVerification } from "../image/verification.ts";
import type { FakeSource } from "./fake-source.ts";
import type { ManualTime } from "./manual-time.ts";

/** A policy in memory: the words that a signature must have one of, by repository. */
export class FakeVerifier implements ImageVerifier {
  readonly name = "fake";
  /** By repository, or by namespace/ and repository. Others are not verified. */
  readonly wanted = new Map<string, string>();
  readonly asked: ImageToVerify[] = [];
  /** Thrown by the next questions. */
  trouble: RuntimeError | undefined;

  async generation(): Promise<string> {
    return JSON.stringify([...this.wanted]);
  }

  decideByName({
    reference,
    namespace,
  }: Pick<ImageToVerify, "reference" | "namespace">): Verdict | undefined {
    if (this.#wantedFor(repositoryName(reference), namespace) !== undefined) return undefined;
    return { decision: "none", policy: "", reason: "", signatures: [] };
  }

  acceptsEveryName(): boolean {
    return this.wanted.size === 0;
  }

  async verify(
    image: ImageToVerify,
    source: SignatureSource,
    signal: AbortSignal,
  ): Promise<Verdict> {
    this.asked.push(image);
    if (this.trouble !== undefined) throw this.trouble;
    const wanted = this.#wantedFor(repositoryName(image.reference), image.namespace);
    if (wanted === undefined) return { decision: "none", policy: "", reason: "", signatures: [] };
    const found = await source.signatures(signal);
    const isGood = found.some((each) => each.kind === "bundle" && each.json === wanted);
    const reason = isGood ? `signature "${wanted}"` : `it needs signature "${wanted}"`;
    const decision = isGood ? "accepted" : "rejected";
    const good = { digest: image.target.digest, format: "bundle", signer: wanted, reason: "" };
    const signatures = isGood ? [{ ...good, valid: true }] : [];
    return { decision, policy: "the fake policy", reason, signatures };
  }

  #wantedFor(repository: string, namespace: string): string | undefined {
    return this.wanted.get(`${namespace}/${repository}`) ?? this.wanted.get(repository);
  }
}

/** The signatures of registries, by the digest of the image. */
export class FakeSignatures implements SignatureRegistry {
  readonly words = new Map<Digest, string[]>();
  asked = 0;
  isDown = false;
  /** It never answers. */
  hangs = false;
  needsSecret = false;

  sign(of: Digest, word: string): void {
    this.words.set(of, [...(this.words.get(of) ?? []), word]);
  }

  signaturesOf({ target }: Pick<ImageToVerify, "target">): SignatureSource {
    return {
      signatures: async (signal) => {
        this.asked++;
        if (this.hangs) await once(signal, "abort");
        signal.throwIfAborted();
        if (this.needsSecret) throw new RuntimeError("unauthenticated", "it requires credentials");
        if (this.isDown) throw new RuntimeError("unavailable", "the registry does not answer");
        const of = target.digest;
        return (this.words.get(of) ?? []).map(
          (json): FoundSignature => ({ kind: "bundle", of, digest: of, json }),
        );
      },
    };
  }
}

/** What is kept, in memory. */
export class FakeKept implements KeptVerifications {
  readonly all = new Map<string, KeptVerification>();

  async load(image: Digest, repository: string): Promise<KeptVerification | undefined> {
    return this.all.get(`${image} ${repository}`);
  }

  async save(image: Digest, repository: string, kept: KeptVerification): Promise<void> {
    this.all.set(`${image} ${repository}`, kept);
  }

  async remove(image: Digest): Promise<void> {
    for (const key of this.all.keys()) if (key.startsWith(image)) this.all.delete(key);
  }

  async sweep(images: ReadonlySet<Digest>): Promise<void> {
    for (const key of this.all.keys()) {
      if (![...images].some((image) => key.startsWith(image))) this.all.delete(key);
    }
  }
}

/** Verification on fakes of its ports. */
export class FakeVerification {
  readonly verifier = new FakeVerifier();
  readonly registry = new FakeSignatures();
  readonly kept = new FakeKept();

  /** The real thing on these fakes, as one daemon has it. */
  begin(
    { source, time: clock }: { readonly source: FakeSource; readonly time: ManualTime },
    loaded: "verify" | "accept" = "verify",
  ): ImageVerification {
    const { verifier, registry, kept } = this;
    const fakes = { verifiers: [verifier], registry, source, kept, clock };
    return new ImageVerification({ ...fakes, loaded, log: silentLogger });
  }
}
