import { isKind, messageOf, RuntimeError } from "../../base/errors.ts";
import { beforeAbort } from "../../base/wait.ts";
import { formatReference, type ImageReference } from "../../core/image/index.ts";

/** How long a start waits for each answer of a registry. Milliseconds. */
const registryMs = 10_000;

/**
 * What a registry answers when a container starts; `unavailable` when it takes too long for that. Rejects as `ask`: a
 * start has no pull secret, so where the registry requires one, the error says how to do without.
 */
export async function answerForStart<T>(
  reference: ImageReference,
  signal: AbortSignal,
  ask: (soon: AbortSignal) => Promise<T>,
): Promise<T> {
  const limit = AbortSignal.timeout(registryMs);
  const soon = AbortSignal.any([signal, limit]);
  try {
    return await beforeAbort(ask(soon), soon);
  } catch (cause) {
    if (!signal.aborted && limit.aborted) {
      const why = `registry "${reference.registry}" did not answer within ${registryMs / 1000} s`;
      throw new RuntimeError("unavailable", why, { cause });
    }
    if (!isKind(cause, "unauthenticated")) throw cause;
    const why = "a start does not have the imagePullSecret of the pod";
    const next = `run davit pull --creds USER "${formatReference(reference)}", which keeps the signatures`;
    throw new RuntimeError("unauthenticated", `${messageOf(cause)}; ${why}: ${next}`, { cause });
  }
}
