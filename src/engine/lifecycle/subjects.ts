import type { LogFields } from "../../base/logger.ts";
import type { Container } from "../../core/container/index.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";

/*
 * How log lines name what they are about: the same fields everywhere, so that a search for a pod's name or id
 * finds all that happened to it.
 */

/** A pod as it is named in the log and by the davit command: namespace/name. */
export function podName(metadata: Sandbox["config"]["metadata"]): string {
  return `${metadata?.namespace ?? ""}/${metadata?.name ?? ""}`;
}

/** The pod's name, and its id. */
export function sandboxSubject({ id, config }: Pick<Sandbox, "id" | "config">): LogFields {
  return { pod: podName(config.metadata), sandbox: id };
}

/** The pod of a container, the container's name and id, and its image. */
export function containerSubject(
  container: Pick<Container, "id" | "sandboxId" | "config" | "image">,
  sandboxes: { peek(id: string): Sandbox | undefined },
): LogFields {
  const { id, sandboxId, config, image } = container;
  const sandbox = sandboxes.peek(sandboxId);
  return {
    ...(sandbox === undefined ? { sandbox: sandboxId } : sandboxSubject(sandbox)),
    containerName: config.metadata?.name ?? "",
    container: id,
    image: image.shown,
  };
}
