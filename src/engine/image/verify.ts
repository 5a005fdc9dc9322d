import type { Digest } from "../../base/digest.ts";
import type { RuntimeError } from "../../base/errors.ts";
import type { RegistryAuth } from "../../core/image/index.ts";
import { authForName } from "./auth-for-name.ts";
import type { ImageContext } from "./context.ts";
import { isAccepted, refusalOf, type VerificationReport } from "./verification-report.ts";

/** What the policies of this node say of an image now. */
export interface Verification {
  /** False on a node without policies, which accepts all images. */
  readonly isConfigured: boolean;
  /** The image, if it is on this node; then it is verified as for a start, else as for a pull. */
  readonly presentId: Digest | undefined;
  /** One for each name of the image that was tried; the last one decides if it is accepted, else the first one. */
  readonly reports: readonly VerificationReport[];
  /** The error of a start or a pull; undefined if it would be allowed. */
  readonly refusal: RuntimeError | undefined;
}

/**
 * Explains whether an image may be used, without remembering the answer. Rejects for a text that names no
 * image, and as a pull when the image is not on this node and its registry does not have it.
 */
export async function verifyImage(
  context: Pick<ImageContext, "store" | "verification">,
  request: {
    readonly name: string;
    readonly namespace: string;
    readonly auth: RegistryAuth | undefined;
  },
  signal: AbortSignal,
): Promise<Verification> {
  const { verification, store } = context;
  const image = store.find(request.name);
  const presentId = image?.id;
  if (verification === undefined) {
    return { isConfigured: false, presentId, reports: [], refusal: undefined };
  }
  const { namespace } = request;
  let reports: readonly VerificationReport[];
  if (image === undefined) {
    const reference = store.referenceOf(request.name);
    const auth = authForName(request, reference);
    reports = [await verification.explainPull(reference, { namespace, auth }, signal)];
  } else {
    const name = nameOf(store, request.name);
    reports = await verification.explainUse(image, { name, namespace }, signal);
  }
  const [first] = reports;
  const refusal =
    first === undefined || reports.some(isAccepted)
      ? undefined
      : refusalOf(`verify image "${first.name}"`, first);
  return { isConfigured: true, presentId, reports, refusal };
}

function nameOf(store: Pick<ImageContext["store"], "nameOf">, text: string): string {
  try {
    return store.nameOf(text) ?? "";
  } catch {
    return "";
  }
}
