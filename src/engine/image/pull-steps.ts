import { isDeepStrictEqual } from "node:util";
import { RuntimeError } from "../../base/errors.ts";
import { valueWithin } from "../../base/wait.ts";
import { formatReference } from "../../core/image/index.ts";
import type { ImageContext } from "./context.ts";
import type { LayerView } from "./progress.ts";
import { type PulledImage, type PullRequest, pullWithResult } from "./pull.ts";

/** How far a pull is. */
interface PullAdvance {
  readonly kind: "progress";
  /** The stage of its operation. */
  readonly stage: string;
  /** Lowest first; none until they are known. */
  readonly layers: readonly LayerView[];
}

/** What a pull reports: how far it is, and at its end the image. */
export type PullStep = PullAdvance | { readonly kind: "image"; readonly image: PulledImage };

/** Four times a second are enough for a person. */
const intervalMs = 250;

/**
 * Pulls an image, and reports how far it is: at once, then four times a second at most where something has changed,
 * and no more often than the reader reads. A reader that leaves ends the pull, unless another caller waits for
 * the same image. Otherwise see {@link pullWithResult}.
 */
export async function* pullSteps(
  context: ImageContext,
  request: PullRequest,
  caller: AbortSignal,
): AsyncGenerator<PullStep, void, undefined> {
  const subject = formatReference(context.store.referenceOf(request.name));
  const left = new AbortController();
  const pull = pullWithResult(context, request, AbortSignal.any([caller, left.signal]));
  // It may fail while the reader does not read.
  pull.catch(() => undefined);
  try {
    let last: PullAdvance | undefined;
    for (;;) {
      const now = advanceOf(context, subject);
      if (!isDeepStrictEqual(now, last)) yield now;
      last = now;
      const image = await valueWithin(pull, intervalMs, caller);
      if (image === undefined) continue;
      yield { kind: "image", image };
      return;
    }
  } finally {
    left.abort(new RuntimeError("canceled", `pull image "${subject}": its caller has left`));
  }
}

function advanceOf({ operations, progress }: ImageContext, subject: string): PullAdvance {
  const own = operations
    .views()
    .find((each) => each.operation === "pull-image" && each.subject === subject);
  return {
    kind: "progress",
    // The pull has only just begun where it has no operation.
    stage: own?.stage ?? "resolve",
    layers: progress.views().find(({ image }) => image === subject)?.layers ?? [],
  };
}
