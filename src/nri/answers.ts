// What handlers return, as the plain values of responses.
import { Adjustment } from "./builder/adjustment.ts";
import { shown } from "./builder/check.ts";
import { Update } from "./builder/update.ts";
import type { ContainerAdjustment, ContainerEviction, ContainerUpdate } from "./changes.ts";
import type { CreateAnswer, Optional, Updates } from "./handlers.ts";

/** What the handlers with an answer return. */
export type HandlerAnswer = Optional<Adjustment | Updates | CreateAnswer>;

/** The response of a request that can change containers. */
export interface PlainResponse {
  readonly adjust: ContainerAdjustment | undefined;
  readonly update: readonly ContainerUpdate[] | undefined;
  readonly evict: readonly ContainerEviction[] | undefined;
}

/**
 * The response for what a handler returned.
 *
 * @throws TypeError when it is not one of the results that handlers have, with what they are.
 */
export function responseOf(handler: string, answer: HandlerAnswer): PlainResponse {
  const { adjust, updates, evict, ...others } = answerOf(handler, answer);
  const [other] = Object.keys(others);
  if (other !== undefined) {
    throw new TypeError(
      `${handler}: its result has no field ${shown(other)}; it has adjust, updates and evict`,
    );
  }
  return {
    adjust: adjust instanceof Adjustment ? adjust.build() : adjust,
    update: updates === undefined ? undefined : plainUpdates(updates),
    evict,
  };
}

/** Updates as plain values. */
export function plainUpdates(updates: Updates): readonly ContainerUpdate[] {
  return updates.map((update) => (update instanceof Update ? update.build() : update));
}

function answerOf(handler: string, answer: HandlerAnswer): CreateAnswer {
  if (answer === undefined) return {};
  if (answer instanceof Adjustment) return { adjust: answer };
  if (Array.isArray(answer)) return { updates: answer as Updates };
  const value: unknown = answer;
  if (typeof value !== "object" || value === null || value instanceof Update) {
    throw new TypeError(
      `${handler}: it returned ${value instanceof Update ? "an update" : shown(value)}: return a list of ` +
        "updates, or an object with adjust, updates and evict",
    );
  }
  return value;
}
