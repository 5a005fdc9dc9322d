import type { LogFields } from "../../base/logger.ts";
import type { Container } from "../../core/container/index.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";

/*
 * The fields by which log lines identify their object. They are the same everywhere, so that a search for the
 * name or id of a pod finds every line about it.
 */

/** The name of a pod in the log and in the davit command: namespace/name. */
export function podName(metadata: Sandbox["config"]["metadata"]): string {
  return `${metadata?.namespace ?? ""}/${metadata?.name ?? ""}`;
}

/** The pod's name and the id of its sandbox. */
export function sandboxSubject({ id, config }: Pick<Sandbox, "id" | "config">): LogFields {
  return { pod: podName(config.metadata), sandbox: id };
}

/** The container's pod, name and id, and the name and id of its image. */
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
    imageId: image.id,
  };
}
