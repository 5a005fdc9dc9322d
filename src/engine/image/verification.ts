import type { Digest } from "../../base/digest.ts";
import { kindOf, messageOf, RuntimeError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { Clock } from "../../base/time.ts";
import { beforeAbort } from "../../base/wait.ts";
import {
  formatReference,
  type Image,
  type ImageReference,
  type ImageSource,
  type ImageStore,
  type ImageToVerify,
  type ImageVerifier,
  type KeptVerification,
  type KeptVerifications,
  parseReference,
  type RegistryAuth,
  repositoryName,
  type ResolvedImage,
  type SignatureRegistry,
  type SignatureSource,
} from "../../core/image/index.ts";

import { answerForStart } from "./answer-for-start.ts";
import { OnceSource } from "./once-source.ts";
import {
  hasGoodSignature,
  isAccepted,
  isRejection,
  reportWithoutName,
  reportOf,
  refuseUnlessAccepted,
  undecided,
  type VerificationReport,
  type VerifierOpinion,
} from "./verification-report.ts";

/** How long the verification of a start may take. Milliseconds. */
const startMs = 90_000;
// Accepted images that are remembered. A node has a few hundred.
const maxRemembered = 2048;
/** How long a rejection is remembered: kubelet tries again every few seconds, and each try would ask the registry. */
const rejectedMs = 30_000;

/** What {@link ImageVerification} works with. */
interface VerificationDeps {
  /** At least one; all of them must accept an image. */
  readonly verifiers: readonly ImageVerifier[];
  readonly registry: SignatureRegistry;
  readonly source: Pick<ImageSource, "resolve">;
  readonly kept: KeptVerifications;
  /** `images.verification.loaded`. */
  readonly loaded: "verify" | "accept";
  readonly log: Logger;
  readonly clock: Pick<Clock, "nowMs">;
}

/** A use that was rejected. */
interface Rejection {
  readonly generation: string;
  readonly untilMs: number;
  readonly error: RuntimeError;
}

/** An image on this node that is about to be used; its names are those of the store. */
export type UsedImage = Pick<Image, "id" | "repoTags" | "repoDigests">;

/** By which name and for whom an image is used. */
export interface ImageUse {
  /** The full name that is used; empty for all names of the image, of which one must be accepted. */
  readonly name: string;
  /** The namespace of the pod; empty for none. */
  readonly namespace: string;
}

/** A pull that is allowed. */
export interface AllowedPull {
  /** Keeps for the starts of the image what it was verified by. Never rejects. */
  keep(image: Digest): Promise<void>;
}

/**
 * Asks all verifiers whether an image may be pulled or used. A verdict is remembered until a policy changes: the
 * pull keeps the signatures on this node, so that the starts that follow ask no registry.
 */
export class ImageVerification {
  readonly #deps: VerificationDeps;
  /** Accepted uses, with the generation of the policies that accepted them. */
  readonly #accepted = new Map<string, string>();
  readonly #rejected = new Map<string, Rejection>();
  readonly #running = new Map<string, Promise<void>>();

  constructor(deps: VerificationDeps) {
    this.#deps = deps;
  }

  /**
   * Decides about a pull, before anything but the manifest is fetched. Rejects with `permission-denied`, and
   * {@link signatureValidationFailed} in the message, for an image that is not allowed or of which it is
   * unknown; as ImageSource.resolve when the registry cannot be asked for signatures.
   */
  async atPull(
    pull: {
      readonly reference: ImageReference;
      readonly namespace: string;
      readonly auth: RegistryAuth | undefined;
      readonly resolved: ResolvedImage;
    },
    signal: AbortSignal,
  ): Promise<AllowedPull> {
    const { reference, auth, namespace } = pull;
    const image = { reference, namespace, ...descriptorsOf(pull.resolved) };
    const source = new OnceSource(this.#deps.registry.signaturesOf(image, auth));
    const report = await this.#ask(image, source, signal);
    refuseUnlessAccepted("verify it", report);
    const { target, manifest } = image;
    return {
      keep: async (id) => {
        // It may have been signed since.
        this.#rejected.clear();
        const repository = repositoryName(reference);
        const isSigned = hasGoodSignature(report);
        // Another manifest of the same image, which a namespace may pull unsigned, must not stop those that want a signature.
        if (!isSigned && (await this.#deps.kept.load(id, repository))?.isSigned === true) return;
        const kept = { target, manifest, signatures: source.found ?? [], isSigned };
        await this.#deps.kept.save(id, repository, kept);
      },
    };
  }

  /**
   * Decides about the use of an image on this node: by the policies of now. `doing` begins the error, which is
   * as that of {@link atPull}. An image that was accepted for the same use is not asked for again, and one that was
   * rejected not for a while, unless an image is pulled; what is unknown is not remembered.
   */
  async atUse(doing: string, image: UsedImage, use: ImageUse, signal: AbortSignal): Promise<void> {
    const generation = await this.#generation(doing);
    const key = JSON.stringify([image.id, use.name, use.namespace]);
    if (this.#accepted.get(key) === generation) return;
    this.#refuseIfRejected(key, generation);
    const running = `${generation} ${key}`;
    const asked = this.#running.get(running) ?? this.#begin(running, doing, image, use);
    try {
      await beforeAbort(asked, signal);
    } catch (error) {
      if (isRejection(error)) {
        const untilMs = this.#deps.clock.nowMs() + rejectedMs;
        remember(this.#rejected, key, { generation, untilMs, error });
      }
      throw error;
    }
    remember(this.#accepted, key, generation);
  }

  #refuseIfRejected(key: string, generation: string): void {
    const rejection = this.#rejected.get(key);
    if (rejection === undefined) return;
    if (rejection.generation === generation && rejection.untilMs > this.#deps.clock.nowMs()) {
      throw rejection.error;
    }
    this.#rejected.delete(key);
  }

  /** What the verifiers say of an image on this node: at least one report. Rejects only when the signal is aborted. */
  async explainUse(
    image: UsedImage,
    use: ImageUse,
    signal: AbortSignal,
  ): Promise<readonly VerificationReport[]> {
    const reports: VerificationReport[] = [];
    const references = referencesOf(image, use.name);
    if (references.length === 0) {
      return [await reportWithoutName(this.#deps.verifiers, image.id, use.namespace)];
    }
    for (const reference of references) {
      const report = await this.#askForUse(image, reference, use.namespace, signal);
      signal.throwIfAborted();
      reports.push(report);
      if (isAccepted(report)) return [report];
    }
    return reports;
  }

  /** What the verifiers would say of a pull. Rejects as ImageSource.resolve. */
  async explainPull(
    reference: ImageReference,
    { namespace, auth }: { readonly namespace: string; readonly auth: RegistryAuth | undefined },
    signal: AbortSignal,
  ): Promise<VerificationReport> {
    const { image: resolved } = await this.#deps.source.resolve(reference, auth, signal);
    const image = { reference, namespace, ...descriptorsOf(resolved) };
    return await this.#ask(image, this.#deps.registry.signaturesOf(image, auth), signal);
  }

  /** Forgets what is kept of an image that was removed. Never rejects. */
  async forget(image: Digest): Promise<void> {
    await this.#deps.kept.remove(image);
  }

  /** Removes what is kept of images that are not on this node any more. Never rejects. */
  async sweep(store: Pick<ImageStore, "all">): Promise<void> {
    await this.#deps.kept.sweep(new Set([...store.all()].map(({ id }) => id)));
  }

  async #generation(doing: string): Promise<string> {
    try {
      const all = await Promise.all(this.#deps.verifiers.map((each) => each.generation()));
      return JSON.stringify(all);
    } catch (error) {
      throw undecided(doing, error);
    }
  }

  /** Asks once for all callers that wait for the same answer, which no single one of them ends. */
  #begin(key: string, doing: string, image: UsedImage, use: ImageUse): Promise<void> {
    const asked = this.explainUse(image, use, AbortSignal.timeout(startMs))
      .then((reports) => {
        const [first] = reports;
        if (first === undefined) throw undecided(doing, new Error("nothing was asked"));
        refuseUnlessAccepted(doing, first);
      })
      .finally(() => this.#running.delete(key));
    this.#running.set(key, asked);
    return asked;
  }

  /** The opinions about a use: by the name, by what is kept, and then by the registry. */
  async #askForUse(
    image: UsedImage,
    reference: ImageReference,
    namespace: string,
    signal: AbortSignal,
  ): Promise<VerificationReport> {
    const repository = repositoryName(reference);
    const byName = await this.#decideByName(reference, namespace);
    if (byName !== undefined) return byName;
    const kept = await this.#deps.kept.load(image.id, repository);
    if (kept === undefined) return await this.#askRegistry(image, reference, namespace, signal);
    const toVerify = { reference, namespace, target: kept.target, manifest: kept.manifest };
    const source = { signatures: () => Promise.resolve(kept.signatures) };
    const report = await this.#ask(toVerify, source, signal);
    if (isAccepted(report)) return report;
    // The image may have been signed since, or the policy may want another signature than that of the pull.
    const fresh = this.#signaturesForStart(toVerify);
    const again = await this.#ask(toVerify, fresh, signal);
    if (isAccepted(again)) await this.#keep(image.id, toVerify, fresh.found);
    // A registry that does not answer is not why the image is rejected.
    return again.opinions.some(({ error }) => error !== undefined) ? report : again;
  }

  /** Asks about an image whose digests in its registry are not known on this node. */
  async #askRegistry(
    image: UsedImage,
    reference: ImageReference,
    namespace: string,
    signal: AbortSignal,
  ): Promise<VerificationReport> {
    const repository = repositoryName(reference);
    const pulled = image.repoDigests.find((name) => name.startsWith(`${repository}@`));
    if (pulled === undefined && this.#deps.loaded === "accept") {
      const reason = "the image was loaded, and is accepted as such";
      const policy = 'images.verification.loaded = "accept"';
      const verdict = { decision: "accepted", policy, reason, signatures: [] } as const;
      return this.#reportOf(reference, (verifier) => ({ verifier, verdict, error: undefined }));
    }
    try {
      const asked = pulled === undefined ? reference : parseReference(pulled);
      const { image: resolved } = await answerForStart(reference, signal, (soon) =>
        this.#deps.source.resolve(asked, undefined, soon),
      );
      const id =
        resolved.artifact === undefined ? resolved.config.digest : resolved.manifest.digest;
      if (id !== image.id) {
        const why = `its registry has the image "${id}" by that name, and this node has "${image.id}": pull it`;
        throw new RuntimeError("failed-precondition", why);
      }
      const toVerify = { reference, namespace, ...descriptorsOf(resolved) };
      const fresh = this.#signaturesForStart(toVerify);
      const report = await this.#ask(toVerify, fresh, signal);
      if (isAccepted(report)) await this.#keep(image.id, toVerify, fresh.found);
      return report;
    } catch (cause) {
      const error = cause instanceof RuntimeError ? cause : undecided("verify image", cause);
      return this.#reportOf(reference, (verifier) => ({ verifier, verdict: undefined, error }));
    }
  }

  /** The signatures in the registry, by the credentials of the node. */
  #signaturesForStart(image: ImageToVerify): OnceSource {
    const source = this.#deps.registry.signaturesOf(image, undefined);
    return new OnceSource({
      signatures: (signal) =>
        answerForStart(image.reference, signal, (soon) => source.signatures(soon)),
    });
  }

  /** The opinions where the name decides them all, or one of them rejects it by its name. */
  async #decideByName(
    reference: ImageReference,
    namespace: string,
  ): Promise<VerificationReport | undefined> {
    const opinions: VerifierOpinion[] = [];
    for (const verifier of this.#deps.verifiers) {
      const verdict = await verifier.decideByName?.({ reference, namespace });
      if (verdict === undefined) continue;
      opinions.push({ verifier: verifier.name, verdict, error: undefined });
      if (verdict.decision === "rejected") return reportOf(reference, opinions);
    }
    const isComplete = opinions.length === this.#deps.verifiers.length;
    return isComplete ? reportOf(reference, opinions) : undefined;
  }

  #reportOf(
    reference: ImageReference,
    opinionOf: (verifier: string) => VerifierOpinion,
  ): VerificationReport {
    return reportOf(
      reference,
      this.#deps.verifiers.map(({ name }) => opinionOf(name)),
    );
  }

  async #keep(
    id: Digest,
    { reference, target, manifest }: ImageToVerify,
    signatures: KeptVerification["signatures"] = [],
  ): Promise<void> {
    const kept = { target, manifest, signatures, isSigned: signatures.length > 0 };
    await this.#deps.kept.save(id, repositoryName(reference), kept);
  }

  async #ask(
    image: ImageToVerify,
    source: SignatureSource,
    signal: AbortSignal,
  ): Promise<VerificationReport> {
    const opinions = await Promise.all(
      this.#deps.verifiers.map((verifier) => this.#opinion(verifier, image, source, signal)),
    );
    signal.throwIfAborted();
    return reportOf(image.reference, opinions, image);
  }

  async #opinion(
    verifier: ImageVerifier,
    image: ImageToVerify,
    source: SignatureSource,
    signal: AbortSignal,
  ): Promise<VerifierOpinion> {
    const { name } = verifier;
    try {
      const verdict = await verifier.verify(image, source, signal);
      const { decision, policy, reason } = verdict;
      const of = { image: formatReference(image.reference), digest: image.target.digest };
      const { namespace } = image;
      const fields = { ...of, namespace, verifier: name, decision, policy, reason };
      if (decision !== "none") this.#deps.log.info("verified image", fields);
      return { verifier: name, verdict, error: undefined };
    } catch (cause) {
      const error = new RuntimeError(kindOf(cause), messageOf(cause), { cause });
      return { verifier: name, verdict: undefined, error };
    }
  }
}

/** Adds or renews an entry, and removes the oldest of too many. */
function remember<T>(map: Map<string, T>, key: string, value: T): void {
  map.delete(key);
  map.set(key, value);
  for (const oldest of map.keys()) {
    if (map.size <= maxRemembered) break;
    map.delete(oldest);
  }
}

function descriptorsOf({
  index,
  manifest,
}: ResolvedImage): Pick<ImageToVerify, "target" | "manifest"> {
  return { target: index ?? manifest, manifest };
}

function referencesOf(image: UsedImage, name: string): readonly ImageReference[] {
  const names = name === "" ? [...image.repoTags, ...image.repoDigests] : [name];
  return names.map(parseReference);
}
