import { RuntimeError } from "../../base/errors.ts";
import type { ActionName } from "../../page/view.ts";
import { removePod, stopContainer, stopPod } from "../lifecycle/stop.ts";
import { removeOwnDirectory } from "../lifecycle/volumes.ts";
import { Objects } from "../objects/objects.ts";
import { doing } from "../server/explain.ts";
import type { Server } from "../server/session.ts";

/** What the page asks for. */
export interface Action {
  readonly action: ActionName;
  /** The full id of the object. */
  readonly id: string;
}

const names: readonly string[] = [
  "stop-pod",
  "remove-pod",
  "stop-container",
  "remove-image",
] satisfies readonly ActionName[];

/** The action in the body of a request; undefined if it is invalid. */
export function actionOf({ action, id }: Readonly<Record<string, unknown>>): Action | undefined {
  if (typeof action !== "string" || !names.includes(action)) return undefined;
  if (typeof id !== "string" || id === "") return undefined;
  return { action: action as ActionName, id };
}

// The page shows its own progress, so no line counts the grace period down.
const options = { seconds: undefined, grace: undefined };

/**
 * Carries out an action, as the command of the same name does. `podsRoot` has the directories of davit run.
 * Throws `not-found` for an unknown id.
 */
export async function runAction(
  server: Server,
  podsRoot: string,
  { action, id }: Action,
): Promise<void> {
  const objects = new Objects(server);
  switch (action) {
    case "remove-image": {
      const request = { image: { image: id } };
      await doing(
        `remove image "${id}"`,
        server.client.image.removeImage(request, server.limit(60_000)),
      );
      return;
    }
    case "stop-container": {
      const found = (await objects.containers()).find(({ container }) => container.id === id);
      if (found === undefined) throw notFound("container", id);
      await stopContainer(server, found, options);
      return;
    }
    case "stop-pod":
    case "remove-pod": {
      const pod = (await objects.pods()).find((each) => each.id === id);
      if (pod === undefined) throw notFound("pod", id);
      const containers = (await objects.containers()).map(({ container }) => container);
      await stopPod(server, pod, containers, options);
      if (action === "stop-pod") return;
      await removePod(server, pod);
      if (pod.metadata) await removeOwnDirectory(podsRoot, pod.metadata);
    }
  }
}

function notFound(kind: string, id: string): RuntimeError {
  return new RuntimeError("not-found", `there is no ${kind} "${id}" any more`);
}
