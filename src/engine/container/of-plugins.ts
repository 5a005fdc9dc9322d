import type { Container } from "../../core/container/index.ts";
import type { OciSpec } from "../../core/oci/index.ts";
import type { ContainerOfPlugins } from "../../core/plugin/index.ts";
import { type ContainerContext, runtimeOf, specSubject } from "./context.ts";

/**
 * A container as plugins are told about it. Its spec is read when the first plugin asks for it, once.
 * Undefined for a container whose sandbox is not known: plugins know neither.
 */
export function ofPlugins(
  context: ContainerContext,
  container: Container,
  known: {
    readonly spec?: OciSpec;
    readonly pid?: number;
    /** It will not be started any more. */
    readonly isOver?: boolean;
  } = {},
): ContainerOfPlugins | undefined {
  const sandbox = context.sandboxes.peek(container.sandboxId);
  if (sandbox === undefined) return undefined;
  let reading: Promise<OciSpec | undefined> | undefined;
  const isOver = known.isOver === true || container.state.name === "exited";
  const read = (): Promise<OciSpec | undefined> => readSpec(context, container, isOver);
  return {
    container,
    sandbox,
    spec: () => (reading ??= known.spec === undefined ? read() : Promise.resolve(known.spec)),
    ...(known.pid === undefined ? {} : { pid: known.pid }),
  };
}

/**
 * The spec that the container was started with, else the one that it would be started with now. None is built for
 * one that is over: the build makes missing directories of its volumes, which kubelet has removed with the pod.
 */
async function readSpec(
  context: ContainerContext,
  container: Container,
  isOver: boolean,
): Promise<OciSpec | undefined> {
  try {
    const started =
      container.state.name === "created"
        ? undefined
        : await runtimeOf(context, container).spec(container.id);
    if (started !== undefined || isOver) return started;
    return await context.specs.build(specSubject(context, container));
  } catch {
    // A plugin learns less then: the event itself is more important.
    return undefined;
  }
}
